//! Who is named in a message, and what it replies to.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};
use uuid::Uuid;

use crate::{channel, direct, patch, people, read, remove, say, view};

async fn send(person: &Person, chat: &str, more: &Value) -> Answer {
    let mut body = json!({ "clientId": Uuid::now_v7().to_string(), "content": "hello you" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    person.post(&format!("/api/chat/{chat}/messages"), &body).await
}

#[tokio::test]
async fn who_is_named_is_told_so_even_where_they_have_muted() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    let path = format!("/api/chat/{chat}");
    for person in [&ben, &cleo] {
        read(person, &chat, &json!({})).await.with(200);
        patch(person, &path, &json!({ "muted": true })).await.with(200);
    }
    let counts = async |person: &Person| {
        let chat = view(person, &chat).await;
        let total = person.unread_total().await;
        (chat["unreadCount"].as_i64(), chat["unreadMentions"].as_i64(), total)
    };
    say(&anna, &chat, "for all").await;
    let named = send(&anna, &chat, &json!({ "mentions": [ben.id] })).await.with(201)["message"].clone();
    assert_eq!(named["mentions"], json!([ben.id]));
    assert_eq!(counts(&ben).await, (Some(2), Some(1), 1));
    assert_eq!(counts(&cleo).await, (Some(2), Some(0), 0));

    // An edit names others, says nothing of it, or names nobody.
    let message = format!("{path}/messages/{}", text(&named["id"]));
    let edited = patch(
        &anna,
        &message,
        &json!({ "content": "you too", "mentions": [ben.id, cleo.id] }),
    )
    .await;
    assert_eq!(edited.with(200)["message"]["mentions"], json!([ben.id, cleo.id]));
    assert_eq!(
        (counts(&ben).await.1, counts(&cleo).await),
        (Some(1), (Some(2), Some(1), 1))
    );
    let edited = patch(&anna, &message, &json!({ "content": "as before" })).await;
    assert_eq!(edited.with(200)["message"]["mentions"], json!([ben.id, cleo.id]));
    patch(&anna, &message, &json!({ "content": "nobody", "mentions": [] }))
        .await
        .with(200);
    assert_eq!(counts(&cleo).await, (Some(2), Some(0), 0));

    // Who has read it, or sees it deleted, is named no more.
    let again = send(&anna, &chat, &json!({ "mentions": [ben.id, cleo.id] }))
        .await
        .with(201)["message"]
        .clone();
    read(&ben, &chat, &json!({})).await.with(200);
    assert_eq!(counts(&ben).await, (Some(0), Some(0), 0));
    assert_eq!(counts(&cleo).await, (Some(3), Some(1), 1));
    anna.delete(&format!("{path}/messages/{}", text(&again["id"])))
        .await
        .with(200);
    assert_eq!(counts(&cleo).await, (Some(2), Some(0), 0));
}

#[tokio::test]
async fn only_who_is_in_it_can_be_named() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    remove(&anna, &chat, &cleo).await.with(204);
    let own = anna.assistant_chat().await;
    let message = text(&say(&anna, &chat, "hi").await["id"]);
    let (before, before_own) = (stack.rows_of_chat(&chat).await, stack.rows_of_chat(&own).await);
    let many: Vec<_> = (0..51).map(|number| format!("p{number}")).collect();
    for (chat, mentions, pointer) in [
        (&chat, json!([ben.id, cleo.id]), "/mentions/1"),
        (&chat, json!(["nobody"]), "/mentions/0"),
        (&chat, json!([ben.id, ben.id]), "/mentions/1"),
        (&chat, json!([7]), "/mentions/0"),
        (&chat, json!([""]), "/mentions/0"),
        (&chat, json!("ben"), "/mentions"),
        (&chat, json!(many), "/mentions"),
        (&own, json!([ben.id]), "/mentions/0"),
    ] {
        let problem = send(&anna, chat, &json!({ "mentions": mentions }))
            .await
            .problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{mentions}: {problem}");
    }
    let path = format!("/api/chat/{chat}/messages/{message}");
    let edit = json!({ "content": "hi", "mentions": [cleo.id] });
    let problem = patch(&anna, &path, &edit).await.problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["pointer"], "/mentions/0");
    assert_eq!(stack.rows_of_chat(&chat).await, before);
    assert_eq!(stack.rows_of_chat(&own).await, before_own);
}

#[tokio::test]
async fn a_preview_is_of_the_original_as_it_is_now() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = direct(&anna, &ben).await;
    let long = "ä".repeat(300);
    let original = text(&say(&anna, &chat, &long).await["id"]);
    let reply = send(&ben, &chat, &json!({ "replyTo": original })).await.with(201)["message"].clone();
    let of = |message: &Value| message["replyPreview"].clone();
    assert_eq!(reply["replyTo"], *original);
    assert_eq!(
        of(&reply),
        json!({ "id": original, "senderId": anna.id, "role": "user", "content": "ä".repeat(200), "deletedAt": null })
    );
    let path = format!("/api/chat/{chat}/messages/{original}");
    patch(&anna, &path, &json!({ "content": "shorter" })).await.with(200);
    for person in [&anna, &ben] {
        assert_eq!(of(&person.history(&chat).await[1])["content"], "shorter");
    }
    anna.delete(&path).await.with(200);
    let preview = of(&ben.history(&chat).await[1]);
    assert_eq!((&preview["id"], &preview["content"]), (&json!(original), &json!("")));
    assert!(preview["deletedAt"].is_string(), "{preview}");

    // Of another chat, of no chat, or nonsense: nothing of it shows.
    let foreign = direct(&anna, &cleo).await;
    let secret = text(&say(&cleo, &foreign, "a secret").await["id"]);
    let before = stack.rows_of_chat(&chat).await;
    for odd in [json!(secret), json!(Uuid::now_v7().to_string()), json!("x"), json!(7)] {
        for person in [&anna, &ben] {
            let problem = send(person, &chat, &json!({ "replyTo": odd }))
                .await
                .problem(422, "invalid-request");
            assert_eq!(problem["errors"][0]["pointer"], "/replyTo", "{problem}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }
    assert_eq!(stack.rows_of_chat(&chat).await, before);
}
