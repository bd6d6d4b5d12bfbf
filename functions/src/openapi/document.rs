//! The whole contract as OpenAPI 3.1, whose schemas are JSON Schema.

use domain::event::Event;
use serde_json::{Map, Value, json};

use super::Operation;
use super::components::Components;
use crate::{
    attachments, chats, events, members, messages, notices, openapi, people, posts, pusher, replies, unread, usage,
};

const ABOUT: &str = "\
A chat backend that talks back: direct messages, channels, AI chats, posts with an assistant, and typed notices of agents.

- Times are RFC 3339 in UTC, ids UUIDs, people's ids the `sub` of their tokens.
- A chat's `seq` is its only order: contiguous from 1 on, so a gap is seen by arithmetic and closed by `changedAfter`.
- What is refused is an `application/problem+json` (RFC 9457): look at its `type`; `retryable` says whether the same \
request may succeed later; `errors` names each bad field by a JSON pointer or parameter. Unknown fields are refused.
- Whoever is too fast gets 429 with `Retry-After`.";

/// The routes by what they are about.
fn operations() -> Vec<(&'static str, Vec<Operation>)> {
    vec![
        (
            "chats",
            vec![
                chats::list::operation(),
                chats::create::operation(),
                chats::get::operation(),
                chats::update::operation(),
                chats::delete::operation(),
                chats::read::operation(),
                chats::typing::operation(),
            ],
        ),
        (
            "members",
            vec![
                members::add::operation(),
                members::update::operation(),
                members::remove::operation(),
            ],
        ),
        (
            "messages",
            [
                messages::list::operation(),
                messages::send::operation(),
                messages::send::operation_of_the_singular(),
                messages::edit::operation(),
                messages::delete::operation(),
                messages::versions::operation(),
                messages::search::operation(),
            ]
            .into_iter()
            .chain(messages::react::operations())
            .collect(),
        ),
        (
            "attachments",
            vec![attachments::create::operation(), attachments::get::operation()],
        ),
        (
            "replies",
            vec![
                replies::stop::operation(),
                replies::regenerate::operation(),
                replies::join::operation(),
            ],
        ),
        ("events", vec![events::stream::operation(), events::ticket::operation()]),
        (
            "unread",
            vec![unread::list::operation(), unread::mark_read::operation()],
        ),
        (
            "notices",
            vec![notices::send::operation(), notices::of_task::operation()],
        ),
        (
            "posts",
            vec![
                posts::list::operation(),
                posts::create::operation(),
                posts::get::operation(),
                posts::update::operation(),
                posts::delete::operation(),
                posts::follow_up::operation(),
            ],
        ),
        (
            "people",
            [
                people::me::operation(),
                people::presence::operation(),
                people::blocked::operation(),
            ]
            .into_iter()
            .chain(people::block::operations())
            .collect(),
        ),
        ("usage", vec![usage::get::operation()]),
        ("pusher", vec![pusher::auth::operation(), pusher::webhook::operation()]),
        ("contract", vec![openapi::get::operation()]),
    ]
}

/// The document, as it is committed.
#[must_use]
pub fn document() -> Value {
    let mut components = Components::new();
    let mut paths = Map::<String, Value>::new();
    let mut tags = Vec::new();
    for (tag, operations) in operations() {
        tags.push(json!({ "name": tag }));
        for operation in operations {
            let (path, method) = operation.place();
            let written = operation.written(tag, &mut components);
            paths.entry(path).or_insert_with(|| json!({}))[method] = written;
        }
    }
    // No operation names it: it is what `data:` of a stream is, and what Pusher carries.
    components.also::<Event>();
    let mut components = components.written();
    components["headers"] = json!({
        "RateLimit": {
            "description": "How many more requests of this kind may follow, and in how many seconds there are more: \
                draft-ietf-httpapi-ratelimit-headers.",
            "schema": { "type": "string" },
        },
        "RateLimit-Policy": {
            "description": "The allowance: quota and window in seconds.",
            "schema": { "type": "string" },
        },
    });
    components["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        "ticket": {
            "type": "apiKey", "in": "query", "name": "ticket",
            "description": "Of `POST /api/chat/stream-ticket`, for an `EventSource`, which sends no headers.",
        },
        "pusherKey": { "type": "apiKey", "in": "header", "name": "X-Pusher-Key" },
        "pusherSignature": {
            "type": "apiKey", "in": "header", "name": "X-Pusher-Signature",
            "description": "HMAC-SHA256 of the body as Pusher signs it, in hex.",
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backtalk",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": components,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::written::assert_committed;

    #[test]
    fn the_committed_contract_is_what_the_types_say() {
        assert_committed("openapi.json", &document());
    }

    #[test]
    fn a_name_means_one_thing() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let numbered: Vec<_> = schemas
            .keys()
            .filter(|name| name.ends_with(|c: char| c.is_ascii_digit()))
            .collect();
        assert_eq!(numbered, Vec::<&String>::new(), "two types have one name");
    }
}
