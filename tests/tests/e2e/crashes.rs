//! A function dies in the middle of an answer.

use serde_json::json;
use tests::person::{seqs, text};
use tests::stream::{ending, outline, text_of};
use tests::{Frame, Function, Gateway, Stack, eventually, script};

/// So many that there is time for all that happens while they come, on a busy machine, too.
const WORDS: u64 = 120;

/// A function whose lease is short, so that it is soon known to be dead.
async fn mortal(stack: &Stack) -> (Gateway, Function) {
    let gateway = Gateway::start(stack).await;
    let function = gateway.function("send-message", &[("REPLY_LEASE_SECONDS", "2")]);
    (gateway, function)
}

fn said(words: u64) -> String {
    (1..=words).map(|word| format!("word{word} ")).collect()
}

#[tokio::test]
async fn an_answer_whose_function_was_killed_is_written_whole_by_the_worker() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let (_gateway, function) = mortal(&stack).await;

    let question = script(&json!({ "words": WORDS, "delayMs": 50 }));
    let mut stream = function.ask(&anna, &chat, "c-1", &question).await;
    let seen = stream.until_deltas(10).await;
    let reply = text(&seen[1].data["data"]["messageId"]);
    // Some of it is stored, so that there is something that could be mixed up.
    eventually("partial text", async || {
        let parts = "select count(*) from reply_parts where reply_id = $1 and attempt = 1";
        (stack.number(parts, &reply).await > 0).then_some(())
    })
    .await;
    // Another device watches through the stack's own function.
    let mut watching = anna.ask(&chat, "c-1", &question).await;
    let mut watched = watching.until_deltas(1).await;
    function.kill();

    // The broken stream does not look like a whole one.
    let mut rest = Vec::new();
    while let Some(frame) = stream.next().await {
        rest.push(frame);
    }
    assert!(
        rest.iter().all(|frame: &Frame| frame.event == "reply.delta"),
        "{rest:?}"
    );

    let history = stack.unswept(&chat, anna.history_of(&chat, 2)).await;
    assert_eq!(seqs(&history), [1, 2]);
    assert_eq!(
        (text(&history[1]["content"]), text(&history[1]["id"])),
        (said(WORDS), reply.clone())
    );
    assert_eq!(history[1]["role"], "assistant");
    for (sql, number) in [
        (
            "select attempt::bigint from replies where id = $1 and state = 'completed'",
            2,
        ),
        ("select count(*) from reply_parts where reply_id = $1", 0),
        ("select count(*) from jobs where reply_id = $1", 0),
    ] {
        assert_eq!(stack.number(sql, &reply).await, number, "{sql}");
    }

    // Who watched was told that it begins anew, and then of all of it.
    while let Some(frame) = watching.next().await {
        watched.push(frame);
    }
    assert_eq!(
        outline(&watched),
        [
            "message.created",
            "reply.started",
            "reply.delta",
            "reply.started",
            "reply.delta",
            "message.created",
            "reply.ended"
        ]
    );
    let attempts: Vec<_> = watched
        .iter()
        .filter(|frame| frame.event == "reply.started")
        .map(|frame| frame.data["data"]["attempt"].as_i64())
        .collect();
    assert_eq!(attempts, [Some(1), Some(2)]);
    assert!(
        said(WORDS).starts_with(&text_of(&watched)),
        "its last piece may come with the whole message"
    );
    assert_eq!(watched[watched.len() - 2].data["data"], history[1]);
    assert_eq!(
        ending(&watched),
        &json!({ "messageId": reply, "attempt": 2, "state": "completed" })
    );

    // And asking again is no new question.
    let again = anna.ask(&chat, "c-1", &question).await.all().await;
    assert_eq!(ending(&again)["state"], "completed");
    assert_eq!(anna.history(&chat).await, history);
}

#[tokio::test]
async fn a_question_that_waited_for_a_dead_answer_is_answered_after_it() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let (_gateway, function) = mortal(&stack).await;
    let mut stream = function
        .ask(&anna, &chat, "c-1", &script(&json!({ "words": 20, "delayMs": 100 })))
        .await;
    stream.until_deltas(2).await;
    let second = anna.send(&chat, "c-2", "second").await.with(201);
    assert_eq!(second["reply"]["state"], "queued");
    function.kill();

    let history = stack.unswept(&chat, anna.history_of(&chat, 4)).await;
    assert_eq!(seqs(&history), [1, 2, 3, 4]);
    assert_eq!(history[3]["id"], second["reply"]["id"]);
    assert_eq!(history[3]["content"], "You said: second");
}

#[tokio::test]
async fn a_long_answer_keeps_its_lease() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let (_gateway, function) = mortal(&stack).await;
    // Three times as long as the lease, and the worker is woken when the first would be over.
    let question = script(&json!({ "words": 60, "delayMs": 100 }));
    let frames = function.ask(&anna, &chat, "c-1", &question).await.all().await;
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
    assert_eq!(text_of(&frames), said(60));
    let reply = text(&ending(&frames)["messageId"]);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        1
    );
    assert_eq!(anna.history(&chat).await.len(), 2);
}
