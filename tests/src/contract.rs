//! The contract as it is committed: `docs/openapi.json` of answers, `docs/asyncapi.json` of events. All that any test sees
//! is held to it, so that what users are promised is what they get.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use reqwest::StatusCode;
use serde_json::{Map, Value};

static OPENAPI: LazyLock<Document> = LazyLock::new(|| Document::of(include_str!("../../docs/openapi.json")));
static ASYNCAPI: LazyLock<Document> = LazyLock::new(|| Document::of(include_str!("../../docs/asyncapi.json")));

static IS_OF_ANOTHER_VERSION: AtomicBool = AtomicBool::new(false);

/// From here on this process talks to functions of another version too, whose contract is not the one that is committed.
pub fn with_another_version() {
    IS_OF_ANOTHER_VERSION.store(true, Ordering::Relaxed);
}

fn is_held() -> bool {
    !IS_OF_ANOTHER_VERSION.load(Ordering::Relaxed)
}

struct Document {
    whole: Map<String, Value>,
    /// Of the schemas that were needed, by where they are.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Document {
    fn of(text: &str) -> Self {
        Self {
            whole: serde_json::from_str(text).unwrap(),
            validators: Mutex::default(),
        }
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let mut parts = pointer.split('/').skip(1);
        let first = self.whole.get(&parts.next()?.replace("~1", "/"))?;
        let rest: String = parts.map(|part| format!("/{part}")).collect();
        first.pointer(&rest)
    }

    /// Where something is that may only be referred to here.
    fn resolved(&self, pointer: String) -> String {
        match self.at(&pointer).map(|found| &found["$ref"]) {
            Some(Value::String(reference)) => reference.trim_start_matches('#').to_owned(),
            _ => pointer,
        }
    }

    /// What is wrong with a value by the schema at this place.
    fn errors(&self, schema: &str, value: &Value) -> Vec<String> {
        let validator = {
            let mut validators = self.validators.lock().unwrap();
            let made = validators.entry(schema.to_owned()).or_insert_with(|| {
                // What it refers to is where it was.
                let mut root = self.at(schema).and_then(Value::as_object).unwrap().clone();
                root.insert("components".into(), self.whole["components"].clone());
                Arc::new(jsonschema::draft202012::new(&Value::Object(root)).unwrap())
            });
            Arc::clone(made)
        };
        let errors = validator.iter_errors(value);
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }
}

fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Holds an answer to what is promised of some operation of this path.
#[track_caller]
pub(crate) fn hold_answer(path: &str, status: StatusCode, content_type: Option<&str>, body: &Value) {
    let is_it = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template
                .zip(path)
                .all(|(template, part)| template == part || template.starts_with('{'))
    };
    let paths = OPENAPI.at("/paths").and_then(Value::as_object).unwrap();
    // One that is spelt out goes before one with a parameter.
    let template = paths
        .keys()
        .filter(|template| is_it(template))
        .min_by_key(|template| template.matches('{').count());
    // What no operation is at, the gateway answers; and what `cargo lambda watch` loses, with a problem of its own.
    let Some(template) = template.filter(|_| is_held() && body["type"] != "https://httpstatuses.com/500") else {
        return;
    };
    let operations = paths[template].as_object().unwrap();
    let mut said = Vec::new();
    for method in operations.keys() {
        let response = OPENAPI.resolved(format!(
            "/paths/{}/{method}/responses/{}",
            escaped(template),
            status.as_u16()
        ));
        if OPENAPI.at(&response).is_none() {
            said.push(format!("{method} has no such status"));
            continue;
        }
        let Some(content) = OPENAPI.at(&format!("{response}/content")) else {
            if body.is_null() {
                return;
            }
            said.push(format!("{method} has no body"));
            continue;
        };
        let content_type = content_type.unwrap_or("none");
        if content.get(content_type).is_none() {
            said.push(format!("{method} has no {content_type}"));
            continue;
        }
        let errors = OPENAPI.errors(&format!("{response}/content/{}/schema", escaped(content_type)), body);
        if errors.is_empty() {
            return;
        }
        said.push(format!("{method}: {}", errors.join("; ")));
    }
    panic!(
        "{template} answers {status}, which the contract does not say ({}): {body}",
        said.join(", ")
    );
}

/// Holds an event of a stream, or of Pusher, to what is promised of one by its name.
#[track_caller]
pub fn hold_event(name: &str, data: &Value) {
    if !is_held() {
        return;
    }
    let message = format!("/components/messages/{}", escaped(name));
    assert!(
        ASYNCAPI.at(&message).is_some(),
        "the contract has no event {name}: {data}"
    );
    let errors = ASYNCAPI.errors(&format!("{message}/payload"), data);
    assert!(
        errors.is_empty(),
        "{name} is not as the contract says ({}): {data}",
        errors.join("; ")
    );
}
