//! The golden files hold events as JSON; here they become frames, which `prove.py` makes in its own way.

use aws_config::Region;
use aws_sdk_bedrockruntime::config::Credentials;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::*;
use crate::golden::{Case, cases, hear, home, json_of, prompt};
use crate::{Chunk, Image, Provider, Turn};
use fakes::{Act, Fake, LONG, nobody, response};

const SHORT: Duration = Duration::from_millis(100);

fn settings(url: String) -> ModelSettings {
    ModelSettings {
        url,
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        ..ModelSettings::new(Provider::Bedrock, "golden-model")
    }
}

/// With credentials that are no part of the environment.
async fn model_of(settings: ModelSettings) -> Bedrock {
    let model = Bedrock::new(&settings).unwrap();
    let defaults = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKID", "golden-key", None, None, "test"));
    let client = model.connect(defaults).await;
    Bedrock {
        client: OnceCell::new_with(Some(client)),
        ..model
    }
}

async fn model(url: String) -> Bedrock {
    model_of(settings(url.replace("/v1", ""))).await
}

/// An event's name and its JSON; an exception's name begins with `!`.
fn frame(name: &str, payload: &Value) -> Vec<u8> {
    let header = |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let (kind, of, name) = match name.strip_prefix('!') {
        Some(name) => ("exception", ":exception-type", name),
        None => ("event", ":event-type", name),
    };
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(header(":message-type", kind))
        .add_header(header(of, name))
        .add_header(header(":content-type", "application/json"));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn frames(case: &Case) -> Vec<Vec<u8>> {
    let file: Value = json_of(home("bedrock").join(format!("{}.json", case.name)));
    let events = file["events"].as_array().unwrap().iter();
    events
        .map(|event| frame(event[0].as_str().unwrap(), &event[1]))
        .collect()
}

/// What is left out at the end was cut.
fn stream(bytes: &[u8]) -> fakes::Answer {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut answer = vec![Act::Send(head.into())];
    if !bytes.is_empty() {
        answer.push(fakes::piece(bytes));
    }
    answer
}

fn whole(bytes: &[u8]) -> fakes::Answer {
    let mut answer = stream(bytes);
    answer.push(fakes::end());
    answer
}

#[tokio::test]
async fn golden_cases_are_heard() {
    for case in cases("bedrock") {
        let answer = match case.texts {
            Some(_) => whole(&frames(&case).concat()),
            None => case.refusal("bedrock"),
        };
        let fake = Fake::always(answer);
        let heard = hear(model(fake.url()).await.stream(&prompt()).await).await;
        assert_eq!(heard, case.expected(), "{}", case.name);
    }
}

#[tokio::test]
async fn golden_request() {
    let all = cases("bedrock");
    let fake = Fake::always(whole(&frames(&all[0]).concat()));
    hear(model(fake.url()).await.stream(&prompt()).await).await;
    let seen = fake.seen().remove(0);
    let expected: Value = json_of(home("bedrock").join("request.json"));
    assert_eq!(seen.body, expected["body"]);
    let line = format!("POST {} HTTP/1.1", expected["path"].as_str().unwrap());
    assert_eq!(seen.head.lines().next(), Some(line.to_lowercase().as_str()));
    assert!(
        seen.head.contains("/eu-central-1/bedrock/aws4_request") && !seen.head.contains("golden-key"),
        "{}",
        seen.head
    );
}

#[tokio::test]
async fn golden_cuts_are_truncated() {
    for case in cases("bedrock").iter().filter(|case| case.texts.is_some()) {
        let frames = frames(case);
        let ends: Vec<_> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let (bytes, texts) = (frames.concat(), case.texts.as_deref().unwrap());
        assert_eq!(ends.len(), texts.len(), "{} has other events", case.name);
        // Each cut is a request over the network: one stream is cut at every byte, the others here and there.
        let step = if case.name == "plain" { 1 } else { 13 };
        let cut = {
            let bytes = bytes.clone();
            move |before: usize| match before * step {
                request if request % 2 == 0 => stream(&bytes[..request / 2]),
                request => whole(&bytes[..request / 2]),
            }
        };
        let fake = Fake::start(cut);
        let model = model(fake.url()).await;
        for request in (0..=2 * bytes.len() + 1).step_by(step) {
            let heard = hear(model.stream(&prompt()).await).await;
            let events = ends.iter().filter(|end| **end <= request / 2).count();
            let place = format!("{} cut at {}, request {request}", case.name, request / 2);
            assert_eq!(heard.text, texts[..events].concat(), "{place}");
            if case.ends_with.is_some_and(|event| events >= event) {
                for what in ["done", "failed", "why"] {
                    assert_eq!(heard.end[what], case.end[what], "{place}");
                }
            } else {
                assert_eq!(heard.end, json!({"failed": "truncated"}), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn a_frame_that_is_changed_on_its_way_is_malformed() {
    let mut bytes = frame(
        "contentBlockDelta",
        &json!({"delta": {"text": "a"}, "contentBlockIndex": 0}),
    );
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    let fake = Fake::always(whole(&bytes));
    let heard = hear(model(fake.url()).await.stream(&prompt()).await).await;
    assert_eq!((heard.text.as_str(), heard.end), ("", json!({"failed": "malformed"})));
}

#[test]
fn each_reason_to_stop_has_its_meaning() {
    use crate::answer::Ending;
    for (reason, ending) in [
        ("end_turn", Ending::Stop),
        ("stop_sequence", Ending::Stop),
        ("tool_use", Ending::ToolCall),
        ("a_reason_of_next_year", Ending::Stop),
        ("max_tokens", Ending::Length),
        ("model_context_window_exceeded", Ending::WindowFull),
        ("content_filtered", Ending::Blocked("content_filtered".into())),
        ("guardrail_intervened", Ending::Blocked("guardrail_intervened".into())),
    ] {
        assert_eq!(wire::finish(reason), Ok(ending));
    }
    for reason in ["malformed_model_output", "malformed_tool_use"] {
        assert!(matches!(wire::finish(reason), Err(ModelError::Malformed { .. })));
    }
}

async fn refused(status: u16, code: &str, message: &str, turn: Turn) -> ModelError {
    let kind = format!("x-amzn-errortype: {code}:http://internal.amazon.com/coral/");
    let fake = Fake::always(response(
        &format!("{status} X"),
        &[&kind, "content-type: application/json"],
        &json!({"message": message}).to_string(),
    ));
    let prompt = Prompt {
        turns: vec![turn],
        ..prompt()
    };
    model(fake.url()).await.stream(&prompt).await.err().unwrap()
}

#[tokio::test]
async fn each_exception_has_its_meaning() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    let rejected = |status, detail: &str| ModelError::Rejected {
        status,
        detail: detail.into(),
    };
    for (status, code, message, expected) in [
        (
            429,
            "ThrottlingException",
            "m",
            ModelError::RateLimited { retry_after: None },
        ),
        (
            429,
            "ThrottlingException",
            "Too many tokens per day, please wait",
            ModelError::QuotaExhausted,
        ),
        (400, "ServiceQuotaExceededException", "m", ModelError::QuotaExhausted),
        (403, "AccessDeniedException", "m", ModelError::Unauthorized),
        (403, "UnrecognizedClientException", "m", ModelError::Unauthorized),
        (403, "ExpiredTokenException", "m", ModelError::Unauthorized),
        (403, "InvalidSignatureException", "m", ModelError::Unauthorized),
        (400, "ValidationException", "m", rejected(400, "ValidationException: m")),
        (
            404,
            "ResourceNotFoundException",
            "m",
            rejected(404, "ResourceNotFoundException: m"),
        ),
        (500, "InternalServerException", "m", overloaded()),
        (503, "ServiceUnavailableException", "m", overloaded()),
        (408, "ModelTimeoutException", "m", overloaded()),
        (429, "ModelNotReadyException", "m", overloaded()),
        (424, "ModelErrorException", "m", overloaded()),
        (500, "AnExceptionOfNextYear", "m", overloaded()),
    ] {
        assert_eq!(
            refused(status, code, message, Turn::person("hi")).await,
            expected,
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_model_that_says_it_cannot_see_is_understood() {
    let said = "This model doesn't support the image content block that you provided.";
    let image = Image {
        mime_type: "image/png".into(),
        bytes: vec![1].into(),
    };
    let shown = Turn::person("see").with_images([image]);
    assert_eq!(
        refused(400, "ValidationException", said, shown).await,
        ModelError::NoVision
    );
    let blind = refused(400, "ValidationException", said, Turn::person("see")).await;
    assert!(matches!(blind, ModelError::Rejected { .. }), "{blind:?}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_or_shows_a_bad_image_is_understood() {
    let image = Image {
        mime_type: "image/png".into(),
        bytes: vec![1].into(),
    };
    let shown = || Turn::person("see").with_images([image.clone()]);
    for said in [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 9 tokens > 8 maximum",
    ] {
        let error = refused(400, "ValidationException", said, shown()).await;
        assert!(matches!(error, ModelError::TooLong { .. }), "{said}: {error:?}");
    }
    for said in [
        "Could not process image",
        "The provided image does not match the specified image format.",
    ] {
        let error = refused(400, "ValidationException", said, shown()).await;
        assert!(matches!(error, ModelError::ImageRefused { .. }), "{said}: {error:?}");
        let error = refused(400, "ValidationException", said, Turn::person("see")).await;
        assert!(matches!(error, ModelError::Rejected { .. }), "{said}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_left_out_and_that_is_remembered() {
    let words = frames(&cases("bedrock")[0]).concat();
    let fake = Fake::judging(move |request| {
        if request["inferenceConfig"].get("temperature").is_some() {
            let said = json!({"message": "The model returned the following errors: `temperature` is deprecated for this model."});
            return response("400 X", &["x-amzn-errortype: ValidationException"], &said.to_string());
        }
        whole(&words)
    });
    let model = model(fake.url()).await;
    for calls in [2, 3] {
        let heard = hear(model.stream(&prompt()).await).await;
        assert_eq!(heard.end["done"], json!("stop"));
        assert_eq!(fake.seen().len(), calls);
    }
}

#[tokio::test]
async fn thoughts_are_told_apart() {
    let delta = |delta: Value| frame("contentBlockDelta", &json!({"delta": delta, "contentBlockIndex": 0}));
    let bytes = [
        delta(json!({"reasoningContent": {"text": "hm"}})),
        delta(json!({"reasoningContent": {"signature": "c2ln"}})),
        delta(json!({"text": "a"})),
        frame("messageStop", &json!({"stopReason": "end_turn"})),
    ];
    let fake = Fake::always(whole(&bytes.concat()));
    let chunks = model(fake.url()).await.stream(&prompt()).await.unwrap();
    let heard: Vec<_> = chunks.map(Result::unwrap).collect().await;
    let expected = [
        Chunk::Thought("hm".into()),
        Chunk::Thought(String::new()),
        Chunk::Text("a".into()),
    ];
    assert_eq!(heard[..3], expected);
}

#[tokio::test]
async fn whoever_does_not_begin_or_stops_talking_is_silent() {
    let word = frame(
        "contentBlockDelta",
        &json!({"delta": {"text": "a"}, "contentBlockIndex": 0}),
    );
    for (first, silence, answer, text) in [
        (SHORT, LONG, vec![Act::Hang], ""),
        (SHORT, LONG, stream(&[]), ""),
        (LONG, SHORT, stream(&word), "a"),
    ] {
        let mut answer = answer;
        answer.push(Act::Hang);
        let fake = Fake::always(answer);
        let model = model_of(ModelSettings {
            first_byte_timeout: first,
            silence_timeout: silence,
            ..settings(fake.url())
        })
        .await;
        let heard = hear(model.stream(&prompt()).await).await;
        assert_eq!(heard.text, text);
        assert_eq!(heard.end, json!({"failed": ModelError::Silent.to_string()}));
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable_and_asked_once() {
    let error = model(nobody()).await.stream(&prompt()).await.err().unwrap();
    assert!(matches!(error, ModelError::Unreachable { .. }), "{error:?}");
    let fake = Fake::always(response(
        "503 X",
        &["x-amzn-errortype: ServiceUnavailableException"],
        "{}",
    ));
    let error = model(fake.url()).await.stream(&prompt()).await.err().unwrap();
    assert!(matches!(error, ModelError::Overloaded { .. }), "{error:?}");
    assert_eq!(fake.seen().len(), 1, "the SDK has asked again by itself");
}

#[test]
fn odd_settings_are_named() {
    let wrong = |url: &str, name: &str| {
        let settings = ModelSettings {
            name: name.into(),
            ..settings(url.into())
        };
        Bedrock::new(&settings).unwrap_err().to_string()
    };
    assert!(wrong("ftp://host", "m").contains("ftp"));
    assert!(wrong("", " ").contains("name"));
    assert!(Bedrock::new(&settings(String::new())).is_ok());
}
