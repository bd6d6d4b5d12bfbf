//! Notices from agents, by HTTP and by the queue; what goes back to agents by webhooks; and how long it is all kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../delivery/node.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod node;
mod outages;
mod queue;
mod retention;
mod sending;
mod webhooks;

use serde_json::{Value, json};
use tests::stack::in_an_hour;
use tests::{Answer, Person, Stack};
use uuid::Uuid;

/// An agent, of an organisation or of none.
fn agent(stack: &Stack, organisation: Option<&str>) -> Person {
    let id = format!("agent-{}", Uuid::now_v7().simple());
    let claims = json!({
        "sub": id, "name": "Scheduler", "role": "agent", "org_id": organisation,
        "iss": stack.jwt.issuer, "aud": stack.jwt.audience, "exp": in_an_hour(),
    });
    Person {
        token: stack.jwt.signed(&claims),
        id,
        stack: stack.clone(),
    }
}

/// Somebody who has signed in.
async fn known(stack: &Stack, organisation: Option<&str>) -> Person {
    let person = stack.person_of("anna", organisation);
    person.get("/api/me").await.with(200);
    person
}

fn notice(person: &Person, task: &str, message_type: &str, content: &str) -> Value {
    json!({ "userId": person.id, "taskId": task, "type": message_type, "content": content, "data": { "eventId": "event_789" } })
}

async fn send(agent: &Person, notice: &Value) -> Answer {
    agent.post("/api/chat-messages", notice).await
}

async fn unread(person: &Person) -> Value {
    person.get("/api/chat-messages").await.with(200)
}
