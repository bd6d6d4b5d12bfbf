//! What is not answered, and why.

use chrono::{TimeDelta, Utc};
use reqwest::header::HeaderMap;

use super::*;
use crate::refusal::retry_after;
use crate::upstream::{MAX_REFUSAL_BYTES, REFUSAL_TIMEOUT};

/// How a response of this status and JSON is understood.
async fn refused(status: &str, body: &Value) -> ModelError {
    let (texts, end) = hear_of(response(status, &["content-type: application/json"], &body.to_string())).await;
    assert_eq!(texts, [""; 0]);
    end.unwrap_err()
}

fn rejected(status: u16, detail: &str) -> ModelError {
    ModelError::Rejected {
        status,
        detail: detail.into(),
    }
}

#[tokio::test]
async fn each_status_has_its_meaning() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    for (status, expected) in [
        (400, rejected(400, "odd")),
        (401, ModelError::Unauthorized),
        (402, ModelError::QuotaExhausted),
        (403, ModelError::Unauthorized),
        (404, rejected(404, "odd")),
        (408, overloaded()),
        (409, overloaded()),
        (413, ModelError::TooLong { detail: "odd".into() }),
        (422, rejected(422, "odd")),
        (425, overloaded()),
        (429, ModelError::RateLimited { retry_after: None }),
        (500, overloaded()),
        (503, overloaded()),
        (529, overloaded()),
    ] {
        assert_eq!(
            refused(&format!("{status} X"), &json!({"error": {"message": "odd"}})).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_no_rate_limit() {
    let limit = |kind: &str, code: Value| json!({"error": {"message": "m", "type": kind, "param": null, "code": code}});
    let limited = ModelError::RateLimited { retry_after: None };
    assert_eq!(
        refused("429 X", &limit("requests", json!("rate_limit_exceeded"))).await,
        limited
    );
    assert_eq!(
        refused("429 X", &limit("insufficient_quota", Value::Null)).await,
        ModelError::QuotaExhausted
    );
    assert_eq!(
        refused("429 X", &limit("x", json!("insufficient_quota"))).await,
        ModelError::QuotaExhausted
    );
    assert_eq!(
        refused("403 X", &limit("x", json!("insufficient_quota"))).await,
        ModelError::QuotaExhausted
    );
}

#[tokio::test]
async fn a_prompt_that_is_blocked_is_told_from_one_that_is_wrong() {
    for code in ["content_filter", "content_policy_violation"] {
        let body = json!({"error": {"message": "m", "type": null, "code": code, "innererror": {}}});
        let blocked = ModelError::Blocked {
            reason: code.into(),
            usage: None,
        };
        assert_eq!(refused("400 X", &body).await, blocked);
    }
}

#[tokio::test]
async fn every_shape_of_an_error_is_read() {
    for (body, detail) in [
        (json!({"error": {"message": "m", "type": "t", "code": "c"}}), "t: c: m"),
        (
            json!({"error": {"message": "m", "type": "t", "code": 404}}),
            "t: 404: m",
        ),
        (json!({"error": "m"}), "m"),
        (
            json!([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]),
            "400: m",
        ),
        (
            json!({"object": "error", "message": "m", "type": "t", "code": 404}),
            "t: 404: m",
        ),
        (json!({"detail": "Not Found"}), "Not Found"),
        (json!({"error": null, "message": "m"}), "m"),
        (json!(null), ""),
        (json!([]), ""),
        (json!("m"), "m"),
    ] {
        assert_eq!(refused("404 X", &body).await, rejected(404, detail), "{body}");
    }
}

#[tokio::test]
async fn a_page_instead_of_json_is_cut_short() {
    let page = format!("<html>\r\n\0{}</html>", "ü".repeat(100_000));
    let (_, end) = hear_of(response("404 X", &["content-type: text/html"], &page)).await;
    assert_eq!(end, Err(rejected(404, &format!("<html>{}", "ü".repeat(294)))));
    let (_, end) = hear_of(response("502 X", &["content-type: text/html"], &page)).await;
    assert_eq!(end, Err(ModelError::Overloaded { retry_after: None }));
}

#[tokio::test]
async fn a_key_that_is_repeated_is_struck_out() {
    let body = json!({"error": {"message": "the key sk-test-key may not use this model"}});
    assert_eq!(
        refused("404 X", &body).await,
        rejected(404, "the key *** may not use this model")
    );
}

#[tokio::test]
async fn a_refusal_whose_body_hangs_is_a_refusal() {
    let head = "HTTP/1.1 404 X\r\ncontent-length: 1000\r\n\r\nno such mod";
    let fake = Fake::always(vec![Act::Send(head.into()), Act::Hang]);
    let mut settings = settings(fake.url());
    settings.silence_timeout = SHORT;
    assert_eq!(
        hear(&OpenAi::new(&settings).unwrap()).await.1,
        Err(rejected(404, "no such mod"))
    );
}

#[tokio::test]
async fn a_refusal_without_end_is_not_read_to_its_end() {
    let head = b"HTTP/1.1 404 X\r\nconnection: close\r\n\r\n".to_vec();
    let fake = Fake::always(vec![
        Act::Send(head),
        Act::Send(vec![b'x'; MAX_REFUSAL_BYTES]),
        Act::Hang,
    ]);
    let begun = Instant::now();
    assert_eq!(hear(&model(fake.url())).await.1, Err(rejected(404, &"x".repeat(300))));
    assert!(begun.elapsed() < REFUSAL_TIMEOUT, "more was waited for");
}

#[tokio::test]
async fn a_page_of_the_web_is_asked_for_once() {
    for (kind, body) in [
        ("text/html", "<html><body>Just a moment...</body></html>"),
        ("text/event-stream", "\n <!DOCTYPE html>"),
    ] {
        let (texts, end) = hear_of(response("200 OK", &[&format!("content-type: {kind}")], body)).await;
        assert_eq!(texts, [""; 0]);
        let error = end.unwrap_err();
        assert!(matches!(error, ModelError::Rejected { status: 200, .. }), "{error:?}");
        assert!(!error.is_retryable() && !error.detail().unwrap_or_default().contains("moment"));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_malformed_unless_it_says_why() {
    for (kind, body) in [
        ("application/json", "{\"ok\": true}"),
        ("application/json", "[]"),
        ("text/plain", "upstream connect error"),
        ("text/plain", ""),
    ] {
        let (texts, end) = hear_of(response("200 OK", &[&format!("content-type: {kind}")], body)).await;
        assert_eq!(texts, [""; 0]);
        let Err(ModelError::Malformed { detail }) = &end else {
            panic!("{body}: {end:?}")
        };
        assert!(detail.contains(kind) && !detail.contains("moment"), "{detail}");
    }
    assert_eq!(
        refused(
            "200 OK",
            &json!({"error": {"message": "m", "code": "rate_limit_exceeded"}})
        )
        .await,
        ModelError::RateLimited { retry_after: None }
    );
    assert!(matches!(
        refused("204 No Content", &json!("")).await,
        ModelError::Malformed { .. }
    ));
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_told() {
    let after = Some(Duration::from_secs(7));
    let (_, end) = hear_of(response("429 X", &["retry-after: 7"], "{}")).await;
    assert_eq!(end, Err(ModelError::RateLimited { retry_after: after }));
    let (_, end) = hear_of(response("503 X", &["retry-after: 7"], "{}")).await;
    assert_eq!(end, Err(ModelError::Overloaded { retry_after: after }));
}

#[test]
fn the_wait_is_read_in_each_of_its_forms() {
    let read = |headers: &[(&'static str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        retry_after(&HeaderMap::from_iter(headers))
    };
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    assert_eq!(read(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
    assert_eq!(
        read(&[("retry-after-ms", "250"), ("retry-after", "7")]),
        Some(Duration::from_millis(250))
    );
    assert_eq!(
        read(&[("retry-after-ms", "soon"), ("retry-after", "7")]),
        Some(Duration::from_secs(7))
    );
    for odd in ["", "-1", "soon", "inf", "NaN", "Wed, 99 Oct 2015 07:28:00 GMT"] {
        assert_eq!(read(&[("retry-after", odd)]), None, "{odd}");
    }
    for endless in ["1e300", "18446744073709551615"] {
        let year = Some(Duration::from_secs(366 * 86_400));
        assert_eq!(read(&[("retry-after", endless)]), year, "{endless}");
    }
    assert_eq!(
        read(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]),
        Some(Duration::ZERO)
    );
    let date = (Utc::now() + TimeDelta::hours(1))
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let wait = read(&[("retry-after", &date)]).unwrap();
    assert!((3590..=3600).contains(&wait.as_secs()), "{date}: {wait:?}");
}

/// What is said to a question with or without an image by a server that answers so.
async fn refused_to(turn: Turn, status: &str, body: &str) -> ModelError {
    let fake = Fake::always(response(status, &["content-type: application/json"], body));
    let prompt = Prompt {
        turns: vec![turn],
        ..prompt()
    };
    model(fake.url()).stream(&prompt).await.err().unwrap()
}

#[tokio::test]
async fn a_model_that_says_it_cannot_see_is_understood() {
    let image = Image {
        mime_type: "image/png".into(),
        bytes: vec![1].into(),
    };
    let shown = || Turn::person("see").with_images([image.clone()]);
    for (status, said) in [
        (
            "500 X",
            "image input is not supported - hint: you may need to provide the mmproj",
        ),
        (
            "400 X",
            "Invalid content type. image_url is only supported by certain models.",
        ),
        ("404 X", "No endpoints found that support image input"),
        ("400 X", "This model does not support image input."),
        ("400 X", "this model does not support images"),
        ("400 X", "m is not a multimodal model"),
        ("400 X", "Image input modality is not enabled for models/m"),
    ] {
        let body = json!({"error": {"message": said}}).to_string();
        assert_eq!(refused_to(shown(), status, &body).await, ModelError::NoVision, "{said}");
        assert_ne!(
            refused_to(Turn::person("see"), status, &body).await,
            ModelError::NoVision
        );
    }
    for said in [
        "the image format is not supported",
        "Unsupported image type: image/gif",
        "this image is too large",
        "Could not process image",
        "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
        "Unable to process input image. Please retry or report.",
        "Failed to load image or audio file",
        "cannot identify image file <_io.BytesIO object>",
        "unsupported MIME type: application/x",
    ] {
        let body = json!({"error": {"message": said}}).to_string();
        let refused = refused_to(shown(), "400 X", &body).await;
        assert_eq!(refused, ModelError::ImageRefused { detail: said.into() });
        assert_eq!(
            refused_to(Turn::person("see"), "400 X", &body).await,
            rejected(400, said)
        );
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_understood() {
    for (status, said) in [
        (
            "400 X",
            "This model's maximum context length is 8192 tokens. However, you requested more.",
        ),
        ("400 X", "Your input exceeds the context window of this model."),
        (
            "400 X",
            "the request exceeds the available context size, try increasing it",
        ),
        (
            "400 X",
            "The decoder prompt (length 12000) is longer than the maximum model length of 8192.",
        ),
        (
            "413 X",
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000",
        ),
        (
            "429 X",
            "Request too large for gpt in organization o on tokens per min. The input or output tokens must be reduced in order to run successfully.",
        ),
        (
            "400 X",
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        ),
        (
            "400 X",
            "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        ),
        ("400 X", "Range of input length should be [1, 30720]"),
        ("413 X", "anything at all"),
        ("500 X", "the prompt is too long: 9000 tokens"),
    ] {
        let body = json!({"error": {"message": said}});
        assert!(
            matches!(refused(status, &body).await, ModelError::TooLong { .. }),
            "{said}"
        );
    }
    let coded = json!({"error": {"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    assert!(matches!(refused("400 X", &coded).await, ModelError::TooLong { .. }));
    let page = "<html>413 Request Entity Too Large</html>";
    let (_, end) = hear_of(response("413 X", &["content-type: text/html"], page)).await;
    assert!(matches!(end, Err(ModelError::TooLong { .. })), "{end:?}");
    for said in [
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
        "odd",
    ] {
        let body = json!({"error": {"message": said}});
        assert_eq!(refused("400 X", &body).await, rejected(400, said));
    }
    let (_, end) = hear_of(stream_of([event(&coded)])).await;
    assert!(
        matches!(end, Err(ModelError::TooLong { .. })),
        "amid an answer: {end:?}"
    );
}

#[tokio::test]
async fn a_wait_that_only_the_words_tell_is_understood() {
    for (said, seconds) in [
        ("Rate limit reached. Please try again in 40s.", 40.0),
        ("Please try again in 7m12.5s. Visit us.", 432.5),
        ("Please retry after 26 seconds.", 26.0),
        ("Monthly usage limit reached. Resets in 16 days.", 1_382_400.0),
        ("try again in 250ms", 0.25),
        ("Please try again in 1 hour and 5 minutes", 3900.0),
        ("Please retry in about 2h0m3s", 7203.0),
    ] {
        let wait = Some(Duration::from_secs_f64(seconds));
        let error = refused("429 X", &json!({"error": {"message": said}})).await;
        assert_eq!(error, ModelError::RateLimited { retry_after: wait }, "{said}");
    }
    for said in [
        "try again in a while",
        "try again in 7",
        "resets in 9999999999999999999999 days",
        "retry after -5s",
    ] {
        let error = refused("429 X", &json!({"error": {"message": said}})).await;
        let wait = error.retry_after();
        assert!(
            wait.is_none_or(|wait| wait <= Duration::from_secs(366 * 24 * 3600)),
            "{said}: {wait:?}"
        );
    }
    let field = json!({"error": {"message": "m", "retry_after": 1_382_400}});
    let (_, end) = hear_of(response("429 X", &[], &field.to_string())).await;
    let days = Some(Duration::from_secs(1_382_400));
    assert_eq!(end, Err(ModelError::RateLimited { retry_after: days }));
    let (_, end) = hear_of(response("429 X", &["retry-after: 1382400"], &field.to_string())).await;
    assert_eq!(end, Err(ModelError::RateLimited { retry_after: days }));
}
