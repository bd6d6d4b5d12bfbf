//! Whole answers and refusals of every provider, as files in `golden/`, with what is to be heard of each in `cases.json`.
//! `golden/prove.py` plays the same files to the providers' own SDKs, which must hear the same: so the files are true, and
//! not only what we take the protocols to be.

use std::fs;
use std::path::PathBuf;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::encoding::Decoder;
use super::refusal::Asked;
use super::served::{Dialect, Served};
use super::thoughts::TaggedThoughts;
use super::{
    ApiKey, Chunk, Chunks, Finish, Image, Model, ModelError, ModelSettings, Prompt, Provider, TokenUsage, Turn,
    from_settings,
};
use domain::characters::is_refused;
use fakes::{Fake, LONG, response, stream_of};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Case {
    /// Of its file.
    pub(super) name: String,
    /// What each event says, for streams.
    pub(super) texts: Option<Vec<String>>,
    /// Which event, counted from 1, makes the answer whole or ends it with an error.
    pub(super) ends_with: Option<usize>,
    pub(super) end: Value,
    /// The last count before the end.
    counted: Option<Value>,
}

pub(super) fn home(provider: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src/golden", provider].iter().collect()
}

pub(super) fn json_of<T: serde::de::DeserializeOwned>(path: PathBuf) -> T {
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn cases(provider: &str) -> Vec<Case> {
    json_of(home(provider).join("cases.json"))
}

impl Case {
    fn stream(&self, provider: &str) -> Vec<u8> {
        fs::read(home(provider).join(format!("{}.sse", self.name))).unwrap()
    }

    fn answer(&self, provider: &str) -> fakes::Answer {
        if self.texts.is_some() {
            return stream_of([self.stream(provider)]);
        }
        self.refusal(provider)
    }

    pub(super) fn refusal(&self, provider: &str) -> fakes::Answer {
        let refusal: Value = json_of(home(provider).join(format!("{}.json", self.name)));
        let mut headers = vec!["content-type: application/json".to_owned()];
        for (name, value) in refusal["headers"].as_object().into_iter().flatten() {
            headers.push(format!("{name}: {}", value.as_str().unwrap()));
        }
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        response(
            &format!("{} X", refusal["status"]),
            &headers,
            &refusal["body"].to_string(),
        )
    }

    /// What is to be heard of it.
    pub(super) fn expected(&self) -> Heard {
        Heard {
            text: self.text(),
            counted: self.counted.clone(),
            end: self.end.clone(),
        }
    }

    pub(super) fn text(&self) -> String {
        self.texts.iter().flatten().map(String::as_str).collect()
    }
}

/// What was heard, as `cases.json` writes it.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    pub(super) text: String,
    counted: Option<Value>,
    pub(super) end: Value,
}

pub(super) async fn hear(chunks: Result<Chunks, ModelError>) -> Heard {
    let (mut text, mut counted) = (String::new(), None);
    let mut chunks = match chunks {
        Ok(chunks) => chunks,
        Err(error) => {
            let end = failed(&error);
            return Heard { text, counted, end };
        }
    };
    let end = loop {
        match chunks.next().await.expect("a stream has an end") {
            Ok(Chunk::Text(more)) => {
                assert!(!more.is_empty() && !more.contains(is_refused), "{more:?}");
                text.push_str(&more);
            }
            Ok(Chunk::Thought(_)) => {}
            Ok(Chunk::Counted(usage)) => counted = Some(tokens(Some(usage))),
            Ok(Chunk::Done { finish, usage }) => break done(finish, usage),
            Err(error) => break failed(&error),
        }
    };
    assert!(chunks.next().await.is_none(), "nothing follows the end");
    Heard { text, counted, end }
}

fn tokens(usage: Option<TokenUsage>) -> Value {
    let numbers = |usage: TokenUsage| json!([usage.input_tokens, usage.output_tokens, usage.cached_tokens]);
    usage.map_or(Value::Null, numbers)
}

fn done(finish: Finish, usage: Option<TokenUsage>) -> Value {
    let word = match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Blocked => "blocked",
    };
    json!({"done": word, "tokens": tokens(usage)})
}

fn failed(error: &ModelError) -> Value {
    let seconds = error.retry_after().map(|wait| wait.as_secs_f64());
    match error {
        ModelError::Blocked { reason, usage } => json!({"failed": "blocked", "why": reason, "tokens": tokens(*usage)}),
        ModelError::RateLimited { .. } => json!({"failed": "rate-limited", "retryAfter": seconds}),
        ModelError::Overloaded { .. } => json!({"failed": "overloaded", "retryAfter": seconds}),
        ModelError::Rejected { status, .. } => json!({"failed": "rejected", "status": status}),
        ModelError::QuotaExhausted => json!({"failed": "quota-exhausted"}),
        ModelError::Unauthorized => json!({"failed": "unauthorized"}),
        ModelError::Truncated => json!({"failed": "truncated"}),
        ModelError::Malformed { .. } => json!({"failed": "malformed"}),
        ModelError::NothingSaid { usage } => json!({"failed": "nothing-said", "tokens": tokens(*usage)}),
        ModelError::TooLong { .. } => json!({"failed": "too-long"}),
        ModelError::ImageRefused { .. } => json!({"failed": "image-refused"}),
        ModelError::Silent | ModelError::Unreachable { .. } | ModelError::NoVision => {
            json!({"failed": error.to_string()})
        }
    }
}

fn model(provider: Provider, url: String) -> std::sync::Arc<dyn Model> {
    let settings = ModelSettings {
        url,
        key: ApiKey::new("golden-key"),
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        attempts: 1,
        ..ModelSettings::new(provider, "golden-model")
    };
    from_settings(&settings).unwrap()
}

/// What `prove.py` asks, too.
pub(super) fn prompt() -> Prompt {
    let prompt: Value = json_of(home("prompt.json"));
    let turns = prompt["turns"].as_array().unwrap().iter().map(|turn| {
        let images = turn["images"].as_array().into_iter().flatten().map(|image| Image {
            mime_type: image["mimeType"].as_str().unwrap().into(),
            bytes: hex::decode(image["hex"].as_str().unwrap()).unwrap().into(),
        });
        let text = turn["text"].as_str().unwrap();
        match turn["speaker"].as_str().unwrap() {
            "person" => Turn::person(text).with_images(images),
            _ => Turn::assistant(text),
        }
    });
    Prompt {
        system: prompt["system"].as_str().map(str::to_owned),
        turns: turns.collect(),
        max_output_tokens: 512,
        temperature: Some(0.5),
    }
}

async fn each_case_is_heard_for_what_it_is(provider: Provider, name: &str) {
    let mut kinds = std::collections::HashSet::new();
    for case in cases(name) {
        let fake = Fake::always(case.answer(name));
        let heard = hear(model(provider, fake.url()).stream(&prompt()).await).await;
        assert_eq!(heard, case.expected(), "{name}: {}", case.name);
        kinds.insert(case.end["done"].to_string() + &case.end["failed"].to_string());
    }
    assert!(kinds.len() >= 8, "only {kinds:?}");
}

async fn the_request_is_what_the_sdk_sends(provider: Provider, name: &str, version: &str, headers: &[&str]) {
    let fake = Fake::always(cases(name)[0].answer(name));
    let url = fake.url().replace("/v1", version);
    hear(model(provider, url).stream(&prompt()).await).await;
    let seen = fake.seen().remove(0);
    let expected: Value = json_of(home(name).join("request.json"));
    let line = format!("POST {} HTTP/1.1", expected["path"].as_str().unwrap());
    assert_eq!(seen.head.lines().next(), Some(line.to_lowercase().as_str()));
    for header in headers {
        assert!(
            seen.head.contains(&format!("\r\n{header}\r\n")),
            "no {header} in {}",
            seen.head
        );
    }
    assert_eq!(seen.head.matches("golden-key").count(), 1, "{}", seen.head);
    assert_eq!(seen.body, expected["body"], "{name}");
}

/// What is made of a body by a dialect.
pub(super) fn answer_of(body: reqwest::Body, content_type: &str, dialect: impl Dialect) -> Chunks {
    let form = (Decoder::of("").unwrap(), content_type.to_owned());
    let response = http::Response::new(body).into();
    let served = Served::new(response, form, dialect, Asked::default(), (LONG, LONG));
    Answer::of(served, TaggedThoughts::default())
}

/// Where events end in a stream.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let is_end = |at: &usize| {
        let before = &bytes[..*at];
        before.ends_with(b"\n\n") || before.ends_with(b"\r\n\r\n")
    };
    (1..=bytes.len()).filter(is_end).collect()
}

/// Each stream cut at each byte, as a connection that breaks and as one that ends as streams do.
async fn no_cut_makes_a_whole_answer_of_half_a_one<D: Dialect>(name: &str, dialect: impl Fn() -> D) {
    for case in cases(name).iter().filter(|case| case.texts.is_some()) {
        let bytes = case.stream(name);
        let (ends, texts) = (ends(&bytes), case.texts.as_deref().unwrap());
        assert_eq!(ends.len(), texts.len(), "{name}: {} has other events", case.name);
        for cut in 0..=2 * bytes.len() + 1 {
            let (length, breaks) = (cut / 2, cut % 2 == 0);
            let lost = breaks.then(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
            let pieces = [Ok(bytes[..length].to_vec())].into_iter().chain(lost);
            let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
            let answer = answer_of(body, "text/event-stream", dialect());
            let heard = hear(Ok(answer)).await;
            // The line ends behind an event are no part of it, nor is the bracket behind a bare error.
            let has_come = |end: &usize| {
                let event = bytes[..*end].trim_ascii_end();
                event.strip_suffix(b"]").unwrap_or(event).trim_ascii_end().len() <= length
                    || (event.ends_with(b"[DONE]") && event.len() <= length)
            };
            let whole = ends.iter().filter(|end| has_come(end)).count();
            let place = format!("{name}: {} cut at {length} of {}", case.name, bytes.len());
            assert_eq!(heard.text, texts[..whole].concat(), "{place}");
            // Some reasons come before the last words: on one that came with words a broken connection is not trusted.
            let is_doubted = |event: usize| breaks && case.end["done"] != json!(null) && !texts[event - 1].is_empty();
            if case.ends_with.is_some_and(|event| whole >= event && !is_doubted(event)) {
                for what in ["done", "failed", "why"] {
                    assert_eq!(heard.end[what], case.end[what], "{place}");
                }
            } else {
                assert_eq!(heard.end, json!({"failed": "truncated"}), "{place}");
            }
            if length == bytes.len() && !breaks {
                assert_eq!(heard.end, case.end, "{place}");
            }
        }
    }
}

mod openai {
    use super::*;
    use crate::openai::ChatCompletion;

    #[tokio::test]
    async fn golden_cases_are_heard() {
        each_case_is_heard_for_what_it_is(Provider::OpenAi, "openai").await;
    }

    #[tokio::test]
    async fn golden_cuts_are_truncated() {
        no_cut_makes_a_whole_answer_of_half_a_one("openai", ChatCompletion::default).await;
    }

    #[tokio::test]
    async fn golden_request() {
        let headers = ["authorization: bearer golden-key"];
        the_request_is_what_the_sdk_sends(Provider::OpenAi, "openai", "/v1", &headers).await;
    }
}

mod gemini {
    use super::*;
    use crate::gemini::GeneratedContent;

    #[tokio::test]
    async fn golden_cases_are_heard() {
        each_case_is_heard_for_what_it_is(Provider::Gemini, "gemini").await;
    }

    #[tokio::test]
    async fn golden_cuts_are_truncated() {
        no_cut_makes_a_whole_answer_of_half_a_one("gemini", || GeneratedContent).await;
    }

    #[tokio::test]
    async fn golden_request() {
        let headers = ["x-goog-api-key: golden-key"];
        the_request_is_what_the_sdk_sends(Provider::Gemini, "gemini", "/v1beta", &headers).await;
    }
}

mod anthropic {
    use super::*;
    use crate::anthropic::Message;

    #[tokio::test]
    async fn golden_cases_are_heard() {
        each_case_is_heard_for_what_it_is(Provider::Anthropic, "anthropic").await;
    }

    #[tokio::test]
    async fn golden_cuts_are_truncated() {
        no_cut_makes_a_whole_answer_of_half_a_one("anthropic", Message::default).await;
    }

    #[tokio::test]
    async fn golden_request() {
        let headers = ["x-api-key: golden-key", "anthropic-version: 2023-06-01"];
        the_request_is_what_the_sdk_sends(Provider::Anthropic, "anthropic", "", &headers).await;
    }
}
