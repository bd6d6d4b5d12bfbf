//! Chats: opened up to a cap, listed, deleted.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Stack, at_once, eventually};

#[tokio::test]
async fn six_chats_at_once_on_a_cap_of_five_are_exactly_five() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let bens = ben.assistant_chat().await;

    let answers = at_once(6, |_| {
        let anna = anna.clone();
        async move { anna.post("/api/chat", &json!({ "kind": "assistant" })).await }
    })
    .await;

    let (opened, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((opened.len(), refused.len()), (5, 1));
    let refusal = refused.into_iter().next().unwrap().problem(403, "too-many-chats");
    assert!(text(&refusal["detail"]).contains('5'), "{refusal}");
    assert_eq!(refusal["retryable"], false);
    let list = anna.get("/api/chat").await.with(200);
    assert_eq!(list["total"], 5);

    // One is given up, with all that was in it, and another may be opened.
    let doomed = text(&opened[0].body["chat"]["id"]);
    anna.ask(&doomed, "c-1", "hello").await.all().await;
    let gone = anna.delete(&format!("/api/chat/{doomed}")).await;
    assert_eq!((gone.status.as_u16(), &gone.body), (204, &Value::Null));
    anna.get(&format!("/api/chat/{doomed}")).await.problem(404, "not-found");
    anna.delete(&format!("/api/chat/{doomed}"))
        .await
        .problem(404, "not-found");
    let left = stack.rows_of_chat(&doomed).await;
    assert!(
        left.iter().all(|row| row.starts_with("inbox ")),
        "only the news of it is left: {left:?}"
    );
    anna.assistant_chat().await;
    anna.post("/api/chat", &json!({ "kind": "assistant" }))
        .await
        .problem(403, "too-many-chats");

    assert_eq!(ben.get("/api/chat").await.with(200)["chats"][0]["id"], bens);
}

#[tokio::test]
async fn a_large_chat_is_gone_at_once_and_its_rows_a_while_later() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    ben.get("/api/me").await.with(200);
    let body = json!({ "kind": "channel", "title": "Large", "members": [ben.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    let fill = "with taken as (
                    update chats set last_seq = 2000, last_number = 2000, last_message_seq = 2000, last_message_at = now()
                    where id = $1 returning id, owner_id
                )
                insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
                select id, n, gen_random_uuid(), n, n, 'user', owner_id, 'one of many'
                from taken cross join generate_series(1, 2000) as n";
    stack.change(fill, &chat).await;
    assert_eq!(ben.unread_total().await, 2000);

    anna.delete(&format!("/api/chat/{chat}")).await.with(204);

    for person in [&anna, &ben] {
        person.get(&format!("/api/chat/{chat}")).await.problem(404, "not-found");
        assert_eq!(person.get("/api/chat").await.with(200)["total"], 0);
        assert_eq!(person.unread_total().await, 0);
    }
    let left = stack.unswept(&chat, async {
        eventually("the last of its rows", async || {
            let left = stack.rows_of_chat(&chat).await;
            left.iter().all(|row| row.starts_with("inbox ")).then_some(left)
        })
        .await
    });
    assert_eq!(left.await.iter().filter(|row| row.contains("chat.deleted")).count(), 2);
}

#[tokio::test]
async fn a_new_chat_is_its_owners_alone_and_empty() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let body = json!({ "kind": "assistant", "title": "Über alles 🦀" });
    let chat = anna.post("/api/chat", &body).await.with(201)["chat"].clone();
    assert_eq!(
        (chat["kind"].as_str(), chat["title"].as_str()),
        (Some("assistant"), Some("Über alles 🦀"))
    );
    assert_eq!(
        (chat["lastSeq"].as_i64(), chat["unreadCount"].as_i64()),
        (Some(0), Some(0))
    );
    assert_eq!(chat["lastMessage"], Value::Null);
    let members = chat["members"].as_array().unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (members[0]["userId"].as_str(), members[0]["role"].as_str()),
        (Some(&*anna.id), Some("owner"))
    );
    let opened = anna.get(&format!("/api/chat/{}", text(&chat["id"]))).await.with(200);
    assert_eq!(opened, json!({ "chat": chat, "messages": [], "hasMore": false }));
}

#[tokio::test]
async fn the_list_is_by_activity_in_pages_that_skip_and_repeat_nothing() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let mut chats = Vec::new();
    for _ in 0..5 {
        chats.push(anna.assistant_chat().await);
    }
    // The second is written to, and comes to the top with two messages, one of them unread.
    anna.ask(&chats[1], "c-1", "hello").await.all().await;
    let expected = [&chats[1], &chats[4], &chats[3], &chats[2], &chats[0]];

    for size in [1, 2, 5, 50] {
        let mut seen = Vec::new();
        let mut path = format!("/api/chat?limit={size}");
        loop {
            let page = anna.get(&path).await.with(200);
            assert_eq!(page["total"], 5);
            let chats = page["chats"].as_array().unwrap();
            assert!(chats.len() <= size);
            seen.extend(chats.iter().map(|chat| text(&chat["id"])));
            match &page["nextCursor"] {
                Value::Null => break,
                cursor => path = format!("/api/chat?limit={size}&cursor={}", text(cursor)),
            }
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "{size} a page");
    }

    let list = anna.get("/api/chat?kind=assistant").await.with(200);
    let top = &list["chats"][0];
    assert_eq!(
        (top["lastSeq"].as_i64(), top["unreadCount"].as_i64()),
        (Some(2), Some(1))
    );
    assert_eq!(top["lastMessage"]["content"], "You said: hello");
    for chat in &list["chats"].as_array().unwrap()[1..] {
        assert_eq!(
            (chat["unreadCount"].as_i64(), &chat["lastMessage"]),
            (Some(0), &Value::Null)
        );
    }
    for kind in ["direct", "channel", "post", "task"] {
        let list = anna.get(&format!("/api/chat?kind={kind}")).await.with(200);
        assert_eq!(list["total"], 0, "{kind}");
        assert_eq!((&list["chats"], &list["nextCursor"]), (&json!([]), &Value::Null));
    }
}

#[tokio::test]
async fn a_person_is_known_from_the_first_request() {
    let stack = Stack::running();
    let anna = stack.person("Anna");
    let me = anna.get("/api/me").await.with(200);
    assert_eq!(me["unreadTotal"], 0);
    assert_eq!(
        (me["user"]["id"].as_str(), me["user"]["name"].as_str()),
        (Some(&*anna.id), Some("Anna"))
    );
    // Whichever route comes first.
    let (ben, cleo, dan) = (stack.person("ben"), stack.person("cleo"), stack.person("dan"));
    ben.assistant_chat().await;
    assert_eq!(cleo.get("/api/chat").await.with(200)["total"], 0);
    assert_eq!(dan.get("/api/chat-messages").await.with(200)["total"], 0);
}
