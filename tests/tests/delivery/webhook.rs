//! Presence webhooks, signed as Pusher signs them or not.

use std::env;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Answer, Person, Stack};

use crate::Pair;
use crate::node::Client;

const PATH: &str = "/api/pusher/webhook";

fn setting(name: &str) -> String {
    env::var(name).unwrap()
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

async fn deliver(stack: &Stack, body: &str, key: &str, signature: &str) -> Answer {
    let request = stack.http.post(format!("{}{PATH}", stack.api));
    let request = request
        .header("x-pusher-key", key)
        .header("x-pusher-signature", signature);
    Answer::of(
        request
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .unwrap(),
    )
    .await
}

async fn deliver_signed(stack: &Stack, body: &Value) -> Answer {
    let body = body.to_string();
    deliver(
        stack,
        &body,
        &setting("PUSHER_KEY"),
        &signature(&setting("PUSHER_SECRET"), &body),
    )
    .await
}

async fn last_seen(person: &Person) -> Option<i64> {
    sqlx::query_scalar("select (extract(epoch from last_seen_at) * 1000)::bigint from people where id = $1")
        .bind(&person.id)
        .fetch_one(&person.stack.rows)
        .await
        .unwrap()
}

fn came(person: &Person, at: i64) -> Value {
    json!({ "time_ms": at, "events": [{ "name": "member_added", "channel": "presence-chat-1", "user_id": person.id }] })
}

#[tokio::test]
async fn a_signed_webhook_moves_last_seen_and_never_back() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    crate::known(&anna).await;
    assert_eq!(last_seen(&anna).await, None);
    let now = tests::stack::now() * 1000;
    deliver_signed(&stack, &came(&anna, now - 100_000)).await.with(204);
    assert_eq!(last_seen(&anna).await, Some(now - 100_000));
    // Replayed, or late.
    deliver_signed(&stack, &came(&anna, now - 200_000)).await.with(204);
    assert_eq!(last_seen(&anna).await, Some(now - 100_000));
    // From a clock that is ahead of ours.
    deliver_signed(&stack, &came(&anna, now + 3_600_000)).await.with(204);
    assert!((now - 1000..now + 3_000_000).contains(&last_seen(&anna).await.unwrap()));
}

#[tokio::test]
async fn a_forged_webhook_is_refused_and_changes_nothing() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    crate::known(&anna).await;
    let (key, secret) = (setting("PUSHER_KEY"), setting("PUSHER_SECRET"));
    let body = came(&anna, tests::stack::now() * 1000).to_string();
    let good = signature(&secret, &body);
    let forgeries = [
        (key.as_str(), String::new()),
        (key.as_str(), "0".repeat(64)),
        (key.as_str(), signature("another secret", &body)),
        (key.as_str(), signature(&secret, &format!("{body} "))),
        (key.as_str(), good[..63].to_owned()),
        ("another key", good.clone()),
        ("", good.clone()),
    ];
    for (key, signature) in forgeries {
        let _refused = deliver(&stack, &body, key, &signature)
            .await
            .problem(401, "unauthenticated");
    }
    // Of the right length, but another body under the same signature.
    let _refused = deliver(&stack, &body.replace("member_added", "member_gone!"), &key, &good)
        .await
        .with(401);
    assert_eq!(last_seen(&anna).await, None);
    deliver(&stack, &body, &key, &good).await.with(204);
    assert!(last_seen(&anna).await.is_some());
}

#[tokio::test]
async fn odd_fields_cost_an_event_but_not_its_neighbours() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    crate::known(&anna).await;
    crate::known(&ben).await;
    let odd = json!({
        "time_ms": "soon",
        "more": {"deep": [1, 2]},
        "events": [
            null, 7, "x", [], {}, {"name": 1}, {"name": "member_added"},
            {"name": "member_added", "channel": 5, "user_id": anna.id},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": {"id": anna.id}},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": 12345},
            {"name": "client_event", "channel": "x", "data": "…"},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": "nobody whom we know"},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": "nul\u{0}"},
            {"name": "member_removed", "channel": "presence-chat-1", "user_id": ben.id, "extra": [true]},
        ],
    });
    deliver_signed(&stack, &odd).await.with(204);
    assert_eq!(last_seen(&anna).await, None);
    assert!(last_seen(&ben).await.is_some());
    for whole in [
        json!({}),
        json!({ "events": {} }),
        json!({ "events": null, "time_ms": -1 }),
        json!({ "time_ms": 1e300 }),
    ] {
        deliver_signed(&stack, &whole).await.with(204);
    }
    for unreadable in ["", "[]", "7", "{", "\"x\""] {
        let signature = signature(&setting("PUSHER_SECRET"), unreadable);
        deliver(&stack, unreadable, &setting("PUSHER_KEY"), &signature)
            .await
            .with(400);
    }
}

/// Online while they are in one of Pusher's rooms; those with whom they have a direct chat, and who are there, are told.
#[tokio::test]
async fn who_comes_and_goes_by_pusher_is_online_and_offline() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    ben.post("/api/me/presence", &json!({})).await.with(204);
    let mut bens = Client::pusher(&ben).await;
    assert_eq!(
        bens.subscribe(&format!("private-user-{}", ben.id)).await["on"],
        "subscribed"
    );
    let is_online = async || {
        let chat = ben.get(&format!("/api/chat/{chat}")).await.with(200)["chat"].clone();
        let members = chat["members"].as_array().unwrap().clone();
        members.into_iter().find(|member| member["userId"] == *anna.id).unwrap()["online"] == true
    };
    let now = tests::stack::now() * 1000;
    let tell = async |at: i64, events: &[(&str, &str)]| {
        let events: Vec<_> = events
            .iter()
            .map(|(name, room)| json!({ "name": name, "channel": format!("presence-{room}"), "user_id": anna.id }))
            .collect();
        deliver_signed(&stack, &json!({ "time_ms": at, "events": events }))
            .await
            .with(204);
    };
    assert!(!is_online().await);
    tell(now - 9000, &[("member_added", "a"), ("member_added", "b")]).await;
    assert!(is_online().await);
    let told = bens.hears_in(&chat, "presence").await;
    assert_eq!(
        (&told["data"]["userId"], &told["data"]["online"]),
        (&json!(anna.id), &json!(true))
    );
    tell(now - 8000, &[("member_removed", "a")]).await;
    assert!(is_online().await, "she is still in the other room");
    // She went and came within one batch; the webhook that she came to the first room comes again, late.
    tell(now - 7000, &[("member_removed", "b"), ("member_added", "b")]).await;
    tell(now - 9000, &[("member_added", "a")]).await;
    assert!(is_online().await);
    tell(now - 6000, &[("member_removed", "b")]).await;
    assert!(!is_online().await);
    loop {
        let told = bens.hears_in(&chat, "presence").await;
        assert!(told.get("seq").is_none());
        if told["data"]["online"] == false {
            break;
        }
    }
}
