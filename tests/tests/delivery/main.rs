//! Delivery from outside: the same events by Pusher, event stream and polling, through the clients that frontends use
//! (pusher-js and eventsource, in Node) and through ones that are cut, misled and starved on purpose.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ai_sdk;
mod cuts;
mod direct;
mod losses;
mod node;
mod open_streams;
mod outages;
mod polling;
mod pusher;
mod refusals;
mod removal;
mod stream;
mod webhook;

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};

/// Two people who have met and their chat.
struct Pair {
    anna: Person,
    ben: Person,
    chat: String,
}

impl Pair {
    async fn meet(stack: &Stack) -> Self {
        let (anna, ben) = (stack.person("anna"), stack.person("ben"));
        known(&ben).await;
        let chat = direct_chat(&anna, &ben).await;
        Self { anna, ben, chat }
    }
}

/// People are known from their first request.
async fn known(person: &Person) {
    person.get("/api/me").await.with(200);
}

async fn direct_chat(me: &Person, other: &Person) -> String {
    let body = json!({ "kind": "direct", "members": [other.id] });
    text(&me.post("/api/chat", &body).await.with(201)["chat"]["id"])
}

/// Sends a message: as it was stored.
async fn say(person: &Person, chat: &str, content: &str) -> Value {
    let client_id = uuid::Uuid::now_v7().to_string();
    person.send(chat, &client_id, content).await.with(201)["message"].clone()
}

async fn edit(person: &Person, message: &Value, content: &str) -> Answer {
    let request = person.request(Method::PATCH, &path_of(message));
    Answer::of(request.json(&json!({ "content": content })).send().await.unwrap()).await
}

async fn delete(person: &Person, message: &Value) -> Answer {
    person.delete(&path_of(message)).await
}

fn path_of(message: &Value) -> String {
    format!(
        "/api/chat/{}/messages/{}",
        text(&message["chatId"]),
        text(&message["id"])
    )
}

async fn mark_read(person: &Person, messages: &[&Value]) -> Value {
    let ids: Vec<_> = messages.iter().map(|message| &message["id"]).collect();
    person
        .post("/api/chat-messages/mark-read", &json!({ "messageIds": ids }))
        .await
        .with(200)
}

/// The whole history of a chat, however long.
async fn whole_history(person: &Person, chat: &str) -> Vec<Value> {
    let mut history = Vec::new();
    loop {
        let after = history.last().map_or(0, |last: &Value| last["seq"].as_i64().unwrap());
        let page = person
            .get(&format!("/api/chat/{chat}/messages?after={after}&limit=100"))
            .await
            .with(200);
        history.extend(page["messages"].as_array().unwrap().iter().cloned());
        if page["hasMore"] == false {
            return history;
        }
    }
}
