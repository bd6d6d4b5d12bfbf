//! A request as handlers read it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lambda_http::RequestExt;
use lambda_http::http::Method;
use lambda_http::http::header::{ACCEPT, AUTHORIZATION, HeaderName, IF_NONE_MATCH};
use sha2::{Digest, Sha256};

use super::{Fields, Result, StreamFormat, ui_message_stream};
use crate::error::{Error, FieldError};
use domain::ids::{ChatId, MessageId, PostId, Seq, UserId};
use domain::inbox::InboxHead;
use domain::limits::PageSize;
use domain::person::Caller;
use domain::rate::{RateClass, Spent};
use domain::text::{Emoji, TaskId};

/// Lambda takes 6 MB, of which a body that is sent as base64 keeps three quarters.
const LONG_BODY_BYTES: usize = 4 * 1024 * 1024;

/// As much of a hash as tells answers apart.
const TAG_BYTES: usize = 12;

#[derive(Debug)]
pub struct Request {
    inner: lambda_http::Request,
    id: String,
    most_body_bytes: usize,
    class: Option<RateClass>,
    /// What this request has spent of its caller's allowance, for the answer's headers.
    spent: Arc<OnceLock<Spent>>,
}

impl Request {
    #[must_use]
    pub fn new(inner: lambda_http::Request, most_body_bytes: usize, class: Option<RateClass>) -> Self {
        let id = inner
            .lambda_context_ref()
            .map(|context| context.request_id.clone())
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Self {
            inner,
            id,
            most_body_bytes,
            class,
            spent: Arc::default(),
        }
    }

    /// What the logs and the answer's `requestId` call this request.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As what its route's requests are counted.
    #[must_use]
    pub fn class(&self) -> Option<RateClass> {
        self.class
    }

    /// Says what this request has spent of its caller's allowance; the first word counts.
    pub fn has_spent(&self, spent: Spent) {
        self.spent.get_or_init(|| spent);
    }

    /// The `Authorization` header.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.header(AUTHORIZATION)
    }

    /// The JSON body, to be read field by field.
    pub fn fields(&self) -> Result<Fields> {
        Fields::of_body(self.raw_body()?)
    }

    /// The same of a body that may be longer: most of what the AI SDK sends is what we know already.
    pub fn long_fields(&self) -> Result<Fields> {
        Fields::of_body(self.body_within(LONG_BODY_BYTES)?)
    }

    /// The same of a body that may as well be empty.
    pub fn fields_or_none(&self) -> Result<Fields> {
        match self.raw_body()? {
            b"" => Fields::of_body(b"{}"),
            body => Fields::of_body(body),
        }
    }

    /// The body as it came, for what is signed byte for byte.
    pub fn raw_body(&self) -> Result<&[u8]> {
        self.body_within(self.most_body_bytes)
    }

    fn body_within(&self, limit: usize) -> Result<&[u8]> {
        let body: &[u8] = self.inner.body().as_ref();
        if body.len() > limit {
            Err(Error::TooLarge { limit })
        } else {
            Ok(body)
        }
    }

    pub fn chat_id(&self) -> Result<ChatId> {
        self.path_id("chatId", ChatId::parse)
    }

    pub fn message_id(&self) -> Result<MessageId> {
        self.path_id("messageId", MessageId::parse)
    }

    pub fn post_id(&self) -> Result<PostId> {
        self.path_id("postId", PostId::parse)
    }

    /// Whom the path names.
    pub fn user_id(&self) -> Result<UserId> {
        UserId::parse(&self.path("userId"))
            .ok_or_else(|| Error::Invalid(vec![FieldError::parameter("userId", "must be the id of a person")]))
    }

    /// What one reacts with; an emoji comes percent-encoded.
    pub fn emoji(&self) -> Result<Emoji> {
        Emoji::parse(&self.path("emoji"))
            .map_err(|refusal| Error::Invalid(vec![FieldError::parameter("emoji", refusal)]))
    }

    /// What the path names as an agent's task.
    pub fn task_id(&self) -> Result<TaskId> {
        TaskId::parse(&self.path("taskId"))
            .map_err(|refusal| Error::Invalid(vec![FieldError::parameter("taskId", refusal)]))
    }

    pub fn method(&self) -> &Method {
        self.inner.method()
    }

    /// A place in a list, from the path: 0 is the first.
    pub fn place(&self, name: &'static str) -> Result<i32> {
        let place = self.path(name).parse().ok().filter(|place| *place >= 0);
        place.ok_or_else(|| Error::Invalid(vec![FieldError::parameter(name, "must be a whole number of 0 or more")]))
    }

    fn path_id<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        parse(&self.path(name)).ok_or_else(|| Error::Invalid(vec![FieldError::parameter(name, "must be a UUID")]))
    }

    /// A part of the path, percent-decoded: API Gateway decodes it, cargo lambda does not, and no id contains `%`.
    fn path(&self, name: &str) -> String {
        let parameters = self.inner.path_parameters_ref();
        let raw = parameters
            .and_then(|parameters| parameters.first(name))
            .unwrap_or_default();
        percent_decoded(raw).into_owned()
    }

    /// A parameter of the query. Given twice it is refused: others who read the address may see the other one.
    pub fn query(&self, name: &'static str) -> Result<Option<&str>> {
        let Some(parameters) = self.inner.query_string_parameters_ref() else {
            return Ok(None);
        };
        match parameters.all(name).as_deref() {
            None | Some([]) => Ok(None),
            Some([value]) => Ok(Some(value)),
            Some(_) => Err(Error::Invalid(vec![FieldError::parameter(name, "must be given once")])),
        }
    }

    /// A switch in the query; absent is off.
    pub fn flag(&self, name: &'static str) -> Result<bool> {
        match self.query(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::Invalid(vec![FieldError::parameter(
                name,
                "must be true or false",
            )])),
        }
    }

    /// `limit`: 1 to 100, by default 50.
    pub fn page_size(&self) -> Result<PageSize> {
        match self.query("limit")? {
            None => Ok(PageSize::DEFAULT),
            Some(text) => text.parse().ok().and_then(PageSize::new).ok_or_else(|| {
                Error::Invalid(vec![FieldError::parameter(
                    "limit",
                    format!("must be a whole number from 1 to {}", PageSize::MAX),
                )])
            }),
        }
    }

    /// A place in a chat's sequence, from the query.
    pub fn seq(&self, name: &'static str) -> Result<Option<Seq>> {
        self.query(name)?
            .map(|text| {
                text.parse().ok().and_then(Seq::new).ok_or_else(|| {
                    Error::Invalid(vec![FieldError::parameter(name, "must be a whole number of 0 or more")])
                })
            })
            .transpose()
    }

    /// What a browser's EventSource had before it was cut off.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.header(HeaderName::from_static("last-event-id"))
    }

    /// Names the answer to this request while the inbox stands where it does. The same address is another answer for
    /// everybody else, and for the same person after an erasure.
    #[must_use]
    pub fn tag(&self, caller: &Caller, inbox: &InboxHead, size: PageSize) -> String {
        // A page is as large as it is, whether that was said or not.
        let mut asked: Vec<_> = self
            .inner
            .query_string_parameters_ref()
            .into_iter()
            .flat_map(|parameters| parameters.iter())
            .filter(|(name, _)| *name != "limit")
            .collect();
        asked.sort_unstable();
        let rows = size.rows().to_string();
        let mut named = vec![caller.id.as_str(), &inbox.epoch, self.inner.raw_http_path(), &rows];
        named.extend(asked.into_iter().flat_map(|(name, value)| [name, value]));
        let mut hash = Sha256::new();
        for part in named {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let hash = BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..TAG_BYTES]);
        format!("\"{}-{hash}\"", inbox.version)
    }

    /// Whether the client has the version of the answer that this tag names.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        self.header(IF_NONE_MATCH)
            .is_some_and(|known| known.split(',').any(|one| opaque(one) == opaque(tag)))
    }

    /// Whether the client asked for an event stream in this response.
    #[must_use]
    pub fn accepts_event_stream(&self) -> bool {
        self.accepts("text/event-stream")
    }

    /// How the client wants a streamed answer to be told: by `format`, or by the header of Vercel's AI SDK.
    pub fn stream_format(&self) -> Result<StreamFormat> {
        const UI_MESSAGE_STREAM: &str = "ui-message-stream";
        let header = HeaderName::from_static(ui_message_stream::HEADER);
        match (self.query("format")?, self.header(header)) {
            (Some(UI_MESSAGE_STREAM), _) | (None, Some(ui_message_stream::VERSION)) => {
                Ok(StreamFormat::UiMessageStream)
            }
            (None, _) => Ok(StreamFormat::Events),
            (Some(_), _) => Err(Error::Invalid(vec![FieldError::parameter(
                "format",
                format!("must be {UI_MESSAGE_STREAM}, or absent"),
            )])),
        }
    }

    /// Whether the client asked for JSON by name, where there is something else, too.
    #[must_use]
    pub fn accepts_json(&self) -> bool {
        self.accepts("application/json")
    }

    fn accepts(&self, media_type: &str) -> bool {
        self.header(ACCEPT).is_some_and(|accept| {
            accept.split(',').any(|part| {
                part.split(';')
                    .next()
                    .is_some_and(|media| media.trim().eq_ignore_ascii_case(media_type))
            })
        })
    }

    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Where it will stand what this request has spent, once its handler has run.
    pub(super) fn spent(&self) -> Arc<OnceLock<Spent>> {
        Arc::clone(&self.spent)
    }

    /// X-Ray's header, as Lambda hands it on.
    pub(super) fn trace(&self) -> Option<String> {
        self.inner.lambda_context_ref()?.xray_trace_id.clone()
    }

    /// The path with names in the places of what it names: `/api/chat/{chatId}`.
    pub(super) fn route(&self) -> String {
        let mut route = self.inner.raw_http_path().to_owned();
        for (name, value) in self
            .inner
            .path_parameters_ref()
            .into_iter()
            .flat_map(|parameters| parameters.iter())
        {
            route = route.replacen(&format!("/{value}"), &format!("/{{{name}}}"), 1);
        }
        route
    }
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use chrono::{DateTime, Utc};

    use super::*;
    use domain::person::CallerRole;

    #[test]
    fn percent_escapes_are_decoded_and_nonsense_stays() {
        for (raw, text) in [
            ("a%20b", "a b"),
            ("%F0%9F%91%8D", "👍"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(percent_decoded(raw), text);
        }
    }

    fn asking(path: &str, query: &[(&str, &str)]) -> Request {
        let query: HashMap<String, Vec<String>> = query.iter().fold(HashMap::new(), |mut all, (name, value)| {
            all.entry((*name).to_owned()).or_default().push((*value).to_owned());
            all
        });
        let inner = lambda_http::Request::default()
            .with_raw_http_path(path)
            .with_query_string_parameters(query);
        Request::new(inner, 64 * 1024, None)
    }

    fn caller(name: &str) -> Caller {
        Caller {
            id: UserId::parse(name).unwrap(),
            name: name.to_owned(),
            image: None,
            org_id: None,
            role: CallerRole::Person,
            token_expires_at: DateTime::<Utc>::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_tag_names_the_person_the_inbox_and_what_was_asked_for() {
        let head = |version, epoch: &str| InboxHead {
            version,
            epoch: epoch.to_owned(),
        };
        let (anna, ben) = (caller("anna"), caller("ben"));
        let asked = [("kind", "direct"), ("archived", "true")];
        let tag = |path: &str, query: &[(&str, &str)], of: &Caller, inbox: &InboxHead, rows: i64| {
            asking(path, query).tag(of, inbox, PageSize::new(rows).unwrap())
        };
        let now = head(7, "a");
        let tags = [
            tag("/api/chat", &asked, &anna, &now, 50),
            tag("/api/chat", &asked, &ben, &now, 50),
            tag("/api/chat", &asked, &anna, &head(8, "a"), 50),
            tag("/api/chat", &asked, &anna, &head(7, "b"), 50),
            tag("/api/chat", &asked, &anna, &now, 49),
            tag("/api/chat", &asked[..1], &anna, &now, 50),
            tag("/api/chat", &[], &anna, &now, 50),
            tag("/api/chat-messages", &asked, &anna, &now, 50),
            tag(
                "/api/chat",
                &[("kind", "directarchived"), ("true", "")],
                &anna,
                &now,
                50,
            ),
        ];
        let different: HashSet<_> = tags.iter().collect();
        assert_eq!(different.len(), tags.len(), "{tags:?}");
        // A map of parameters has no order of its own.
        for _ in 0..20 {
            let again = tag("/api/chat", &[asked[1], asked[0], ("limit", "50")], &anna, &now, 50);
            assert_eq!(again, tags[0]);
        }
        assert!(
            tags.iter()
                .all(|tag| !tag.contains("anna") && tag.starts_with('"') && tag.ends_with('"'))
        );
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_refused() {
        let request = asking("/api/chat", &[("limit", "1"), ("limit", "2"), ("kind", "direct")]);
        assert_eq!(request.query("kind").unwrap(), Some("direct"));
        assert_eq!(request.query("cursor").unwrap(), None);
        assert!(matches!(request.query("limit"), Err(Error::Invalid(errors)) if errors[0].parameter == Some("limit")));
        assert!(request.page_size().is_err());
    }
}
