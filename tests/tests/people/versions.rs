//! What messages said before they were edited: where it is kept, for their authors and those who run the channel.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Gateway, Person, Stack};

use crate::{add, channel, patch, people, remove, say};

fn versions(answer: &Value) -> Vec<(i64, String)> {
    let versions = answer["versions"].as_array().unwrap().iter();
    versions
        .map(|version| {
            assert_eq!(version["reason"], "edited");
            assert!(
                version["createdAt"].is_string() && version["replacedAt"].is_string(),
                "{version}"
            );
            (version["version"].as_i64().unwrap(), text(&version["content"]))
        })
        .collect()
}

#[tokio::test]
async fn edits_are_kept_where_it_is_configured_for_whom_it_concerns() {
    let stack = Stack::running();
    let [anna, ben, cleo, dora] = people(&stack, ["anna", "ben", "cleo", "dora"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    let message = text(&say(&ben, &chat, "one").await["id"]);
    let path = format!("/api/chat/{chat}/messages/{message}");
    let said_before = format!("{path}/versions");
    let gateway = Gateway::start(&stack).await;
    let _keeping = gateway.function("edit-message", &[("EDIT_HISTORY", "kept")]);
    let here = Person {
        stack: gateway.stack.clone(),
        ..ben.clone()
    };
    for content in ["two", "two", "three"] {
        patch(&here, &path, &json!({ "content": content })).await.with(200);
    }
    let all = vec![(2, "two".to_owned()), (1, "one".to_owned())];
    for person in [&anna, &ben] {
        let answer = person.get(&said_before).await.with(200);
        assert_eq!((versions(&answer), &answer["hasMore"]), (all.clone(), &json!(false)));
    }
    let first = anna.get(&format!("{said_before}?limit=1")).await.with(200);
    assert_eq!((versions(&first), &first["hasMore"]), (all[..1].to_vec(), &json!(true)));
    let second = anna.get(&format!("{said_before}?limit=1&before=2")).await.with(200);
    assert_eq!(
        (versions(&second), &second["hasMore"]),
        (all[1..].to_vec(), &json!(false))
    );

    // A member like others, a stranger, and who is not in it any more.
    for person in [&cleo, &dora] {
        let _none = person.get(&said_before).await.problem(404, "not-found");
    }
    patch(
        &anna,
        &format!("/api/chat/{chat}/members/{}", cleo.id),
        &json!({ "role": "admin" }),
    )
    .await
    .with(200);
    assert_eq!(versions(&cleo.get(&said_before).await.with(200)), all);
    remove(&anna, &chat, &cleo).await.with(204);
    remove(&anna, &chat, &ben).await.with(204);
    for person in [&cleo, &ben] {
        let _none = person.get(&said_before).await.problem(404, "not-found");
    }
    for (odd, parameter) in [
        ("before=0", "before"),
        ("before=x", "before"),
        ("before=-1", "before"),
        ("limit=0", "limit"),
    ] {
        let problem = anna
            .get(&format!("{said_before}?{odd}"))
            .await
            .problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
    }
    // A deletion deletes them.
    add(&anna, &chat, &ben).await.with(200);
    ben.delete(&path).await.with(200);
    let answer = anna.get(&said_before).await.with(200);
    assert!(versions(&answer).is_empty(), "{answer}");
}

#[tokio::test]
async fn by_default_nothing_is_kept() {
    let stack = Stack::running();
    let [anna] = people(&stack, ["anna"]).await;
    let chat = channel(&anna, &[]).await;
    let message = text(&say(&anna, &chat, "one").await["id"]);
    let path = format!("/api/chat/{chat}/messages/{message}");
    patch(&anna, &path, &json!({ "content": "two" })).await.with(200);
    let answer = anna.get(&format!("{path}/versions")).await.with(200);
    assert!(versions(&answer).is_empty(), "{answer}");
    let kept = "select count(*) from message_versions where message_id = $1";
    assert_eq!(stack.number(kept, &message).await, 0);
}
