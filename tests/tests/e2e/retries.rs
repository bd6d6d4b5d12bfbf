//! A retry is never a second message, and never a second answer.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::person::text;
use tests::stream::{ending, text_of};
use tests::{Stack, Stream, at_once, script};

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

#[tokio::test]
async fn fifty_creations_of_one_client_id_at_once_are_one_chat() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    ben.get("/api/me").await.with(200);
    for body in [
        json!({ "clientId": "c-1", "kind": "assistant", "title": "Ask" }),
        json!({ "clientId": "c-2", "kind": "channel", "title": "Team", "members": [ben.id] }),
        json!({ "clientId": "c-3", "kind": "direct", "members": [ben.id] }),
    ] {
        let answers = at_once(50, |_| {
            let (anna, body) = (anna.clone(), body.clone());
            async move { anna.post("/api/chat", &body).await }
        })
        .await;
        let new = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::CREATED)
            .count();
        assert_eq!(new, 1, "{body}");
        for answer in &answers {
            assert!(answer.status.is_success(), "{}", answer.body);
            assert_eq!(answer.body["chat"]["id"], answers[0].body["chat"]["id"]);
        }
    }
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 3);
}

#[tokio::test]
async fn a_chats_key_outlives_its_title_and_goes_with_the_chat() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let body = json!({ "clientId": "c-1", "kind": "channel", "title": "Team" });
    let open = async |body: &Value| anna.post("/api/chat", body).await;
    let chat = text(&open(&body).await.with(201)["chat"]["id"]);
    let request = anna.request(reqwest::Method::PATCH, &format!("/api/chat/{chat}"));
    assert!(
        request
            .json(&json!({ "title": "Crew" }))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let again = open(&body).await.with(200);
    assert_eq!(
        (&again["chat"]["id"], &again["chat"]["title"]),
        (&json!(chat), &json!("Crew"))
    );
    for other in [
        json!({ "clientId": "c-1", "kind": "channel", "title": "Crew" }),
        json!({ "clientId": "c-1", "kind": "assistant", "title": "Team" }),
    ] {
        let refused = open(&other).await.problem(422, "idempotency-key-reused");
        assert_eq!(refused["errors"][0]["pointer"], "/clientId");
        assert_eq!(refused["retryable"], false);
    }
    anna.delete(&format!("/api/chat/{chat}")).await;
    assert_ne!(open(&body).await.with(201)["chat"]["id"], json!(chat));
}

#[tokio::test]
async fn a_client_id_with_other_content_is_refused_by_whichever_way_it_comes() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    let of_the_sdk = |words: &str| {
        let earlier = json!({ "id": "m-0", "role": "assistant", "parts": [{ "type": "text", "text": words }] });
        let newest = json!({ "id": "m-1", "role": "user", "parts": [{ "type": "text", "text": words }] });
        json!({ "id": chat, "trigger": "submit-message", "messages": [earlier, newest] })
    };
    let sdk = format!("{path}?format=ui-message-stream");
    anna.send(&chat, "m-1", "hello").await.with(201);
    anna.history_of(&chat, 2).await;
    let rows = stack.rows_of_chat(&chat).await;

    anna.send(&chat, "m-1", "hallo")
        .await
        .problem(422, "idempotency-key-reused");
    let streamed = anna
        .request(reqwest::Method::POST, &path)
        .header("accept", "text/event-stream");
    let body = json!({ "clientId": "m-1", "content": "hallo" });
    let refused = tests::Answer::of(streamed.json(&body).send().await.unwrap()).await;
    refused.problem(422, "idempotency-key-reused");
    // Of the SDK's body the message counts, not the history around it; and it is told where the SDK has the key.
    let refused = anna
        .post(&sdk, &of_the_sdk("hallo"))
        .await
        .problem(422, "idempotency-key-reused");
    assert_eq!(refused["errors"][0]["pointer"], "/messages/1/id");
    assert_eq!(stack.rows_of_chat(&chat).await, rows);

    let again = anna.send(&chat, "m-1", "hello").await.with(200);
    assert_eq!(again["message"]["content"], "hello");
    let mut again: Stream = anna.ask(&chat, "m-1", "hello").await;
    assert_eq!(again.next().await.unwrap().data["data"]["content"], "hello");
    let request = anna.request(reqwest::Method::POST, &sdk).json(&of_the_sdk("hello"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
}

#[tokio::test]
async fn a_late_retry_of_an_earlier_regeneration_is_not_written_and_not_billed() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/regenerate");
    anna.ask(&chat, "c-1", "hello").await.all().await;
    for key in ["r-1", "r-2"] {
        anna.post_for_events(&path, &json!({ "clientId": key }))
            .await
            .all()
            .await;
    }
    let used = anna.get("/api/usage").await.with(200)["used"].clone();
    for key in ["r-1", "r-2", "r-1"] {
        let heard = anna.post(&path, &json!({ "clientId": key })).await.with(200);
        assert_eq!(heard["reply"]["state"], "completed");
        anna.post_for_events(&path, &json!({ "clientId": key }))
            .await
            .all()
            .await;
    }
    assert_eq!(anna.get("/api/usage").await.with(200)["used"], used);
    assert_eq!(anna.history(&chat).await[1]["version"], 3);
    // Of an answer that is not the one which it was for.
    anna.ask(&chat, "c-2", "and?").await.all().await;
    let other = json!({ "clientId": "r-1", "messageId": anna.history(&chat).await[3]["id"] });
    anna.post(&path, &other).await.problem(422, "idempotency-key-reused");
}
