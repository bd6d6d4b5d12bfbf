//! A model that refuses, breaks off or says nothing: always a clear end, always told, and nothing stuck.

use serde_json::json;
use tests::llmock::Llmock;
use tests::person::{Person, seqs, text};
use tests::stream::{deltas, ending, outline, text_of};
use tests::{Frame, Function, Gateway, Stack, script};

/// Sends through llmock alone: in this process, once, and impatiently.
async fn asking(stack: &Stack, llmock: &Llmock, changes: &[(&str, &str)]) -> (Gateway, Function) {
    let settings = llmock.settings();
    let mut settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.extend([
        ("REPLY_ATTEMPTS", "1"),
        ("MODEL_ATTEMPTS", "1"),
        ("MODEL_FIRST_BYTE_SECONDS", "1"),
        ("MODEL_SILENCE_SECONDS", "1"),
    ]);
    settings.extend(changes);
    let gateway = Gateway::start(stack).await;
    let function = gateway.function("send-message", &settings);
    (gateway, function)
}

/// The end of a failed answer: told as an event, as a message for people, and kept.
async fn assert_failed(anna: &Person, chat: &str, frames: &[Frame], reason: &str) {
    let end = ending(frames);
    assert_eq!(
        (end["state"].as_str(), end["reason"].as_str()),
        (Some("failed"), Some(reason)),
        "{frames:?}"
    );
    let told = &frames[frames.len() - 2];
    assert_eq!(told.event, "message.created");
    let message = &told.data["data"];
    assert_eq!(
        (message["role"].as_str(), message["type"].as_str()),
        (Some("system"), Some("ERROR"))
    );
    assert_eq!(message["metadata"]["reason"], reason);
    // Whoever is to wait for long is told until when, by both.
    assert_eq!(message["metadata"].get("retryAt"), end.get("retryAt"));
    assert_eq!(message["id"], end["messageId"]);
    let sentence = text(&message["content"]);
    assert!(
        sentence.starts_with("The assistant") && sentence.ends_with('.'),
        "{sentence}"
    );
    assert!(!sentence.contains(reason), "words for people: {sentence}");
    assert_eq!(anna.history(chat).await.last().unwrap(), message);
    let running = anna.get(&format!("/api/chat/{chat}")).await.with(200);
    assert!(running["chat"].get("reply").is_none(), "nothing is stuck: {running}");
}

#[tokio::test]
async fn every_fault_of_a_model_ends_in_a_message_and_the_next_question_is_answered() {
    let stack = Stack::running();
    let llmock = Llmock::start(&stack).await;
    let (_gateway, function) = asking(&stack, &llmock, &[]).await;
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;

    let fault = |kind: &str| json!({ "type": "stream_fault", "kind": kind, "after_chunks": 3, "stall_seconds": 30 });
    let fail = |status: u16| json!({ "type": "fail", "status": status });
    let mut questions = 0;
    for (behavior, reasons, has_words) in [
        (fail(429), &["model-rate-limited"][..], false),
        (
            json!({ "type": "fail", "status": 429, "retry_after": 3600 }),
            &["model-rate-limited"],
            false,
        ),
        (fail(503), &["model-overloaded"], false),
        (fail(500), &["model-overloaded"], false),
        (fail(401), &["model-refused-our-key"], false),
        (fail(400), &["model-rejected-the-request"], false),
        (fault("truncate"), &["model-cut-the-answer"], true),
        (
            fault("disconnect"),
            &["model-unreachable", "model-cut-the-answer"],
            true,
        ),
        (fault("malformed"), &["model-malformed-answer"], true),
        (fault("stall"), &["model-silent"], true),
        (
            json!({ "type": "slow_first_token", "seconds": 30 }),
            &["model-silent"],
            false,
        ),
        (
            json!({ "type": "reply", "text": "no", "finish_reason": "content_filter" }),
            &["blocked-by-the-model"],
            true,
        ),
        (json!({ "type": "reply", "text": "" }), &["model-empty-answer"], false),
    ] {
        let what = behavior.to_string();
        llmock.plan(json!([behavior])).await;
        questions += 1;
        let frames = function
            .ask(&anna, &chat, &format!("c-{questions}"), "one two three four five")
            .await
            .all()
            .await;
        assert_eq!(deltas(&frames).count() > 0, has_words, "{what}: {frames:?}");
        let reason = text(&ending(&frames)["reason"]);
        assert!(reasons.contains(&&*reason), "{what}: {reason}");
        assert_failed(&anna, &chat, &frames, &reason).await;

        llmock.plan(json!([])).await;
        questions += 1;
        let frames = function
            .ask(&anna, &chat, &format!("c-{questions}"), "and now?")
            .await
            .all()
            .await;
        assert_eq!(ending(&frames)["state"], "completed", "after {what}");
        let answer = &frames[frames.len() - 2].data["data"];
        assert_eq!(answer["content"], text_of(&frames));
        assert_eq!(answer["usage"]["model"], "gpt-4o-mini");
        assert!(answer["usage"]["inputTokens"].as_i64().unwrap() > 0, "{answer}");
    }
    assert_eq!(
        seqs(&anna.history(&chat).await),
        (1..=2 * questions).collect::<Vec<i64>>()
    );
    assert_eq!(
        anna.unread_total().await,
        1,
        "each question has read the answer before it"
    );
}

#[tokio::test]
async fn a_model_that_is_soon_well_again_is_asked_again_before_the_first_word() {
    let stack = Stack::running();
    let llmock = Llmock::start(&stack).await;
    let (_gateway, function) = asking(&stack, &llmock, &[("MODEL_ATTEMPTS", "3")]).await;
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    for (number, status) in [429, 503].into_iter().enumerate() {
        llmock.plan(json!([{ "type": "fail", "status": status }])).await;
        let before = llmock.requests().await;
        let frames = function
            .ask(&anna, &chat, &format!("c-{number}"), "hello")
            .await
            .all()
            .await;
        assert_eq!(ending(&frames)["state"], "completed");
        assert_eq!(
            outline(&frames),
            [
                "message.created",
                "reply.started",
                "reply.delta",
                "message.created",
                "reply.ended"
            ]
        );
        assert_eq!(llmock.requests().await - before, 2);
    }
}

#[tokio::test]
async fn an_answer_that_broke_off_is_begun_anew_by_the_worker() {
    let stack = Stack::running();
    let llmock = Llmock::start(&stack).await;
    let impatient = [("REPLY_ATTEMPTS", "3"), ("REPLY_RETRY_SECONDS", "1")];
    let (_gateway, function) = asking(&stack, &llmock, &impatient).await;
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    llmock
        .plan(json!([{ "type": "stream_fault", "kind": "truncate", "after_chunks": 3 }]))
        .await;

    let frames = function
        .ask(&anna, &chat, "c-1", "one two three four five")
        .await
        .all()
        .await;

    // The worker has the stack's own model, which repeats what it hears.
    assert_eq!(ending(&frames)["state"], "completed", "{frames:?}");
    let begun: Vec<_> = outline(&frames);
    assert!(
        begun.starts_with(&["message.created", "reply.started", "reply.delta"]),
        "{begun:?}"
    );
    assert!(begun.ends_with(&["message.created", "reply.ended"]), "{begun:?}");
    // A reader may miss the pieces of an attempt that is over in a moment, but never gets half of one and half of another.
    let pieces = text_of(&frames);
    let is_anew = frames.iter().filter(|frame| frame.event == "reply.started").count() == 2;
    assert!(
        !is_anew || "You said: one two three four five".starts_with(&pieces),
        "{pieces}"
    );
    let history = anna.history(&chat).await;
    assert_eq!(seqs(&history), [1, 2]);
    assert_eq!(history[1]["content"], "You said: one two three four five");
    let reply = text(&history[1]["id"]);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        2
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_every_time_is_given_up_after_three_attempts() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    // Slow enough that its half is stored before it breaks off.
    let question = script(&json!({ "words": 9, "delayMs": 80, "fail": "truncate", "failAfterWords": 6 }));
    let (streamed, later) = (anna.assistant_chat().await, anna.assistant_chat().await);
    let sent = anna.send(&later, "c-1", &question).await.with(201);

    let frames = anna.ask(&streamed, "c-1", &question).await.all().await;

    let attempts: Vec<_> = frames
        .iter()
        .filter(|frame| frame.event == "reply.started")
        .map(|frame| frame.data["data"]["attempt"].as_i64().unwrap())
        .collect();
    // A reader may miss the beginning of an attempt that is over in a moment.
    assert!(
        attempts.starts_with(&[1]) && attempts.is_sorted() && attempts.len() <= 3,
        "{attempts:?}"
    );
    assert!("word1 word2 word3 word4 word5 word6 ".starts_with(&text_of(&frames)));
    assert_failed(&anna, &streamed, &frames, "model-cut-the-answer").await;
    let reply = text(&ending(&frames)["messageId"]);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        3
    );

    let history = anna.history_of(&later, 2).await;
    assert_eq!(
        (&history[1]["id"], history[1]["type"].as_str()),
        (&sent["reply"]["id"], Some("ERROR"))
    );
    for (chat, question) in [(&streamed, "c-2"), (&later, "c-2")] {
        let frames = anna.ask(chat, question, "and now?").await.all().await;
        assert_eq!(ending(&frames)["state"], "completed");
        assert_eq!(text_of(&frames), "You said: and now?");
    }
}

#[tokio::test]
async fn a_fault_that_will_not_pass_is_not_tried_again() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    for (number, after) in [0, 2].into_iter().enumerate() {
        let question = script(&json!({ "words": 5, "fail": "blocked", "failAfterWords": after }));
        let frames = anna.ask(&chat, &format!("c-{number}"), &question).await.all().await;
        assert_failed(&anna, &chat, &frames, "blocked-by-the-model").await;
        let reply = text(&ending(&frames)["messageId"]);
        assert_eq!(
            stack
                .number("select attempt::bigint from replies where id = $1", &reply)
                .await,
            1
        );
    }
}
