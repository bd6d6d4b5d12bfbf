//! The main road: a chat, a message, an answer that comes word by word, and what is kept of it.

use serde_json::{Value, json};
use tests::person::{seqs, text};
use tests::stream::{deltas, ending, outline, text_of};
use tests::{Stack, eventually, script};
use uuid::Uuid;

#[tokio::test]
async fn an_answer_streams_is_kept_and_is_unread_until_marked() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = "Grüße 👋🏽 an alle 🌍: eins, zwei, drei — Ende.";

    let stream = anna
        .ask(&chat, "c-1", &script(&json!({ "text": said, "delayMs": 60 })))
        .await;
    assert_eq!(stream.status(), 200);
    let frames = stream.all().await;

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
    for frame in &frames {
        assert_eq!(frame.data["type"], frame.event);
        assert_eq!(frame.data["chatId"], chat);
    }
    let question = &frames[0].data;
    assert_eq!(
        (question["seq"].as_i64(), question["data"]["role"].as_str()),
        (Some(1), Some("user"))
    );
    assert_eq!(question["data"]["clientId"], "c-1");
    assert_eq!(question["data"]["senderId"], anna.id);
    assert_eq!(frames[1].data["data"]["attempt"], 1);

    // Word by word, each where the last one ended, and not all at once.
    assert_eq!(text_of(&frames), said);
    let reads: std::collections::BTreeSet<_> = deltas(&frames).map(|delta| delta.read).collect();
    assert!(reads.len() >= 4, "the answer came in {} pieces", reads.len());

    let answer = &frames[frames.len() - 2].data;
    assert_eq!(
        (answer["seq"].as_i64(), answer["data"]["role"].as_str()),
        (Some(2), Some("assistant"))
    );
    assert_eq!(answer["data"]["content"], said);
    assert_eq!(answer["data"]["usage"]["model"], "scripted");
    assert_eq!(answer["data"]["usage"]["outputTokens"], 10);
    assert!(answer["data"]["usage"]["inputTokens"].as_i64().unwrap() > 0);
    assert_eq!(answer["data"]["status"], "sent");
    let id = text(&answer["data"]["id"]);
    for frame in frames.iter().filter(|frame| frame.event.starts_with("reply.")) {
        assert_eq!(frame.data["data"]["messageId"], id);
    }
    assert_eq!(
        ending(&frames),
        &json!({ "messageId": id, "attempt": 1, "state": "completed" })
    );

    // The history holds what the events said, word for word.
    let history = anna.history(&chat).await;
    assert_eq!(history, [question["data"].clone(), answer["data"].clone()]);
    assert_eq!(seqs(&history), [1, 2]);

    let opened = anna.get(&format!("/api/chat/{chat}")).await.with(200);
    assert_eq!(opened["chat"]["lastSeq"], 2);
    assert_eq!(opened["chat"]["unreadCount"], 1);
    assert_eq!(opened["chat"]["readSeq"], 1);
    assert_eq!(opened["chat"]["lastMessage"], answer["data"]);
    assert_eq!(opened["messages"], json!(history));

    let unread = anna.get("/api/chat-messages").await.with(200);
    assert_eq!(
        (unread["total"].as_i64(), unread["hasMore"].as_bool()),
        (Some(1), Some(false))
    );
    let message = &unread["messages"][0];
    assert_eq!(
        (message["id"].as_str(), message["content"].as_str()),
        (Some(&*id), Some(said))
    );
    assert_eq!(
        (message["chatId"].as_str(), message["seq"].as_i64()),
        (Some(&*chat), Some(2))
    );
    assert_eq!(anna.unread_total().await, 1);

    // Only what was unread counts: not one's own, not what nobody has written.
    let ids = json!({ "messageIds": [question["data"]["id"], id, id, Uuid::now_v7()] });
    let marked = anna.post("/api/chat-messages/mark-read", &ids).await.with(200);
    assert_eq!(marked, json!({ "success": true, "markedCount": 1 }));
    let again = anna.post("/api/chat-messages/mark-read", &ids).await.with(200);
    assert_eq!(again["markedCount"], 0);
    let unread = anna.get("/api/chat-messages").await.with(200);
    assert_eq!(
        (unread["total"].as_i64(), unread["messages"].as_array().unwrap().len()),
        (Some(0), 0)
    );
    assert_eq!(anna.unread_total().await, 0);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_written_by_the_worker() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;

    let sent = anna.send(&chat, "c-1", "hello").await.with(201);

    assert_eq!(
        (sent["message"]["seq"].as_i64(), sent["message"]["content"].as_str()),
        (Some(1), Some("hello"))
    );
    assert_eq!(sent["reply"]["state"], "queued");
    assert!(sent.as_object().unwrap().contains_key("pusherSent"));
    let history = anna.history_of(&chat, 2).await;
    assert_eq!(history[0], sent["message"]);
    assert_eq!(history[1]["id"], sent["reply"]["id"]);
    assert_eq!(
        (history[1]["role"].as_str(), history[1]["content"].as_str()),
        (Some("assistant"), Some("You said: hello"))
    );
    let reply = text(&sent["reply"]["id"]);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        1
    );
    let jobs = "select count(*) from jobs where reply_id = $1";
    assert_eq!(stack.number(jobs, &reply).await, 0);
}

#[tokio::test]
async fn message_and_messages_are_one_route() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let body = json!({ "clientId": "c-1", "content": "hello" });
    let first = anna.post(&format!("/api/chat/{chat}/message"), &body).await.with(201);
    let again = anna.post(&format!("/api/chat/{chat}/messages"), &body).await.with(200);
    assert_eq!(again["message"], first["message"]);
}

#[tokio::test]
async fn asking_again_after_the_end_gives_the_same_answer_and_no_other() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let first = anna.ask(&chat, "c-1", "hello").await.all().await;
    let rows = stack.rows_of_chat(&chat).await;

    let again = anna.ask(&chat, "c-1", "hello").await.all().await;

    // The deltas alone are the whole text, also for who comes late.
    assert_eq!(outline(&again), outline(&first));
    assert_eq!(text_of(&again), text_of(&first));
    let told = |frames: &[tests::Frame], event: &str| -> Vec<Value> {
        frames
            .iter()
            .filter(|frame| frame.event == event)
            .map(|frame| frame.data.clone())
            .collect()
    };
    for event in ["message.created", "reply.ended"] {
        assert_eq!(told(&again, event), told(&first, event));
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
}

#[tokio::test]
async fn a_second_question_waits_for_the_first_answer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let slow = script(&json!({ "words": 30, "delayMs": 50 }));
    let mut first = anna.ask(&chat, "c-1", &slow).await;
    first.until_deltas(2).await;

    let second = anna.send(&chat, "c-2", "second").await.with(201);
    assert_eq!(second["reply"]["state"], "queued");
    let third = anna.ask(&chat, "c-3", "third").await;

    let answers = async { tokio::join!(first.all(), third.all()) };
    let (first, third) = stack.unswept(&chat, answers).await;
    assert_eq!(ending(&first)["state"], "completed");
    assert_eq!(ending(&third)["state"], "completed");
    assert_eq!(third[third.len() - 2].data["data"]["content"], "You said: third");
    let history = anna.history_of(&chat, 6).await;
    assert_eq!(seqs(&history), [1, 2, 3, 4, 5, 6]);
    let contents: Vec<_> = history[3..].iter().map(|message| text(&message["content"])).collect();
    let slow_answer: String = (1..=30).map(|word| format!("word{word} ")).collect();
    assert_eq!(contents, [&*slow_answer, "You said: second", "You said: third"]);
}

#[tokio::test]
async fn a_reader_who_leaves_does_not_stop_the_answer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 40, "delayMs": 50 })))
        .await;
    stream.until_deltas(2).await;
    drop(stream);

    let history = anna.history_of(&chat, 2).await;
    assert_eq!(
        text(&history[1]["content"]),
        (1..=40).map(|word| format!("word{word} ")).collect::<String>()
    );
    let reply = text(&history[1]["id"]);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        1
    );
}

#[tokio::test]
async fn while_it_is_written_an_answer_is_shown_with_its_text_so_far() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 120, "delayMs": 50 })))
        .await;
    let begun = stream.until_deltas(3).await;

    let reply = eventually("text of a running reply", async || {
        let opened = anna.get(&format!("/api/chat/{chat}")).await.with(200);
        assert_eq!(
            opened["messages"].as_array().unwrap().len(),
            1,
            "history never holds half a message"
        );
        Some(opened["chat"]["reply"].clone())
            .filter(|reply| reply["text"].as_str().is_some_and(|text| !text.is_empty()))
    })
    .await;
    assert_eq!(
        (reply["state"].as_str(), reply["attempt"].as_i64()),
        (Some("streaming"), Some(1))
    );
    assert_eq!(reply["messageId"], begun[1].data["data"]["messageId"]);

    // Another device comes in on the same question: it gets what was written before, and then what comes.
    let said = script(&json!({ "words": 120, "delayMs": 50 }));
    let other = anna.ask(&chat, "c-1", &said).await.all().await;
    let mut first = begun;
    while let Some(frame) = stream.next().await {
        first.push(frame);
    }
    assert_eq!(outline(&other), outline(&first));
    assert!(
        text_of(&first).starts_with(&text_of(&other)),
        "its last piece may come with the whole message"
    );
    assert_eq!(other[other.len() - 2].data, first[first.len() - 2].data);
    assert_eq!(ending(&other), ending(&first));
    assert!(text_of(&first).starts_with(reply["text"].as_str().unwrap()));
    let opened = anna.get(&format!("/api/chat/{chat}")).await.with(200);
    assert!(opened["chat"].get("reply").is_none(), "{opened}");
}

#[tokio::test]
async fn while_nothing_is_said_the_stream_is_kept_open() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 1, "delayMs": 16_500 })))
        .await;
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await {
        frames.push(frame);
    }
    assert!(stream.comments >= 1, "not a word for fifteen seconds");
    assert_eq!(ending(&frames)["state"], "completed");
}

#[tokio::test]
async fn deleting_a_chat_ends_the_answer_that_streams_there() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 200, "delayMs": 50 })))
        .await;
    stream.until_deltas(2).await;
    anna.delete(&format!("/api/chat/{chat}")).await.with(204);

    let frames = stream.all().await;

    // However it came about, a reader hears of the end of the reply, and of nothing after it.
    let last = frames.last().unwrap();
    assert_eq!(last.event, "reply.ended");
    assert_eq!(last.data["data"]["state"], "stopped");
    assert!(deltas(&frames).count() < 190, "the model was left to talk to nobody");
    let left = stack.rows_of_chat(&chat).await;
    assert!(left.iter().all(|row| row.starts_with("inbox ")), "{left:?}");
}
