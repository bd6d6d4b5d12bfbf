//! The whole contract as OpenAPI 3.1, whose schemas are JSON Schema.

use domain::event::Event;
use serde_json::{Map, Value, json};

use super::components::Components;
use crate::routes::FUNCTIONS;

const ABOUT: &str = "\
A chat backend that talks back: direct messages, channels, AI chats, posts with an assistant, and typed notices of agents.

- Times are RFC 3339 in UTC, ids UUIDs, people's ids the `sub` of their tokens.
- A chat's `seq` is its only order: contiguous from 1 on, so a gap is seen by arithmetic and closed by `changedAfter`.
- What is refused is an `application/problem+json` (RFC 9457): look at its `type`; `retryable` says whether the same \
request may succeed later; `errors` names each bad field by a JSON pointer or parameter. Unknown fields are refused.
- Whoever is too fast gets 429 with `Retry-After`.";

/// The document, as it is committed.
#[must_use]
pub fn document() -> Value {
    let mut components = Components::new();
    let mut paths = Map::<String, Value>::new();
    let mut tags = Vec::new();
    for function in FUNCTIONS {
        let tag = json!({ "name": function.tag });
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        for route in function.routes {
            let operation = (route.operation)().counted_in(function.class);
            let written = operation.written(function.tag, &mut components);
            paths.entry(route.path).or_insert_with(|| json!({}))[route.method.to_lowercase()] = written;
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
