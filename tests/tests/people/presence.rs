//! Who is online.

use serde_json::json;
use tests::{Person, Stack};

use crate::{direct, member, people, view};

async fn is_online(viewer: &Person, chat: &str, person: &Person) -> bool {
    let chat = view(viewer, chat).await;
    member(&chat, person).unwrap()["online"].as_bool().unwrap()
}

#[tokio::test]
async fn a_heartbeat_makes_somebody_online_until_it_is_missed() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = direct(&anna, &ben).await;
    assert!(!is_online(&ben, &chat, &anna).await);
    anna.post("/api/me/presence", &json!({})).await.with(204);
    assert!(is_online(&ben, &chat, &anna).await);
    let seen = view(&ben, &chat).await;
    assert!(member(&seen, &anna).unwrap()["lastSeenAt"].is_string());
    let window: f64 =
        sqlx::query_scalar("select extract(epoch from online_until - last_seen_at)::float8 from people where id = $1")
            .bind(&anna.id)
            .fetch_one(&stack.rows)
            .await
            .unwrap();
    assert!((window - 60.0).abs() < 1e-3, "{window}");
    sqlx::query("update people set online_until = now() where id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    assert!(!is_online(&ben, &chat, &anna).await);
}
