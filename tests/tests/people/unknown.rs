//! People who were never there: refused, or created on demand where that is configured.

use serde_json::json;
use tests::function::Gateway;
use tests::{Person, Stack};
use uuid::Uuid;

use crate::{channel, people, view};

#[tokio::test]
async fn whoever_is_not_known_is_not_found_and_nothing_is_made() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let ghost = format!("ghost-{}", Uuid::now_v7().simple());
    let channel = channel(&anna, &[]).await;
    let before = stack.rows_of_chat(&channel).await;
    for body in [
        json!({ "kind": "direct", "members": [ghost] }),
        json!({ "kind": "channel", "title": "Quay", "members": [ben.id, ghost] }),
    ] {
        let _none = anna.post("/api/chat", &body).await.problem(404, "not-found");
    }
    let body = json!({ "members": [ben.id, ghost] });
    let problem = anna
        .post(&format!("/api/chat/{channel}/members"), &body)
        .await
        .problem(404, "not-found");
    assert_eq!(problem["errors"][0]["pointer"], "/members/1");
    assert_eq!(stack.rows_of_chat(&channel).await, before);
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 1);
    assert_eq!(ben.get("/api/chat").await.with(200)["total"], 0);
}

#[tokio::test]
async fn where_it_is_configured_they_are_created_and_find_their_chats_when_they_come() {
    let stack = Stack::running();
    let [anna] = people(&stack, ["anna"]).await;
    let channel = channel(&anna, &[]).await;
    let gateway = Gateway::start(&stack).await;
    let _functions = ["create-chat", "add-members"].map(|name| gateway.function(name, &[("UNKNOWN_PEOPLE", "create")]));
    let here = Person {
        stack: gateway.stack.clone(),
        ..anna.clone()
    };
    let ben = stack.person("Ben");
    let opened = here
        .post("/api/chat", &json!({ "kind": "direct", "members": [ben.id] }))
        .await
        .with(201);
    assert_eq!(
        opened["chat"]["user"],
        json!({ "id": ben.id, "name": ben.id, "image": null })
    );
    let again = here
        .post("/api/chat", &json!({ "kind": "direct", "members": [ben.id] }))
        .await
        .with(200);
    assert_eq!(again["chat"]["id"], opened["chat"]["id"]);
    let dan = stack.person("Dan");
    let body = json!({ "members": [ben.id, dan.id] });
    let added = here
        .post(&format!("/api/chat/{channel}/members"), &body)
        .await
        .with(200);
    assert_eq!(added["chat"]["members"].as_array().unwrap().len(), 3);
    let body = json!({ "kind": "channel", "title": "Quay", "members": [stack.person("eve").id] });
    here.post("/api/chat", &body).await.with(201);

    // Ben comes for the first time, and is called by his name from then on.
    assert_eq!(ben.get("/api/chat").await.with(200)["total"], 2);
    let chat = view(&anna, opened["chat"]["id"].as_str().unwrap()).await;
    assert_eq!(chat["user"]["name"], "Ben");
}
