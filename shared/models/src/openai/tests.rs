use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::*;
use crate::hear::End;
use crate::{ApiKey, Chunk, Finish, Image, Provider, TokenUsage, Turn, from_settings};
use fakes::{Act, Fake, LONG, head, nobody, piece, response, stream_of};

mod answers;
mod cuts;
mod parameters;
mod refusals;

use futures_util::StreamExt;

/// For what must not come.
const SHORT: Duration = Duration::from_millis(100);

fn settings(url: impl Into<String>) -> ModelSettings {
    ModelSettings {
        url: url.into(),
        key: ApiKey::new("sk-test-key"),
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        ..ModelSettings::new(Provider::OpenAi, "gpt-test")
    }
}

fn model(url: impl Into<String>) -> OpenAi {
    OpenAi::new(&settings(url)).unwrap()
}

fn prompt() -> Prompt {
    Prompt {
        system: None,
        turns: vec![Turn::person("hi")],
        max_output_tokens: 100,
        temperature: None,
    }
}

async fn hear(model: &dyn Model) -> (Vec<String>, End) {
    crate::hear::hear(model, &prompt()).await
}

/// What is heard of a server that answers so.
async fn hear_of(answer: fakes::Answer) -> (Vec<String>, End) {
    hear(&model(Fake::always(answer).url())).await
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn says(text: &str) -> String {
    event(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": null, "finish_reason": null}],
        "usage": null,
    }))
}

fn finishes(reason: &str) -> String {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": null}))
}

fn counts() -> String {
    event(&json!({"choices": [], "usage": {
        "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }}))
}

const DONE: &str = "data: [DONE]\n\n";

const COUNTED: TokenUsage = TokenUsage {
    input_tokens: 9,
    output_tokens: 5,
    cached_tokens: 4,
};

/// A whole answer, event by event, and the text that is in each.
fn golden() -> Vec<(String, Option<&'static str>)> {
    let first =
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]});
    vec![
        (": ping\n\n".into(), None),
        (event(&first), None),
        (says("Grüße, "), Some("Grüße, ")),
        (says("世界 "), Some("世界 ")),
        (says("👋🏽!"), Some("👋🏽!")),
        (finishes("stop"), None),
        (counts(), None),
        (DONE.into(), None),
    ]
}

fn golden_bytes() -> Vec<u8> {
    golden().into_iter().flat_map(|(event, _)| event.into_bytes()).collect()
}

#[tokio::test]
async fn the_request_is_the_one_that_the_protocol_asks_for() {
    let fake = Fake::always(stream_of([golden_bytes()]));
    let asked = Prompt {
        system: Some("Be brief.".into()),
        turns: vec![
            Turn::assistant("Welcome!"),
            Turn::person("a"),
            Turn::person("b"),
            Turn::assistant(" "),
        ],
        max_output_tokens: 77,
        temperature: Some(0.5),
    };
    let model = model(format!("{}/?api-version=1", fake.url()));
    let _chunks = model.stream(&asked).await.unwrap();
    let seen = fake.seen().remove(0);
    assert!(
        seen.head
            .starts_with("post /v1/chat/completions?api-version=1 http/1.1\r\n"),
        "{}",
        seen.head
    );
    for header in [
        "authorization: bearer sk-test-key",
        "content-type: application/json",
        "accept: text/event-stream",
    ] {
        assert!(
            seen.head.contains(&format!("\r\n{header}\r\n")),
            "no {header} in {}",
            seen.head
        );
    }
    let expected = json!({
        "model": "gpt-test",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "(The conversation begins.)"},
            {"role": "assistant", "content": "Welcome!"},
            {"role": "user", "content": "a\n\nb"},
        ],
        "max_tokens": 77,
        "temperature": 0.5,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    assert_eq!(seen.body, expected);
}

#[tokio::test]
async fn without_a_key_none_is_sent_and_what_is_not_set_is_left_out() {
    let fake = Fake::always(stream_of([golden_bytes()]));
    let mut settings = settings(fake.url());
    settings.key = ApiKey::new(" ");
    hear(&OpenAi::new(&settings).unwrap()).await.1.unwrap();
    let seen = fake.seen().remove(0);
    assert!(!seen.head.contains("authorization"), "{}", seen.head);
    assert_eq!(seen.body["messages"], json!([{"role": "user", "content": "hi"}]));
    assert_eq!(seen.body.get("temperature"), None);
}

#[test]
fn openai_itself_is_told_the_cap_by_its_new_name() {
    let body = |url: &str| {
        let (prompt, model) = (prompt(), model(url));
        let parameters = Parameters::default();
        let request = Request::new("m", &prompt, &parameters, model.output_limit(&parameters)).unwrap();
        let body = serde_json::to_value(&request).unwrap();
        (body["max_tokens"].clone(), body["max_completion_tokens"].clone())
    };
    for url in ["", "https://api.openai.com/v1/", "https://eu.api.openai.com/v1"] {
        assert_eq!(body(url), (Value::Null, json!(100)), "{url}");
    }
    for url in [
        "http://127.0.0.1:8080/v1",
        "https://notapi.openai.com/v1",
        "https://api.openai.com.example.org",
    ] {
        assert_eq!(body(url), (json!(100), Value::Null), "{url}");
    }
}

#[test]
fn the_address_is_made_of_the_base() {
    for (base, whole) in [
        ("", "https://api.openai.com/v1/chat/completions"),
        (" http://host:1/v1/ ", "http://host:1/v1/chat/completions"),
        ("http://host", "http://host/chat/completions"),
        (
            "https://host/a%20b/v1?k=v",
            "https://host/a%20b/v1/chat/completions?k=v",
        ),
    ] {
        assert_eq!(
            endpoint(base, DEFAULT_URL, &["chat", "completions"]).unwrap().as_str(),
            whole
        );
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable_and_no_secret_is_told() {
    let url = format!("{}?key=hunter2", nobody());
    let (_, end) = hear(&model(url)).await;
    let Err(ModelError::Unreachable { detail }) = &end else {
        panic!("{end:?}")
    };
    assert!(detail.to_lowercase().contains("refused"), "{detail}");
    assert!(
        !detail.contains("hunter2") && !detail.contains("sk-test-key"),
        "{detail}"
    );
}

#[tokio::test]
async fn whoever_does_not_take_the_call_is_unreachable_long_before_the_first_byte_is_due() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // Nobody accepts: once the queue is full, further calls ring in vain.
    let queue: Vec<_> = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&at, SHORT).ok()).collect();
    let begun = Instant::now();
    let (_, end) = hear(&model(format!("http://{at}"))).await;
    assert!(
        matches!(end, Err(ModelError::Unreachable { .. })),
        "{end:?} behind {} calls",
        queue.len()
    );
    assert!(begun.elapsed() < LONG / 2, "only after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_closes_without_an_answer_is_unreachable() {
    let (_, end) = hear_of(vec![]).await;
    assert!(matches!(end, Err(ModelError::Unreachable { .. })), "{end:?}");
}

#[tokio::test]
async fn the_key_follows_no_redirect() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let other = Fake::always(stream_of([golden_bytes()]));
        let location = format!("location: {}/chat/completions", other.url());
        let (_, end) = hear_of(response(status, &[&location], "")).await;
        assert!(
            matches!(end, Err(ModelError::Rejected { status: 300..400, .. })),
            "{end:?}"
        );
        assert!(other.seen().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_is_asked_again_and_an_answer_that_began_is_not() {
    let fake = Fake::start(|before| match before {
        0 => response("503 Busy", &[], "<html>"),
        1 => stream_of([says("Hel"), event(&json!({"error": {"message": "gone"}}))]),
        _ => stream_of([golden_bytes()]),
    });
    let asked = from_settings(&settings(fake.url())).unwrap();
    let (texts, end) = hear(asked.as_ref()).await;
    assert_eq!(
        (texts, end),
        (
            vec!["Hel".to_owned()],
            Err(ModelError::Overloaded { retry_after: None })
        )
    );
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn whoever_asks_to_be_left_alone_is() {
    let fake = Fake::start(|before| match before {
        0 => response("429 Slow", &["retry-after-ms: 1200"], "{}"),
        _ => stream_of([golden_bytes()]),
    });
    let asked = from_settings(&settings(fake.url())).unwrap();
    let begun = Instant::now();
    assert_eq!(hear(asked.as_ref()).await.1, Ok((Finish::Stop, Some(COUNTED))));
    assert!(
        begun.elapsed() >= Duration::from_millis(1200),
        "asked again after {:?}",
        begun.elapsed()
    );
}
