//! Servers that speak chat completions.

use super::*;

fn delta(delta: Value, reason: Value) -> String {
    event(
        &json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}),
    )
}

fn choice(choice: Value) -> String {
    event(&json!({"choices": [choice]}))
}

fn usage() -> String {
    event(&json!({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}}))
}

fn stop() -> String {
    delta(json!({}), json!("stop"))
}

fn begins() -> String {
    delta(json!({"role": "assistant", "content": ""}), Value::Null)
}

fn words_with(reason: &Value) -> Vec<String> {
    let first = delta(json!({"role": "assistant", "content": ""}), reason.clone());
    let words = WORDS.map(|word| delta(json!({"content": word}), reason.clone()));
    [first].into_iter().chain(words).collect()
}

fn words() -> Vec<String> {
    words_with(&Value::Null)
}

fn with<const N: usize>(mut events: Vec<String>, more: [&str; N]) -> Vec<String> {
    events.extend(more.map(str::to_owned));
    events
}

fn good() -> Vec<String> {
    with(words(), [&stop(), &usage(), DONE])
}

/// The words with this between the first and the others.
fn amid(odd: &str) -> Answer {
    let mut events = with(words(), [&stop(), DONE]);
    events.insert(2, odd.to_owned());
    sent(&events)
}

fn tool_called() -> ModelError {
    ModelError::Rejected {
        status: 200,
        detail: "the model called a tool instead of answering, and none was offered".into(),
    }
}

fn framed(events: &[String]) -> Answer {
    sent(events)
}

#[tokio::test]
async fn reasons_that_end_nothing() {
    let early = |reason: &str| {
        [
            vec![delta(json!({"content": ""}), json!(reason))],
            words()[1..].to_vec(),
        ]
        .concat()
    };
    let then_text = with(words()[..3].to_vec(), [&stop(), &words()[3], DONE]);
    let reasoning = delta(json!({"content": "", "reasoning_content": "Hmm"}), json!("stop"));
    let on_reasoning = [vec![reasoning], words()[1..].to_vec(), vec![stop(), DONE.into()]].concat();
    check(
        Provider::OpenAi,
        vec![
            (
                "empty-finish",
                framed(&with(words_with(&json!("")), [&stop(), &usage(), DONE])),
                whole(true),
            ),
            (
                "finish 0",
                framed(&with(words_with(&json!(0)), [&stop(), &usage(), DONE])),
                whole(true),
            ),
            (
                "finish false",
                framed(&with(words_with(&json!(false)), [&stop(), DONE])),
                whole(false),
            ),
            (
                "stop on every",
                framed(&with(words_with(&json!("stop")), [DONE])),
                whole(false),
            ),
            (
                "length first",
                framed(&with(early("length"), [&stop(), DONE])),
                whole(false),
            ),
            ("stop-then-text", framed(&then_text), whole(false)),
            (
                "stop-on-reasoning",
                framed(&on_reasoning),
                thinking("Hmm", whole(false)),
            ),
            (
                "length-cut",
                framed(&with(words(), [&delta(json!({}), json!("length")), &usage(), DONE])),
                heard(WHOLE, Ok((Finish::Length, Some(tokens(20, 8))))),
            ),
            (
                "filter-mid",
                framed(&with(
                    words()[..3].to_vec(),
                    [&delta(json!({}), json!("content_filter")), DONE],
                )),
                heard("Tall lighthouses ", Ok((Finish::Blocked, None))),
            ),
            (
                "finish-eos",
                framed(&with(words(), [&delta(json!({}), json!("eos")), DONE])),
                whole(false),
            ),
            (
                "finish-number",
                framed(&with(
                    words(),
                    [&choice(json!({"index": 0, "delta": {}, "finish_reason": 0})), DONE],
                )),
                whole(false),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn events_that_say_nothing() {
    let null_index =
        |content: &str| choice(json!({"index": null, "delta": {"content": content}, "finish_reason": null}));
    let filter = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]});
    let with_error = |error: Value| {
        let words = WORDS.map(|word| {
            event(
                &json!({"error": error, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": null}]}),
            )
        });
        with(words.to_vec(), [&stop(), DONE])
    };
    check(
        Provider::OpenAi,
        vec![
            ("empty-data", amid("data: \n\n"), whole(false)),
            ("empty-data-event", amid("event: ping\ndata:\n\n"), whole(false)),
            ("word-data", amid("data: keepalive\n\n"), whole(false)),
            (
                "ping-object",
                amid("event: ping\ndata: {\"type\": \"ping\"}\n\n"),
                whole(false),
            ),
            ("comment", amid(": OPENROUTER PROCESSING\n\n"), whole(false)),
            ("broken", amid("data: {\n\n"), whole(false)),
            ("azure-first", amid(&event(&filter)), whole(false)),
            (
                "index-null",
                framed(&[
                    null_index("Tall lighthouses "),
                    null_index("shine."),
                    stop(),
                    DONE.into(),
                ]),
                whole(false),
            ),
            (
                "delta-null",
                framed(&with(
                    words(),
                    [
                        &choice(json!({"index": 0, "delta": null, "finish_reason": "stop"})),
                        DONE,
                    ],
                )),
                whole(false),
            ),
            (
                "message-not-delta",
                framed(&with(
                    words(),
                    [
                        &choice(json!({"index": 0, "message": {"content": ""}, "finish_reason": "stop"})),
                        DONE,
                    ],
                )),
                whole(false),
            ),
            ("error-string-null", framed(&with_error(Value::Null)), whole(false)),
            ("error-empty-object", framed(&with_error(json!({}))), whole(false)),
            ("error-empty-string", framed(&with_error(json!(""))), whole(false)),
            (
                "tool-calls",
                framed(&[
                    delta(
                        json!({"content": null, "tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
                        Value::Null,
                    ),
                    delta(json!({}), json!("tool_calls")),
                    DONE.into(),
                ]),
                heard("", Err(tool_called())),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn texts_in_other_forms() {
    let half = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let said = |text: &str| heard(text, Ok((Finish::Stop, None)));
    let thought = |text: &str| json!([{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]);
    let parts = [
        delta(json!({"content": thought("The user")}), Value::Null),
        delta(json!({"content": thought(" greets me.")}), Value::Null),
        delta(json!({"content": [{"type": "text", "text": "Tall "}]}), Value::Null),
        delta(json!({"content": "lighthouses "}), Value::Null),
        delta(json!({"content": "shine."}), Value::Null),
        delta(json!({"content": ""}), json!("stop")),
        usage(),
        DONE.into(),
    ];
    let tags = [
        vec![delta(
            json!({"content": "<think>\nsecret plan\n</think>\n\n"}),
            Value::Null,
        )],
        good(),
    ]
    .concat();
    let reasoning = [
        delta(json!({"content": null, "reasoning_content": "Hmm"}), Value::Null),
        delta(json!({"reasoning": " let me", "content": ""}), Value::Null),
    ];
    check(
        Provider::OpenAi,
        vec![
            (
                "surrogate-halves",
                framed(&[begins(), half("Fine \\ud83d"), half("\\ude00 ok"), stop(), DONE.into()]),
                said("Fine 😀 ok"),
            ),
            (
                "surrogate-lone",
                framed(&[begins(), half("Fine \\ud83d ok"), stop(), DONE.into()]),
                said("Fine \u{fffd} ok"),
            ),
            (
                "content-parts",
                framed(&parts),
                thinking("The user greets me.", whole(true)),
            ),
            ("think-tags", framed(&tags), thinking("\nsecret plan\n", whole(true))),
            (
                "reasoning-good",
                framed(&[reasoning.to_vec(), good()].concat()),
                thinking("Hmm let me", whole(true)),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn frames_of_all_kinds() {
    let done_alone = with(words(), [DONE]);
    let unended = |end: &str| [words(), vec![stop().trim_end().to_owned() + end]].concat();
    let mut odd: Vec<u8> = "\u{feff}: hello\r\n\r\n".into();
    for event in &good() {
        odd.extend(event.replace("data: ", "data:").replace('\n', "\r\n").bytes());
    }
    let json_lines: String = good()
        .iter()
        .map(|event| event.trim_start_matches("data: ").trim_end().to_owned() + "\n")
        .collect();
    let completion = json!({"id": "c", "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WHOLE}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 8}});
    check(
        Provider::OpenAi,
        vec![
            ("good", framed(&good()), whole(true)),
            ("no-blank-line", framed(&unended("")), whole(false)),
            ("no-blank-line-nl", framed(&unended("\n")), whole(false)),
            (
                "no-blank-line-done",
                framed(&with(words(), [&stop(), "data: [DONE]"])),
                whole(false),
            ),
            (
                "no blank lines",
                sent(&[good().concat().replace("\n\n", "\n")]),
                whole(true),
            ),
            ("done-alone", framed(&done_alone), whole(false)),
            (
                "done-alone-usage",
                framed(&with(words(), [&usage(), DONE])),
                whole(true),
            ),
            (
                "eof-alone",
                framed(&words()),
                Heard {
                    calls: 1,
                    ..failed(WHOLE, ModelError::Truncated)
                },
            ),
            (
                "text-plain",
                sent_as("content-type: text/plain; charset=utf-8", &good()),
                whole(true),
            ),
            ("no-type", sent_as("", &good()), whole(true)),
            (
                "octet",
                sent_as("content-type: application/octet-stream", &good()),
                whole(true),
            ),
            (
                "json-type",
                sent_as("content-type: application/json", &good()),
                whole(true),
            ),
            ("html type", sent_as("content-type: text/html", &good()), whole(true)),
            (
                "json-whole",
                sent_as("content-type: application/json", &[completion.to_string()]),
                whole(true),
            ),
            (
                "json whole, spread",
                sent_as("", &[format!("{completion:#}\n")]),
                whole(true),
            ),
            (
                "json lines",
                sent_as("content-type: application/x-ndjson", &[json_lines]),
                whole(true),
            ),
            ("gzip", gzipped(&good()), whole(true)),
            ("odd-framing", stream_of(odd.chunks(7)), whole(true)),
        ],
    )
    .await;
}

#[tokio::test]
async fn errors_and_limits() {
    let spent = [
        delta(json!({"content": null, "reasoning_content": "Hmm"}), Value::Null),
        delta(json!({"content": null}), json!("length")),
        event(&json!({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 1024}})),
        DONE.into(),
    ];
    let error = |code: u16, kind: &str| {
        let error = json!({"object": "error", "message": "bad", "type": kind, "param": null, "code": code});
        framed(&with(words()[..2].to_vec(), [&event(&error), DONE]))
    };
    let named = "event: error\ndata: {\"message\": \"upstream gone\", \"code\": 502}\n\n";
    let days =
        "{\"error\": {\"message\": \"Monthly usage limit reached. Resets in 16 days.\", \"code\": \"usage_limit\"}}";
    let overloaded = || ModelError::Overloaded { retry_after: None };
    let limited = || ModelError::RateLimited {
        retry_after: Some(std::time::Duration::from_secs(1_382_400)),
    };
    check(
        Provider::OpenAi,
        vec![
            (
                "reasoning-length",
                framed(&spent),
                thinking(
                    "Hmm",
                    failed(
                        "",
                        ModelError::NothingSaid {
                            usage: Some(tokens(20, 1024)),
                        },
                    ),
                ),
            ),
            (
                "error-object",
                error(500, "InternalServerError"),
                failed("Tall ", overloaded()),
            ),
            (
                "error-object-always",
                error(400, "BadRequestError"),
                failed(
                    "Tall ",
                    ModelError::Rejected {
                        status: 400,
                        detail: "BadRequestError: 400: bad".into(),
                    },
                ),
            ),
            (
                "error-event-name",
                framed(&with(words()[..2].to_vec(), [named])),
                failed("Tall ", overloaded()),
            ),
            (
                "retry-after-days",
                response("429 X", &["retry-after: 1382400"], days),
                failed("", limited()),
            ),
            (
                "days in words alone",
                response("429 X", &[], days),
                failed("", limited()),
            ),
        ],
    )
    .await;
}
