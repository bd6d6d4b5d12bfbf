//! Who has blocked whom: nothing new between the two, and nothing else is lost.

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack, at_once};
use uuid::Uuid;

use crate::reactions::{path, react};
use crate::{add, channel, direct, member, patch, people, read, remove, say, view};

async fn block(person: &Person, other: &str) -> Answer {
    let path = format!("/api/people/{other}/block");
    Answer::of(person.request(Method::PUT, &path).send().await.unwrap()).await
}

async fn unblock(person: &Person, other: &str) -> Answer {
    person.delete(&format!("/api/people/{other}/block")).await
}

async fn blocked(person: &Person, query: &str) -> (Vec<String>, Value) {
    let answer = person.get(&format!("/api/people/blocked{query}")).await.with(200);
    let people = answer["people"].as_array().unwrap().iter();
    (
        people.map(|blocked| text(&blocked["user"]["id"])).collect(),
        answer["nextCursor"].clone(),
    )
}

#[tokio::test]
async fn a_block_binds_both_in_their_direct_chat_and_channels_go_on() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let (pair, shared) = (direct(&anna, &ben).await, channel(&anna, &[&ben]).await);
    let (annas, bens) = (
        text(&say(&anna, &pair, "hi").await["id"]),
        text(&say(&ben, &pair, "hello").await["id"]),
    );
    block(&ben, &anna.id).await.with(204);
    block(&ben, &anna.id).await.with(204);
    let before = stack.rows_of_chat(&pair).await;
    for (me, own) in [(&anna, &annas), (&ben, &bens)] {
        let refused = [
            me.send(&pair, &Uuid::now_v7().to_string(), "please").await,
            patch(
                me,
                &format!("/api/chat/{pair}/messages/{own}"),
                &json!({ "content": "please" }),
            )
            .await,
            react(me, &path(&pair, own, "👍")).await,
            me.post(&format!("/api/chat/{pair}/typing"), &json!({})).await,
        ];
        for answer in refused {
            let problem = answer.problem(403, "blocked");
            // Neither learns who has blocked whom.
            assert!(
                !problem.to_string().contains(&ben.id) && !problem.to_string().contains(&anna.id),
                "{problem}"
            );
        }
        // What was said stays, to be read, and to be deleted by who said it.
        assert_eq!(me.history(&pair).await.len(), 2);
    }
    assert_eq!(stack.rows_of_chat(&pair).await, before);
    read(&anna, &pair, &json!({})).await.with(200);
    say(&anna, &shared, "in the channel all goes on").await;
    say(&ben, &shared, "it does").await;
    anna.delete(&format!("/api/chat/{pair}/messages/{annas}"))
        .await
        .with(200);

    // Anna takes back what is hers: nothing. Ben takes back his.
    unblock(&anna, &ben.id).await.with(204);
    let _no = anna.send(&pair, "c-1", "please").await.problem(403, "blocked");
    unblock(&ben, &anna.id).await.with(204);
    unblock(&ben, &anna.id).await.with(204);
    say(&anna, &pair, "thanks").await;
    assert_eq!(view(&ben, &pair).await["lastMessage"]["content"], "thanks");
}

#[tokio::test]
async fn no_chat_is_opened_between_them_and_whom_one_blocked_is_ones_own_to_see() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    for other in [&ben, &cleo] {
        block(&anna, &other.id).await.with(204);
    }
    for (me, other) in [(&anna, &ben), (&ben, &anna), (&cleo, &anna)] {
        let body = json!({ "kind": "direct", "members": [other.id] });
        let _no = me.post("/api/chat", &body).await.problem(403, "blocked");
    }
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 0);
    direct(&ben, &cleo).await;

    assert_eq!(
        blocked(&anna, "").await,
        (vec![cleo.id.clone(), ben.id.clone()], Value::Null)
    );
    let (first, next) = blocked(&anna, "?limit=1").await;
    let (second, last) = blocked(&anna, &format!("?limit=1&cursor={}", text(&next))).await;
    assert_eq!(
        (first, second, last),
        (vec![cleo.id.clone()], vec![ben.id.clone()], Value::Null)
    );
    assert_eq!(blocked(&ben, "").await, (vec![], Value::Null));

    let problem = block(&anna, &anna.id).await.problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["parameter"], "userId");
    let _none = block(&anna, &format!("ghost-{}", Uuid::now_v7().simple()))
        .await
        .problem(404, "not-found");
    let problem = anna
        .get("/api/people/blocked?cursor=x")
        .await
        .problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["parameter"], "cursor");
    assert_eq!(blocked(&anna, "").await.0.len(), 2);
}

#[tokio::test]
async fn nobody_is_put_into_a_channel_by_whom_they_blocked_nor_seen_to_be_there() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let shared = channel(&anna, &[&ben, &cleo]).await;
    block(&ben, &anna.id).await.with(204);
    let body = json!({ "kind": "channel", "title": "Harbour", "members": [cleo.id, ben.id] });
    let problem = anna.post("/api/chat", &body).await.problem(403, "blocked");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/members/1");
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 1);

    ben.post("/api/me/presence", &json!({})).await.with(204);
    read(&ben, &shared, &json!({})).await.with(200);
    for (viewer, is_seen) in [(&anna, false), (&cleo, true)] {
        let chat = view(viewer, &shared).await;
        let bens = member(&chat, &ben).unwrap();
        assert_eq!(
            (&bens["online"], bens["lastSeenAt"].is_string()),
            (&json!(is_seen), is_seen),
            "{bens}"
        );
    }
    let named = json!({ "clientId": "c-1", "content": "hey", "mentions": [ben.id] });
    anna.post(&format!("/api/chat/{shared}/messages"), &named)
        .await
        .with(201);
    assert_eq!(view(&ben, &shared).await["unreadMentions"], 0);

    remove(&ben, &shared, &ben).await.with(204);
    let rows = stack.rows_of_chat(&shared).await;
    let problem = add(&anna, &shared, &ben).await.problem(403, "blocked");
    assert_eq!(problem["errors"][0]["pointer"], "/members/0");
    assert_eq!(stack.rows_of_chat(&shared).await, rows);
    unblock(&ben, &anna.id).await.with(204);
    add(&anna, &shared, &ben).await.with(200);
}

/// Whatever is said at that moment was said before the block, or is refused.
#[tokio::test]
async fn of_what_is_said_while_one_blocks_nothing_comes_after_it() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = direct(&anna, &ben).await;
    let outcomes = at_once(12, |number| {
        let (anna, ben, chat) = (anna.clone(), ben.clone(), chat.clone());
        async move {
            if number == 6 {
                block(&ben, &anna.id).await.with(204);
                return false;
            }
            let answer = anna.send(&chat, &format!("c-{number}"), "hi").await;
            if answer.status != 201 {
                let _no = answer.problem(403, "blocked");
                return false;
            }
            true
        }
    })
    .await;
    let said = outcomes.into_iter().filter(|is_said| *is_said).count();
    assert_eq!(ben.history(&chat).await.len(), said);
    let _no = anna.send(&chat, "c-late", "hi").await.problem(403, "blocked");
}
