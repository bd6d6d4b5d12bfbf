//! Reactions: each person's, seen by all, told with what there is, and refused where one may not.

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack, at_once};
use uuid::Uuid;

use crate::{add, channel, events, people, read, remove, say};

pub(crate) fn path(chat: &str, message: &str, emoji: &str) -> String {
    // In a path a space is no plus.
    let emoji = form_urlencoded::byte_serialize(emoji.as_bytes())
        .collect::<String>()
        .replace('+', "%20");
    format!("/api/chat/{chat}/messages/{message}/reactions/{emoji}")
}

pub(crate) async fn react(person: &Person, path: &str) -> Answer {
    Answer::of(person.request(Method::PUT, path).send().await.unwrap()).await
}

#[tokio::test]
async fn a_reaction_is_seen_by_all_and_counts_for_nothing_to_read() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    let message = text(&say(&anna, &chat, "hi").await["id"]);
    let (thumb, wave) = (path(&chat, &message, "👍"), path(&chat, &message, ":wave:"));
    read(&ben, &chat, &json!({})).await.with(200);

    let liked = react(&ben, &thumb).await.with(200)["message"].clone();
    assert_eq!(liked["reactions"], json!([{ "emoji": "👍", "userIds": [ben.id] }]));
    react(&cleo, &wave).await.with(200);
    let both = react(&cleo, &thumb).await.with(200)["message"].clone();
    // Said twice it is one, and nobody is told again.
    let again = react(&cleo, &thumb).await.with(200)["message"].clone();
    assert_eq!(again, both);
    // What is Ben's Cleo cannot take back.
    let left = cleo.delete(&thumb).await.with(200)["message"].clone();
    assert_eq!(
        left["reactions"],
        json!([{ "emoji": "👍", "userIds": [ben.id] }, { "emoji": ":wave:", "userIds": [cleo.id] }])
    );
    cleo.delete(&thumb).await.with(200);

    for person in [&anna, &ben, &cleo] {
        assert_eq!(person.history(&chat).await[0], left, "{}", person.id);
    }
    assert_eq!((anna.unread_total().await, ben.unread_total().await), (0, 0));
    let told: Vec<Value> = events(&anna)
        .await
        .into_iter()
        .filter(|event| event["type"] == "reaction.changed")
        .collect();
    let said: Vec<_> = told
        .iter()
        .map(|event| {
            let data = &event["data"];
            (
                event["seq"].clone(),
                data["userId"].clone(),
                data["emoji"].clone(),
                data["isAdded"].clone(),
            )
        })
        .collect();
    let first = liked["changedSeq"].as_i64().unwrap();
    let expected = [
        (&ben, "👍", true),
        (&cleo, ":wave:", true),
        (&cleo, "👍", true),
        (&cleo, "👍", false),
    ];
    let expected: Vec<_> = (first..)
        .zip(expected)
        .map(|(seq, (person, emoji, is_added))| (json!(seq), json!(person.id), json!(emoji), json!(is_added)))
        .collect();
    assert_eq!(said, expected);
    for event in told {
        assert_eq!(event["data"]["messageId"], *message);
        assert_eq!(event["data"]["reactions"], left["reactions"], "as it is now");
    }
}

#[tokio::test]
async fn nobody_reacts_to_what_they_may_not_see_or_with_what_is_no_emoji() {
    let stack = Stack::running();
    let [anna, ben, cleo, dora] = people(&stack, ["anna", "ben", "cleo", "dora"]).await;
    let chat = channel(&anna, &[&ben, &cleo]).await;
    let message = text(&say(&anna, &chat, "hi").await["id"]);
    let gone = text(&say(&anna, &chat, "oops").await["id"]);
    react(&cleo, &path(&chat, &message, "👍")).await.with(200);
    react(&ben, &path(&chat, &gone, "👍")).await.with(200);
    anna.delete(&format!("/api/chat/{chat}/messages/{gone}"))
        .await
        .with(200);
    assert_eq!(anna.history(&chat).await[1]["reactions"], json!([]));
    remove(&anna, &chat, &cleo).await.with(204);
    let elsewhere = channel(&dora, &[]).await;
    let before = stack.rows_of_chat(&chat).await;

    let unknown = Uuid::now_v7().to_string();
    for (who, chat, message) in [
        (&cleo, &chat, &message),
        (&dora, &chat, &message),
        (&dora, &elsewhere, &message),
        (&ben, &chat, &gone),
        (&ben, &chat, &unknown),
        (&ben, &unknown, &message),
    ] {
        let path = path(chat, message, "👍");
        let _none = react(who, &path).await.problem(404, "not-found");
        let _none = who.delete(&path).await.problem(404, "not-found");
    }
    for odd in ["hello", "👍👍", ":no such name:", " ", "1"] {
        let problem = react(&ben, &path(&chat, &message, odd))
            .await
            .problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], "emoji", "{odd:?}: {problem}");
    }
    assert_eq!(stack.rows_of_chat(&chat).await, before);
}

#[tokio::test]
async fn of_thirty_emojis_at_once_a_message_takes_twenty() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[&ben]).await;
    let message = text(&say(&anna, &chat, "hi").await["id"]);
    let taken = at_once(30, |number| {
        let (person, chat, message) = ([&anna, &ben][number % 2].clone(), chat.clone(), message.clone());
        async move {
            let answer = react(&person, &path(&chat, &message, &format!(":e{number}:"))).await;
            if answer.status == 200 {
                return true;
            }
            let _no = answer.problem(409, "too-many-reactions");
            false
        }
    })
    .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 20);
    let shown = anna.history(&chat).await[0]["reactions"].as_array().unwrap().len();
    assert_eq!(shown, 20);
    // With what is there others may still agree, and newcomers, too.
    let known = taken.iter().position(|taken| *taken).unwrap();
    let [cleo] = people(&stack, ["cleo"]).await;
    add(&anna, &chat, &cleo).await.with(200);
    let known = path(&chat, &message, &format!(":e{known}:"));
    react(&cleo, &known).await.with(200);
}
