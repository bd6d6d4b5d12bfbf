//! What is not answered, and why.

use chrono::{TimeDelta, Utc};
use reqwest::header::HeaderMap;

use super::*;
use crate::models::refusal::retry_after;
use crate::models::upstream::{MAX_REFUSAL_BYTES, REFUSAL_TIMEOUT};

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
        (413, rejected(413, "odd")),
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
async fn what_is_no_stream_is_malformed_unless_it_says_why() {
    for content_type in ["content-type: application/json", "content-type: text/html", "x: y"] {
        let completion = json!({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]});
        let (texts, end) = hear_of(response("200 OK", &[content_type], &completion.to_string())).await;
        assert_eq!(texts, [""; 0]);
        let Err(ModelError::Malformed { detail }) = &end else {
            panic!("{end:?}")
        };
        let kind = content_type.split_once(": ").unwrap().1;
        assert!(kind == "y" || detail.contains(kind), "{detail}");
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
    for odd in ["", "-1", "soon", "inf", "NaN", "1e300", "Wed, 99 Oct 2015 07:28:00 GMT"] {
        assert_eq!(read(&[("retry-after", odd)]), None, "{odd}");
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
    ] {
        let body = json!({"error": {"message": said}}).to_string();
        assert_eq!(refused_to(shown(), "400 X", &body).await, rejected(400, said));
    }
}
