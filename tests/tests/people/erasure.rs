//! One person's export and erasure, through the running worker: all of theirs, down to their pictures, and nothing of others.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Person, Stack, at_once, eventually};
use uuid::Uuid;

use crate::reactions::{path, react};
use crate::{channel, direct, people, say, view};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0not much of one";

/// Shows a picture in a chat: where anybody sees it for a while.
async fn show_picture(person: &Person, chat: &str) -> String {
    let body = json!({ "type": "image", "mimeType": "image/png", "size": PNG.len() });
    let announced = person.post("/api/attachments", &body).await.with(201);
    let upload = &announced["upload"];
    let mut request = person.stack.http.put(text(&upload["url"])).body(PNG.to_vec());
    for (name, value) in upload["headers"].as_object().unwrap() {
        request = request.header(name, text(value));
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    let body =
        json!({ "clientId": Uuid::now_v7().to_string(), "content": "look", "attachments": [announced["attachment"]] });
    let message = person
        .post(&format!("/api/chat/{chat}/messages"), &body)
        .await
        .with(201)["message"]
        .clone();
    let path = format!("/api/chat/{chat}/messages/{}/attachments/0", text(&message["id"]));
    let request = person
        .request(reqwest::Method::GET, &path)
        .header("accept", "application/json");
    let view: Value = request.send().await.unwrap().json().await.unwrap();
    text(&view["url"])
}

/// All pages of an export.
async fn exported(stack: &Stack, person: &Person) -> Vec<Value> {
    let (mut lines, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = stack
            .invoke("person", &json!({ "export": person.id, "after": after }))
            .await;
        lines.extend(page["lines"].as_array().unwrap_or_else(|| panic!("{page}")).clone());
        after = page["next"].clone();
        if after.is_null() {
            return lines;
        }
    }
}

async fn is_known(stack: &Stack, person: &Person) -> bool {
    sqlx::query_scalar("select exists (select 1 from people where id = $1)")
        .bind(&person.id)
        .fetch_one(&stack.rows)
        .await
        .unwrap()
}

async fn erased(stack: &Stack, person: &Person) {
    let asked = stack.invoke("person", &json!({ "erase": person.id })).await;
    assert!(asked["erasing"].is_string(), "{asked}");
    eventually("an erased person", async || {
        (!is_known(stack, person).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_person_is_exported_and_erased_and_others_keep_their_history() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let (pair, shared) = (direct(&anna, &ben).await, channel(&anna, &[&ben, &cleo]).await);
    let own = anna.assistant_chat().await;
    anna.send(&own, "c-1", "annas question").await.with(201);
    let answer = text(&anna.history_of(&own, 2).await[1]["content"]);
    let picture = show_picture(&anna, &pair).await;
    assert_eq!(stack.http.get(&picture).send().await.unwrap().status(), 200);
    say(&anna, &pair, "annas secret").await;
    let bens = text(&say(&ben, &shared, "bens words").await["id"]);
    say(&anna, &shared, "annas secret, too").await;
    react(&anna, &path(&shared, &bens, "👍")).await.with(200);
    react(&cleo, &path(&shared, &bens, "👍")).await.with(200);

    let lines = exported(&stack, &anna).await;
    let of = |kind: &str| -> Vec<&Value> {
        let lines = lines.iter().filter(|line| line["type"] == kind);
        lines.map(|line| &line["data"]).collect()
    };
    assert_eq!(of("person")[0]["id"], *anna.id);
    assert_eq!(
        (of("membership").len(), of("reaction").len(), of("attachment").len()),
        (3, 1, 1)
    );
    let said: Vec<_> = of("message").iter().map(|message| text(&message["content"])).collect();
    assert_eq!(said, ["annas question", "look", "annas secret", "annas secret, too"]);
    assert!(of("answer").iter().any(|message| message["content"] == *answer));
    let uploaded = stack
        .http
        .get(text(&of("attachment")[0]["view"]["url"]))
        .send()
        .await
        .unwrap();
    assert_eq!(uploaded.bytes().await.unwrap(), PNG);
    assert!(!json!(lines).to_string().contains("bens words"));

    erased(&stack, &anna).await;

    for chat in [&pair, &shared] {
        for message in ben.history(chat).await {
            let is_bens = message["senderId"] == *ben.id;
            assert_eq!(message["content"] == "", !is_bens, "{message}");
            assert!(
                is_bens || message["senderId"].is_null() && message["deletedAt"].is_string(),
                "{message}"
            );
            assert!(!message.to_string().contains(&anna.id), "{message}");
        }
    }
    let left = &ben.history(&shared).await[0];
    assert_eq!(left["reactions"], json!([{ "emoji": "👍", "userIds": [cleo.id] }]));
    let owners: Vec<_> = view(&cleo, &shared).await["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["userId"].clone(), member["role"].clone()))
        .collect();
    assert!(
        owners.contains(&(json!(ben.id), json!("owner"))) && owners.len() == 2,
        "{owners:?}"
    );
    assert_eq!(view(&ben, &pair).await["user"], Value::Null);
    say(&ben, &shared, "and it goes on").await;
    assert_eq!(stack.http.get(&picture).send().await.unwrap().status(), 404);
    let ai = "select count(*) from chats where id = $1";
    assert_eq!(stack.number(ai, &own).await, 0);

    // A token that is used now begins a new, empty person.
    let me = anna.get("/api/me").await.with(200);
    assert_eq!(me["unreadTotal"], 0);
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 0);
    let _none = anna.get(&format!("/api/chat/{shared}")).await.problem(404, "not-found");
    let again = direct(&anna, &ben).await;
    assert_ne!(again, pair);
    assert!(anna.history(&again).await.is_empty());
}

#[tokio::test]
async fn she_and_others_go_on_while_she_is_erased() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let shared = channel(&anna, &[&ben]).await;
    for number in 0..150 {
        anna.send(&shared, &format!("c-{number}"), "annas secret")
            .await
            .with(201);
    }
    stack.invoke("person", &json!({ "erase": anna.id })).await;
    let outcomes = at_once(3, |task| {
        let (stack, anna, ben, shared) = (stack.clone(), anna.clone(), ben.clone(), shared.clone());
        async move {
            if task == 0 {
                // Asked for by others, too.
                for _ in 0..3 {
                    stack.invoke("person", &json!({ "erase": anna.id })).await;
                }
                return 0;
            }
            let me = if task == 1 { &ben } else { &anna };
            let mut said = 0;
            for number in 0..40 {
                let answer = me.send(&shared, &format!("late {number}"), "words").await;
                match answer.status.as_u16() {
                    201 => said += 1,
                    // Of the very moment in which she goes.
                    404 | 503 if task == 2 => {}
                    status => panic!("{status}: {}", answer.body),
                }
            }
            said
        }
    })
    .await;
    eventually("an erased person", async || {
        (!is_known(&stack, &anna).await).then_some(())
    })
    .await;
    assert_eq!(outcomes[1], 40);
    let mut history = ben
        .get(&format!("/api/chat/{shared}/messages?after=0&limit=100"))
        .await
        .with(200)["messages"]
        .clone();
    let mut all = Vec::new();
    while let Some(last) = history.as_array().and_then(|page| page.last()).cloned() {
        all.extend(history.as_array().unwrap().clone());
        history = ben
            .get(&format!("/api/chat/{shared}/messages?after={}&limit=100", last["seq"]))
            .await
            .with(200)["messages"]
            .clone();
    }
    assert_eq!(all.len(), 150 + 40 + outcomes[2]);
    for message in all {
        let is_bens = message["senderId"] == *ben.id;
        assert_eq!(message["content"], if is_bens { "words" } else { "" }, "{message}");
        assert!(is_bens || message["senderId"].is_null(), "{message}");
    }
    assert_eq!(ben.unread_total().await, 0);
}

#[tokio::test]
async fn nothing_is_done_where_nothing_was_asked_for_or_nobody_is_known() {
    let stack = Stack::running();
    assert_eq!(stack.invoke("person", &json!({})).await, json!({}));
    let ghost = stack.person("ghost");
    for odd in [
        json!({ "erase": ghost.id }),
        json!({ "export": ghost.id }),
        json!({ "erase": "" }),
        json!({ "export": ghost.id, "erase": ghost.id }),
        json!({ "export": ghost.id, "after": "nonsense" }),
        json!({ "forget": ghost.id }),
    ] {
        let answer = stack
            .http
            .post(stack.invoke_url("person"))
            .json(&odd)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(answer["errorMessage"].is_string(), "{odd}: {answer}");
    }
    assert!(!is_known(&stack, &ghost).await);
}
