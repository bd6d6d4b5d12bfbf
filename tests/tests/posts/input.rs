//! What posts may be, and whose they are.

use serde_json::{Value, json};
use tests::Stack;
use tests::person::text;

use crate::{create, patch};

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_bad_field_is_named_and_nothing_is_made() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let body = json!({
        "content": "x".repeat(32 * 1024 + 1), "providers": ["x", "x", "not a word", 7], "authProviderIds": ["a\u{7}"],
        "clientId": "", "status": "SENT",
    });
    let problem = anna.post("/api/posts", &body).await.problem(422, "invalid-request");
    let named = [
        "/clientId",
        "/content",
        "/providers/1",
        "/providers/2",
        "/providers/3",
        "/authProviderIds/0",
        "/status",
    ];
    assert_eq!(pointers(&problem), named);
    for (body, pointer) in [
        (json!({ "content": "a\0b" }), "/content"),
        (json!({ "content": 7 }), "/content"),
        (json!({ "providers": "x" }), "/providers"),
        (json!({ "providers": vec!["x"; 21] }), "/providers"),
    ] {
        let problem = anna.post("/api/posts", &body).await.problem(422, "invalid-request");
        assert_eq!(pointers(&problem), [pointer], "{body}");
    }
    assert_eq!(
        anna.get("/api/posts").await.with(200),
        json!({ "posts": [], "nextCursor": null })
    );
    for (query, parameter) in [("status=GONE", "status"), ("cursor=x", "cursor"), ("limit=0", "limit")] {
        let problem = anna
            .get(&format!("/api/posts?{query}"))
            .await
            .problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], parameter);
    }
    anna.get("/api/posts/nonsense").await.problem(422, "invalid-request");
}

#[tokio::test]
async fn a_post_is_kept_listed_changed_and_deleted_and_a_retry_is_no_second_one() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let body = json!({ "content": "hello", "providers": ["x"], "authProviderIds": ["7"], "clientId": "p-1" });
    let made = anna.post("/api/posts", &body).await.with(201);
    assert_eq!(anna.post("/api/posts", &body).await.with(200), made);
    let post = &made["post"];
    assert_eq!(
        (&post["status"], &post["content"], &post["chatId"], &post["sentAt"]),
        (&json!("DRAFT"), &json!("hello"), &made["chatId"], &Value::Null)
    );
    let id = text(&post["id"]);
    assert_eq!(anna.get(&format!("/api/posts/{id}")).await.with(200)["post"], *post);
    let second = create(&anna, "").await;
    let list = anna.get("/api/posts?limit=1").await.with(200);
    assert_eq!(list["posts"][0]["id"], *second.post);
    let cursor = text(&list["nextCursor"]);
    let list = anna.get(&format!("/api/posts?limit=1&cursor={cursor}")).await.with(200);
    assert_eq!((&list["posts"][0], &list["nextCursor"]), (post, &Value::Null));

    let sent = patch(&anna, &id, &json!({ "status": "SENT", "providers": ["bluesky"] }))
        .await
        .with(200);
    assert_eq!(
        (&sent["post"]["status"], &sent["post"]["providers"]),
        (&json!("SENT"), &json!(["bluesky"]))
    );
    assert!(sent["post"]["sentAt"].is_string());
    patch(&anna, &id, &json!({ "content": "something else" }))
        .await
        .problem(409, "conflict");
    patch(&anna, &id, &json!({ "status": "DRAFT" }))
        .await
        .problem(409, "conflict");
    let list = anna.get("/api/posts?status=SENT").await.with(200);
    assert_eq!(list["posts"].as_array().unwrap().len(), 1);

    let chat = text(&made["chatId"]);
    anna.delete(&format!("/api/posts/{id}")).await.with(204);
    anna.delete(&format!("/api/posts/{id}")).await.problem(404, "not-found");
    anna.get(&format!("/api/posts/{id}")).await.problem(404, "not-found");
    anna.get(&format!("/api/chat/{chat}")).await.problem(404, "not-found");
}
