//! What the golden files do not show: every reason, every shape, and what no provider should send.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::answer::{Ending, Heard};
use crate::refusal::{Asked, Refusal};
use crate::served::Dialect;
use crate::{ApiKey, Finish, Provider, TokenUsage, Turn};
use fakes::{Fake, LONG, response, stream_of};

fn asked() -> Asked {
    Asked {
        key: ApiKey::new("AIza-very-secret"),
        shows_images: false,
    }
}

fn read(event: &Value) -> Heard {
    GeneratedContent.read("", event, &asked()).unwrap_or_default()
}

fn candidate(candidate: Value) -> Heard {
    read(&json!({"candidates": [candidate]}))
}

fn refused_after(status: u16, retry_after: Option<Duration>, body: &str) -> ModelError {
    GeneratedContent::refused(&Refusal {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after,
        body: body.as_bytes(),
        asked: &asked(),
    })
}

fn refused(status: u16, body: &Value) -> ModelError {
    refused_after(status, None, &body.to_string())
}

fn rejected(status: u16, detail: &str) -> ModelError {
    ModelError::Rejected {
        status,
        detail: detail.into(),
    }
}

#[test]
fn the_address_names_the_model_and_never_the_key() {
    for (base, model, whole) in [
        (
            "",
            "gemini-3-flash",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse",
        ),
        (
            "http://host/v1/",
            "models/m",
            "http://host/v1/models/m:streamGenerateContent?alt=sse",
        ),
        (
            "http://host/v1?tenant=a",
            " tunedModels/m ",
            "http://host/v1/tunedModels/m:streamGenerateContent?tenant=a&alt=sse",
        ),
        (
            "http://host",
            "a b?c/d",
            "http://host/a%20b%3Fc/d:streamGenerateContent?alt=sse",
        ),
    ] {
        assert_eq!(generate(base, model).unwrap().as_str(), whole);
    }
}

#[test]
fn each_reason_to_finish_has_its_meaning() {
    let blocked = |reason: &str| Ok(Ending::Blocked(reason.into()));
    let end = |reason: &str| candidate(json!({"content": {"parts": [{"text": "a"}]}, "finishReason": reason})).end;
    for reason in [
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "MODEL_ARMOR",
    ] {
        assert_eq!(end(reason), Some(blocked(reason)));
    }
    for reason in [
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    ] {
        let Some(Err(error @ ModelError::Malformed { .. })) = end(reason) else {
            panic!("{reason}")
        };
        assert!(error.is_retryable() && error.detail().unwrap().contains(reason));
    }
    for reason in ["MAX_TOKENS", "CONTINUATION"] {
        assert_eq!(end(reason), Some(Ok(Ending::Length)));
    }
    for reason in ["STOP", "NO_IMAGE", "A_REASON_OF_NEXT_YEAR"] {
        assert_eq!(end(reason), Some(Ok(Ending::Stop)));
    }
    assert_eq!(end("FINISH_REASON_UNSPECIFIED"), None);
}

#[test]
fn the_words_of_all_parts_are_said_and_thoughts_are_not() {
    let parts = json!([
        {"text": "a", "thought": false},
        {"text": "hm", "thought": true},
        {"text": "b", "thought": null, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {}}},
        {"inlineData": {"mimeType": "image/png", "data": ""}},
        {"text": null},
        {"text": "c"},
    ]);
    let heard = candidate(json!({"content": {"role": "model", "parts": parts}, "finishReason": null}));
    assert_eq!(
        (heard.text.as_str(), heard.thought.as_deref(), heard.end),
        ("abc", Some("hm"), None)
    );
}

#[test]
fn what_has_no_words_says_nothing() {
    for event in [
        json!({}),
        json!({"candidates": null, "promptFeedback": null, "usageMetadata": null, "error": null}),
        json!({"candidates": []}),
        json!({"candidates": [{"index": 0}, {"index": 1, "content": {"parts": [{"text": "another"}]}, "finishReason": "STOP"}]}),
        json!({"candidates": "odd"}),
        json!({"candidates": [{"content": "odd", "finishReason": 7}]}),
        json!({"candidates": [{"content": {"parts": "" }, "finishReason": ""}]}),
        json!({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}),
        json!({"error": {}}),
        json!({"candidates": [{"content": {}}]}),
        json!({"candidates": [{"content": null, "safetyRatings": []}]}),
        json!({"promptFeedback": {"safetyRatings": []}}),
        json!({"unheard": "of"}),
    ] {
        let heard = read(&event);
        assert_eq!((heard.text.as_str(), &heard.end), ("", &None), "{event}");
        assert!(!heard.is_last);
    }
}

#[test]
fn an_odd_usage_costs_no_answer() {
    for (usage, expected) in [
        (json!({}), None),
        (json!([]), None),
        (json!("many"), None),
        (json!({"promptTokenCount": -1, "candidatesTokenCount": 3}), None),
        (json!({"promptTokenCount": 5}), Some((5, 0, 0))),
        (
            json!({"promptTokenCount": 5, "candidatesTokenCount": "x", "thoughtsTokenCount": 2}),
            Some((5, 2, 0)),
        ),
        (
            json!({"promptTokenCount": 5, "toolUsePromptTokenCount": 2, "cachedContentTokenCount": 4}),
            Some((7, 0, 4)),
        ),
        (
            json!({"promptTokenCount": u64::MAX, "candidatesTokenCount": u64::MAX, "thoughtsTokenCount": u64::MAX}),
            Some((u32::MAX, u32::MAX, 0)),
        ),
    ] {
        let heard = read(&json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": usage}));
        let expected = expected.map(|(input_tokens, output_tokens, cached_tokens)| TokenUsage {
            input_tokens,
            output_tokens,
            cached_tokens,
        });
        assert_eq!((heard.text.as_str(), heard.usage), ("a", expected), "{usage}");
    }
}

#[test]
fn each_status_has_its_meaning() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    let error = json!({"error": {"message": "odd", "status": "X"}});
    for (status, expected) in [
        (400, rejected(400, "X: odd")),
        (401, ModelError::Unauthorized),
        (402, ModelError::QuotaExhausted),
        (403, ModelError::Unauthorized),
        (404, rejected(404, "X: odd")),
        (408, overloaded()),
        (409, overloaded()),
        (
            413,
            ModelError::TooLong {
                detail: "X: odd".into(),
            },
        ),
        (429, ModelError::RateLimited { retry_after: None }),
        (499, overloaded()),
        (500, overloaded()),
        (503, overloaded()),
        (504, overloaded()),
    ] {
        assert_eq!(refused(status, &error), expected);
        let amid = read(&json!({"error": {"code": status, "message": "odd", "status": "X"}}));
        assert_eq!(amid.end, Some(Err(expected)));
    }
}

#[test]
fn an_error_amid_the_answer_without_a_code_is_known_by_its_status() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    for (status, expected) in [
        ("RESOURCE_EXHAUSTED", ModelError::RateLimited { retry_after: None }),
        ("UNAUTHENTICATED", ModelError::Unauthorized),
        ("PERMISSION_DENIED", ModelError::Unauthorized),
        ("INVALID_ARGUMENT", rejected(400, "INVALID_ARGUMENT: m")),
        ("FAILED_PRECONDITION", rejected(400, "FAILED_PRECONDITION: m")),
        ("NOT_FOUND", rejected(404, "NOT_FOUND: m")),
        ("UNAVAILABLE", overloaded()),
        ("DEADLINE_EXCEEDED", overloaded()),
        ("INTERNAL", overloaded()),
    ] {
        for code in [Value::Null, json!(0), json!(200), json!("x")] {
            let heard = read(&json!({"error": {"code": code, "message": "m", "status": status}}));
            assert_eq!(heard.end, Some(Err(expected.clone())), "{status} {code}");
        }
    }
    assert_eq!(read(&json!({"error": "gone"})).end, Some(Err(overloaded())));
}

#[test]
fn the_wait_is_googles_own_or_the_headers() {
    let limited = |delay: Value| json!({"error": {"code": 429, "details": [{"retryDelay": delay}]}}).to_string();
    let header = Duration::from_secs(7);
    for (delay, wait) in [
        (json!("53s"), Duration::from_secs(53)),
        (json!("1.5s"), Duration::from_millis(1500)),
        (json!("0s"), Duration::ZERO),
        (json!("53"), header),
        (json!("soon"), header),
        (json!("-1s"), header),
        (json!("1e300s"), header),
        (json!(53), header),
        (Value::Null, header),
    ] {
        let error = refused_after(429, Some(header), &limited(delay.clone()));
        assert_eq!(
            error,
            ModelError::RateLimited {
                retry_after: Some(wait)
            },
            "{delay}"
        );
    }
    let busy = refused_after(503, Some(header), "{}");
    assert_eq!(
        busy,
        ModelError::Overloaded {
            retry_after: Some(header)
        }
    );
}

#[test]
fn only_a_quota_of_a_day_is_used_up() {
    let violating = |quotas: &[&str]| {
        let violations: Vec<_> = quotas.iter().map(|quota| json!({"quotaId": quota})).collect();
        refused(
            429,
            &json!({"error": {"details": [{"@type": "x"}, {"violations": violations}]}}),
        )
    };
    let limited = ModelError::RateLimited { retry_after: None };
    assert_eq!(violating(&[]), limited);
    assert_eq!(violating(&["GenerateRequestsPerMinutePerProjectPerModel"]), limited);
    assert_eq!(
        violating(&["PerMinute", "GenerateRequestsPerDayPerProjectPerModel"]),
        ModelError::QuotaExhausted
    );
}

#[test]
fn a_wrong_key_is_told_from_a_wrong_request() {
    let with = |reason: &str| json!({"error": {"message": "m", "details": [{"reason": reason}]}});
    for reason in ["API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED"] {
        assert_eq!(refused(400, &with(reason)), ModelError::Unauthorized);
    }
    assert_eq!(refused(400, &with("FIELD_INVALID")), rejected(400, "FIELD_INVALID: m"));
}

#[test]
fn what_is_no_error_of_googles_is_told_as_it_is_without_the_key() {
    for (body, detail) in [
        ("<html>\r\n\u{0}AIza-very-secret", "<html>***"),
        ("{\"message\": \"m\"}", "{\"message\": \"m\"}"),
        ("[]", "[]"),
        (
            "[{\"error\": {\"message\": \"AIza-very-secret is odd\"}}]",
            "*** is odd",
        ),
        ("{\"error\": null}", "{\"error\": null}"),
        ("{\"error\": \"m\"}", "m"),
        ("", ""),
    ] {
        assert_eq!(refused_after(404, None, body), rejected(404, detail), "{body}");
    }
    let long = "ü".repeat(1000);
    assert_eq!(refused_after(404, None, &long), rejected(404, &"ü".repeat(300)));
}

fn model(url: String) -> Gemini {
    let settings = ModelSettings {
        url,
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        ..ModelSettings::new(Provider::Gemini, "m")
    };
    Gemini::new(&settings).unwrap()
}

fn prompt() -> Prompt {
    Prompt {
        system: Some("Be brief.".into()),
        turns: vec![Turn::person("hi")],
        max_output_tokens: 10,
        temperature: Some(0.5),
    }
}

#[tokio::test]
async fn what_is_refused_is_left_out_and_that_is_remembered() {
    type Sent = fn(&Value) -> bool;
    let cases: [(Sent, &str); 2] = [
        (
            |request| request["generationConfig"].get("temperature").is_some(),
            "Invalid JSON payload received. Unknown name \"temperature\" at 'generation_config': Cannot find field.",
        ),
        (
            |request| request.get("systemInstruction").is_some(),
            "Developer instruction is not enabled for models/m",
        ),
    ];
    for (sent, said) in cases {
        let fake = Fake::judging(move |request| {
            if sent(request) {
                let body = json!({"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}});
                return response("400 X", &[], &body.to_string());
            }
            let event = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]});
            stream_of([format!("data: {event}\n\n")])
        });
        let model = model(fake.url());
        for calls in [2, 3] {
            let (_, end) = crate::hear::hear(&model, &prompt()).await;
            assert_eq!(end, Ok((Finish::Stop, None)), "{said}");
            assert_eq!(fake.seen().len(), calls, "{said}");
        }
    }
}

#[test]
fn a_prompt_that_is_too_long_or_shows_a_bad_image_is_understood() {
    let said = |said: &str, shows_images| {
        let body = json!({"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}).to_string();
        GeneratedContent::refused(&Refusal {
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
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Request payload size exceeds the limit: 20971520 bytes.",
    ] {
        assert!(matches!(said(long, true), ModelError::TooLong { .. }), "{long}");
    }
    for bad in ["Provided image is not valid.", "Unsupported MIME type: image/gif"] {
        assert!(matches!(said(bad, true), ModelError::ImageRefused { .. }), "{bad}");
        assert!(matches!(said(bad, false), ModelError::Rejected { .. }), "{bad}");
    }
}
