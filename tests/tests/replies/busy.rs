//! A message that comes while another is answered: `REPLY_WHEN_BUSY`.

use serde_json::json;
use tests::person::{seqs, text};
use tests::stream::{answer_in, ending, text_of};
use tests::{Frame, Function, Gateway, Person, Stack, Stream, script};

/// Sends by the stack until two words are said; then by a function that was told what to do.
struct Busy {
    stack: Stack,
    anna: Person,
    chat: String,
    running: Stream,
    seen: Vec<Frame>,
    sender: Function,
    _gateway: Gateway,
}

impl Busy {
    async fn with(when_busy: &str) -> Self {
        let stack = Stack::running();
        let gateway = Gateway::start(&stack).await;
        let sender = gateway.function("send-message", &[("REPLY_WHEN_BUSY", when_busy)]);
        let anna = stack.person("anna");
        let chat = anna.assistant_chat().await;
        let mut running = anna
            .ask(&chat, "c-1", &script(&json!({ "words": 60, "delayMs": 50 })))
            .await;
        let seen = running.until_deltas(2).await;
        Self {
            stack,
            anna,
            chat,
            running,
            seen,
            sender,
            _gateway: gateway,
        }
    }

    async fn read_to_the_end(&mut self) {
        while let Some(frame) = self.running.next().await {
            self.seen.push(frame);
        }
    }
}

#[tokio::test]
async fn queue_answers_in_the_order_of_the_questions() {
    let mut busy = Busy::with("queue").await;
    let mut replies = Vec::new();
    for number in 2..=5 {
        let said = format!("question {number}");
        let sent = busy
            .sender
            .send(&busy.anna, &busy.chat, &format!("c-{number}"), &said)
            .await
            .with(201);
        assert_eq!(sent["reply"]["state"], "queued");
        replies.push(text(&sent["reply"]["id"]));
    }
    let (stack, chat) = (busy.stack.clone(), busy.chat.clone());
    stack.unswept(&chat, busy.read_to_the_end()).await;
    assert_eq!(text_of(&busy.seen).split_whitespace().count(), 60);
    let history = stack.unswept(&chat, busy.anna.history_of(&chat, 10)).await;
    assert_eq!(seqs(&history), (1..=10).collect::<Vec<_>>());
    for (number, (answer, reply)) in (2..).zip(history[6..].iter().zip(&replies)) {
        assert_eq!(answer["id"], reply.as_str());
        assert_eq!(answer["content"], format!("You said: question {number}"));
    }
    stack.settled(&busy.anna).await;
}

#[tokio::test]
async fn reject_refuses_and_stores_nothing_until_the_answer_is_there() {
    let mut busy = Busy::with("reject").await;
    let replies = "select count(*) from replies where chat_id = $1";
    for _ in 0..2 {
        let refused = busy
            .sender
            .send(&busy.anna, &busy.chat, "c-2", "and now?")
            .await
            .problem(409, "reply-running");
        assert_eq!(refused["retryable"], true);
    }
    let streamed = busy.sender.ask(&busy.anna, &busy.chat, "c-3", "and now?").await;
    streamed.answer().await.problem(409, "reply-running");
    assert_eq!(busy.anna.history(&busy.chat).await.len(), 1);
    assert_eq!(busy.stack.number(replies, &busy.chat).await, 1);
    // The question that is being answered is no second one.
    let body = script(&json!({ "words": 60, "delayMs": 50 }));
    let replay = busy.sender.send(&busy.anna, &busy.chat, "c-1", &body).await.with(200);
    assert_eq!(replay["reply"]["state"], "streaming");

    busy.read_to_the_end().await;
    assert_eq!(ending(&busy.seen)["state"], "completed");
    assert_eq!(busy.stack.ledger(&busy.anna).await.holds, 0);
    let frames = busy
        .sender
        .ask(&busy.anna, &busy.chat, "c-2", "and now?")
        .await
        .all()
        .await;
    assert_eq!(text_of(&frames), "You said: and now?");
    assert_eq!(seqs(&busy.anna.history(&busy.chat).await), [1, 2, 3, 4]);
    busy.stack.settled(&busy.anna).await;
}

#[tokio::test]
async fn replace_stops_what_is_written_and_what_waits_and_answers_the_last() {
    let mut busy = Busy::with("replace").await;
    // One that waits, for the stack lets it.
    let waiting = busy.anna.send(&busy.chat, "c-2", "never mind").await.with(201);
    let waiting = text(&waiting["reply"]["id"]);

    let last = busy
        .sender
        .send(&busy.anna, &busy.chat, "c-3", "rather this")
        .await
        .with(201);

    let last = text(&last["reply"]["id"]);
    let (stack, chat) = (busy.stack.clone(), busy.chat.clone());
    busy.read_to_the_end().await;
    assert_eq!(ending(&busy.seen)["state"], "stopped");
    let part = answer_in(&busy.seen).unwrap().clone();
    let said: String = (1..=60).map(|word| format!("word{word} ")).collect();
    let content = text(&part["content"]);
    assert!(
        !content.is_empty() && content.len() < said.len() && said.starts_with(&content),
        "{content}"
    );
    let history = stack.unswept(&chat, busy.anna.history_of(&chat, 5)).await;
    assert_eq!(seqs(&history), [1, 2, 3, 4, 5]);
    assert_eq!(history[3], part);
    assert_eq!(
        (&history[4]["id"], &history[4]["content"]),
        (&json!(last), &json!("You said: rather this"))
    );
    let stopped = "select count(*) from replies where id = $1 and state = 'stopped'";
    assert_eq!(stack.number(stopped, &waiting).await, 1);
    assert!(history.iter().all(|message| message["id"] != waiting.as_str()));
    stack.settled(&busy.anna).await;

    // And streamed: the reader of the new one needs nobody else.
    let mut slow = busy
        .anna
        .ask(&chat, "c-4", &script(&json!({ "words": 60, "delayMs": 50 })))
        .await;
    slow.until_deltas(2).await;
    let frames = stack
        .unswept(&chat, async {
            busy.sender.ask(&busy.anna, &chat, "c-5", "or that").await.all().await
        })
        .await;
    assert_eq!(ending(&frames)["state"], "completed");
    assert_eq!(answer_in(&frames).unwrap()["content"], "You said: or that");
    assert_eq!(ending(&slow.all().await)["state"], "stopped");
    stack.settled(&busy.anna).await;
}
