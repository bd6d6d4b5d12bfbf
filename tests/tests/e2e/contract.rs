//! The contract is what the functions do. Bodies are read by hand, so that what they have is held to their schemas here:
//! whoever sends an unknown field is told all that there are, and all that must be. Answers: `tests/contract`.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use serde_json::{Map, Value, json};
use tests::stack::in_an_hour;
use tests::{Answer, Person, Stack};
use uuid::Uuid;

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// A field that nobody knows.
const UNKNOWN: &str = "¿";

type Names = BTreeSet<String>;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// What a `$ref` of the document means.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Every operation that reads JSON by its fields: method, path and the schema of its body.
fn bodies(document: &Value) -> Vec<(Method, String, &Value)> {
    let mut bodies = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            // The first of several is ours.
            let schema = resolved(document, schema.get("anyOf").map_or(schema, |dialects| &dialects[0]));
            if !schema.is_null() {
                bodies.push((method.to_uppercase().parse().unwrap(), path.clone(), schema));
            }
        }
    }
    bodies
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

fn names(list: &Value) -> Names {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The fields that there are at a place of a body, and those of them that must be, as a refusal tells them.
fn told(refusal: &Value, place: &str) -> (Names, Names) {
    let errors = refusal["errors"].as_array().unwrap();
    let here = |error: &Value| {
        error["pointer"]
            .as_str()?
            .strip_prefix(place)?
            .strip_prefix('/')
            .map(str::to_owned)
    };
    let mut known = None;
    let mut required = Names::new();
    for error in errors {
        let (Some(name), Some(detail)) = (here(error), error["detail"].as_str()) else {
            continue;
        };
        if name == UNKNOWN {
            let list = detail.strip_prefix("is not a known field; there are ").unwrap();
            known = Some(
                list.split(", ")
                    .filter(|name| *name != "none")
                    .map(str::to_owned)
                    .collect(),
            );
        } else if detail.ends_with(" is required") {
            required.insert(name);
        }
    }
    (known.unwrap_or_else(|| panic!("{place}: {refusal}")), required)
}

async fn call(caller: &Person, method: &Method, path: &str, body: &Value) -> Answer {
    // Whether there is such a chat is asked once its body is good.
    let path: String = path
        .split('/')
        .map(|part| {
            if part.starts_with('{') {
                Uuid::now_v7().to_string()
            } else {
                part.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("/");
    let request = caller.request(method.clone(), &path).json(body);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_body_has_the_fields_that_the_contract_says_and_no_others() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let claims = json!({
        "sub": "agent-of-the-contract", "role": "agent",
        "iss": stack.jwt.issuer, "aud": stack.jwt.audience, "exp": in_an_hour(),
    });
    let agent = Person {
        token: stack.jwt.signed(&claims),
        ..anna.clone()
    };
    let document = document();
    let mut read = 0;
    let mut open = Vec::new();
    for (method, path, schema) in bodies(&document) {
        if schema["additionalProperties"] != false {
            open.push(path);
            continue;
        }
        let caller = if path == "/api/chat-messages" { &agent } else { &anna };
        let refusal = call(caller, &method, &path, &json!({ UNKNOWN: 0 })).await;
        let refusal = refusal.problem(422, "invalid-request");
        let promised: Names = properties(schema).into_iter().map(|(name, _)| name).collect();
        let (fields, mut required) = told(&refusal, "");
        if fields.contains("attachments") {
            // It must be there where there are none of these.
            required.remove("content");
        }
        assert_eq!(
            (fields, required),
            (promised, names(&schema["required"])),
            "{method} {path}"
        );
        read += 1;
        for (name, property) in properties(schema) {
            let item = resolved(&document, &property["items"]);
            if item["type"] != "object" {
                continue;
            }
            let refusal = call(caller, &method, &path, &json!({ name.as_str(): [{ UNKNOWN: 0 }] })).await;
            let refusal = refusal.problem(422, "invalid-request");
            let promised: Names = properties(item).into_iter().map(|(name, _)| name).collect();
            let place = format!("/{name}/0");
            assert_eq!(
                told(&refusal, &place),
                (promised, names(&item["required"])),
                "{method} {path} {name}"
            );
            read += 1;
        }
    }
    assert_eq!(open, ["/api/pusher/webhook"], "Pusher may say more; we are strict");
    assert_eq!(read, 20, "bodies and items of lists");
}

#[tokio::test]
async fn the_contract_is_served_to_everybody_as_it_is_committed() {
    let stack = Stack::running();
    let url = format!("{}/api/openapi.json", stack.api);
    let answer = stack.http.get(&url).send().await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers()[CACHE_CONTROL], "public, max-age=300");
    let tag = answer.headers()[ETAG].clone();
    assert_eq!(answer.text().await.unwrap(), DOCUMENT.trim_end());
    let again = stack.http.get(&url).header(IF_NONE_MATCH, &tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()[ETAG], tag);
    assert_eq!(again.text().await.unwrap(), "");
}
