//! A chat is nobody else's business: not its content, not its existence.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack, script};
use uuid::Uuid;

const MANIFEST: &str = include_str!("../../../Cargo.toml");

/// Every route below `/api/chat/{chatId}`, with a body that would be good if the chat were one's own.
fn routes() -> Vec<(Method, &'static str, Value)> {
    let message = json!({ "clientId": "c-9", "content": "let me in" });
    vec![
        (Method::GET, "/api/chat/{chatId}", Value::Null),
        (Method::DELETE, "/api/chat/{chatId}", Value::Null),
        (Method::GET, "/api/chat/{chatId}/messages", Value::Null),
        (Method::POST, "/api/chat/{chatId}/messages", message.clone()),
        (Method::POST, "/api/chat/{chatId}/message", message),
        (
            Method::PATCH,
            "/api/chat/{chatId}/messages/{messageId}",
            json!({ "content": "forged" }),
        ),
        (Method::DELETE, "/api/chat/{chatId}/messages/{messageId}", Value::Null),
        (Method::POST, "/api/chat/{chatId}/typing", json!({ "isTyping": true })),
    ]
}

/// What the gateway routes: `"/path" = [{ method = "GET", function = "…" }, …]`.
fn routed() -> BTreeSet<(String, String)> {
    let lines = MANIFEST
        .lines()
        .skip_while(|line| !line.starts_with("[workspace.metadata.lambda.watch.router]"))
        .skip(1);
    let routes = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ["));
    let methods = |functions: &str| -> Vec<String> {
        functions
            .split("method = \"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    routes
        .map(|(path, functions)| (path.trim_matches('"'), methods(functions)))
        .filter(|(path, _)| path.contains("{chatId}"))
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (method, path.to_owned())))
        .collect()
}

#[test]
fn every_route_of_a_chat_is_tried_by_strangers() {
    let tried = routes()
        .into_iter()
        .map(|(method, path, _)| (method.to_string(), path.to_owned()))
        .collect();
    let untried: Vec<_> = routed().difference(&tried).cloned().collect();
    assert!(untried.is_empty(), "add to `routes` above: {untried:?}");
}

async fn call(person: &Person, method: &Method, path: &str, message: &str, body: &Value, accept: &str) -> Answer {
    let path = path.replace("{messageId}", message);
    let mut request = person.request(method.clone(), &path).header("accept", accept);
    if !body.is_null() {
        request = request.json(body);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_stranger_gets_404_on_everything_and_changes_nothing() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    // Known to the house, and not to this chat.
    ben.assistant_chat().await;
    anna.ask(&chat, "c-1", "secret").await.all().await;
    let reply = anna.send(&chat, "c-2", &script(&json!({ "words": 1 }))).await.with(201);
    anna.history_of(&chat, 4).await;
    let message = text(&reply["message"]["id"]);
    let rows = stack.rows_of_chat(&chat).await;

    for (method, path, body) in routes() {
        for accept in ["application/json", "text/event-stream"] {
            let foreign = call(&ben, &method, &path.replace("{chatId}", &chat), &message, &body, accept).await;
            let nowhere = path.replace("{chatId}", &Uuid::now_v7().to_string());
            let missing = call(&ben, &method, &nowhere, &message, &body, accept).await;
            let (mut foreign, mut missing) = (foreign.problem(404, "not-found"), missing.problem(404, "not-found"));
            // Nobody can tell a foreign chat from one that does not exist.
            foreign["requestId"].take();
            missing["requestId"].take();
            assert_eq!(foreign, missing, "{method} {path}");
            assert_eq!(stack.rows_of_chat(&chat).await, rows, "{method} {path}");
        }
    }

    let ids: Vec<_> = anna
        .history(&chat)
        .await
        .iter()
        .map(|message| message["id"].clone())
        .collect();
    let marked = ben
        .post("/api/chat-messages/mark-read", &json!({ "messageIds": ids }))
        .await
        .with(200);
    assert_eq!(marked, json!({ "success": true, "markedCount": 0 }));
    assert_eq!(ben.get("/api/chat-messages").await.with(200)["total"], 0);
    assert_eq!(ben.get("/api/chat").await.with(200)["total"], 1);
    assert_eq!(ben.unread_total().await, 0);
    assert_eq!(stack.rows_of_chat(&chat).await, rows);

    // Replying to a message of a chat that one cannot see is replying to nothing.
    let bens = ben.assistant_chat().await;
    let body = json!({ "clientId": "c-1", "content": "what did she say?", "replyTo": message });
    let refusal = ben
        .post(&format!("/api/chat/{bens}/messages"), &body)
        .await
        .problem(422, "invalid-request");
    assert_eq!(refusal["errors"][0]["pointer"], "/replyTo");
}
