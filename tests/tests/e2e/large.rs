//! Answers stay under what Lambda hands on, whatever people have said.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};

/// What Lambda takes of a function at most: the answer as a string in JSON.
const LAMBDA_BYTES: usize = 6_291_556;

/// One byte each, and four in the answer to Lambda: the worst that is taken.
fn quotes() -> String {
    "\"".repeat(32 * 1024)
}

/// `cargo lambda watch` loses an answer of megabytes now and then, which its function has given: it is asked for again.
async fn got(person: &Person, path: &str) -> Answer {
    for _ in 1..4 {
        let request = person.request(Method::GET, path).timeout(Duration::from_secs(10));
        if let Ok(answer) = request.send().await {
            return Answer::of(answer).await;
        }
    }
    person.get(path).await
}

#[tokio::test]
async fn sixty_messages_of_quotes_are_read_page_by_page() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    ben.get("/api/me").await.with(200);
    let body = json!({ "kind": "direct", "members": [ben.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    for number in 1..=60 {
        ben.send(&chat, &number.to_string(), &quotes()).await.with(201);
    }
    let of_lambda = |body: &Value| json!({ "body": body.to_string() }).to_string().len();
    let mut most = 0;
    let mut read = async |path: &str| {
        let body = got(&anna, path).await.with(200);
        most = most.max(of_lambda(&body));
        body
    };

    let opened = read(&format!("/api/chat/{chat}")).await;
    assert_eq!(opened["hasMore"], true);
    let mut seqs: Vec<_> = opened["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["seq"].as_i64().unwrap())
        .collect();
    while seqs[0] > 1 {
        let page = read(&format!("/api/chat/{chat}/messages?limit=100&before={}", seqs[0])).await;
        let older = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["seq"].as_i64().unwrap());
        seqs.splice(0..0, older);
        assert_eq!(page["hasMore"], seqs[0] > 1);
    }
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());

    // Whoever polls gets on: what was read makes room for the rest.
    let (mut seen, mut has_more) = (0, true);
    while has_more {
        let page = read("/api/chat-messages?limit=100").await;
        let ids: Vec<_> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["id"])
            .collect();
        assert_eq!(page["total"], 60 - seen);
        seen += ids.len();
        has_more = page["hasMore"].as_bool().unwrap();
        anna.post("/api/chat-messages/mark-read", &json!({ "messageIds": ids }))
            .await
            .with(200);
    }
    assert_eq!(seen, 60);
    println!("60 messages of 32,768 quotes: the largest answer to Lambda has {most} bytes");
    assert!(most < LAMBDA_BYTES, "{most}");
}
