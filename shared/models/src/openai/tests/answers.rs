//! What chunks may hold.

use super::*;
use crate::refusal::Asked;
use crate::served::Dialect;

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
async fn without_a_finish_reason_or_a_mark_no_end_is_a_good_one() {
    for last in ["", &counts(), ": bye\n\n", "data: [DON\n\n"] {
        assert_eq!(
            hear_events(&[&says("a"), last]).await,
            ("a".into(), Err(ModelError::Truncated)),
            "{last}"
        );
    }
}

#[tokio::test]
async fn the_mark_of_the_end_needs_no_reason() {
    assert_eq!(
        hear_events(&[&says("a"), DONE]).await,
        ("a".into(), Ok((Finish::Stop, None)))
    );
    let counted = hear_events(&[&says("a"), &counts(), DONE]).await;
    assert_eq!(counted, ("a".into(), Ok((Finish::Stop, Some(COUNTED)))));
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
async fn text_behind_a_reason_goes_on_and_needs_a_mark_or_another_reason() {
    let last = chunk(json!({"delta": {"content": "b"}, "finish_reason": "length"}));
    let heard = hear_events(&[&says("a"), &last, &says("c"), &finishes("stop"), DONE]).await;
    assert_eq!(heard, ("abc".into(), Ok((Finish::Stop, None))));
    let heard = hear_events(&[&says("a"), &last, &says("c"), DONE]).await;
    assert_eq!(heard, ("abc".into(), Ok((Finish::Length, None))));
    let heard = hear_events(&[&says("a"), &last, &says("c")]).await;
    assert_eq!(heard, ("abc".into(), Err(ModelError::Truncated)));
    let heard = hear_events(&[&says("a"), &last]).await;
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
async fn what_may_hide_words_is_malformed_and_never_quoted() {
    for wrong in [
        "data: {\"choices\":[{\"delta\":{\"content\":\"secr\n\n",
        "data: {\"id\":\"secr\n\n",
        "data: {'choices':[{'delta':{'content':'secret'}}]}\n\n",
        "data: {\"content\":\"secret\"]\n\n",
    ] {
        let (text, end) = hear_events(&[&says("a"), wrong, &finishes("stop"), DONE]).await;
        let Err(ModelError::Malformed { detail }) = &end else {
            panic!("{wrong}: {end:?}")
        };
        assert!(text == "a" && !detail.contains("secr"), "{wrong}: {text}, {detail}");
    }
}

#[tokio::test]
async fn what_can_hide_no_words_is_skipped_unless_there_is_nothing_else() {
    for odd in [
        "data: keepalive\n\n",
        "data:\n\n",
        "event: ping\ndata: \n\n",
        "data: 3\n\n",
        "data: null\n\n",
        "data: {}\n\n",
        "data: {\n\n",
        "data: [[[[[[\n\n",
        "data: {\"type\": 'ping'}\n\n",
        "data: {\"choices\":\"odd\"}\n\n",
        "data: {\"choices\":[null, 7, []]}\n\n",
        "data: {\"choices\":[{\"delta\":[],\"finish_reason\":7}]}\n\n",
        "data: {\"choices\":[{\"index\":null,\"delta\":null,\"finish_reason\":false}]}\n\n",
        "data: {\"error\": {}, \"choices\": null}\n\n",
        "data: {\"error\": \"\"}\n\n",
        "data: {\"error\": {\"message\": null, \"code\": 0}}\n\n",
    ] {
        let heard = hear_events(&[odd, &says("a"), odd, &says("b"), odd, &finishes("stop"), odd, DONE]).await;
        assert_eq!(heard, ("ab".into(), Ok((Finish::Stop, None))), "{odd}");
    }
    for nothing in ["data: keepalive\n\n", "data: {\n\n", "data: {\"odd\": 1}\n\n"] {
        for end in ["", DONE] {
            let (_, end) = hear_events(&[nothing, nothing, end]).await;
            assert!(matches!(end, Err(ModelError::Malformed { .. })), "{nothing}: {end:?}");
        }
    }
}

#[tokio::test]
async fn halves_of_characters_are_joined_and_lone_ones_are_marked() {
    let half = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let stop = finishes("stop");
    for (halves, whole) in [
        (["Fine \\ud83d", "\\ude00 ok"], "Fine 😀 ok"),
        (["Fine \\uD83D", "\\uDE00 ok"], "Fine 😀 ok"),
        (["Fine \\ud83d ok", ""], "Fine \u{fffd} ok"),
        (["Fine \\ude00", "ok"], "Fine \u{fffd}ok"),
        (["Fine", "\\ud83d"], "Fine\u{fffd}"),
        (["\\ud83d\\ud83d", "\\ude00\\ude00"], "\u{fffd}😀\u{fffd}"),
    ] {
        let heard = hear_events(&[&half(halves[0]), ": ping\n\n", &half(halves[1]), &stop]).await;
        assert_eq!(heard, (whole.into(), Ok((Finish::Stop, None))), "{halves:?}");
    }
}

#[tokio::test]
async fn content_is_read_in_all_its_forms() {
    for (content, text, thought) in [
        (
            json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            "ab",
            None,
        ),
        (
            json!(["a", {"text": "b"}, null, {"type": "reference", "reference_ids": [1]}]),
            "ab",
            None,
        ),
        (json!({"type": "text", "text": "a"}), "a", None),
        (json!([{"type": "text", "text": {"value": "a"}}]), "a", None),
        (json!(7), "7", None),
        (
            json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]),
            "a",
            Some("hm"),
        ),
    ] {
        let event = json!({"choices": [{"index": 0, "delta": {"content": content}}]});
        let heard = ChatCompletion::default().read("", &event, &Asked::default()).unwrap();
        assert_eq!(
            (heard.text.as_str(), heard.thought.as_deref()),
            (text, thought),
            "{event}"
        );
    }
}

#[tokio::test]
async fn thoughts_are_told_once_under_whichever_name() {
    for (delta, thought) in [
        (json!({"reasoning_content": "hm", "content": null}), "hm"),
        (json!({"reasoning": "hm", "content": ""}), "hm"),
        (json!({"reasoning_content": "", "reasoning": "hm"}), "hm"),
        (
            json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
            "hm",
        ),
        (
            json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}),
            "hm",
        ),
        (
            json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "secret"}]}),
            "",
        ),
        (json!({"thinking": "hm"}), "hm"),
    ] {
        let event = json!({"choices": [{"index": 0, "delta": delta}]});
        let heard = ChatCompletion::default().read("", &event, &Asked::default()).unwrap();
        assert_eq!(
            (heard.text.as_str(), heard.thought.as_deref()),
            ("", Some(thought)),
            "{event}"
        );
    }
}

#[tokio::test]
async fn messages_in_place_of_deltas_are_said_once() {
    let message = |text: &str| chunk(json!({"message": {"content": text}, "finish_reason": null}));
    let stop = chunk(json!({"message": {"content": ""}, "finish_reason": "stop"}));
    let (a, b, ab) = (message("a "), message("b"), message("a b"));
    for events in [
        [&a, &b, &stop],
        [&a, &ab, &stop],
        [&says("a "), &says("b"), &stop],
        [&says("a b"), &ab, &stop],
        [&says("a "), &ab, &stop],
        [&ab, &stop, &stop],
    ] {
        let events: Vec<_> = events.into_iter().map(String::as_str).chain([DONE]).collect();
        assert_eq!(
            hear_events(&events).await,
            ("a b".into(), Ok((Finish::Stop, None))),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn a_limit_reached_without_words_is_told_with_its_cost() {
    let thinks = chunk(json!({"delta": {"reasoning_content": "hm", "content": null}}));
    let spent = Err(ModelError::NothingSaid { usage: Some(COUNTED) });
    for events in [
        [thinks.as_str(), &finishes("length"), &counts(), DONE],
        [&says("<think>hm"), &finishes("length"), &counts(), DONE],
        [&says(" \n"), &finishes("length"), &counts(), DONE],
    ] {
        assert_eq!(hear_events(&events).await.1, spent, "{events:?}");
    }
    let cut_thought = hear_events(&[&says("<think>hm"), &finishes("stop"), DONE]).await;
    assert_eq!(cut_thought, (String::new(), Err(ModelError::Truncated)));
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
            json!({"type": "invalid_request_error", "message": "odd"}),
            ModelError::Rejected {
                status: 400,
                detail: "invalid_request_error: odd".into(),
            },
        ),
    ] {
        let heard = hear_events(&[&says("a"), &error(said.clone()), DONE]).await;
        assert_eq!(heard, ("a".into(), Err(expected)), "{said}");
    }
}

#[tokio::test]
async fn an_error_is_read_in_all_its_shapes() {
    let rejected = |detail: &str| ModelError::Rejected {
        status: 400,
        detail: detail.into(),
    };
    let overloaded = || ModelError::Overloaded { retry_after: None };
    for (said, expected) in [
        (
            r#"data: {"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
            rejected("BadRequestError: 400: m"),
        ),
        (
            r#"data: {"object":"error","message":"CUDA out of memory","type":"InternalServerError","code":500}"#,
            overloaded(),
        ),
        (
            "event: error\ndata: {\"message\":\"upstream gone\",\"code\":502}",
            overloaded(),
        ),
        (
            "event: error\ndata: {\"message\":\"odd\",\"code\":\"400\"}",
            rejected("400: odd"),
        ),
        (
            r#"data: {"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#,
            rejected("invalid_request_error: m"),
        ),
        (r#"data: {"detail":"m","status_code":400}"#, rejected("m")),
        (
            r#"data: {"error_code":"BAD_REQUEST","message":"m"}"#,
            rejected("BAD_REQUEST: m"),
        ),
        (r#"data: {"error":true,"message":"m","code":400}"#, rejected("400: m")),
        (r#"{"error":{"message":"m","code":400}}"#, rejected("400: m")),
        (
            r#"data: {"error":{"message":"m","code":429,"metadata":{"retry_after_seconds":90}}}"#,
            ModelError::RateLimited {
                retry_after: Some(Duration::from_secs(90)),
            },
        ),
    ] {
        let heard = hear_events(&[&says("a"), said, "\n\n", &says("b"), DONE]).await;
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
async fn nothing_after_a_finish_reason_of_its_own_unmakes_the_answer() {
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
