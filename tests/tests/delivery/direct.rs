//! Direct chats: one for two people, whoever asks, however many times at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::person::text;
use tests::{Stack, at_once};

#[tokio::test]
async fn a_hundred_requests_of_both_sides_open_one_chat() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    crate::known(&anna).await;
    crate::known(&ben).await;
    let answers = at_once(100, |number| {
        let (me, other) = if number % 2 == 0 {
            (anna.clone(), ben.id.clone())
        } else {
            (ben.clone(), anna.id.clone())
        };
        async move {
            me.post("/api/chat", &json!({ "kind": "direct", "members": [other] }))
                .await
        }
    })
    .await;

    let opened = answers.iter().filter(|answer| answer.status == 201).count();
    let found = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((opened, found), (1, 99));
    let chats: BTreeSet<_> = answers.iter().map(|answer| text(&answer.body["chat"]["id"])).collect();
    assert_eq!(chats.len(), 1);
    for (number, answer) in answers.iter().enumerate() {
        let (chat, other) = (&answer.body["chat"], if number % 2 == 0 { &ben } else { &anna });
        assert_eq!(
            (&chat["kind"], &chat["user"]["id"]),
            (&json!("direct"), &json!(other.id))
        );
        assert_eq!(chat["members"].as_array().unwrap().len(), 2);
    }
    for person in [&anna, &ben] {
        assert_eq!(person.get("/api/chat").await.with(200)["total"], 1);
        let told: i64 = sqlx::query_scalar("select count(*) from inbox where user_id = $1")
            .bind(&person.id)
            .fetch_one(&stack.rows)
            .await
            .unwrap();
        assert_eq!(told, 1, "the chat is news once");
    }
}

#[tokio::test]
async fn a_direct_chat_needs_exactly_one_other_person_who_is_known() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    crate::known(&ben).await;
    let open = async |members: Value| {
        anna.post("/api/chat", &json!({ "kind": "direct", "members": members }))
            .await
    };
    let _nobody = open(json!(["nobody whom we know"])).await.problem(404, "not-found");
    for members in [
        json!([]),
        json!([anna.id]),
        json!([anna.id, ben.id]),
        json!([ben.id, ben.id]),
    ] {
        let problem = open(members.clone()).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], "/members", "{members}: {problem}");
    }
    for members in [
        json!([7]),
        json!([""]),
        json!("ben"),
        json!(null),
        json!(["x".repeat(256)]),
        json!(["nul\u{0}"]),
    ] {
        assert_eq!(open(members.clone()).await.status, 422, "{members}");
    }
    let titled = json!({ "kind": "direct", "members": [ben.id], "title": "Ours" });
    let _refused = anna.post("/api/chat", &titled).await.problem(422, "invalid-request");
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 0);
}
