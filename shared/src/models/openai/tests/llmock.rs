//! An independent peer: `llmock`, a server by others that speaks OpenAI's protocol and breaks it on demand. What our own
//! fake and our own client might misunderstand alike is found here. `cargo xtask test` installs it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::*;

/// One server for all tests that run at a time: it ends with the last of them. Each speaks of a model of its own name.
static RUNNING: Mutex<Weak<Llmock>> = Mutex::new(Weak::new());

struct Llmock {
    shell: Child,
    address: String,
}

impl Llmock {
    fn running() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *running = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        // The shell ends the server when its input closes, which it does however this process ends.
        let mut shell = Command::new("sh")
            .args([
                "-c",
                r#""$0" serve --port 0 2>&1 & exec >/dev/null 2>&1; read -r _; kill -KILL $!; wait"#,
            ])
            .arg(program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut lines = BufReader::new(shell.stdout.take().expect("it is piped"))
            .lines()
            .map_while(Result::ok);
        let mut said = String::new();
        let address = lines.by_ref().find_map(|line| {
            said = format!("{said}\n{line}");
            let (_, rest) = line.split_once("Uvicorn running on ")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        // What nobody reads stops whoever writes.
        thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("llmock did not start:{said}"));
        Self { shell, address }
    }
}

impl Drop for Llmock {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
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
    server: Arc<Llmock>,
    settings: ModelSettings,
}

impl Scene {
    /// The name keeps this test's behaviours from the requests of others.
    async fn of(name: &str, behaviors: Value) -> Self {
        let server = Llmock::running();
        let mut behaviors = behaviors;
        for behavior in behaviors.as_array_mut().unwrap() {
            behavior["match"] = json!({"model": name, "stream": true});
        }
        let mut settings = settings(format!("{}/v1", server.address));
        settings.name = name.into();
        settings.attempts = 1;
        if behaviors != json!([]) {
            let url = format!("{}/_llmock/scenario", server.address);
            let scenario = json!({"behaviors": behaviors});
            let answer = reqwest::Client::new().post(url).json(&scenario).send().await.unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        }
        Self { server, settings }
    }

    async fn hear(&self) -> (Vec<String>, End) {
        hear(from_settings(&self.settings).unwrap().as_ref()).await
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
    let (texts, end) = Scene::of("whole", json!([reply()])).await.hear().await;
    assert_eq!(texts.concat(), TEXT);
    assert!(texts.len() > 3, "it came in {} pieces", texts.len());
    let (finish, usage) = end.unwrap();
    assert_eq!(finish, Finish::Stop);
    assert!(usage.is_some_and(|usage| usage.output_tokens > 0), "{usage:?}");
}

#[tokio::test]
async fn finish_reasons_are_understood() {
    for (reason, finish) in [("length", Finish::Length), ("content_filter", Finish::Blocked)] {
        let reply = json!([{"type": "reply", "text": TEXT, "finish_reason": reason}]);
        let (texts, end) = Scene::of(reason, reply).await.hear().await;
        assert_eq!((texts.concat().as_str(), end.unwrap().0), (TEXT, finish));
    }
}

#[tokio::test]
async fn errors_are_told_apart() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    for (status, code, expected) in [
        (401, Value::Null, ModelError::Unauthorized),
        (403, Value::Null, ModelError::Unauthorized),
        (429, Value::Null, ModelError::RateLimited { retry_after: None }),
        (429, json!("insufficient_quota"), ModelError::QuotaExhausted),
        (500, Value::Null, overloaded()),
        (503, Value::Null, overloaded()),
    ] {
        let fail = json!([{"type": "fail", "status": status, "code": code}]);
        let (_, end) = Scene::of("erring", fail).await.hear().await;
        // How long it asks to be left alone is its own choice.
        assert_eq!(
            end.map_err(|error| error.to_string()),
            Err(expected.to_string()),
            "{status} {code}"
        );
    }
    let fail = json!([{"type": "fail", "status": 400, "message": "odd"}]);
    let (_, end) = Scene::of("erring", fail).await.hear().await;
    assert!(
        matches!(&end, Err(ModelError::Rejected { status: 400, detail }) if detail.contains("odd")),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let behaviors = json!([{"type": "fail", "status": 429, "retry_after": 1}, reply()]);
    let mut scene = Scene::of("limited", behaviors).await;
    scene.settings.attempts = 2;
    assert_eq!(scene.hear().await.0.concat(), TEXT);
    let requests = scene.requests().await;
    let [(429, first), (200, second)] = requests[..] else {
        panic!("{requests:?}")
    };
    assert!(second - first >= 1.0, "asked again after {} s", second - first);
}

#[tokio::test]
async fn a_failure_is_asked_again_as_often_as_the_settings_say() {
    let mut scene = Scene::of(
        "failing",
        json!([{"type": "fail", "status": 503, "retry_after": 0, "times": 3}]),
    )
    .await;
    scene.settings.attempts = 3;
    assert!(matches!(scene.hear().await.1, Err(ModelError::Overloaded { .. })));
    assert_eq!(
        scene
            .requests()
            .await
            .iter()
            .map(|(status, _)| *status)
            .collect::<Vec<_>>(),
        [503, 503, 503]
    );
}

/// What is heard of an answer that breaks after three chunks, the first of which has no text.
async fn break_after_three(name: &str, fault: Value) -> (String, End) {
    let mut scene = Scene::of(name, json!([reply(), fault])).await;
    scene.settings.silence_timeout = Duration::from_secs(1);
    // An answer that has begun is not asked for again.
    scene.settings.attempts = 3;
    let (texts, end) = scene.hear().await;
    assert_eq!(scene.requests().await.len(), 1);
    (texts.concat(), end)
}

#[tokio::test]
async fn a_broken_stream_is_never_taken_for_an_answer() {
    for kind in ["disconnect", "truncate"] {
        let fault = json!({"type": "stream_fault", "kind": kind, "after_chunks": 3});
        assert_eq!(
            break_after_three(kind, fault).await,
            ("Grüße, 世界! ".into(), Err(ModelError::Truncated))
        );
    }
    let fault = json!({"type": "stream_fault", "kind": "malformed", "after_chunks": 3});
    let (text, end) = break_after_three("malformed", fault).await;
    assert_eq!(text, "Grüße, 世界! ");
    assert!(matches!(end, Err(ModelError::Malformed { .. })), "{end:?}");
}

#[tokio::test]
async fn silence_is_not_sat_through() {
    let fault = json!({"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 60});
    let begun = Instant::now();
    assert_eq!(
        break_after_three("stall", fault).await,
        ("Grüße, 世界! ".into(), Err(ModelError::Silent))
    );
    let mut scene = Scene::of("slow", json!([{"type": "slow_first_token", "seconds": 60}])).await;
    scene.settings.first_byte_timeout = Duration::from_secs(1);
    assert_eq!(scene.hear().await, (vec![], Err(ModelError::Silent)));
    assert!(begun.elapsed() < Duration::from_secs(30));
}
