//! What the golden files do not show: every reason, every shape, and what no provider should send.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::models::answer::{Dialect, Ending, Heard};
use crate::models::refusal::Refusal;
use crate::models::{ApiKey, TokenUsage};

const WAIT: Option<Duration> = Some(Duration::from_secs(7));

fn key() -> ApiKey {
    ApiKey::new("sk-ant-very-secret")
}

fn read(event: &Value) -> Heard {
    Message::default().read(&event.to_string(), &key()).unwrap()
}

fn refused_after(status: u16, retry_after: Option<Duration>, body: &str) -> Option<ModelError> {
    Message::refused(&Refusal {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after,
        body: body.as_bytes(),
        key: &key(),
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
        ("tool_use", Ending::Stop),
        ("pause_turn", Ending::Stop),
        ("a_reason_of_next_year", Ending::Stop),
        ("max_tokens", Ending::Length),
        ("model_context_window_exceeded", Ending::Length),
        ("refusal", Ending::Blocked("refusal".into())),
    ] {
        assert_eq!(end(json!(reason)), Some(Ok(ending)), "{reason}");
    }
    assert_eq!(end(Value::Null), None);
}

#[test]
fn a_message_that_stops_without_a_reason_is_whole() {
    let heard = read(&json!({"type": "message_stop"}));
    assert_eq!((heard.end, heard.is_last), (Some(Ok(Ending::Stop)), true));
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
    let mut count = |event: Value| message.read(&event.to_string(), &key()).unwrap().usage;
    let start = json!({"type": "message_start", "message": {"usage":
        {"input_tokens": 4, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1000, "output_tokens": 1}}});
    assert_eq!(count(start), tokens(1104, 1, 1000));
    let delta = |usage: Value| json!({"type": "message_delta", "delta": {}, "usage": usage});
    assert_eq!(count(delta(json!({"output_tokens": 9}))), tokens(1104, 9, 1000));
    let all = json!({"input_tokens": 5, "cache_creation_input_tokens": null, "cache_read_input_tokens": 0, "output_tokens": 12});
    assert_eq!(count(delta(all)), tokens(105, 12, 0));
    assert_eq!(count(delta(json!("odd"))), tokens(105, 12, 0));
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
fn what_is_no_event_is_malformed_and_never_quoted() {
    for wrong in [
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"\ud83d"}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":["secret"]}}"#,
        r#"{"type":"content_block_delta","delta":"secret"}"#,
        r#"{"type":"secret"#,
        r#"{"delta":"secret"}"#,
        "secret",
    ] {
        let error = Message::default().read(wrong, &key()).unwrap_err();
        assert!(matches!(error, ModelError::Malformed { .. }), "{wrong}: {error:?}");
        assert!(!error.detail().unwrap().contains("secr"), "{error:?}");
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
        (413, rejected(413, "t: m")),
        (429, ModelError::RateLimited { retry_after: WAIT }),
        (500, overloaded()),
        (504, overloaded()),
        (529, overloaded()),
    ] {
        assert_eq!(refused_after(status, WAIT, &body), Some(expected), "{status}");
    }
}

#[test]
fn a_limit_of_spending_is_no_rate_limit() {
    let body = |kind: &str, code: Value| {
        json!({"error": {"type": kind, "message": "m", "details": {"error_code": code}}}).to_string()
    };
    let plain = body("rate_limit_error", Value::Null);
    assert_eq!(refused_after(429, None, &plain), Some(ModelError::QuotaExhausted));
    assert_eq!(
        refused_after(429, WAIT, &plain),
        Some(ModelError::RateLimited { retry_after: WAIT })
    );
    for code in ["enforced_spend_limit_reached", "contract_spend_limit_reached"] {
        for status in [400, 403, 429] {
            let spent = body("rate_limit_error", json!(code));
            assert_eq!(refused_after(status, WAIT, &spent), Some(ModelError::QuotaExhausted));
        }
    }
    let unpaid = body("billing_error", Value::Null);
    assert_eq!(refused_after(400, None, &unpaid), Some(ModelError::QuotaExhausted));
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
        ("request_too_large", rejected(413, "request_too_large: m")),
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
        assert_eq!(refused_after(404, None, body), Some(rejected(404, detail)), "{body}");
    }
}

#[test]
fn a_success_that_is_an_error_is_one_and_another_is_no_answer() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}).to_string();
    let overloaded = ModelError::Overloaded { retry_after: None };
    assert_eq!(refused_after(200, None, &error), Some(overloaded));
    assert_eq!(refused_after(200, None, "{\"type\": \"message\"}"), None);
}
