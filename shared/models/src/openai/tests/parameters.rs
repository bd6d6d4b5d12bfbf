//! Parameters that a server does not take.

use super::*;

/// A server that refuses with this status and body as long as a request has the parameter.
fn refusing(parameter: &'static str, status: &'static str, body: Value) -> Fake {
    Fake::judging(move |request| {
        if request.get(parameter).is_some() {
            return response(status, &["content-type: application/json"], &body.to_string());
        }
        stream_of([golden_bytes()])
    })
}

fn warm() -> Prompt {
    Prompt {
        system: Some("Be brief.".into()),
        temperature: Some(0.5),
        ..prompt()
    }
}

fn error(message: &str, param: Value, code: &str) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}})
}

#[tokio::test]
async fn what_is_refused_is_left_out_and_that_is_remembered() {
    let extra = "Extra inputs are not permitted";
    for (parameter, status, body) in [
        (
            "max_tokens",
            "400 X",
            error(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                json!("max_tokens"),
                "unsupported_parameter",
            ),
        ),
        (
            "stream_options",
            "422 X",
            json!({"object": "error", "message": {"detail": [{"type": "extra_forbidden",
                "loc": ["body", "stream_options", "include_usage"], "msg": extra, "input": true}]}}),
        ),
        (
            "stream_options",
            "400 X",
            json!({"error_code": "BAD_REQUEST", "message": format!("stream_options: {extra}")}),
        ),
        (
            "stream_options",
            "422 X",
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": extra}]}),
        ),
        (
            "temperature",
            "400 X",
            error(
                "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
                json!("temperature"),
                "unsupported_value",
            ),
        ),
        (
            "temperature",
            "400 X",
            json!({"message": "`temperature` is deprecated for this model"}),
        ),
    ] {
        let fake = refusing(parameter, status, body);
        let model = model(fake.url());
        for calls in [2, 3] {
            let (_, end) = crate::hear::hear(&model, &warm()).await;
            assert_eq!(end, Ok((Finish::Stop, Some(COUNTED))), "{parameter}");
            assert_eq!(fake.seen().len(), calls, "{parameter}");
        }
        let last = fake.seen().pop().unwrap().body;
        assert!(
            last.get("max_tokens").or(last.get("max_completion_tokens")).is_some(),
            "{last}"
        );
    }
}

#[tokio::test]
async fn one_refusal_after_another_is_heeded() {
    let fake = Fake::judging(|request| {
        for (parameter, why) in [
            (
                "max_tokens",
                "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            ),
            ("temperature", "Unsupported value: 'temperature'"),
        ] {
            if request.get(parameter).is_some() {
                return response("400 X", &[], &error(why, json!(parameter), "unsupported").to_string());
            }
        }
        stream_of([golden_bytes()])
    });
    let model = model(fake.url());
    assert!(crate::hear::hear(&model, &warm()).await.1.is_ok());
    assert!(crate::hear::hear(&model, &warm()).await.1.is_ok());
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_system_prompt_that_is_not_taken_stands_before_the_first_turn() {
    for (status, said) in [
        ("400 X", "System role not supported"),
        ("500 X", "Jinja Exception: System role not supported"),
        (
            "400 X",
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        ),
        (
            "400 X",
            "Conversation roles must alternate user/assistant/user/assistant/...",
        ),
    ] {
        let fake = Fake::judging(move |request| {
            if request["messages"][0]["role"] == "system" {
                return response(status, &[], &json!({"error": {"message": said}}).to_string());
            }
            stream_of([golden_bytes()])
        });
        assert!(crate::hear::hear(&model(fake.url()), &warm()).await.1.is_ok(), "{said}");
        let last = fake.seen().pop().unwrap().body;
        assert_eq!(
            last["messages"],
            json!([{"role": "user", "content": "Be brief.\n\nhi"}])
        );
    }
}

#[tokio::test]
async fn a_model_that_does_not_stream_is_asked_for_the_whole() {
    let whole = json!({"object": "chat.completion", "choices": [{"index": 0, "message": {"content": "a b"}, "finish_reason": "stop"}]});
    let fake = Fake::judging(move |request| {
        if request.get("stream").is_some() {
            let body = error(
                "Unsupported value: 'stream' does not support true with this model.",
                json!("stream"),
                "x",
            );
            return response("400 X", &[], &body.to_string());
        }
        response("200 OK", &["content-type: application/json"], &whole.to_string())
    });
    let (texts, end) = hear(&model(fake.url())).await;
    assert_eq!((texts.concat().as_str(), end), ("a b", Ok((Finish::Stop, None))));
    assert_eq!(fake.seen().pop().unwrap().body.get("stream_options"), None);
}

#[tokio::test]
async fn what_cannot_pass_is_asked_once_and_what_stays_refused_twice() {
    for (said, calls) in [
        (
            "max_tokens is too large: 100. This model supports at most 16 completion tokens",
            1,
        ),
        ("The model `temperature` does not exist", 1),
        ("Unknown model", 1),
        ("temperature: not supported", 2),
    ] {
        let fake = Fake::always(response("400 X", &[], &json!({"error": {"message": said}}).to_string()));
        let model = model(fake.url());
        let (_, end) = crate::hear::hear(&model, &warm()).await;
        assert!(matches!(end, Err(ModelError::Rejected { .. })), "{said}: {end:?}");
        assert_eq!(fake.seen().len(), calls, "{said}");
    }
}

#[tokio::test]
async fn what_was_not_answered_is_not_remembered() {
    let fake = Fake::start(|before| match before {
        0 => response("400 X", &[], "{\"error\":{\"message\":\"temperature: not supported\"}}"),
        1 => response("503 X", &[], "{}"),
        _ => stream_of([golden_bytes()]),
    });
    let model = model(fake.url());
    assert!(crate::hear::hear(&model, &warm()).await.1.is_err());
    assert!(crate::hear::hear(&model, &warm()).await.1.is_ok());
    assert_eq!(fake.seen()[2].body["temperature"], json!(0.5));
}

#[tokio::test]
async fn those_who_know_can_say_so() {
    let fake = Fake::always(stream_of([golden_bytes()]));
    let mut settings = settings(fake.url());
    settings.parameters = "max_completion_tokens, no-stream_options no-temperature,no-system"
        .parse()
        .unwrap();
    assert!(
        crate::hear::hear(&OpenAi::new(&settings).unwrap(), &warm())
            .await
            .1
            .is_ok()
    );
    let expected = json!({
        "model": "gpt-test",
        "messages": [{"role": "user", "content": "Be brief.\n\nhi"}],
        "max_completion_tokens": 100,
        "stream": true,
    });
    assert_eq!(fake.seen().remove(0).body, expected);
    let wrong = "no-such".parse::<Parameters>().unwrap_err().to_string();
    assert!(
        wrong.contains("\"no-such\"") && wrong.contains("no-temperature"),
        "{wrong}"
    );
}
