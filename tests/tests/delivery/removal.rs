//! Removed from a channel: that is the last one learns of it, by every way.

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Stack, Stream};

use crate::node::Client;
use crate::stream::{listen, until};
use crate::{direct_chat, known, say};

#[tokio::test]
async fn who_is_removed_hears_that_and_nothing_after_by_any_way() {
    let stack = Stack::running();
    let (anna, ben, cleo) = (stack.person("anna"), stack.person("ben"), stack.person("cleo"));
    known(&ben).await;
    known(&cleo).await;
    let body = json!({ "kind": "channel", "title": "Harbour", "members": [ben.id, cleo.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    let elsewhere = direct_chat(&anna, &ben).await;
    say(&anna, &chat, "hi").await;

    let (mut all, _) = listen(&ben, "").await;
    let (mut of_the_chat, _) = listen(&ben, &format!("?chatId={chat}")).await;
    let (mut cleos, _) = listen(&cleo, "").await;
    let mut bens = Client::pusher(&ben).await;
    assert_eq!(
        bens.subscribe(&format!("private-user-{}", ben.id)).await["on"],
        "subscribed"
    );
    assert_eq!(
        bens.subscribe(&format!("presence-chat-{chat}")).await["on"],
        "subscribed"
    );
    let tag = ben.get("/api/chat-messages").await.headers["etag"].clone();

    anna.delete(&format!("/api/chat/{chat}/members/{}", ben.id))
        .await
        .with(204);
    let said = say(&anna, &chat, "now that he is gone").await;
    let path = format!("/api/chat/{chat}/messages/{}", text(&said["id"]));
    let edit = cleo_reads_and_anna_edits(&cleo, &anna, &chat, &path).await;
    edit.with(200);
    let last = say(&anna, &elsewhere, "hi Ben").await;

    // The event stream of all chats goes on without this one; that of this one ends, and is not to be had again.
    let heard = until(&mut all, |frame| frame.data["data"]["id"] == last["id"]).await;
    let outline: Vec<_> = heard
        .iter()
        .map(|frame| (frame.event.as_str(), frame.data["chatId"] == *chat))
        .collect();
    assert_eq!(outline, [("member.removed", true), ("message.created", false)]);
    assert_eq!(
        (&heard[0].data["seq"], &heard[0].data["data"]),
        (&json!(2), &json!({ "userId": ben.id, "by": anna.id }))
    );
    let removed = of_the_chat.next().await.unwrap();
    assert_eq!(
        (removed.event.as_str(), &removed.data),
        ("member.removed", &heard[0].data)
    );
    assert_eq!(of_the_chat.next().await, None);
    for query in [format!("?chatId={chat}"), format!("?chatId={chat}&after=0")] {
        let again = ben.request(Method::GET, &format!("/api/chat/stream{query}"));
        let _none = Stream::of(again.send().await.unwrap())
            .answer()
            .await
            .problem(404, "not-found");
    }
    // From the beginning: of what he has not looked at yet, too, nothing but the end is left.
    let (mut anew, _) = listen(&ben, "?after=0").await;
    let heard = until(&mut anew, |frame| frame.data["data"]["id"] == last["id"]).await;
    let of_it: Vec<_> = heard.iter().filter(|frame| frame.data["chatId"] == *chat).collect();
    assert_eq!(
        of_it.iter().map(|frame| frame.event.as_str()).collect::<Vec<_>>(),
        ["member.removed"]
    );

    // Pusher has brought the same, and will not let him into the room again.
    let event = bens.hears_in(&elsewhere, "chat-message").await;
    assert_eq!(event["data"], last);
    assert_eq!(bens.hears_in(&chat, "member.removed").await["seq"], 2);
    let others = bens.others();
    assert!(
        !others
            .iter()
            .any(|name| ["chat-message", "message.updated", "read"].contains(&name.as_str())),
        "{others:?}"
    );
    let mut another = Client::pusher(&ben).await;
    assert_eq!(
        another.subscribe(&format!("presence-chat-{chat}")).await["on"],
        "refused"
    );

    // Polling.
    let poll = ben
        .request(Method::GET, "/api/chat-messages")
        .header("if-none-match", tag);
    let unread = Answer::of(poll.send().await.unwrap()).await.with(200);
    assert_eq!(
        (&unread["total"], &unread["messages"][0]["id"]),
        (&json!(1), &last["id"])
    );
    let list = ben.get("/api/chat").await.with(200);
    assert_eq!(
        (&list["total"], &list["chats"][0]["id"]),
        (&json!(1), &json!(elsewhere))
    );
    let _none = ben
        .get(&format!("/api/chat/{chat}/messages?changedAfter=0"))
        .await
        .problem(404, "not-found");

    // Whoever stays hears of all of it.
    let heard = until(&mut cleos, |frame| frame.event == "message.updated").await;
    let seqs: Vec<_> = heard.iter().filter_map(|frame| frame.data["seq"].as_i64()).collect();
    assert_eq!(seqs, [2, 3, 4]);
}

async fn cleo_reads_and_anna_edits(cleo: &tests::Person, anna: &tests::Person, chat: &str, path: &str) -> Answer {
    cleo.post(&format!("/api/chat/{chat}/read"), &json!({})).await.with(200);
    let request = anna.request(Method::PATCH, path).json(&json!({ "content": "edited" }));
    Answer::of(request.send().await.unwrap()).await
}

/// A chat that is deleted ends the streams of those who listened to it alone.
#[tokio::test]
async fn a_stream_of_a_chat_ends_with_it() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    known(&ben).await;
    let body = json!({ "kind": "channel", "title": "Harbour", "members": [ben.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    let (mut listening, _) = listen(&ben, &format!("?chatId={chat}")).await;
    anna.delete(&format!("/api/chat/{chat}")).await.with(204);
    let gone = listening.next().await.unwrap();
    assert_eq!(
        (gone.event.as_str(), &gone.data["data"]),
        ("chat.deleted", &Value::Object(Default::default()))
    );
    assert_eq!(listening.next().await, None);
}
