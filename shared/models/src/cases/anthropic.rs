//! Anthropic, and gateways that speak its protocol.

use super::*;

fn named(kind: &str, mut data: Value) -> String {
    data["type"] = json!(kind);
    format!("event: {kind}\n{}", event(&data))
}

fn start(message: Value) -> String {
    named("message_start", json!({"message": message}))
}

fn begins() -> String {
    start(json!({"id": "m1", "content": [], "stop_reason": null, "usage": {"input_tokens": 20, "output_tokens": 1}}))
}

fn text_block(block: Value) -> Vec<String> {
    let start = named("content_block_start", json!({"index": 0, "content_block": block}));
    let words = WORDS.map(|word| {
        named(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "text_delta", "text": word}}),
        )
    });
    [start].into_iter().chain(words).collect()
}

fn text() -> Vec<String> {
    text_block(json!({"type": "text", "text": ""}))
}

fn ends() -> Vec<String> {
    vec![
        named("content_block_stop", json!({"index": 0})),
        named(
            "message_delta",
            json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}}),
        ),
        named("message_stop", json!({})),
    ]
}

fn message(parts: [Vec<String>; 3]) -> Vec<String> {
    parts.concat()
}

#[tokio::test]
async fn each_case_is_heard_for_what_it_is() {
    let good = || message([vec![begins()], text(), ends()]);
    let ping = "event: ping\ndata: {}\n\n".to_owned();
    let thinks = [
        named(
            "content_block_start",
            json!({"index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        ),
        named(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "thinking_delta", "thinking": "plan"}}),
        ),
    ];
    let nameless: Vec<_> = good()
        .iter()
        .map(|event| event.split_once('\n').unwrap().1.to_owned())
        .collect();
    let marked = [&good()[..good().len() - 1], &[DONE.to_owned()]].concat();
    let body = json!({"type": "message", "content": [{"type": "text", "text": WHOLE}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "output_tokens": 8}});
    let stop_first = named(
        "message_delta",
        json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}}),
    );
    check(
        Provider::Anthropic,
        vec![
            ("a-good", sent(&good()), whole(true)),
            (
                "a-ping-braces",
                sent(&message([vec![begins(), ping], text(), ends()])),
                whole(true),
            ),
            (
                "a-block-no-text",
                sent(&message([vec![begins()], text_block(json!({"type": "text"})), ends()])),
                whole(true),
            ),
            (
                "a-thinking",
                sent(&message([[vec![begins()], thinks.to_vec()].concat(), text(), ends()])),
                thinking("plan", whole(true)),
            ),
            ("a-no-event-lines", sent(&nameless), whole(true)),
            ("a-done", sent(&marked), whole(true)),
            (
                "a-message-null",
                sent(&message([vec![start(Value::Null)], text(), ends()])),
                whole(false),
            ),
            (
                "a-usage-null",
                sent(&message([
                    vec![start(json!({"id": "m", "usage": null}))],
                    text(),
                    ends(),
                ])),
                whole(false),
            ),
            (
                "a reason first",
                sent(&message([vec![begins(), stop_first], text(), ends()])),
                whole(true),
            ),
            (
                "a whole message",
                sent_as("content-type: application/json", &[body.to_string()]),
                whole(true),
            ),
            (
                "no end",
                sent(&message([vec![begins()], text(), vec![]])),
                failed(WHOLE, ModelError::Truncated),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_error_before_the_first_word_is_asked_again() {
    let error = named(
        "error",
        json!({"error": {"type": "overloaded_error", "message": "Overloaded"}}),
    );
    let fake = Fake::start(move |before| match before {
        0 => sent(&[begins(), error.clone()]),
        _ => sent(&message([vec![begins()], text(), ends()])),
    });
    let settings = ModelSettings {
        url: fake.url(),
        ..ModelSettings::new(Provider::Anthropic, "m")
    };
    let prompt = Prompt {
        system: None,
        turns: vec![Turn::person("hi")],
        max_output_tokens: 10,
        temperature: None,
    };
    let (texts, end) = crate::hear::hear(from_settings(&settings).unwrap().as_ref(), &prompt).await;
    assert_eq!(
        (texts.concat().as_str(), end),
        (WHOLE, Ok((Finish::Stop, Some(tokens(20, 8)))))
    );
    assert_eq!(fake.seen().len(), 2);
}
