//! `llmock` speaks as OpenAI, Anthropic and Gemini do, and breaks it on demand. `cargo xtask test` installs it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Peer;
use crate::hear::{End, hear};
use crate::{ApiKey, Finish, ModelError, ModelSettings, Prompt, Provider, Turn, from_settings};
use fakes::LONG;

/// One server for all tests that run at a time: it ends with the last of them. Each speaks of a model of its own name.
static RUNNING: Mutex<Weak<Peer>> = Mutex::new(Weak::new());

/// And where each is spoken.
const PROVIDERS: [(Provider, &str); 3] = [
    (Provider::OpenAi, "/v1"),
    (Provider::Anthropic, "/anthropic"),
    (Provider::Gemini, "/gemini/v1beta"),
];

fn llmock() -> Arc<Peer> {
    Peer::shared(&RUNNING, || {
        // The shell ends the server when its input closes, which it does however this process ends.
        let mut shell = Command::new("sh");
        let script = r#""$0" serve --port 0 2>&1 & exec >/dev/null 2>&1; read -r _; kill -KILL $!; wait"#;
        Peer::start(shell.args(["-c", script]).arg(program()), "Uvicorn running on ")
    })
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("LLMOCK_BIN") {
        return path.into();
    }
    let home = std::env::home_dir().unwrap_or_default();
    let caches = [PathBuf::from("/var/cache"), home.join(".cache")];
    let mut places = caches.iter().map(|cache| cache.join("backtalk/python/bin/llmock"));
    places.find(|path| path.is_file()).expect(
        "llmock is neither in /var/cache/backtalk/python/bin nor in ~/.cache/backtalk/python/bin: \
         `cargo xtask test` installs it, `pip install llmock==0.2.2` and LLMOCK_BIN do as well",
    )
}

/// A model that behaves so, once for each behaviour.
struct Scene {
    server: Arc<Peer>,
    settings: ModelSettings,
}

impl Scene {
    /// The name keeps this test's behaviours from the requests of others.
    async fn of((provider, base): (Provider, &str), name: &str, behaviors: Value) -> Self {
        let server = llmock();
        let name = format!("{}-{name}", provider.name());
        let mut behaviors = behaviors;
        for behavior in behaviors.as_array_mut().unwrap() {
            behavior["match"] = json!({"model": name, "stream": true});
        }
        let settings = ModelSettings {
            url: format!("{}{base}", server.address),
            key: ApiKey::new("sk-test-key"),
            first_byte_timeout: LONG,
            silence_timeout: LONG,
            attempts: 1,
            ..ModelSettings::new(provider, name)
        };
        if behaviors != json!([]) {
            let url = format!("{}/_llmock/scenario", server.address);
            let scenario = json!({"behaviors": behaviors});
            let answer = reqwest::Client::new().post(url).json(&scenario).send().await.unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        }
        Self { server, settings }
    }

    async fn hear(&self) -> (Vec<String>, End) {
        let prompt = Prompt {
            system: None,
            turns: vec![Turn::person("hi")],
            max_output_tokens: 100,
            temperature: None,
        };
        hear(from_settings(&self.settings).unwrap().as_ref(), &prompt).await
    }

    /// What the server saw of this test: the status it answered with and when, in seconds.
    async fn requests(&self) -> Vec<(u64, f64)> {
        let url = format!("{}/_llmock/requests", self.server.address);
        let journal: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let requests = journal["requests"].as_array().unwrap().iter();
        requests
            .filter(|request| request["model"] == self.settings.name)
            .map(|request| {
                (
                    request["status"].as_u64().unwrap(),
                    request["started_at"].as_f64().unwrap(),
                )
            })
            .collect()
    }
}

const TEXT: &str = "Grüße, 世界! 👋🏽 Wie geht es dir heute?";

fn reply() -> Value {
    json!({"type": "reply", "text": TEXT})
}

#[tokio::test]
async fn an_answer_is_heard_whole_and_counted() {
    for provider in PROVIDERS {
        let (texts, end) = Scene::of(provider, "whole", json!([reply()])).await.hear().await;
        assert_eq!(texts.concat(), TEXT);
        assert!(texts.len() > 3, "it came in {} pieces", texts.len());
        let (finish, usage) = end.unwrap();
        assert_eq!(finish, Finish::Stop);
        assert!(usage.is_some_and(|usage| usage.output_tokens > 0), "{usage:?}");
    }
}

#[tokio::test]
async fn finish_reasons_are_understood() {
    for provider in PROVIDERS {
        for (reason, finish) in [("length", Finish::Length), ("content_filter", Finish::Blocked)] {
            let reply = json!([{"type": "reply", "text": TEXT, "finish_reason": reason}]);
            let (texts, end) = Scene::of(provider, reason, reply).await.hear().await;
            assert_eq!(
                (texts.concat().as_str(), end.unwrap().0),
                (TEXT, finish),
                "{provider:?}"
            );
        }
    }
}

async fn errors_are_told_apart(provider: (Provider, &str)) {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    let mut errors = vec![
        (401, Value::Null, ModelError::Unauthorized),
        (403, Value::Null, ModelError::Unauthorized),
        (429, Value::Null, ModelError::RateLimited { retry_after: None }),
        (500, Value::Null, overloaded()),
        (503, Value::Null, overloaded()),
        (529, Value::Null, overloaded()),
    ];
    if provider.0 == Provider::OpenAi {
        errors.push((429, json!("insufficient_quota"), ModelError::QuotaExhausted));
    }
    for (status, code, expected) in errors {
        let fail = json!([{"type": "fail", "status": status, "code": code}]);
        let (_, end) = Scene::of(provider, "erring", fail).await.hear().await;
        // How long it asks to be left alone is its own choice.
        assert_eq!(
            end.map_err(|error| error.to_string()),
            Err(expected.to_string()),
            "{status} {code}"
        );
    }
    let fail = json!([{"type": "fail", "status": 400, "message": "odd"}]);
    let (_, end) = Scene::of(provider, "erring", fail).await.hear().await;
    assert!(
        matches!(&end, Err(ModelError::Rejected { status: 400, detail }) if detail.contains("odd")),
        "{end:?}"
    );
}

#[tokio::test]
async fn openais_errors_are_told_apart() {
    errors_are_told_apart(PROVIDERS[0]).await;
}

#[tokio::test]
async fn anthropics_errors_are_told_apart() {
    errors_are_told_apart(PROVIDERS[1]).await;
}

#[tokio::test]
async fn geminis_errors_are_told_apart() {
    errors_are_told_apart(PROVIDERS[2]).await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    for provider in PROVIDERS {
        let behaviors = json!([{"type": "fail", "status": 429, "retry_after": 1}, reply()]);
        let mut scene = Scene::of(provider, "limited", behaviors).await;
        scene.settings.attempts = 2;
        assert_eq!(scene.hear().await.0.concat(), TEXT);
        let requests = scene.requests().await;
        let [(429, first), (200, second)] = requests[..] else {
            panic!("{requests:?}")
        };
        assert!(second - first >= 1.0, "asked again after {} s", second - first);
    }
}

#[tokio::test]
async fn a_failure_is_asked_again_as_often_as_the_settings_say() {
    for provider in PROVIDERS {
        let failing = json!([{"type": "fail", "status": 503, "retry_after": 0, "times": 3}]);
        let mut scene = Scene::of(provider, "failing", failing).await;
        scene.settings.attempts = 3;
        assert!(matches!(scene.hear().await.1, Err(ModelError::Overloaded { .. })));
        let statuses: Vec<_> = scene.requests().await.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [503, 503, 503]);
    }
}

/// What is heard of an answer that breaks after some events, of which the first ones may have no text.
async fn break_after(provider: (Provider, &str), events: u32, name: &str, fault: Value) -> (String, End) {
    let mut fault = fault;
    fault["after_chunks"] = json!(events);
    let mut scene = Scene::of(provider, name, json!([reply(), fault])).await;
    scene.settings.silence_timeout = Duration::from_secs(1);
    // An answer that has begun is not asked for again.
    scene.settings.attempts = 3;
    let (texts, end) = scene.hear().await;
    assert_eq!(scene.requests().await.len(), 1, "{provider:?}");
    (texts.concat(), end)
}

/// As many events as bring two words.
const BROKEN: [((Provider, &str), u32); 3] = [(PROVIDERS[0], 3), (PROVIDERS[1], 5), (PROVIDERS[2], 2)];
const TWO_WORDS: &str = "Grüße, 世界! ";

#[tokio::test]
async fn a_broken_stream_is_never_taken_for_an_answer() {
    for (provider, events) in BROKEN {
        for kind in ["disconnect", "truncate"] {
            let fault = json!({"type": "stream_fault", "kind": kind});
            assert_eq!(
                break_after(provider, events, kind, fault).await,
                (TWO_WORDS.into(), Err(ModelError::Truncated)),
                "{provider:?}"
            );
        }
        let fault = json!({"type": "stream_fault", "kind": "malformed"});
        let (text, end) = break_after(provider, events, "malformed", fault).await;
        assert_eq!(text, TWO_WORDS);
        assert!(
            matches!(end, Err(ModelError::Malformed { .. })),
            "{provider:?}: {end:?}"
        );
    }
}

#[tokio::test]
async fn silence_is_not_sat_through() {
    for (provider, events) in BROKEN {
        let fault = json!({"type": "stream_fault", "kind": "stall", "stall_seconds": 60});
        let begun = Instant::now();
        assert_eq!(
            break_after(provider, events, "stall", fault).await,
            (TWO_WORDS.into(), Err(ModelError::Silent)),
            "{provider:?}"
        );
        let slow = json!([{"type": "slow_first_token", "seconds": 60}]);
        let mut scene = Scene::of(provider, "slow", slow).await;
        scene.settings.first_byte_timeout = Duration::from_secs(1);
        assert_eq!(scene.hear().await, (vec![], Err(ModelError::Silent)));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
