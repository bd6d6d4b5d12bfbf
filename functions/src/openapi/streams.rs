//! What `text/event-stream` answers are made of. OpenAPI 3.1 has no word for it: the schema is that of one event of the
//! stream, with its fields as properties, as 3.2 says it by `itemSchema`.

use std::borrow::Cow;

use backtalk_http::error::Problem;
use domain::event::Event;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use crate::events::stream::Mark;

/// One of our own events, or what is said of the stream itself.
pub(crate) struct StreamedEvent;

impl JsonSchema for StreamedEvent {
    fn schema_name() -> Cow<'static, str> {
        "StreamedEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mark = generator.subschema_for::<Mark>();
        let mut forms: Vec<_> = Event::described(generator)
            .into_iter()
            .map(|(event_type, envelope)| form(event_type.word(), &envelope))
            .collect();
        forms.push(form("ready", &mark));
        forms.push(form("resync", &mark));
        forms.push(form("reconnect", &json_schema!({ "type": "object" })));
        forms.push(form("error", &generator.subschema_for::<Problem>()));
        json_schema!({
            "description": "An event of a stream: its type, its data in one line of JSON, and its place in the stream where it has one.",
            "oneOf": forms,
        })
    }
}

fn form(name: &str, data: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "event": { "const": name },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
            "id": { "type": "string" },
        },
        "required": ["event", "data"],
    })
}

/// The same, or a part of what Vercel's AI SDK reads, whose events have no type.
pub(crate) struct StreamedReply;

impl JsonSchema for StreamedReply {
    fn schema_name() -> Cow<'static, str> {
        "StreamedReply".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = json!({
            "type": "object",
            "description": "With `format=ui-message-stream`, a part of a UI message stream of Vercel's AI SDK; the last is `[DONE]`.",
            "properties": {
                "event": { "const": "message" },
                "data": { "type": "string", "pattern": r#"^(\{".*\}|\[DONE\])$"# },
            },
            "required": ["data"],
        });
        json_schema!({ "anyOf": [generator.subschema_for::<StreamedEvent>(), part] })
    }
}
