//! What is older than is kept.

use serde_json::json;
use tests::person::text;
use tests::{Gateway, Stack, eventually};

use crate::{agent, known, notice, send, unread};

#[tokio::test]
async fn the_sweeper_deletes_what_is_too_old_and_counts_stay_right() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    for says in ["old", "old, and read", "new"] {
        send(&agent, &notice(&anna, "t", "INFO", says)).await.with(201);
    }
    let list = unread(&anna).await;
    let (chat, read) = (text(&list["messages"][0]["chatId"]), &list["messages"][1]["id"]);
    anna.post("/api/chat-messages/mark-read", &json!({ "messageIds": [read] }))
        .await
        .with(200);
    let age = "update messages set created_at = now() - interval '31 days' where chat_id = $1 and seq <= 2";
    stack.change(age, &chat).await;

    let gateway = Gateway::start(&stack).await;
    let sweeper = gateway.function("sweeper", &[("RETENTION", "task=30d")]);
    eventually("a round of the sweeper", async || {
        sweeper.invoke(&json!({})).await;
        (anna.history(&chat).await.len() == 1).then_some(())
    })
    .await;
    let list = unread(&anna).await;
    assert_eq!(
        (&list["total"], &list["messages"][0]["content"]),
        (&json!(1), &json!("new"))
    );
    assert_eq!(
        anna.get(&format!("/api/chat/{chat}")).await.with(200)["chat"]["unreadCount"],
        1
    );
    let of_task = anna.get("/api/chat-messages/t").await.with(200);
    assert_eq!(
        (&of_task["count"], &of_task["messages"][0]["seq"]),
        (&json!(1), &json!(3))
    );
}
