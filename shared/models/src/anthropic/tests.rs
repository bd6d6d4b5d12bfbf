//! What the golden files do not show: every reason, every shape, and what no provider should send.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::answer::{Ending, Heard};
use crate::refusal::{Asked, Refusal};
use crate::served::Dialect;
use crate::{ApiKey, Finish, Provider, TokenUsage, Turn};
use fakes::{Act, Fake, LONG};

const WAIT: Option<Duration> = Some(Duration::from_secs(7));

fn asked() -> Asked {
    Asked {
        key: ApiKey::new("sk-ant-very-secret"),
        shows_images: false,
    }
}

fn read(event: &Value) -> Heard {
    Message::default().read("", event, &asked()).unwrap_or_default()
}

fn refused_after(status: u16, retry_after: Option<Duration>, body: &str) -> ModelError {
    Message::refused(&Refusal {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after,
        body: body.as_bytes(),
        asked: &asked(),
    })
}

fn rejected(status: u16, detail: &str) -> ModelError {
    ModelError::Rejected {
        status,
        detail: detail.into(),
    }
}

fn tokens(input_tokens: u32, output_tokens: u32, cached_tokens: u32) -> Option<TokenUsage> {
    Some(TokenUsage {
        input_tokens,
        output_tokens,
        cached_tokens,
    })
}

#[test]
fn the_address_is_made_of_the_base_with_or_without_its_version() {
    for (url, whole) in [
        ("", "https://api.anthropic.com/v1/messages"),
        (" http://host:1/ ", "http://host:1/v1/messages"),
        ("http://host/proxy/v1/", "http://host/proxy/v1/messages"),
    ] {
        let url = endpoint(base(url), DEFAULT_URL, &["v1", "messages"]).unwrap();
        assert_eq!(url.as_str(), whole);
    }
}

#[test]
fn each_reason_to_stop_has_its_meaning() {
    let end = |reason: Value| read(&json!({"type": "message_delta", "delta": {"stop_reason": reason}})).end;
    for (reason, ending) in [
        ("end_turn", Ending::Stop),
        ("stop_sequence", Ending::Stop),
        ("tool_use", Ending::ToolCall),
        ("pause_turn", Ending::Stop),
        ("a_reason_of_next_year", Ending::Stop),
        ("max_tokens", Ending::Length),
        ("model_context_window_exceeded", Ending::WindowFull),
        ("refusal", Ending::Blocked("refusal".into())),
    ] {
        assert_eq!(end(json!(reason)), Some(Ok(ending)), "{reason}");
    }
    assert_eq!(end(Value::Null), None);
}

#[test]
fn a_message_that_stops_without_a_reason_is_whole() {
    let heard = read(&json!({"type": "message_stop"}));
    assert_eq!((heard.end, heard.is_last), (None, true));
}

#[test]
fn only_words_are_said() {
    let text = |event: Value| {
        let heard = read(&event);
        assert_eq!((&heard.end, heard.is_last), (&None, false), "{event}");
        heard.text
    };
    let delta = |delta: Value| text(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    let block = |block: Value| text(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    assert_eq!(delta(json!({"type": "text_delta", "text": "a"})), "a");
    assert_eq!(block(json!({"type": "text", "text": "a"})), "a");
    for silent in [
        delta(json!({"type": "thinking_delta", "thinking": "hm", "text": "hm"})),
        delta(json!({"type": "signature_delta", "signature": "c2ln"})),
        delta(json!({"type": "input_json_delta", "partial_json": "{"})),
        delta(json!({"type": "a_delta_of_next_year", "text": 7})),
        block(json!({"type": "thinking", "thinking": "hm"})),
        block(json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        text(json!({"type": "content_block_stop", "index": 0})),
        text(json!({"type": "ping"})),
        text(json!({"type": "an_event_of_next_year", "delta": 7})),
    ] {
        assert_eq!(silent, "");
    }
}

#[test]
fn counts_are_of_the_whole_message_and_the_last_of_each_is_true() {
    let mut message = Message::default();
    let mut count = |event: Value| message.read("", &event, &asked()).unwrap_or_default().usage;
    let start = json!({"type": "message_start", "message": {"usage":
        {"input_tokens": 4, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1000, "output_tokens": 1}}});
    assert_eq!(count(start), tokens(1104, 1, 1000));
    let delta = |usage: Value| json!({"type": "message_delta", "delta": {}, "usage": usage});
    assert_eq!(count(delta(json!({"output_tokens": 9}))), tokens(1104, 9, 1000));
    let all = json!({"input_tokens": 5, "cache_creation_input_tokens": null, "cache_read_input_tokens": 0, "output_tokens": 12});
    assert_eq!(count(delta(all)), tokens(105, 12, 0));
    assert_eq!(count(delta(json!("odd"))), None);
    assert_eq!(count(json!({"type": "ping"})), None);
}

#[test]
fn an_odd_usage_costs_no_answer() {
    for usage in [
        json!(null),
        json!({}),
        json!([]),
        json!({"output_tokens": 3}),
        json!({"input_tokens": -1}),
    ] {
        let heard = read(&json!({"type": "message_start", "message": {"usage": usage}}));
        assert_eq!(heard.usage, None, "{usage}");
    }
    let beyond = json!({"input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX, "output_tokens": u64::MAX});
    let heard = read(&json!({"type": "message_start", "message": {"usage": beyond}}));
    assert_eq!(heard.usage, tokens(u32::MAX, u32::MAX, u32::MAX));
}

#[test]
fn thoughts_are_told_apart() {
    let delta = |delta: Value| read(&json!({"type": "content_block_delta", "index": 0, "delta": delta})).thought;
    let block =
        |block: Value| read(&json!({"type": "content_block_start", "index": 0, "content_block": block})).thought;
    let hm = Some("hm".to_owned());
    assert_eq!(delta(json!({"type": "thinking_delta", "thinking": "hm"})), hm);
    assert_eq!(block(json!({"type": "thinking", "thinking": "hm"})), hm);
    assert_eq!(
        block(json!({"type": "redacted_thinking", "data": "secret"})),
        Some(String::new())
    );
    assert_eq!(delta(json!({"type": "signature_delta", "signature": "c2ln"})), None);
}

#[test]
fn what_is_missing_is_missing_and_no_error() {
    for event in [
        json!({}),
        json!({"type": "ping"}),
        json!({"type": "message_start", "message": null}),
        json!({"type": "message_start"}),
        json!({"type": "content_block_start", "content_block": {"type": "text"}}),
        json!({"type": "content_block_start", "content_block": null}),
        json!({"type": "content_block_delta", "delta": null}),
        json!({"type": "message_delta", "delta": null, "usage": null}),
        json!({"type": "message_delta", "delta": {"stop_reason": ""}}),
        json!({"type": 7}),
        json!({"error": {}}),
    ] {
        assert_eq!(read(&event), Heard::default(), "{event}");
    }
}

#[test]
fn a_name_stands_in_for_a_type_and_a_whole_message_for_its_events() {
    let named = |name: &str, event: Value| Message::default().read(name, &event, &asked()).unwrap();
    assert_eq!(named("content_block_delta", json!({"delta": {"text": "a"}})).text, "a");
    let error = named("error", json!({"message": "gone"})).end;
    assert_eq!(error, Some(Err(ModelError::Overloaded { retry_after: None })));
    let whole = read(&json!({"type": "message", "content": [
        {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "stop_reason": "max_tokens", "usage": {"input_tokens": 2, "output_tokens": 3}}));
    let expected = Heard {
        text: "ab".into(),
        thought: Some("hm".into()),
        usage: tokens(2, 3, 0),
        end: Some(Ok(Ending::Length)),
        is_last: true,
    };
    assert_eq!(whole, expected);
}

#[test]
fn a_prompt_that_is_too_long_or_shows_a_bad_image_is_understood() {
    let said = |said: &str, shows_images| {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": said}}).to_string();
        Message::refused(&Refusal {
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            body: body.as_bytes(),
            asked: &Asked {
                shows_images,
                ..asked()
            },
        })
    };
    for long in [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
    ] {
        assert!(matches!(said(long, true), ModelError::TooLong { .. }), "{long}");
    }
    for bad in [
        "Could not process image",
        "messages.0.content.0.image.source.base64.data: image exceeds 5 MB maximum: 6 bytes > 5 bytes",
    ] {
        assert!(matches!(said(bad, true), ModelError::ImageRefused { .. }), "{bad}");
        assert!(matches!(said(bad, false), ModelError::Rejected { .. }), "{bad}");
    }
}

#[test]
fn each_status_has_its_meaning() {
    let overloaded = || ModelError::Overloaded { retry_after: WAIT };
    let body = json!({"type": "error", "error": {"type": "t", "message": "m"}}).to_string();
    for (status, expected) in [
        (400, rejected(400, "t: m")),
        (401, ModelError::Unauthorized),
        (402, ModelError::QuotaExhausted),
        (403, ModelError::Unauthorized),
        (404, rejected(404, "t: m")),
        (408, overloaded()),
        (409, overloaded()),
        (413, ModelError::TooLong { detail: "t: m".into() }),
        (429, ModelError::RateLimited { retry_after: WAIT }),
        (500, overloaded()),
        (504, overloaded()),
        (529, overloaded()),
    ] {
        assert_eq!(refused_after(status, WAIT, &body), expected, "{status}");
    }
}

#[test]
fn a_limit_of_spending_is_no_rate_limit() {
    let body = |kind: &str, code: Value| {
        json!({"error": {"type": kind, "message": "m", "details": {"error_code": code}}}).to_string()
    };
    let plain = body("rate_limit_error", Value::Null);
    assert_eq!(refused_after(429, None, &plain), ModelError::QuotaExhausted);
    assert_eq!(
        refused_after(429, WAIT, &plain),
        ModelError::RateLimited { retry_after: WAIT }
    );
    for code in ["enforced_spend_limit_reached", "contract_spend_limit_reached"] {
        for status in [400, 403, 429] {
            let spent = body("rate_limit_error", json!(code));
            assert_eq!(refused_after(status, WAIT, &spent), ModelError::QuotaExhausted);
        }
    }
    let unpaid = body("billing_error", Value::Null);
    assert_eq!(refused_after(400, None, &unpaid), ModelError::QuotaExhausted);
}

#[test]
fn an_error_amid_the_answer_is_known_by_its_type() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    for (kind, expected) in [
        ("overloaded_error", overloaded()),
        ("api_error", overloaded()),
        ("timeout_error", overloaded()),
        ("an_error_of_next_year", overloaded()),
        ("rate_limit_error", ModelError::RateLimited { retry_after: None }),
        ("billing_error", ModelError::QuotaExhausted),
        ("authentication_error", ModelError::Unauthorized),
        ("permission_error", ModelError::Unauthorized),
        ("not_found_error", rejected(404, "not_found_error: m")),
        (
            "request_too_large",
            ModelError::TooLong {
                detail: "request_too_large: m".into(),
            },
        ),
        ("invalid_request_error", rejected(400, "invalid_request_error: m")),
    ] {
        let heard = read(&json!({"type": "error", "error": {"type": kind, "message": "m"}}));
        assert_eq!(heard.end, Some(Err(expected)), "{kind}");
    }
    let spent = json!({"type": "error", "error":
        {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}});
    assert_eq!(read(&spent).end, Some(Err(ModelError::QuotaExhausted)));
}

#[test]
fn what_is_no_error_of_anthropics_is_told_as_it_is_without_the_key() {
    for (body, detail) in [
        ("<html>\r\n\u{0}sk-ant-very-secret", "<html>***"),
        ("{\"detail\": \"m\"}", "{\"detail\": \"m\"}"),
        ("{\"error\": null}", "{\"error\": null}"),
        ("{\"error\": \"m\"}", "m"),
        (
            "{\"error\": {\"message\": \"sk-ant-very-secret is odd\"}}",
            "*** is odd",
        ),
    ] {
        assert_eq!(refused_after(404, None, body), rejected(404, detail), "{body}");
    }
}

#[tokio::test]
async fn behind_the_stop_of_a_message_nothing_is_waited_for() {
    let golden = include_bytes!("../golden/anthropic/plain.sse");
    let fake = Fake::always(vec![fakes::head(), fakes::piece(golden), Act::Hang]);
    let settings = ModelSettings {
        url: fake.url(),
        silence_timeout: LONG,
        ..ModelSettings::new(Provider::Anthropic, "m")
    };
    let prompt = Prompt {
        system: None,
        turns: vec![Turn::person("hi")],
        max_output_tokens: 10,
        temperature: Some(0.5),
    };
    let begun = Instant::now();
    let (_, end) = crate::hear::hear(&Anthropic::new(&settings).unwrap(), &prompt).await;
    assert_eq!(end, Ok((Finish::Stop, tokens(25, 15, 0))));
    assert!(begun.elapsed() < LONG, "the connection was waited for");
    let seen = fake.seen().remove(0);
    assert_eq!(seen.body.get("temperature"), None, "it takes none");
    assert_eq!(seen.body.get("system"), None);
}
