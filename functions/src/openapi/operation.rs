//! What a handler says of its route for the contract. Schemas come from the Rust types, problems from [`Error`] itself;
//! what follows from the kind of a route (who has no token, who is too fast, a body that is no JSON) is said here, once.

use std::collections::{BTreeMap, BTreeSet};

use backtalk_http::error::{Error, FieldError, ProblemType};
use domain::budget::{Exhausted, Period, Subject};
use domain::moderation::Refused;
use domain::rate::{RateClass, RateLimit, Spent};
use schemars::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::components::{Components, add_rate_headers};

/// A type's schema, wherever it is needed.
type Describe = fn(&mut SchemaGenerator) -> Schema;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Everybody,
    Bearer,
    BearerOrTicket,
    /// Pusher, by its signature.
    Signed,
}

#[derive(Debug)]
pub struct Operation {
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    access: Access,
    rate: Option<RateClass>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    refusals: Vec<Error>,
}

#[derive(Debug)]
struct Parameter {
    place: &'static str,
    name: &'static str,
    description: &'static str,
    schema: Describe,
    is_required: bool,
}

#[derive(Debug)]
struct Body {
    media_type: &'static str,
    schema: Describe,
    is_required: bool,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    description: &'static str,
    content: Option<(&'static str, Describe)>,
    headers: Vec<(&'static str, &'static str)>,
}

impl Operation {
    pub(crate) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: "",
            access: Access::Everybody,
            rate: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(crate) fn describe(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Whoever has a token may call.
    pub(crate) fn for_people(self) -> Self {
        Self {
            access: Access::Bearer,
            ..self
        }
    }

    /// The same, and a ticket in the query is as good.
    pub(crate) fn for_ticket_holders(self) -> Self {
        Self {
            access: Access::BearerOrTicket,
            ..self
        }
    }

    /// Pusher calls, by its signature.
    pub(crate) fn for_pusher(self) -> Self {
        Self {
            access: Access::Signed,
            ..self
        }
    }

    /// A part of the path.
    pub(crate) fn path<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>("path", name, description, true)
    }

    pub(crate) fn query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>("query", name, description, false)
    }

    pub(crate) fn required_query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>("query", name, description, true)
    }

    pub(crate) fn header<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>("header", name, description, false)
    }

    fn parameter<T: JsonSchema>(
        mut self,
        place: &'static str,
        name: &'static str,
        description: &'static str,
        is_required: bool,
    ) -> Self {
        self.parameters.push(Parameter {
            place,
            name,
            description,
            schema: SchemaGenerator::subschema_for::<T>,
            is_required,
        });
        self
    }

    pub(crate) fn reads<T: JsonSchema>(self) -> Self {
        self.body::<T>("application/json", true)
    }

    /// A body that may as well be absent.
    pub(crate) fn may_read<T: JsonSchema>(self) -> Self {
        self.body::<T>("application/json", false)
    }

    pub(crate) fn reads_form<T: JsonSchema>(self) -> Self {
        self.body::<T>("application/x-www-form-urlencoded", true)
    }

    fn body<T: JsonSchema>(self, media_type: &'static str, is_required: bool) -> Self {
        Self {
            body: Some(Body {
                media_type,
                schema: SchemaGenerator::subschema_for::<T>,
                is_required,
            }),
            ..self
        }
    }

    pub(crate) fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(
            status,
            description,
            Some(("application/json", SchemaGenerator::subschema_for::<T>)),
            &[],
        )
    }

    pub(crate) fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, None, &[])
    }

    pub(crate) fn redirects(self, description: &'static str) -> Self {
        self.answer(302, description, None, &[("Location", "Where it is."), CACHE_CONTROL])
    }

    /// Events, each of which is a `T`.
    pub(crate) fn streams<T: JsonSchema>(self, description: &'static str) -> Self {
        let stream: Describe = SchemaGenerator::subschema_for::<T>;
        self.answer(200, description, Some(("text/event-stream", stream)), &[CACHE_CONTROL])
    }

    /// Like [`Self::answers`] with 200, and 304 to who has it already.
    pub(crate) fn answers_once<T: JsonSchema>(self, description: &'static str) -> Self {
        self.header::<String>("If-None-Match", "The `ETag` of the answer that you have.")
            .answer(
                200,
                description,
                Some(("application/json", SchemaGenerator::subschema_for::<T>)),
                &[ETAG, CACHE_CONTROL],
            )
            .answer(304, "You have it already.", None, &[ETAG, CACHE_CONTROL])
    }

    fn answer(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, Describe)>,
        headers: &[(&'static str, &'static str)],
    ) -> Self {
        self.answers.push(Answer {
            status,
            description,
            content,
            headers: headers.to_vec(),
        });
        self
    }

    /// What only this route refuses.
    pub(crate) fn refuses(mut self, errors: impl IntoIterator<Item = Error>) -> Self {
        self.refusals.extend(errors);
        self
    }

    /// Whether it takes a person's token.
    #[cfg(test)]
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.access, Access::Bearer | Access::BearerOrTicket)
    }

    /// Of a route whose requests are counted in this class.
    pub(super) fn counted_in(self, rate: Option<RateClass>) -> Self {
        Self { rate, ..self }
    }

    pub(super) fn written(&self, tag: &str, components: &mut Components) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "tags": [tag],
            "summary": self.summary,
            "security": self.security(),
            "responses": self.responses(components),
        });
        if !self.description.is_empty() {
            operation["description"] = self.description.into();
        }
        if !self.parameters.is_empty() {
            let parameters = self.parameters.iter().map(|parameter| {
                json!({
                    "in": parameter.place,
                    "name": parameter.name,
                    "description": parameter.description,
                    "required": parameter.is_required,
                    "schema": (parameter.schema)(&mut components.received),
                })
            });
            operation["parameters"] = parameters.collect();
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({
                "required": body.is_required,
                "content": { body.media_type: { "schema": (body.schema)(&mut components.received) } },
            });
        }
        operation
    }

    fn security(&self) -> Value {
        match self.access {
            Access::Everybody => json!([]),
            Access::Bearer => json!([{ "bearer": [] }]),
            Access::BearerOrTicket => json!([{ "bearer": [] }, { "ticket": [] }]),
            Access::Signed => json!([{ "pusherKey": [], "pusherSignature": [] }]),
        }
    }

    fn responses(&self, components: &mut Components) -> Value {
        let mut responses = Map::new();
        for answer in &self.answers {
            let response = responses
                .entry(answer.status.to_string())
                .or_insert_with(|| json!({ "description": "" }));
            let sentences = [response["description"].as_str().unwrap_or_default(), answer.description];
            response["description"] = sentences.join(" ").trim().into();
            if let Some((media_type, schema)) = answer.content {
                response["content"][media_type] = json!({ "schema": schema(&mut components.sent) });
            }
            for (name, description) in &answer.headers {
                response["headers"][*name] = json!({
                    // Where some answers of a status have it, and others do not.
                    "required": self.answers.iter().filter(|other| other.status == answer.status).count() == 1,
                    "description": description,
                    "schema": { "type": "string" },
                });
            }
            if self.rate.is_some() {
                add_rate_headers(response);
            }
        }
        let mut by_status = BTreeMap::<u16, BTreeSet<ProblemType>>::new();
        for error in self.refusals.iter().chain(&self.usual_refusals()) {
            let problem = error.problem("");
            by_status
                .entry(problem.status)
                .or_default()
                .insert(problem.problem_type);
        }
        for (status, types) in by_status {
            responses.insert(status.to_string(), components.problem(status, types));
        }
        responses.into()
    }

    /// What follows from the kind of route it is.
    fn usual_refusals(&self) -> Vec<Error> {
        let mut refusals = vec![
            Error::Unavailable(anyhow::Error::msg("")),
            Error::Internal(anyhow::Error::msg("")),
        ];
        if self.access != Access::Everybody {
            refusals.push(Error::Unauthenticated("".into()));
        }
        if let Some(class) = self.rate {
            refusals.push(rate_limited(class));
        }
        let is_checked = |parameter: &Parameter| parameter.name != "If-None-Match";
        if self.parameters.iter().any(is_checked) {
            refusals.push(invalid());
        }
        if let Some(body) = &self.body {
            refusals.push(Error::TooLarge { limit: 0 });
            if body.media_type == "application/json" {
                refusals.push(Error::Malformed(FieldError::at("", "")));
            }
            if self.access != Access::Signed {
                refusals.push(invalid());
            }
        }
        refusals
    }
}

const ETAG: (&str, &str) = ("ETag", "Names this version of the answer, for `If-None-Match`.");
const CACHE_CONTROL: (&str, &str) = ("Cache-Control", "How long the answer may be kept.");

fn invalid() -> Error {
    Error::Invalid(Vec::new())
}

fn rate_limited(class: RateClass) -> Error {
    let limit = RateLimit { quota: 0, seconds: 0 };
    Error::RateLimited(Spent {
        class,
        limit,
        is_allowed: false,
        remaining: 0,
        reset_after_seconds: 0,
        retry_after_seconds: 0,
    })
}

/// A word of the site's moderation hook, for [`Operation::refuses`].
pub(crate) fn message_refused() -> Error {
    Error::MessageRefused(Refused {
        reason: String::new(),
        code: None,
    })
}

/// A budget that is used up, for [`Operation::refuses`].
pub(crate) fn quota_exceeded() -> Error {
    Error::QuotaExceeded(Exhausted {
        subject: Subject::Person,
        period: Period::Day,
        limit: 0,
        used: 0,
        reserved: 0,
        resets_at: chrono::DateTime::UNIX_EPOCH,
    })
}
