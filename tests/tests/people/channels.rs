//! Channels, as their people see them.

use reqwest::Method;
use serde_json::{Value, json};
use tests::function::Gateway;
use tests::person::text;
use tests::{Answer, Person, Stack, at_once};
use uuid::Uuid;

use crate::{add, channel, direct, events, member, patch, people, read, remove, say, view};

#[tokio::test]
async fn a_channel_is_opened_for_all_its_people() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    // Named twice, or oneself among them, is no error.
    let body = json!({ "kind": "channel", "title": "Harbour", "members": [ben.id, cleo.id, ben.id, anna.id] });
    let chat = anna.post("/api/chat", &body).await.with(201)["chat"].clone();
    assert_eq!(
        (&chat["kind"], &chat["title"], &chat["lastSeq"]),
        (&json!("channel"), &json!("Harbour"), &json!(0))
    );
    assert!(chat.get("user").is_none());
    assert_eq!(chat["members"].as_array().unwrap().len(), 3);
    for (person, role) in [(&anna, "owner"), (&ben, "member"), (&cleo, "member")] {
        assert_eq!(member(&chat, person).unwrap()["role"], role);
        let list = person.get("/api/chat?kind=channel").await.with(200);
        assert_eq!((&list["total"], &list["chats"][0]["id"]), (&json!(1), &chat["id"]));
        let told = events(person).await;
        assert_eq!(told.len(), 1);
        assert_eq!(
            (&told[0]["type"], &told[0]["chatId"]),
            (&json!("chat.updated"), &chat["id"])
        );
    }
    for (body, pointer) in [
        (json!({ "kind": "channel" }), "/title"),
        (json!({ "kind": "channel", "title": "" }), "/title"),
        (json!({ "kind": "channel", "title": "x".repeat(201) }), "/title"),
        (json!({ "kind": "channel", "title": "x", "members": [7] }), "/members/0"),
        (
            json!({ "kind": "channel", "title": "x", "members": vec!["x"; 257] }),
            "/members",
        ),
        (json!({ "kind": "room", "title": "x" }), "/kind"),
    ] {
        let problem = anna.post("/api/chat", &body).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let many: Vec<_> = (0..256).map(|n| format!("p{n}")).collect();
    let body = json!({ "kind": "channel", "title": "x", "members": many });
    let _full = anna.post("/api/chat", &body).await.problem(403, "too-many-members");
}

/// What each may do: the status, and for refusals that nothing changed.
#[tokio::test]
async fn roles_decide_what_one_may_do() {
    let stack = Stack::running();
    let [owner, admin, plain, stranger, admin2, plain2, fresh] = people(
        &stack,
        ["owner", "admin", "plain", "stranger", "admin2", "plain2", "fresh"],
    )
    .await;
    let chat = channel(&owner, &[&admin, &plain, &admin2, &plain2]).await;
    let role = |person: &Person| format!("/api/chat/{chat}/members/{}", person.id);
    for person in [&admin, &admin2] {
        patch(&owner, &role(person), &json!({ "role": "admin" }))
            .await
            .with(200);
    }
    let path = format!("/api/chat/{chat}");
    let members = format!("{path}/members");
    let call = async |by: &Person, method: Method, path: &str, body: &Value| {
        let mut request = by.request(method, path);
        if !body.is_null() {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    let add_one = json!({ "members": [fresh.id] });
    let add_admin = json!({ "members": [fresh.id], "role": "admin" });
    let (none, rename) = (Value::Null, json!({ "title": "Quay" }));
    let (to_admin, to_owner) = (json!({ "role": "admin" }), json!({ "role": "owner" }));
    let before = stack.rows_of_chat(&chat).await;
    // Who does what, and the refusal.
    for (by, method, path, body, status, problem) in [
        (&plain, Method::POST, &members, &add_one, 403, "forbidden"),
        (&stranger, Method::POST, &members, &add_one, 404, "not-found"),
        (&admin, Method::POST, &members, &add_admin, 403, "forbidden"),
        (&plain, Method::DELETE, &role(&plain2), &none, 403, "forbidden"),
        (&stranger, Method::DELETE, &role(&plain2), &none, 404, "not-found"),
        (&admin, Method::DELETE, &role(&owner), &none, 403, "forbidden"),
        (&plain, Method::DELETE, &role(&owner), &none, 403, "forbidden"),
        (&owner, Method::DELETE, &role(&owner), &none, 409, "conflict"),
        (&owner, Method::DELETE, &role(&fresh), &none, 404, "not-found"),
        (&admin, Method::PATCH, &role(&plain), &to_admin, 403, "forbidden"),
        (&plain, Method::PATCH, &role(&plain), &to_admin, 403, "forbidden"),
        (&plain, Method::PATCH, &role(&plain), &to_owner, 403, "forbidden"),
        (&stranger, Method::PATCH, &role(&stranger), &to_owner, 404, "not-found"),
        (&owner, Method::PATCH, &role(&owner), &to_admin, 409, "conflict"),
        (&owner, Method::PATCH, &role(&fresh), &to_admin, 404, "not-found"),
        (&plain, Method::PATCH, &path, &rename, 403, "forbidden"),
        (&stranger, Method::PATCH, &path, &rename, 404, "not-found"),
        (&stranger, Method::DELETE, &path, &none, 404, "not-found"),
    ] {
        let answer = call(by, method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        let _refused = answer.problem(status, problem);
        assert_eq!(stack.rows_of_chat(&chat).await, before, "{method} {path} {body}");
    }
    for (body, pointer) in [
        (json!({}), "/members"),
        (json!({ "members": ["x"], "role": "owner" }), "/role"),
        (json!({ "members": ["x"], "role": 1 }), "/role"),
        (json!({ "members": [""] }), "/members/0"),
        (json!({ "members": vec!["x"; 101] }), "/members"),
        (json!({ "members": ["x"], "extra": 1 }), "/extra"),
    ] {
        let problem = owner.post(&members, &body).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(stack.rows_of_chat(&chat).await, before);

    // What is allowed, one after the other: each takes one seq, and `add-members` of those who are in it takes none.
    for (by, method, path, body, status, seq) in [
        (&admin, Method::POST, &members, &add_one, 200, 3),
        (&admin, Method::POST, &members, &add_one, 200, 3),
        (&admin, Method::DELETE, &role(&fresh), &none, 204, 4),
        (&owner, Method::POST, &members, &add_admin, 200, 5),
        (&admin, Method::DELETE, &role(&admin2), &none, 204, 6),
        (&plain2, Method::DELETE, &role(&plain2), &none, 204, 7),
        (&admin, Method::PATCH, &path, &rename, 200, 8),
        (&owner, Method::PATCH, &role(&plain), &to_owner, 200, 9),
        (&owner, Method::DELETE, &path, &none, 204, 10),
    ] {
        let answer = call(by, method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        let last = stack.number("select last_seq from chats where id = $1", &chat).await;
        assert_eq!(last, seq, "{method} {path} {body}");
    }
    let now = view(&plain, &chat).await;
    assert_eq!(
        (&now["title"], member(&now, &plain).unwrap()["role"].as_str()),
        (&json!("Quay"), Some("owner"))
    );
    assert!(
        member(&now, &owner).is_none(),
        "who was the owner and deleted it has left it"
    );
    plain.delete(&path).await.with(204);
    let _gone = plain.get(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn only_channels_have_members_and_titles_that_people_give() {
    let stack = Stack::running();
    let [anna, ben, cleo] = people(&stack, ["anna", "ben", "cleo"]).await;
    let chat = direct(&anna, &ben).await;
    let before = stack.rows_of_chat(&chat).await;
    let _no = add(&anna, &chat, &cleo).await.problem(409, "conflict");
    let _no = remove(&anna, &chat, &ben).await.problem(409, "conflict");
    let _no = anna
        .delete(&format!("/api/chat/{chat}"))
        .await
        .problem(403, "forbidden");
    let body = json!({ "title": "Us", "muted": true });
    let problem = patch(&anna, &format!("/api/chat/{chat}"), &body)
        .await
        .problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["pointer"], "/title");
    assert_eq!(stack.rows_of_chat(&chat).await, before);
}

#[tokio::test]
async fn fifty_at_once_for_the_last_place_let_one_in() {
    let stack = Stack::running();
    let [anna] = people(&stack, ["anna"]).await;
    let chat = channel(&anna, &[]).await;
    // As many as fit but one, behind the API's back.
    let fill = "with new as (
            insert into people (id, name) select 'filler-' || n || '-' || $1, 'P' from generate_series(1, 254) n returning id
        ), heads as (
            insert into inbox_heads (user_id) select id from new
        )
        insert into members (chat_id, user_id) select $1::uuid, id from new";
    sqlx::query(fill)
        .bind(chat.parse::<Uuid>().unwrap())
        .execute(&stack.rows)
        .await
        .unwrap();
    let mut newcomers = Vec::new();
    for _ in 0..50 {
        let [newcomer] = people(&stack, ["newcomer"]).await;
        newcomers.push(newcomer);
    }
    let answers = at_once(50, |n| {
        let (anna, chat, newcomer) = (anna.clone(), chat.clone(), newcomers[n].clone());
        async move { add(&anna, &chat, &newcomer).await }
    })
    .await;
    let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    // The one that was let in has a long answer, of which our local gateway may lose one, and then says so itself.
    let lost = answers
        .iter()
        .filter(|answer| answer.body["type"] == "https://httpstatuses.com/500");
    assert_eq!((with(200) + lost.count(), with(403)), (1, 49));
    let full = answers.into_iter().find(|answer| answer.status == 403).unwrap();
    let _problem = full.problem(403, "too-many-members");
    assert_eq!(
        stack
            .number("select count(*) from members where chat_id = $1", &chat)
            .await,
        256
    );
}

#[tokio::test]
async fn a_newcomer_starts_at_the_join() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[]).await;
    let early = say(&anna, &chat, "early").await;
    let added = add(&anna, &chat, &ben).await.with(200);
    assert_eq!(member(&added["chat"], &ben).unwrap()["readSeq"], 2);
    assert_eq!(ben.unread_total().await, 0);
    // History is all there, by default.
    assert_eq!(ben.history(&chat).await, [early]);
    let late = say(&anna, &chat, "late").await;
    assert_eq!(ben.unread_total().await, 1);
    assert_eq!(
        ben.get("/api/chat-messages").await.with(200)["messages"][0]["id"],
        late["id"]
    );
    let told = events(&ben).await;
    assert_eq!((&told[0]["type"], &told[0]["seq"]), (&json!("member.added"), &json!(2)));
    let data = &told[0]["data"];
    assert_eq!(
        (&data["members"][0]["userId"], &data["by"]),
        (&json!(ben.id), &json!(anna.id))
    );
    assert_eq!((&told[1]["type"], &told[1]["data"]), (&json!("message.created"), &late));
}

#[tokio::test]
async fn where_it_is_configured_a_newcomer_sees_nothing_from_before() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[]).await;
    let secret = say(&anna, &chat, "secret").await;
    let gateway = Gateway::start(&stack).await;
    let _function = gateway.function("add-members", &[("CHANNEL_HISTORY", "since_join")]);
    let here = Person {
        stack: gateway.stack.clone(),
        ..anna.clone()
    };
    add(&here, &chat, &ben).await.with(200);
    let path = format!("/api/chat/{chat}");
    let bens = ben.get(&path).await.with(200);
    assert_eq!(
        (&bens["chat"]["lastMessage"], &bens["messages"]),
        (&Value::Null, &json!([]))
    );
    for query in ["", "?after=0", "?before=99", "?changedAfter=0"] {
        let page = ben.get(&format!("{path}/messages{query}")).await.with(200);
        assert_eq!(page["messages"], json!([]), "{query}");
    }
    let list = ben.get("/api/chat").await.with(200);
    assert_eq!(list["chats"][0]["lastMessage"], Value::Null);
    let secret_path = format!("{path}/messages/{}", text(&secret["id"]));
    let _none = ben.delete(&secret_path).await.problem(404, "not-found");
    let reply = json!({ "clientId": "c-1", "content": "?", "replyTo": secret["id"] });
    let _none = ben
        .post(&format!("{path}/messages"), &reply)
        .await
        .problem(422, "invalid-request");
    assert_eq!(
        read(&ben, &chat, &json!({ "unreadFrom": 1 })).await.with(200)["unreadCount"],
        0
    );
    // Edited after he came, it is still from before.
    patch(&anna, &secret_path, &json!({ "content": "a new secret" }))
        .await
        .with(200);
    let said = say(&anna, &chat, "for all").await;
    let page = ben.get(&format!("{path}/messages?changedAfter=0")).await.with(200);
    assert_eq!(page["messages"], json!([said]));
    let told = events(&ben).await;
    assert!(!json!(told).to_string().contains("secret"), "{told:?}");
}
