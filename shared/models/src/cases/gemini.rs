//! Gemini, and gateways that speak its protocol.

use super::*;

fn counts() -> Value {
    json!({"promptTokenCount": 20, "candidatesTokenCount": 8, "totalTokenCount": 28})
}

fn piece(part: Value, reason: Value) -> Value {
    json!({"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0, "finishReason": reason}],
        "modelVersion": "gemini-x", "usageMetadata": counts()})
}

fn says(text: &str, reason: Value) -> String {
    event(&piece(json!({"text": text}), reason))
}

fn good() -> [String; 3] {
    [
        says(WORDS[0], Value::Null),
        says(WORDS[1], Value::Null),
        says(WORDS[2], json!("STOP")),
    ]
}

#[tokio::test]
async fn each_case_is_heard_for_what_it_is() {
    let [one, two, three] = good();
    let ends = |candidate: Value, counts: Value| event(&json!({"candidates": [candidate], "usageMetadata": counts}));
    let thoughts = json!({"promptTokenCount": 20, "thoughtsTokenCount": 1020, "totalTokenCount": 1040});
    let spent = || {
        failed(
            "",
            ModelError::NothingSaid {
                usage: Some(tokens(20, 1020)),
            },
        )
    };
    let blocked = |reason: &str, output| {
        let usage = Some(tokens(20, output));
        failed(
            "",
            ModelError::Blocked {
                reason: reason.into(),
                usage,
            },
        )
    };
    let array = format!(
        "[{},\r\n{}]",
        piece(json!({"text": "Tall "}), Value::Null),
        piece(json!({"text": "lighthouses shine."}), json!("STOP"))
    );
    let signature = event(&piece(json!({"text": "", "thoughtSignature": "abc"}), json!("STOP")));
    let prompt_blocked =
        json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 20}});
    check(
        Provider::Gemini,
        vec![
            ("g-good", sent(&good()), whole(true)),
            (
                "g-stop-every",
                sent(&WORDS.map(|word| says(word, json!("STOP")))),
                whole(true),
            ),
            (
                "stop before the text",
                sent(&[
                    says("", json!("STOP")),
                    one.clone(),
                    two.clone(),
                    says(WORDS[2], Value::Null),
                ]),
                whole(true),
            ),
            (
                "empty reason",
                sent(&[says("Tall ", json!("")), two.clone(), three.clone()]),
                whole(true),
            ),
            (
                "g-max-empty",
                sent(&[ends(
                    json!({"finishReason": "MAX_TOKENS", "index": 0}),
                    thoughts.clone(),
                )]),
                spent(),
            ),
            (
                "g-max-role",
                sent(&[ends(
                    json!({"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}),
                    thoughts,
                )]),
                spent(),
            ),
            (
                "g-safety",
                sent(&[ends(json!({"finishReason": "SAFETY", "index": 0}), counts())]),
                blocked("SAFETY", 8),
            ),
            (
                "g-recitation-mid",
                sent(&[
                    one.clone(),
                    ends(json!({"finishReason": "RECITATION", "index": 0}), counts()),
                ]),
                heard("Tall ", Ok((Finish::Blocked, Some(tokens(20, 8))))),
            ),
            (
                "g-prompt-block",
                sent(&[event(&prompt_blocked)]),
                blocked("PROHIBITED_CONTENT", 0),
            ),
            (
                "g-array",
                sent_as("content-type: application/json; charset=UTF-8", &[array]),
                whole(true),
            ),
            (
                "g-thought",
                sent(&[
                    event(&piece(json!({"text": "**Plan**", "thought": true}), Value::Null)),
                    one.clone(),
                    two.clone(),
                    three.clone(),
                ]),
                thinking("**Plan**", whole(true)),
            ),
            (
                "g-signature",
                sent(&[one.clone(), two.clone(), says("shine.", Value::Null), signature]),
                whole(true),
            ),
            (
                "g-no-candidates",
                sent(&[
                    event(&json!({"usageMetadata": counts()})),
                    one.clone(),
                    two.clone(),
                    three.clone(),
                ]),
                whole(true),
            ),
            (
                "g-done",
                sent(&[one.clone(), two.clone(), three.clone(), DONE.into()]),
                whole(true),
            ),
            (
                "g-empty-data",
                sent(&[one.clone(), "data: \n\n".into(), two.clone(), three.clone()]),
                whole(true),
            ),
            (
                "g-no-blank-line",
                sent(&[one.clone(), two.clone(), three.trim_end().to_owned()]),
                whole(true),
            ),
            (
                "g-no-finish",
                sent(&WORDS.map(|word| says(word, Value::Null))),
                failed(WHOLE, ModelError::Truncated),
            ),
            (
                "g-error-mid",
                sent(&[
                    one,
                    event(&json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})),
                ]),
                failed("Tall ", ModelError::Overloaded { retry_after: None }),
            ),
        ],
    )
    .await;
}
