//! One channel, many senders at once.

use serde_json::json;
use tests::person::{seqs, text};
use tests::{Person, Stack, at_once};

use crate::{events, people};

const SENDERS: usize = 32;
const MESSAGES: usize = 10;

#[tokio::test]
async fn thirty_two_senders_at_once_leave_no_hole_and_everyone_hears_them_in_order() {
    let stack = Stack::running();
    let mut everyone: Vec<Person> = Vec::new();
    for _ in 0..SENDERS {
        let [person] = people(&stack, ["sender"]).await;
        everyone.push(person);
    }
    let members: Vec<_> = everyone.iter().map(|person| &person.id).collect();
    let body = json!({ "kind": "channel", "title": "Harbour", "members": members });
    let chat = text(&everyone[0].post("/api/chat", &body).await.with(201)["chat"]["id"]);
    let sent = at_once(SENDERS, |n| {
        let (person, chat) = (everyone[n].clone(), chat.clone());
        async move {
            let mut sent = Vec::new();
            for n in 0..MESSAGES {
                let message = person.send(&chat, &format!("c-{n}"), &format!("{n}")).await.with(201);
                sent.push(message["message"].clone());
            }
            sent
        }
    })
    .await;
    let total = i64::try_from(SENDERS * MESSAGES).unwrap();
    let everything: Vec<_> = (1..=total).collect();
    // Of each sender in their order, of all together 1 to n.
    for own in &sent {
        assert!(seqs(own).is_sorted());
    }
    let mut all: Vec<_> = sent.into_iter().flatten().collect();
    all.sort_by_key(|message| message["seq"].as_i64());
    assert_eq!(seqs(&all), everything);
    for person in [&everyone[0], &everyone[17], &everyone[SENDERS - 1]] {
        let told = events(person).await;
        let heard: Vec<_> = told.iter().filter(|event| event["type"] == "message.created").collect();
        assert_eq!(
            heard
                .iter()
                .map(|event| event["seq"].as_i64().unwrap())
                .collect::<Vec<_>>(),
            everything
        );
        assert!(heard.iter().zip(&all).all(|(event, message)| event["data"] == *message));
    }
    let told_in_order = stack
        .number(
            "select count(*) from (
                 select array_agg(seq order by version) = array_agg(seq order by seq) and count(*) = 320 as is_right
                 from inbox where chat_id = $1 and seq > 0 group by user_id
             ) as each where is_right",
            &chat,
        )
        .await;
    assert_eq!(told_in_order, i64::try_from(SENDERS).unwrap());
}
