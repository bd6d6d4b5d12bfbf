//! Posts and their AI chats from outside: the welcome, the follow-ups of edits, and answers that know the post.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod flow;
mod input;
mod once;

use reqwest::Method;
use serde_json::{Value, json};
use tests::function::Restarted;
use tests::model::Model;
use tests::person::text;
use tests::{Answer, Gateway, Person, Queue, Stack, eventually};

/// Where the post is, and its chat.
struct Place {
    post: String,
    chat: String,
}

async fn create(person: &Person, content: &str) -> Place {
    let body = json!({ "content": content, "providers": ["x", "linkedin"], "authProviderIds": ["account-1"] });
    let made = person.post("/api/posts", &body).await.with(201);
    Place {
        post: text(&made["post"]["id"]),
        chat: text(&made["chatId"]),
    }
}

async fn patch(person: &Person, post: &str, body: &Value) -> Answer {
    let request = person.request(Method::PATCH, &format!("/api/posts/{post}"));
    Answer::of(request.json(body).send().await.unwrap()).await
}

async fn edit(person: &Person, post: &str, content: &str) {
    patch(person, post, &json!({ "content": content })).await.with(200);
}

/// The messages of a chat of this `metadata.type`.
async fn said(person: &Person, chat: &str, kind: &str) -> Vec<Value> {
    let mut history = person.history(chat).await;
    history.retain(|message| message["metadata"]["type"] == kind);
    history
}

/// Waits until nothing is to be done in a chat any more.
async fn settled(stack: &Stack, chat: &str) {
    eventually("a chat without jobs", async || {
        let jobs = stack.number("select count(*) from jobs where chat_id = $1", chat).await;
        (jobs == 0).then_some(())
    })
    .await;
}

/// Functions of our own that ask a model of our own.
struct Studio {
    stack: Stack,
    gateway: Gateway,
    model: Model,
    _functions: Vec<Restarted>,
}

impl Studio {
    async fn start(more: &[(&str, &str)]) -> Self {
        const WORKERS: usize = 3;
        let stack = Stack::running();
        let (gateway, model) = (Gateway::start(&stack).await, Model::start().await);
        let queue = Queue::feeding(&gateway, WORKERS).await;
        let mut settings = vec![queue.setting(), ("REPLY_RETRY_SECONDS", "1"), ("RUST_BACKTRACE", "0")];
        settings.extend(model.settings());
        settings.extend(more);
        let functions = [
            ("create-post", 1),
            ("update-post", 2),
            ("follow-up", 1),
            ("send-message", 1),
            ("worker", WORKERS),
        ];
        let _functions = functions
            .map(|(name, count)| gateway.restarted(name, count, &settings))
            .into();
        Self {
            stack,
            gateway,
            model,
            _functions,
        }
    }

    /// Somebody who writes by us; what they read they read from the stack.
    fn writer(&self, person: &Person) -> Person {
        person.by(&self.gateway.stack)
    }
}
