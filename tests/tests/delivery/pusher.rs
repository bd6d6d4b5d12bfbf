//! pusher-js as a frontend uses it: `channelAuthorization` with our route, channels bound, events heard.

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Stack, eventually};

use crate::node::Client;
use crate::{Pair, delete, edit, mark_read, say};

#[tokio::test]
async fn pusher_js_hears_messages_edits_deletions_reads_and_typing() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    crate::known(&ben).await;
    let (mut annas, mut bens) = (Client::pusher(&anna).await, Client::pusher(&ben).await);
    for (client, person) in [(&mut annas, &anna), (&mut bens, &ben)] {
        assert_eq!(
            client.subscribe(&format!("private-user-{}", person.id)).await["on"],
            "subscribed"
        );
    }

    let chat = crate::direct_chat(&anna, &ben).await;
    assert_eq!(bens.hears_event("chat.updated").await["chatId"], *chat);

    let answer = anna.send(&chat, "c-1", "hi ✋").await.with(201);
    assert_eq!(answer["pusherSent"], true);
    for device in [&mut annas, &mut bens] {
        let event = device.hears_event("chat-message").await;
        assert_eq!((&event["type"], &event["seq"]), (&json!("message.created"), &json!(1)));
        assert_eq!(event["data"], answer["message"]);
        assert_eq!(event["data"]["clientId"], "c-1");
        assert_eq!(event["at"], answer["message"]["createdAt"]);
    }

    assert_eq!(mark_read(&ben, &[&answer["message"]]).await["markedCount"], 1);
    for device in [&mut annas, &mut bens] {
        let read = device.hears_event("read").await;
        assert_eq!(
            (&read["data"]["userId"], &read["data"]["readSeq"]),
            (&json!(ben.id), &json!(1))
        );
        assert!(read.get("seq").is_none(), "{read}");
    }

    ben.post(&format!("/api/chat/{chat}/typing"), &json!({}))
        .await
        .with(204);
    let typing = annas.hears_event("typing").await;
    assert_eq!(
        typing["data"],
        json!({ "userId": ben.id, "isTyping": true, "expiresInSeconds": 6 })
    );
    ben.post(&format!("/api/chat/{chat}/typing"), &json!({ "isTyping": false }))
        .await
        .with(204);
    assert_eq!(annas.hears_event("typing").await["data"]["isTyping"], false);

    let edited = edit(&anna, &answer["message"], "hello").await.with(200);
    let deleted = delete(&anna, &answer["message"]).await.with(200);
    assert_eq!(
        (&edited["pusherSent"], &deleted["pusherSent"]),
        (&json!(true), &json!(true))
    );
    for device in [&mut annas, &mut bens] {
        let event = device.hears_event("message.updated").await;
        assert_eq!((&event["type"], &event["seq"]), (&json!("message.updated"), &json!(2)));
        assert_eq!(event["data"], edited["message"]);
        let event = device.hears_event("message.deleted").await;
        assert_eq!((&event["type"], &event["seq"]), (&json!("message.deleted"), &json!(3)));
        assert_eq!(event["data"], deleted["message"]);
        assert_eq!(event["data"]["content"], "");
    }
    // Whoever types hears nothing of it; and nothing came twice.
    assert_eq!(bens.others(), Vec::<String>::new());
    assert_eq!(annas.others(), ["chat.updated"]);
}

#[tokio::test]
async fn a_reply_reaches_the_second_device_piece_by_piece() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut device = Client::pusher(&anna).await;
    device.subscribe(&format!("private-user-{}", anna.id)).await;

    let frames = anna
        .ask(&chat, "c-1", r#"/script {"words": 120, "delayMs": 10}"#)
        .await
        .all()
        .await;
    let answer = frames[frames.len() - 2].data["data"].clone();
    let whole = text(&answer["content"]);

    let question = device.hears_event("chat-message").await;
    assert_eq!(question["data"]["clientId"], "c-1");
    let told = device.hears_event("chat-message").await;
    assert_eq!((&told["data"], &told["seq"]), (&answer, &json!(2)));
    let ended = device.hears_event("reply.ended").await;
    assert_eq!(
        ended["data"],
        json!({ "messageId": answer["id"], "attempt": 1, "state": "completed" })
    );
    let started = device.hears_event("reply.started").await;
    assert_eq!(started["data"], json!({ "messageId": answer["id"], "attempt": 1 }));

    // Pieces may overtake each other; each says where it belongs, and together they have no hole.
    let mut pieces = Vec::new();
    let mut reach = 0;
    while device.others().iter().any(|name| name == "reply.delta") {
        let delta = device.hears_event("reply.delta").await;
        let (offset, piece) = (offset(&delta), text(&delta["data"]["text"]));
        assert_eq!(whole[offset..offset + piece.len()], piece);
        reach = reach.max(offset + piece.len());
        pieces.push((offset, piece.len()));
    }
    pieces.sort_unstable();
    assert!(pieces.len() > 2, "coalesced, but not into one: {pieces:?}");
    assert!(pieces.len() < 120, "coalesced: {}", pieces.len());
    assert_eq!(
        pieces.iter().map(|(_, length)| length).sum::<usize>(),
        reach,
        "{pieces:?}"
    );
    assert_eq!(pieces[0].0, 0);
}

fn offset(delta: &Value) -> usize {
    usize::try_from(delta["data"]["offset"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn presence_shows_who_is_here_and_its_webhook_when_they_were() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let channel = format!("presence-chat-{chat}");
    let (mut annas, mut bens) = (Client::pusher(&anna).await, Client::pusher(&ben).await);

    let alone = annas.subscribe(&channel).await;
    assert_eq!(
        (&alone["me"], &alone["members"]),
        (&json!(anna.id), &json!([[anna.id, { "name": "anna", "image": null }]]))
    );
    let both = bens.subscribe(&channel).await;
    let mut here: Vec<_> = both["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| text(&member[0]))
        .collect();
    here.sort();
    assert_eq!(here, [anna.id.clone(), ben.id.clone()]);
    let came = annas.hears("Ben's arrival", |line| line["on"] == "came").await;
    assert_eq!((&came["id"], &came["info"]["name"]), (&json!(ben.id), &json!("ben")));

    // The server's own webhooks reach us.
    eventually("both were seen", async || {
        let body = anna.get(&format!("/api/chat/{chat}")).await.with(200);
        let members = body["chat"]["members"].as_array().unwrap();
        members
            .iter()
            .all(|member| member["lastSeenAt"].is_string())
            .then_some(())
    })
    .await;

    bens.tell(&json!({ "unsubscribe": channel })).await;
    let left = annas.hears("Ben's departure", |line| line["on"] == "left").await;
    assert_eq!(left["id"], *ben.id);
}

#[tokio::test]
async fn a_stranger_cannot_subscribe() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let cleo = stack.person("cleo");
    crate::known(&cleo).await;
    let mut cleos = Client::pusher(&cleo).await;
    for channel in [
        format!("private-user-{}", ben.id),
        format!("presence-chat-{chat}"),
        "private-everything".into(),
    ] {
        let refused = cleos.subscribe(&channel).await;
        assert_eq!(
            (&refused["on"], &refused["status"]),
            (&json!("refused"), &json!(403)),
            "{channel}"
        );
    }
    let mut nobody = Client::pusher_with(&cleo, "no token").await;
    let refused = nobody.subscribe(&format!("private-user-{}", cleo.id)).await;
    assert_eq!((&refused["on"], &refused["status"]), (&json!("refused"), &json!(401)));

    // Cleo hears nothing of what is said: her own message, which comes later, is the first event.
    cleos.subscribe(&format!("private-user-{}", cleo.id)).await;
    say(&anna, &chat, "a secret").await;
    let own = cleo.assistant_chat().await;
    cleos.hears_in(&own, "chat.updated").await;
    assert_eq!(cleos.others(), Vec::<String>::new());
}

#[tokio::test]
async fn each_is_pushed_what_they_may_see_of_a_message() {
    let stack = Stack::running();
    let (anna, ben, cleo) = (stack.person("anna"), stack.person("ben"), stack.person("cleo"));
    for person in [&ben, &cleo] {
        crate::known(person).await;
    }
    let body = json!({ "kind": "channel", "title": "Harbour", "members": [ben.id, cleo.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    let secret = say(&anna, &chat, "a secret").await;
    // Cleo joined after it, where that hides what was before; and has blocked Anna.
    sqlx::query(
        "update members set visible_after = 1, read_seq = 1, read_number = 1 where chat_id::text = $1 and user_id = $2",
    )
    .bind(&chat)
    .bind(&cleo.id)
    .execute(&stack.rows)
    .await
    .unwrap();
    let block = cleo.request(Method::PUT, &format!("/api/people/{}/block", anna.id));
    Answer::of(block.send().await.unwrap()).await.with(204);
    let (mut bens, mut cleos) = (Client::pusher(&ben).await, Client::pusher(&cleo).await);
    for (client, person) in [(&mut bens, &ben), (&mut cleos, &cleo)] {
        client.subscribe(&format!("private-user-{}", person.id)).await;
    }
    let send = async |client_id: &str, more: Value| {
        let mut body = json!({ "clientId": client_id, "content": "look" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        anna.post(&format!("/api/chat/{chat}/messages"), &body).await.with(201)
    };

    let sent = send("c-1", json!({ "replyTo": secret["id"], "mentions": [ben.id, cleo.id] })).await;
    assert_eq!(sent["pusherSent"], true);
    let heard = bens.hears_event("chat-message").await;
    assert_eq!(heard["data"], sent["message"]);
    assert_eq!(heard["data"]["replyPreview"]["content"], "a secret");
    let heard = cleos.hears_event("chat-message").await;
    assert_eq!(heard["data"]["replyTo"], secret["id"]);
    assert_eq!(
        (&heard["data"]["replyPreview"], &heard["data"]["mentions"]),
        (&Value::Null, &json!([ben.id]))
    );
    // The same as by every other way.
    let newest = cleo.get(&format!("/api/chat/{chat}/messages?limit=1")).await.with(200);
    assert_eq!(newest["messages"][0], heard["data"]);

    edit(&anna, &secret, "another secret").await.with(200);
    assert_eq!(
        bens.hears_event("message.updated").await["data"]["content"],
        "another secret"
    );
    send("c-2", json!({})).await;
    cleos.hears_event("chat-message").await;
    assert!(
        !cleos.others().contains(&"message.updated".to_owned()),
        "{:?}",
        cleos.others()
    );

    // Nor are they in one room with whom they have blocked.
    for (client, answer) in [(&mut cleos, "refused"), (&mut bens, "subscribed")] {
        assert_eq!(client.subscribe(&format!("presence-chat-{chat}")).await["on"], answer);
    }
}
