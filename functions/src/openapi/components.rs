//! What operations share: schemas, and what is refused.

use std::collections::{BTreeMap, BTreeSet};

use backtalk_http::error::{Problem, ProblemType};
use domain::event::{Event, EventType};
use lambda_http::http::StatusCode;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// Schemas of what is received and of what is sent, and problems.
pub(crate) struct Components {
    pub(super) received: SchemaGenerator,
    pub(super) sent: SchemaGenerator,
    problems: BTreeMap<String, Value>,
}

impl Components {
    pub(crate) fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        Self {
            received: settings.clone().for_deserialize().into_generator(),
            sent: settings
                .for_serialize()
                .with_transform(absent_rather_than_null)
                .into_generator(),
            problems: BTreeMap::new(),
        }
    }

    /// Takes in a type that no operation names.
    pub(crate) fn also<T: JsonSchema>(&mut self) {
        self.sent.subschema_for::<T>();
    }

    /// The same of what is received.
    pub(crate) fn also_received<T: JsonSchema>(&mut self) {
        self.received.subschema_for::<T>();
    }

    /// Every type of event, and the schema of its envelope.
    pub(crate) fn events(&mut self) -> Vec<(EventType, Schema)> {
        Event::described(&mut self.sent)
    }

    /// The response for all problems of a status that a route may answer with.
    pub(super) fn problem(&mut self, status: u16, types: BTreeSet<ProblemType>) -> Value {
        let pascal_case = |word: &str| -> String {
            let parts = word.split('-');
            parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
        };
        let names: Vec<_> = types.iter().map(|one| pascal_case(one.word())).collect();
        let name = names.join("Or");
        let description: Vec<_> = types.iter().map(|one| format!("`{one}`")).collect();
        let mut response = json!({
            "description": format!("{}: {}.", reason(status), description.join(" or ")),
            "content": { "application/problem+json": { "schema": {
                "allOf": [
                    self.sent.subschema_for::<Problem>(),
                    { "properties": { "type": { "enum": types }, "status": { "const": status } } },
                ],
            } } },
        });
        let retry_after = json!({
            "required": true, "description": "In how many seconds to come again.", "schema": { "type": "integer" },
        });
        if status == StatusCode::TOO_MANY_REQUESTS {
            response["headers"]["Retry-After"] = retry_after.clone();
            add_rate_headers(&mut response);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response["headers"]["Retry-After"] = retry_after;
        }
        if status == StatusCode::UNAUTHORIZED {
            response["headers"]["WWW-Authenticate"] = json!({ "required": true, "schema": { "const": "Bearer" } });
        }
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.problems.insert(name, response);
        reference
    }

    pub(crate) fn written(mut self) -> Value {
        let mut schemas = self.received.take_definitions(true);
        for (name, schema) in self.sent.take_definitions(true) {
            let received = schemas.insert(name.clone(), schema.clone());
            assert!(
                received.is_none_or(|received| received == schema),
                "{name} is one thing where it is received and another where it is sent: give one of them another name"
            );
        }
        json!({ "schemas": schemas, "responses": self.problems })
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

/// What may be left out of an answer is left out rather than null: that is how all our types are written.
fn absent_rather_than_null(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut absent_rather_than_null, schema);
    let required: Vec<String> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, property) in properties {
        if required.contains(name) {
            continue;
        }
        if let Some(types) = property.get_mut("type").and_then(Value::as_array_mut) {
            types.retain(|one| one != "null");
            if let [only] = types.as_slice() {
                property["type"] = only.clone();
            }
        }
        let Some(fields) = property.as_object_mut() else {
            continue;
        };
        let Some(Value::Array(mut choices)) = fields.remove("anyOf") else {
            continue;
        };
        choices.retain(|one| one["type"] != "null");
        match choices.as_slice() {
            [Value::Object(only)] => fields.extend(only.clone()),
            _ => {
                fields.insert("anyOf".into(), choices.into());
            }
        }
    }
}

pub(super) fn add_rate_headers(response: &mut Value) {
    for name in ["RateLimit", "RateLimit-Policy"] {
        response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
    }
}
