//! Who may not listen, and to what.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};
use uuid::Uuid;

use crate::{Pair, stream};

/// A refusal, and not a stream, which would never end.
async fn refused(request: RequestBuilder, status: u16, problem_type: &str) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), status);
    Answer::of(answer).await.problem(status, problem_type)
}

async fn without_token(stack: &Stack, path: &str) {
    refused(stack.http.get(format!("{}{path}", stack.api)), 401, "unauthenticated").await;
}

async fn ticket(person: &Person) -> String {
    text(&person.post("/api/chat/stream-ticket", &json!({})).await.with(201)["ticket"])
}

#[tokio::test]
async fn a_ticket_that_is_expired_or_made_up_opens_nothing() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let expired = ticket(&anna).await;
    sqlx::query("update stream_tickets set expires_at = now() where user_id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    let mut tickets = vec![
        expired,
        "0".repeat(64),
        "x".into(),
        String::new(),
        "a".repeat(5000),
        anna.token.clone(),
    ];
    // Its hash is what a thief of the table would have.
    let hash: Vec<u8> = sqlx::query_scalar("select hash from stream_tickets where user_id = $1")
        .bind(&anna.id)
        .fetch_one(&stack.rows)
        .await
        .unwrap();
    tickets.push(hex::encode(hash));
    for ticket in tickets {
        without_token(&stack, &format!("/api/chat/stream?ticket={ticket}")).await;
    }
    without_token(&stack, "/api/chat/stream").await;
}

#[tokio::test]
async fn a_ticket_opens_the_stream_alone() {
    let stack = Stack::running();
    let Pair { anna, chat, .. } = Pair::meet(&stack).await;
    let ticket = ticket(&anna).await;
    let nobody = Person {
        token: ticket.clone(),
        ..anna.clone()
    };
    for path in [
        "/api/me",
        "/api/chat",
        "/api/chat-messages",
        &format!("/api/chat/{chat}/messages"),
    ] {
        without_token(&stack, &format!("{path}?ticket={ticket}")).await;
        refused(nobody.request(Method::GET, path), 401, "unauthenticated").await;
    }
    let by_header = nobody.request(Method::GET, "/api/chat/stream");
    refused(by_header, 401, "unauthenticated").await;
    let _no_more = nobody
        .post("/api/chat/stream-ticket", &json!({}))
        .await
        .problem(401, "unauthenticated");
    // It is Anna's all the same.
    let answer = stack
        .http
        .get(format!("{}/api/chat/stream?ticket={ticket}", stack.api))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_foreign_chat_cannot_be_listened_to() {
    let stack = Stack::running();
    let Pair { chat, .. } = Pair::meet(&stack).await;
    let cleo = stack.person("cleo");
    for chat in [chat, Uuid::now_v7().to_string()] {
        let request = cleo.request(Method::GET, &format!("/api/chat/stream?chatId={chat}"));
        refused(request, 404, "not-found").await;
    }
}

#[tokio::test]
async fn odd_parameters_are_named() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    for (query, parameter) in [
        ("chatId=x", "chatId"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=1.x", "after"),
        ("after=9223372036854775808", "after"),
        ("after=", "after"),
    ] {
        let request = anna.request(Method::GET, &format!("/api/chat/stream?{query}"));
        let problem = refused(request, 422, "invalid-request").await;
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}: {problem}");
    }
    let odd = anna
        .request(Method::GET, "/api/chat/stream")
        .header("last-event-id", "x");
    let problem = refused(odd, 422, "invalid-request").await;
    assert_eq!(problem["errors"][0]["parameter"], "Last-Event-ID");
    // What comes second is looked at, too.
    let odd = anna
        .request(Method::GET, "/api/chat/stream?after=x")
        .header("last-event-id", "0");
    let problem = refused(odd, 422, "invalid-request").await;
    assert_eq!(problem["errors"][0]["parameter"], "after");
    // A browser that heard nothing yet sends an empty one, or none.
    let (_stream, place) = stream::listen(&anna, "").await;
    assert_eq!(place, "0");
}
