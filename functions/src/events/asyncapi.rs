//! The events and the ways they take as AsyncAPI 3, made of the same types as the contract of the routes. `docs/asyncapi.json`
//! is this, committed.

use backtalk_http::error::Problem;
use domain::event::{Event, EventType};
use domain::webhook::WebhookEvent;
use pusher::pusher_name;
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::chats::list::ChatList;
use crate::events::stream::Mark;
use crate::messages::list::Messages;
use crate::notices::send::NoticeToSend;
use crate::openapi::Components;
use crate::unread::list::Unread;

const ABOUT: &str = "\
What happens in a person's chats, told to them by Pusher, by an event stream and by polling. Every event has one envelope, \
whatever brings it. A chat's `seq` is contiguous: who misses one asks `GET /api/chat/{chatId}/messages?changedAfter=` for just the \
hole. Delivery is after the commit. What is asked of the API itself is in `openapi.json`.";

/// Heard by those who are there, and kept for nobody: who polls or follows the stream does not hear of these.
const PASSING: [EventType; 2] = [EventType::Typing, EventType::Presence];

/// Of a reply that is being written; polls see its text in the chat.
const WRITING: [EventType; 4] = [
    EventType::ReplyStarted,
    EventType::ReplyReasoning,
    EventType::ReplyDelta,
    EventType::ReplyEnded,
];

/// The document, as it is committed.
#[must_use]
pub fn document() -> Value {
    let mut components = Components::new();
    components.also::<Event>();
    let events = components.events();
    components.also::<Problem>();
    components.also::<Unread>();
    components.also::<ChatList>();
    components.also::<Mark>();
    components.also::<Messages>();
    components.also_received::<NoticeToSend>();
    let schemas = components.written()["schemas"].take();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Backtalk's events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "pusher": {
                "host": "ws-{cluster}.pusher.com",
                "pathname": "/app/{key}",
                "protocol": "wss",
                "protocolVersion": "7",
                "description": "Pusher Channels, or a server of one's own that speaks its protocol.",
                "variables": {
                    "cluster": { "description": "PUSHER_CLUSTER of the functions." },
                    "key": { "description": "PUSHER_KEY of the functions." },
                },
                "security": [{ "$ref": "#/components/securitySchemes/pusherAuthorization" }],
            },
            "api": {
                "host": "{host}",
                "protocol": "https",
                "variables": { "host": { "description": "API Gateway's, or a domain of yours." } },
                "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
            },
            "queue": {
                "host": "sqs.{region}.amazonaws.com",
                "protocol": "sqs",
                "variables": { "region": { "description": "Where the stack is." } },
                "security": [{ "$ref": "#/components/securitySchemes/role" }],
            },
            "organisation": {
                "host": "{host}",
                "protocol": "https",
                "variables": { "host": { "description": "Of the webhook's address." } },
                "description": "A server of an organisation's own.",
            },
        },
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages(&events, &schemas),
            "schemas": schemas,
            "securitySchemes": {
                "pusherAuthorization": {
                    "type": "userPassword",
                    "description": "Each subscription is authorized by `POST /api/pusher/auth`, which pusher-js asks by itself.",
                },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "role": { "type": "userPassword", "description": "An AWS identity that may send messages to the queue." },
            },
        },
    })
}

/// `events`: each type, and where its envelope's schema is among `schemas`.
fn messages(events: &[(EventType, Schema)], schemas: &Value) -> Value {
    let mut messages = Map::new();
    for (event_type, schema) in events {
        let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let name = reference.rsplit('/').next().unwrap_or_default();
        let mut message = json!({
            "name": event_type.word(),
            "summary": schemas[name]["description"],
            "payload": schema,
        });
        messages.insert(event_type.word().to_owned(), message.clone());
        if pusher_name(*event_type) != event_type.word() {
            message["name"] = pusher_name(*event_type).into();
            messages.insert(pusher_name(*event_type).to_owned(), message);
        }
    }
    let others = [
        (
            "pointer",
            "Any event that is larger than Pusher takes, by its own name: what it says is read from where `fetch` points.",
            json!({
                "type": "object",
                "properties": {
                    "type": { "enum": EventType::ALL.iter().map(|one| one.word()).collect::<Vec<_>>() },
                    "chatId": { "type": "string", "format": "uuid" },
                    "seq": { "type": "integer", "minimum": 1 },
                    "at": { "type": "string", "format": "date-time" },
                    "data": {
                        "type": "object",
                        "properties": { "fetch": { "type": "string", "pattern": "^/api/" } },
                        "required": ["fetch"],
                        "additionalProperties": false,
                    },
                },
                "required": ["type", "chatId", "data"],
            }),
        ),
        (
            "ready",
            "The stream has begun; what happens from `version` on is told.",
            json!({ "$ref": "#/components/schemas/StreamMark" }),
        ),
        (
            "resync",
            "The reader's place is older than what is kept: it reads its chats anew, and goes on from `version`.",
            json!({ "$ref": "#/components/schemas/StreamMark" }),
        ),
        (
            "reconnect",
            "A planned end: the reader connects again from where it is.",
            json!({ "type": "object", "maxProperties": 0 }),
        ),
        (
            "error",
            "The stream cannot go on.",
            json!({ "$ref": "#/components/schemas/Problem" }),
        ),
        (
            "unread",
            "What is unread, with its total.",
            json!({ "$ref": "#/components/schemas/Unread" }),
        ),
        (
            "chats",
            "The chats as they are now.",
            json!({ "$ref": "#/components/schemas/ChatList" }),
        ),
        (
            "changes",
            "The present state of all that changed in a chat, and the `seq` that it is true for.",
            json!({ "$ref": "#/components/schemas/MessagePage" }),
        ),
        (
            "notice",
            "What an agent tells one person of one task.",
            json!({
                "type": "object",
                "properties": { "v": { "const": 1 }, "notice": { "$ref": "#/components/schemas/NoticeToSend" } },
                "required": ["v", "notice"],
            }),
        ),
        (
            "webhook",
            "What happened in a chat of the organisation, signed as Standard Webhooks says.",
            webhook(),
        ),
    ];
    for (name, summary, payload) in others {
        messages.insert(
            name.to_owned(),
            json!({ "name": name, "summary": summary, "payload": payload }),
        );
    }
    messages.into()
}

fn webhook() -> Value {
    let message = json!({ "$ref": "#/components/schemas/Message" });
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "format": "uuid", "description": "The same for each try: it tells duplicates." },
            "type": { "enum": WebhookEvent::ALL.iter().map(|one| one.word()).collect::<Vec<_>>() },
            "timestamp": { "type": "string", "format": "date-time" },
            "organisation": { "type": "string" },
            "chatId": { "type": "string", "format": "uuid" },
            "seq": { "type": ["integer", "null"], "minimum": 1 },
            "data": {
                "anyOf": [
                    message,
                    { "$ref": "#/components/schemas/ReplyEnded" },
                    {
                        "type": "object",
                        "properties": {
                            "taskId": { "type": "string" },
                            "userId": { "type": "string" },
                            "clarification": message,
                            "answer": message,
                        },
                        "required": ["taskId", "userId", "clarification", "answer"],
                    },
                ],
            },
        },
        "required": ["id", "type", "timestamp", "organisation", "chatId", "seq", "data"],
    })
}

fn references<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    let reference = |name: &str| {
        (
            name.to_owned(),
            json!({ "$ref": format!("#/components/messages/{name}") }),
        )
    };
    names.into_iter().map(reference).collect::<Map<_, _>>().into()
}

fn channels() -> Value {
    let all = EventType::ALL;
    let streamed = all.iter().filter(|one| !PASSING.contains(one)).map(|one| one.word());
    let of_a_reply = WRITING.into_iter().map(EventType::word);
    let chat_id = json!({ "chatId": { "description": "A UUID." } });
    json!({
        "pusherPerson": {
            "address": "private-user-{userId}",
            "title": "All that a person hears, by Pusher",
            "description": "An id with characters that Pusher does not allow is base64url after `=`.",
            "servers": [{ "$ref": "#/servers/pusher" }],
            "parameters": { "userId": { "description": "The `sub` of the person's token." } },
            "messages": references(all.iter().map(|one| pusher_name(*one)).chain(["pointer"])),
            "bindings": { "ws": { "bindingVersion": "0.1.0" } },
        },
        "stream": {
            "address": "/api/chat/stream",
            "title": "All that a person hears, as server-sent events",
            "description": "`event:` is the message's name, `data:` its payload in one line, `id:` the place to go on from.",
            "servers": [{ "$ref": "#/servers/api" }],
            "messages": references(streamed.chain(["ready", "resync", "reconnect", "error"])),
        },
        "reply": {
            "address": "/api/chat/{chatId}/messages/{messageId}/stream",
            "title": "One answer as it is written, as server-sent events",
            "description": "Also what `POST /api/chat/{chatId}/messages` and `…/regenerate` answer with `Accept: text/event-stream`. \
                `reply.ended` is always the last; without it the answer is not complete.",
            "servers": [{ "$ref": "#/servers/api" }],
            "parameters": { "chatId": chat_id["chatId"], "messageId": { "description": "A UUID, that of the answer." } },
            "messages": references(of_a_reply.chain(["message.created", "message.updated", "error"])),
        },
        "unread": {
            "address": "/api/chat-messages",
            "title": "What is unread, by polling",
            "servers": [{ "$ref": "#/servers/api" }],
            "messages": references(["unread"]),
        },
        "chats": {
            "address": "/api/chat",
            "title": "The chats, by polling",
            "servers": [{ "$ref": "#/servers/api" }],
            "messages": references(["chats"]),
        },
        "changes": {
            "address": "/api/chat/{chatId}/messages",
            "title": "What changed in a chat",
            "description": "With `changedAfter`, the `seq` up to which the client has everything: it closes any hole.",
            "servers": [{ "$ref": "#/servers/api" }],
            "parameters": chat_id,
            "messages": references(["changes"]),
        },
        "notices": {
            "address": "{queue}",
            "title": "What agents say, by the queue",
            "servers": [{ "$ref": "#/servers/queue" }],
            "parameters": { "queue": { "description": "The stack's queue of jobs." } },
            "messages": references(["notice"]),
        },
        "webhooks": {
            "address": "{path}",
            "title": "What an organisation's servers hear",
            "servers": [{ "$ref": "#/servers/organisation" }],
            "parameters": { "path": { "description": "Of the webhook's address." } },
            "messages": references(["webhook"]),
        },
    })
}

fn operations() -> Value {
    let get = |query: Value| {
        json!({ "http": {
            "method": "GET",
            "query": { "type": "object", "properties": query },
            "bindingVersion": "0.3.0",
        } })
    };
    let operation = |action: &str, channel: &str, summary: &str, bindings: Value| {
        json!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{channel}") },
            "summary": summary,
            "bindings": bindings,
        })
    };
    let tag = "With `If-None-Match`, 304 while nothing happens: one look-up of an index.";
    json!({
        "tellByPusher": operation("send", "pusherPerson", "As it happens.", json!({})),
        "tellByStream": operation("send", "stream", "As it happens, and after a break from where the reader was.", get(json!({
            "chatId": { "type": "string", "format": "uuid", "description": "Of one chat alone." },
            "after": { "type": "string", "description": "An `id:` of this stream, for whoever cannot send `Last-Event-ID`." },
            "ticket": { "type": "string", "description": "Of `POST /api/chat/stream-ticket`, for whoever cannot send a token." },
        }))),
        "tellReply": operation("send", "reply", "From `offset` of `attempt` on.", get(json!({
            "offset": { "type": "integer", "minimum": 0, "description": "UTF-8 bytes that the reader has." },
            "attempt": { "type": "integer", "minimum": 0, "description": "Of which attempt." },
        }))),
        "tellUnread": operation("send", "unread", tag, get(json!({ "limit": { "type": "integer", "minimum": 1 } }))),
        "tellChats": operation("send", "chats", tag, get(json!({
            "limit": { "type": "integer", "minimum": 1 }, "cursor": { "type": "string" },
        }))),
        "tellChanges": operation("send", "changes", "Of what the client missed.", get(json!({
            "changedAfter": { "type": "integer", "minimum": 0, "description": "A `seq`." },
        }))),
        "hearNotice": operation("receive", "notices", "Stored once, whatever SQS does.", json!({ "sqs": { "queues": [{ "name": "jobs", "fifoQueue": false }], "bindingVersion": "0.2.0" } })),
        "tellWebhook": operation("send", "webhooks", "At least once; those of one chat in order.", json!({ "http": {
            "method": "POST", "bindingVersion": "0.3.0",
        } })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::written::assert_committed;

    #[test]
    fn the_committed_events_are_what_the_types_say() {
        assert_committed("asyncapi.json", &document());
    }

    #[test]
    fn every_event_is_told_and_every_reference_leads_somewhere() {
        let document = document();
        for event_type in EventType::ALL {
            let message = &document["components"]["messages"][event_type.word()];
            assert!(message["payload"]["$ref"].is_string(), "{event_type}: {message}");
        }
        let mut seen = 0;
        let mut look = vec![&document];
        while let Some(value) = look.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                        seen += 1;
                    }
                    look.extend(fields.values());
                }
                Value::Array(items) => look.extend(items),
                _ => {}
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
