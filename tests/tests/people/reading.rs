//! `mark-chat-read`.

use serde_json::{Value, json};
use tests::{Stack, at_once};

use crate::{channel, direct, events, member, people, read, say, view};

#[tokio::test]
async fn a_position_moves_by_seq_to_the_end_and_back() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = direct(&anna, &ben).await;
    for _ in 0..5 {
        say(&anna, &chat, "hi").await;
    }
    for (body, read_seq, delivered, unread) in [
        (json!({ "deliveredSeq": 4 }), 0, 4, 5),
        (json!({ "seq": 2 }), 2, 4, 3),
        (json!({ "seq": 1 }), 2, 4, 3),
        (json!({ "unreadFrom": 2 }), 1, 4, 4),
        (json!({ "seq": 3, "deliveredSeq": 5 }), 3, 5, 2),
        (json!({}), 5, 5, 0),
        (json!({ "seq": 4711, "deliveredSeq": 4711 }), 5, 5, 0),
        (json!({ "unreadFrom": 5 }), 4, 5, 1),
    ] {
        let standing = read(&ben, &chat, &body).await.with(200);
        let numbers = (
            &standing["readSeq"],
            &standing["deliveredSeq"],
            &standing["unreadCount"],
        );
        assert_eq!(numbers, (&json!(read_seq), &json!(delivered), &json!(unread)), "{body}");
        let seen_by_anna = view(&anna, &chat).await;
        let receipt = member(&seen_by_anna, &ben).unwrap();
        for field in ["readSeq", "readAt", "deliveredSeq"] {
            assert_eq!(receipt[field], standing[field], "{body}");
        }
        assert_eq!(view(&ben, &chat).await["unreadCount"], unread, "{body}");
        assert_eq!(ben.unread_total().await, unread, "{body}");
    }
    // Without a body it is to the end.
    let answer = ben
        .request(reqwest::Method::POST, &format!("/api/chat/{chat}/read"))
        .send()
        .await
        .unwrap();
    assert_eq!(tests::Answer::of(answer).await.with(200)["unreadCount"], 0);
    for (body, pointer) in [
        (json!({ "seq": -1 }), "/seq"),
        (json!({ "seq": "1" }), "/seq"),
        (json!({ "deliveredSeq": 1.5 }), "/deliveredSeq"),
        (json!({ "unreadFrom": 0 }), "/unreadFrom"),
        (json!({ "seq": 1, "unreadFrom": 1 }), "/unreadFrom"),
        (json!({ "upTo": 1 }), "/upTo"),
    ] {
        let problem = read(&ben, &chat, &body).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn receipts_are_told_to_everyone_with_their_times() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    say(&anna, &chat, "hi").await;
    let delivered = read(&ben, &chat, &json!({ "deliveredSeq": 1 })).await.with(200);
    assert_eq!((&delivered["readAt"], &delivered["readSeq"]), (&Value::Null, &json!(0)));
    let mut done = read(&ben, &chat, &json!({})).await.with(200);
    assert!(done["readAt"].is_string());
    // Nothing moves, nobody is told.
    read(&ben, &chat, &json!({ "seq": 1, "deliveredSeq": 1 }))
        .await
        .with(200);
    done.as_object_mut().unwrap().remove("unreadCount");
    for person in [&anna, &ben, &cleo] {
        let told = events(person).await;
        let reads: Vec<_> = told.iter().filter(|event| event["type"] == "read").collect();
        assert_eq!(reads.len(), 2, "{told:?}");
        assert_eq!(reads[0]["data"]["deliveredSeq"], 1);
        assert_eq!(reads[1]["data"], done);
        assert!(
            reads
                .iter()
                .all(|read| read["data"]["userId"] == *ben.id && read.get("seq").is_none())
        );
    }
}

#[tokio::test]
async fn reading_at_once_from_many_devices_ends_at_the_furthest() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = direct(&anna, &ben).await;
    for _ in 0..20 {
        say(&anna, &chat, "hi").await;
    }
    at_once(20, |n| {
        let (ben, chat) = (ben.clone(), chat.clone());
        async move { read(&ben, &chat, &json!({ "seq": n })).await.with(200) }
    })
    .await;
    let bens = view(&ben, &chat).await;
    assert_eq!((&bens["readSeq"], &bens["unreadCount"]), (&json!(19), &json!(1)));
}
