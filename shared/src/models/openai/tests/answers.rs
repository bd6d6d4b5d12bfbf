//! What chunks may hold.

use super::*;

/// What is heard of a whole stream of these events.
async fn hear_events(events: &[&str]) -> (String, End) {
    let (texts, end) = hear_of(stream_of(events)).await;
    (texts.concat(), end)
}

/// A chunk of one choice.
fn chunk(choice: Value) -> String {
    event(&json!({"choices": [choice]}))
}

fn error(error: Value) -> String {
    event(&json!({"error": error}))
}

#[tokio::test]
async fn an_answer_is_its_texts_in_order_then_its_end_with_the_usage() {
    let (texts, end) = hear_of(stream_of([golden_bytes()])).await;
    assert_eq!(texts, ["Grüße, ", "世界 ", "👋🏽!"]);
    assert_eq!(end, Ok((Finish::Stop, Some(COUNTED))));
}

#[tokio::test]
async fn each_reason_to_finish_has_its_meaning() {
    for (reason, finish) in [
        ("stop", Finish::Stop),
        ("length", Finish::Length),
        ("model_length", Finish::Length),
        ("content_filter", Finish::Blocked),
        ("tool_calls", Finish::Stop),
        ("function_call", Finish::Stop),
        ("eos", Finish::Stop),
    ] {
        let heard = hear_events(&[&says("a"), &finishes(reason), &counts(), DONE]).await;
        assert_eq!(heard, ("a".into(), Ok((finish, Some(COUNTED)))), "{reason}");
    }
    for reason in ["error", "abort", "insufficient_system_resource"] {
        let heard = hear_events(&[&says("a"), &finishes(reason), &counts(), DONE]).await;
        assert_eq!(
            heard,
            ("a".into(), Err(ModelError::Overloaded { retry_after: None })),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn what_is_blocked_before_its_first_word_is_an_error_that_knows_its_cost() {
    let (text, end) = hear_events(&[&finishes("content_filter"), &counts(), DONE]).await;
    let blocked = ModelError::Blocked {
        reason: "content_filter".into(),
        usage: Some(COUNTED),
    };
    assert_eq!((text.as_str(), end), ("", Err(blocked)));
}

#[tokio::test]
async fn an_answer_without_words_is_an_answer() {
    assert_eq!(
        hear_events(&[&finishes("stop"), DONE]).await,
        (String::new(), Ok((Finish::Stop, None)))
    );
}

#[tokio::test]
async fn without_a_finish_reason_no_end_is_a_good_one() {
    for last in [DONE, "", &counts(), ": bye\n\n"] {
        assert_eq!(
            hear_events(&[&says("a"), last]).await,
            ("a".into(), Err(ModelError::Truncated)),
            "{last}"
        );
    }
}

#[tokio::test]
async fn the_usage_may_come_with_any_chunk_and_the_last_one_counts() {
    let with = |tokens: Value| event(&json!({"choices": [{"delta": {"content": "a"}}], "usage": tokens}));
    let first = with(json!({"prompt_tokens": 1, "completion_tokens": 1}));
    let heard = hear_events(&[&first, &finishes("stop"), &counts(), DONE]).await;
    assert_eq!(heard, ("a".into(), Ok((Finish::Stop, Some(COUNTED)))));
    let plain = TokenUsage {
        input_tokens: 1,
        output_tokens: 1,
        cached_tokens: 0,
    };
    assert_eq!(
        hear_events(&[&first, &finishes("stop")]).await.1,
        Ok((Finish::Stop, Some(plain)))
    );
}

#[tokio::test]
async fn an_odd_usage_costs_no_answer() {
    for (odd, expected) in [
        (json!({}), None),
        (json!([]), None),
        (json!("many"), None),
        (json!({"prompt_tokens": -1, "completion_tokens": 2}), None),
        (json!({"prompt_tokens": 1.5, "completion_tokens": 2}), None),
        (
            json!({"prompt_tokens": 1, "completion_tokens": u64::MAX, "prompt_tokens_details": null}),
            Some((1, u32::MAX)),
        ),
    ] {
        let odd = event(&json!({"choices": [], "usage": odd}));
        let (text, end) = hear_events(&[&says("a"), &finishes("stop"), &odd, DONE]).await;
        let (finish, usage) = end.unwrap();
        assert_eq!((text.as_str(), finish), ("a", Finish::Stop));
        assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), expected);
    }
}

#[tokio::test]
async fn chunks_without_text_say_nothing() {
    let silent = [
        chunk(json!({"delta": {"content": null}})),
        chunk(json!({"delta": {"content": ""}})),
        chunk(json!({"delta": {"reasoning_content": "hm", "reasoning": "hm", "reasoning_details": [{}]}})),
        chunk(json!({"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}})),
        chunk(json!({"delta": null, "finish_reason": null})),
        chunk(json!({"index": 1, "delta": {"content": "another choice"}, "finish_reason": "stop"})),
        event(&json!({"choices": null, "error": null})),
        event(&json!({"choices": [], "prompt_filter_results": [{}]})),
        event(&json!({"object": "unheard of"})),
    ];
    let mut events: Vec<_> = silent.iter().map(String::as_str).collect();
    let (a, end) = (says("a"), finishes("stop"));
    events.extend([a.as_str(), &end, DONE]);
    assert_eq!(hear_events(&events).await, ("a".into(), Ok((Finish::Stop, None))));
}

#[tokio::test]
async fn the_last_words_may_come_with_the_finish_reason_and_none_after_it() {
    let last = chunk(json!({"delta": {"content": "b"}, "finish_reason": "length"}));
    let heard = hear_events(&[&says("a"), &last, &says("c"), &finishes("stop"), DONE]).await;
    assert_eq!(heard, ("ab".into(), Ok((Finish::Length, None))));
}

#[tokio::test]
async fn a_refusal_is_for_whoever_asked() {
    let refusal = chunk(json!({"delta": {"refusal": "I'm sorry."}}));
    assert_eq!(hear_events(&[&refusal, &finishes("stop")]).await.0, "I'm sorry.");
}

#[tokio::test]
async fn nul_never_reaches_a_chunk() {
    let heard = hear_events(&[&says("\0"), &says("a\0b\0"), &finishes("stop"), DONE]).await;
    assert_eq!(heard, ("ab".into(), Ok((Finish::Stop, None))));
    let finish = finishes("content_filter");
    let (_, end) = hear_events(&[&says("\0"), &finish]).await;
    assert!(
        matches!(end, Err(ModelError::Blocked { .. })),
        "NUL alone is no word: {end:?}"
    );
}

#[tokio::test]
async fn what_is_no_chunk_is_malformed_and_never_quoted() {
    let lone_surrogate = "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n";
    for wrong in [
        lone_surrogate,
        "data: {\"choices\":[{\"delta\":{\"content\":\"secr\n\n",
        "data: secret\n\n",
        "data: 3\n\n",
        "data: {\"choices\":\"secret\"}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[\"secret\"]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":7}]}\n\n",
        "data: [[[[[[\n\n",
    ] {
        let (text, end) = hear_events(&[&says("a"), wrong, &finishes("stop")]).await;
        let Err(ModelError::Malformed { detail }) = &end else {
            panic!("{wrong}: {end:?}")
        };
        assert!(text == "a" && !detail.contains("secr"), "{wrong}: {text}, {detail}");
    }
}

#[tokio::test]
async fn an_error_amid_the_answer_ends_it_as_what_it_is() {
    let overloaded = || ModelError::Overloaded { retry_after: None };
    let limited = || ModelError::RateLimited { retry_after: None };
    for (said, expected) in [
        (
            json!({"message": "The server had an error", "type": "server_error", "code": null}),
            overloaded(),
        ),
        (json!({"message": "?"}), overloaded()),
        (json!("out of memory"), overloaded()),
        (json!({"code": 503, "message": "busy"}), overloaded()),
        (json!({"code": "502", "message": "bad gateway"}), overloaded()),
        (json!({"code": 200, "message": "odd"}), overloaded()),
        (json!({"code": 429, "message": "slow"}), limited()),
        (json!({"type": "tokens", "code": "rate_limit_exceeded"}), limited()),
        (json!({"type": "rate_limit_error"}), limited()),
        (json!({"code": "slow_down"}), limited()),
        (
            json!({"type": "insufficient_quota", "code": "insufficient_quota"}),
            ModelError::QuotaExhausted,
        ),
        (json!({"code": 402}), ModelError::QuotaExhausted),
        (json!({"type": "authentication_error"}), ModelError::Unauthorized),
        (json!({"code": "invalid_api_key"}), ModelError::Unauthorized),
        (
            json!({"type": "invalid_request_error", "message": "too long"}),
            ModelError::Rejected {
                status: 400,
                detail: "invalid_request_error: too long".into(),
            },
        ),
    ] {
        let heard = hear_events(&[&says("a"), &error(said.clone()), DONE]).await;
        assert_eq!(heard, ("a".into(), Err(expected)), "{said}");
    }
}

#[tokio::test]
async fn a_block_amid_the_answer_ends_it_and_one_before_it_is_an_error() {
    for (reason, block) in [
        (
            "content_filter",
            json!({"type": "invalid_request_error", "code": "content_filter", "message": "no"}),
        ),
        (
            "content_policy_violation",
            json!({"type": "content_policy_violation", "code": null}),
        ),
    ] {
        let block = error(block);
        assert_eq!(
            hear_events(&[&says("a"), &block]).await,
            ("a".into(), Ok((Finish::Blocked, None)))
        );
        let blocked = ModelError::Blocked {
            reason: reason.into(),
            usage: Some(COUNTED),
        };
        assert_eq!(hear_events(&[&counts(), &block]).await.1, Err(blocked));
    }
}

#[tokio::test]
async fn nothing_after_the_finish_reason_unmakes_the_answer() {
    for after in [
        error(json!("gone")),
        "data: {\n\n".into(),
        "data: \u{fffd}\n\n".into(),
        finishes("error"),
    ] {
        let heard = hear_events(&[&says("a"), &finishes("stop"), &after]).await;
        assert_eq!(heard, ("a".into(), Ok((Finish::Stop, None))), "{after}");
    }
}
