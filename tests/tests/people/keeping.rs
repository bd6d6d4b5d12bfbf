//! How one keeps a chat: muted, archived, and what that does to lists and badges.

use serde_json::{Value, json};
use tests::Stack;
use tests::person::text;

use crate::{channel, direct, events, patch, people, say, view};

#[tokio::test]
async fn muted_and_archived_are_ones_own_business() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[&ben]).await;
    let path = format!("/api/chat/{chat}");
    say(&anna, &chat, "hi").await;
    let annas = events(&anna).await.len();
    let tag = ben.get("/api/chat").await.headers["etag"].clone();
    let muted = patch(&ben, &path, &json!({ "muted": true })).await.with(200);
    assert_eq!(
        (&muted["chat"]["muted"], &muted["chat"]["archived"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(ben.unread_total().await, 0, "muted chats do not count in the badge");
    // Ben's other devices learn of it, by every way; Anna does not.
    assert_ne!(ben.get("/api/chat").await.headers["etag"], tag);
    let told = events(&ben).await;
    let last = &told[told.len() - 1];
    assert_eq!(
        (&last["type"], &last["data"]),
        (&json!("chat.updated"), &json!({ "muted": true, "archived": false }))
    );
    assert!(last.get("seq").is_none());
    assert_eq!(
        events(&anna).await.len(),
        annas + 1,
        "a chat of her own alone, by which the test marks its place"
    );
    assert_eq!(
        (&view(&anna, &chat).await["muted"], &view(&ben, &chat).await["lastSeq"]),
        (&json!(false), &json!(1))
    );

    patch(&ben, &path, &json!({ "archived": true, "muted": false }))
        .await
        .with(200);
    let listed = async |query: &str| -> Vec<Value> {
        let list = ben.get(&format!("/api/chat?kind=channel{query}")).await.with(200);
        let chats = list["chats"].as_array().unwrap();
        assert_eq!(list["total"], chats.len());
        chats.iter().map(|chat| chat["id"].clone()).collect()
    };
    assert_eq!(
        (listed("").await, listed("&archived=true").await),
        (vec![], vec![json!(chat)])
    );
    // A new message leaves it there, and counts for nothing in the badge.
    say(&anna, &chat, "hello?").await;
    assert_eq!((listed("&archived=false").await, ben.unread_total().await), (vec![], 0));
    assert_eq!(view(&ben, &chat).await["unreadCount"], 2);
    patch(&ben, &path, &json!({ "archived": false })).await.with(200);
    assert_eq!((listed("").await, ben.unread_total().await), (vec![json!(chat)], 2));

    for (body, pointer) in [
        (json!({ "muted": "yes" }), "/muted"),
        (json!({ "archived": 1 }), "/archived"),
        (json!({ "title": "" }), "/title"),
        (json!({ "kind": "direct" }), "/kind"),
    ] {
        let problem = patch(&ben, &path, &body).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let _odd = ben
        .get("/api/chat?archived=perhaps")
        .await
        .problem(422, "invalid-request");
}

#[tokio::test]
async fn a_rename_is_an_event_of_the_chat() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[&ben]).await;
    let renamed = patch(&anna, &format!("/api/chat/{chat}"), &json!({ "title": "Quay" }))
        .await
        .with(200);
    assert_eq!(
        (&renamed["chat"]["title"], &renamed["chat"]["lastSeq"]),
        (&json!("Quay"), &json!(1))
    );
    patch(&anna, &format!("/api/chat/{chat}"), &json!({ "title": "Quay" }))
        .await
        .with(200);
    let told = events(&ben).await;
    assert_eq!(told.len(), 2);
    assert_eq!((&told[1]["type"], &told[1]["seq"]), (&json!("chat.updated"), &json!(1)));
    assert_eq!(told[1]["data"], json!({ "title": "Quay", "by": anna.id }));
    // Who has a hole there closes it.
    let page = ben
        .get(&format!("/api/chat/{chat}/messages?changedAfter=0"))
        .await
        .with(200);
    assert_eq!((&page["seq"], &page["chat"]["title"]), (&json!(1), &json!("Quay")));
}

#[tokio::test]
async fn an_archived_assistant_chat_makes_room_for_another() {
    let stack = Stack::running();
    let [anna] = people(&stack, ["anna"]).await;
    let mut chats = Vec::new();
    for _ in 0..5 {
        chats.push(anna.assistant_chat().await);
    }
    let open = async || anna.post("/api/chat", &json!({ "kind": "assistant" })).await;
    let _full = open().await.problem(403, "too-many-chats");
    let path = format!("/api/chat/{}", chats[0]);
    patch(&anna, &path, &json!({ "archived": true })).await.with(200);
    let sixth = text(&open().await.with(201)["chat"]["id"]);
    let _full = patch(&anna, &path, &json!({ "archived": false }))
        .await
        .problem(403, "too-many-chats");
    assert_eq!(view(&anna, &chats[0]).await["archived"], true);
    anna.delete(&format!("/api/chat/{sixth}")).await.with(204);
    patch(&anna, &path, &json!({ "archived": false, "title": "Back" }))
        .await
        .with(200);
    let _full = open().await.problem(403, "too-many-chats");
    assert_eq!(view(&anna, &chats[0]).await["title"], "Back");
}

/// The order of a list is that of its first page, whatever is said while one turns the pages.
#[tokio::test]
async fn pages_of_the_list_are_of_one_order() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let mut chats = Vec::new();
    chats.push(direct(&anna, &ben).await);
    for _ in 0..8 {
        chats.push(channel(&ben, &[&anna]).await);
    }
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = anna.get(&format!("/api/chat?limit=2{next}")).await.with(200);
        seen.extend(page["chats"].as_array().unwrap().iter().map(|chat| text(&chat["id"])));
        // The oldest moves to the top, and so does one that was shown.
        say(&ben, &chats[0], "hi").await;
        say(&ben, &chats[8], "hi").await;
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    chats.reverse();
    assert_eq!(seen, chats);
}
