//! People among themselves, over HTTP: channels and direct chats, who may do what, who sees what, and a long script whose
//! end a simple model knows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blocks;
mod channels;
mod erasure;
mod keeping;
mod mentions;
mod model;
mod moderation;
mod ordering;
mod presence;
mod reactions;
mod reading;
mod script;
mod search;
mod unknown;
mod versions;

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack, Stream};

/// People who have signed in.
async fn people<const N: usize>(stack: &Stack, names: [&str; N]) -> [Person; N] {
    let people = names.map(|name| stack.person(name));
    for person in &people {
        person.get("/api/me").await.with(200);
    }
    people
}

async fn channel(owner: &Person, others: &[&Person]) -> String {
    let members: Vec<_> = others.iter().map(|person| &person.id).collect();
    let body = json!({ "kind": "channel", "title": "Harbour", "members": members });
    text(&owner.post("/api/chat", &body).await.with(201)["chat"]["id"])
}

async fn direct(me: &Person, other: &Person) -> String {
    let body = json!({ "kind": "direct", "members": [other.id] });
    text(&me.post("/api/chat", &body).await.with(201)["chat"]["id"])
}

async fn patch(person: &Person, path: &str, body: &Value) -> Answer {
    Answer::of(person.request(Method::PATCH, path).json(body).send().await.unwrap()).await
}

async fn add(by: &Person, chat: &str, person: &Person) -> Answer {
    let body = json!({ "members": [person.id] });
    by.post(&format!("/api/chat/{chat}/members"), &body).await
}

async fn remove(by: &Person, chat: &str, person: &Person) -> Answer {
    by.delete(&format!("/api/chat/{chat}/members/{}", person.id)).await
}

/// Sends a message: as it was stored.
async fn say(person: &Person, chat: &str, content: &str) -> Value {
    let client_id = uuid::Uuid::now_v7().to_string();
    person.send(chat, &client_id, content).await.with(201)["message"].clone()
}

async fn read(person: &Person, chat: &str, body: &Value) -> Answer {
    person.post(&format!("/api/chat/{chat}/read"), body).await
}

/// A chat as one sees it.
async fn view(person: &Person, chat: &str) -> Value {
    person.get(&format!("/api/chat/{chat}")).await.with(200)["chat"].clone()
}

/// One's entry among a chat's members.
fn member<'a>(chat: &'a Value, person: &Person) -> Option<&'a Value> {
    let members = chat["members"].as_array().unwrap();
    members.iter().find(|member| member["userId"] == *person.id)
}

/// All that happened to a person, from the beginning of their inbox until it stands at its present end: envelopes, in
/// order.
async fn events(person: &Person) -> Vec<Value> {
    let version: i64 = sqlx::query_scalar("select version from inbox_heads where user_id = $1")
        .bind(&person.id)
        .fetch_one(&person.stack.rows)
        .await
        .unwrap();
    let request = person.request(Method::GET, "/api/chat/stream?after=0");
    let mut stream = Stream::of(request.send().await.unwrap());
    let mut events = Vec::new();
    // What a person is not to see any more leaves no event: a mark of our own says that all before it was told.
    let mark = person
        .post("/api/chat", &json!({ "kind": "assistant" }))
        .await
        .with(201);
    let mark = text(&mark["chat"]["id"]);
    loop {
        let frame = stream.next().await.expect("a stream does not end by itself");
        if frame.event == "ready" {
            continue;
        }
        if frame.data["chatId"] == *mark {
            let place: i64 = frame.id.unwrap().parse().unwrap();
            assert_eq!(place, version + 1, "something happened meanwhile");
            return events;
        }
        events.push(frame.data);
    }
}
