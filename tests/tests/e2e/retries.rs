//! A retry is never a second message, and never a second answer.

use serde_json::json;
use tests::person::text;
use tests::stream::{ending, text_of};
use tests::{Stack, at_once, script};

#[tokio::test]
async fn fifty_sends_of_one_client_id_at_once_are_one_message() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;

    let answers = at_once(50, |_| {
        let (anna, chat) = (anna.clone(), chat.clone());
        async move { anna.send(&chat, "c-1", "hello").await }
    })
    .await;

    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[..49], [200; 49]);
    assert_eq!(statuses[49], 201);
    for answer in &answers {
        assert_eq!(answer.body["message"], answers[0].body["message"]);
        assert_eq!(answer.body["reply"]["id"], answers[0].body["reply"]["id"]);
        let mut names: Vec<_> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["message", "pusherSent", "reply"]);
    }
    assert_eq!(answers[0].body["message"]["seq"], 1);
    let history = anna.history_of(&chat, 2).await;
    assert_eq!(history.len(), 2);
    assert_eq!(history[0], answers[0].body["message"]);
    assert_eq!(
        stack
            .number("select count(*) from replies where chat_id = $1", &chat)
            .await,
        1
    );
}

#[tokio::test]
async fn ten_streams_of_one_client_id_at_once_tell_one_answer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let question = script(&json!({ "words": 12, "delayMs": 30 }));

    let streams = at_once(10, |_| {
        let (anna, chat, question) = (anna.clone(), chat.clone(), question.clone());
        async move { anna.ask(&chat, "c-1", &question).await.all().await }
    })
    .await;

    let whole: String = (1..=12).map(|word| format!("word{word} ")).collect();
    for frames in &streams {
        assert_eq!(ending(frames), ending(&streams[0]));
        assert_eq!(ending(frames)["state"], "completed");
        let told: Vec<_> = frames.iter().filter(|frame| frame.event == "message.created").collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[1].data["data"]["content"], whole);
        assert_eq!(told[1].data, streams[0][streams[0].len() - 2].data);
        // Who came late has fewer pieces, or none, and the whole message all the same.
        assert!(whole.starts_with(&text_of(frames)));
    }
    assert!(streams.iter().any(|frames| text_of(frames) == whole));
    let history = anna.history(&chat).await;
    assert_eq!(history.len(), 2);
    assert_eq!(text(&history[1]["content"]), whole);
}
