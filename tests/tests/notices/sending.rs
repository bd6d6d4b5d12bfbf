//! `POST /api/chat-messages`, and what the person sees of it.

use reqwest::Method;
use serde_json::json;
use tests::person::text;
use tests::{Answer, Gateway, Person, Stack, at_once};

use crate::node::Client;
use crate::{agent, known, notice, send, unread};

#[tokio::test]
async fn a_notice_reaches_pusher_js_the_unread_list_and_its_task() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    let mut device = Client::pusher(&anna).await;
    device.subscribe(&format!("private-user-{}", anna.id)).await;

    let body = notice(&anna, "task_123", "CONFIRMATION", "Your meeting has been scheduled.");
    let sent = send(&agent, &body).await.with(201);
    let id = text(&sent["messageId"]);
    assert_eq!(
        sent,
        json!({ "success": true, "pusherSent": true, "databaseStored": true, "messageId": id })
    );

    let heard = device.hears_event("chat-message").await;
    let message = &heard["data"];
    assert_eq!((&message["id"], &message["type"]), (&json!(id), &json!("CONFIRMATION")));
    assert_eq!(message["metadata"], json!({ "eventId": "event_789" }));
    device.hears_in(&text(&heard["chatId"]), "chat.updated").await;

    let list = unread(&anna).await;
    let listed = &list["messages"][0];
    assert_eq!((&list["total"], &list["hasMore"]), (&json!(1), &json!(false)));
    assert_eq!(
        *listed,
        json!({
            "id": id, "type": "CONFIRMATION", "taskId": "task_123", "chatId": heard["chatId"], "seq": 1, "role": "system",
            "content": "Your meeting has been scheduled.", "data": { "eventId": "event_789" },
            "createdAt": listed["createdAt"],
        })
    );
    let of_task = anna.get("/api/chat-messages/task_123").await.with(200);
    assert_eq!((&of_task["taskId"], &of_task["count"]), (&json!("task_123"), &json!(1)));
    assert_eq!(
        (&of_task["messages"][0]["id"], &of_task["messages"][0]["read"]),
        (&json!(id), &json!(false))
    );

    // Marked by id, exactly, and once.
    for count in [1, 0] {
        let marked = anna
            .post("/api/chat-messages/mark-read", &json!({ "messageIds": [id, id] }))
            .await
            .with(200);
        assert_eq!(marked["markedCount"], count);
    }
    assert_eq!(unread(&anna).await["total"], 0);
    let of_task = anna.get("/api/chat-messages/task_123").await.with(200);
    assert_eq!(of_task["messages"][0]["read"], true);
    // A task of which nobody has said anything has nothing; and it is nobody else's.
    let bens = known(&stack, None).await;
    let none = json!({ "taskId": "task_123", "messages": [], "count": 0, "hasMore": false });
    assert_eq!(bens.get("/api/chat-messages/task_123").await.with(200), none);
}

#[tokio::test]
async fn the_same_key_is_the_same_notice_however_often_it_comes() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    let mut body = notice(&anna, "t", "INFO", "once");
    let answers = at_once(8, |index| {
        let (agent, mut body) = (agent.clone(), body.clone());
        async move {
            let mut request = agent.request(Method::POST, "/api/chat-messages");
            if index % 2 == 0 {
                body["key"] = json!("k-1");
            } else {
                request = request.header("idempotency-key", "k-1");
            }
            Answer::of(request.json(&body).send().await.unwrap()).await
        }
    })
    .await;
    let firsts = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(
        (firsts, answers.iter().filter(|answer| answer.status == 200).count()),
        (1, 7)
    );
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|answer| text(&answer.body["messageId"])).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(unread(&anna).await["total"], 1);
    body["key"] = json!("k-2");
    let request = agent
        .request(Method::POST, "/api/chat-messages")
        .header("idempotency-key", "k-3");
    let refused = Answer::of(request.json(&body).send().await.unwrap())
        .await
        .problem(422, "invalid-request");
    assert_eq!(refused["errors"][0]["parameter"], "Idempotency-Key");
}

#[tokio::test]
async fn only_agents_send_and_only_for_their_own_organisation() {
    let stack = Stack::running();
    let (agent_of_acme, anna) = (agent(&stack, Some("acme")), known(&stack, Some("acme")).await);
    let body = notice(&anna, "t", "INFO", "hi");
    let _ = send(&anna, &body).await.problem(403, "forbidden");
    let mut of_other = body.clone();
    of_other["orgId"] = json!("other");
    let _ = send(&agent_of_acme, &of_other).await.problem(403, "forbidden");
    send(&agent_of_acme, &body).await.with(201);
    // Another organisation's agent has no part in that task.
    let _ = send(&agent(&stack, Some("other")), &body)
        .await
        .problem(409, "conflict");
    let stranger = stack.person("nobody");
    let _ = send(&agent_of_acme, &notice(&stranger, "t", "INFO", "hi"))
        .await
        .problem(404, "not-found");
    let bad = json!({ "userId": "", "taskId": "a/b", "type": "TEXT", "content": " ", "data": [], "priority": 1, "more": true });
    let refused = send(&agent_of_acme, &bad).await.problem(422, "invalid-request");
    let pointers: Vec<_> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| text(&error["pointer"]))
        .collect();
    assert_eq!(
        pointers,
        ["/userId", "/taskId", "/type", "/content", "/data", "/priority", "/more"]
    );
    assert_eq!(unread(&anna).await["total"], 1);
}

#[tokio::test]
async fn an_agent_reaches_nobody_who_is_known_to_be_of_another_organisation() {
    let stack = Stack::running();
    let (acmes, nobodys) = (known(&stack, Some("acme")).await, known(&stack, None).await);
    let other = agent(&stack, Some("other"));
    let refused = send(&other, &notice(&acmes, "t", "INFO", "hi"))
        .await
        .problem(404, "not-found");
    let stranger = send(&other, &notice(&stack.person("nobody"), "t", "INFO", "hi"))
        .await
        .problem(404, "not-found");
    // As if there were no such person.
    for said in ["title", "detail"] {
        assert_eq!(refused[said], stranger[said]);
    }
    assert_eq!(
        (
            unread(&acmes).await["total"].clone(),
            acmes.get("/api/chat").await.with(200)["total"].clone()
        ),
        (json!(0), json!(0))
    );
    send(&other, &notice(&nobodys, "t", "INFO", "hi")).await.with(201);
    send(&agent(&stack, None), &notice(&acmes, "t", "INFO", "hi"))
        .await
        .with(201);

    // Where nobody is bounded, they do; where everyone is, people are, too.
    let gateway = Gateway::start(&stack).await;
    let there = |person: &Person| Person {
        stack: gateway.stack.clone(),
        ..person.clone()
    };
    let _open = gateway.function("send-notice", &[("ORGANISATIONS", "open")]);
    send(&there(&other), &notice(&acmes, "t-2", "INFO", "hi"))
        .await
        .with(201);
    let _create = gateway.function("create-chat", &[("ORGANISATIONS", "everyone")]);
    let _add = gateway.function("add-members", &[("ORGANISATIONS", "everyone")]);
    let ben = there(&stack.person_of("ben", Some("other")));
    let direct = |person: &Person| json!({ "kind": "direct", "members": [person.id] });
    let channel = |people: &[&Person]| {
        let members: Vec<_> = people.iter().map(|person| &person.id).collect();
        json!({ "kind": "channel", "title": "Harbour", "members": members })
    };
    ben.post("/api/chat", &direct(&acmes)).await.problem(404, "not-found");
    let refused = ben
        .post("/api/chat", &channel(&[&nobodys, &acmes]))
        .await
        .problem(404, "not-found");
    assert_eq!(refused["errors"][0]["pointer"], "/members/1");
    let opened = ben.post("/api/chat", &channel(&[&nobodys])).await.with(201);
    let members = format!("/api/chat/{}/members", text(&opened["chat"]["id"]));
    ben.post(&members, &json!({ "members": [acmes.id] }))
        .await
        .problem(404, "not-found");
    ben.post("/api/chat", &direct(&nobodys)).await.with(201);
    // Without the setting anybody opens a chat with anybody.
    stack
        .person_of("ben", Some("other"))
        .post("/api/chat", &direct(&acmes))
        .await
        .with(201);
}

#[tokio::test]
async fn high_priority_comes_first_and_the_tag_changes_with_the_list() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    send(&agent, &notice(&anna, "t", "INFO", "usual")).await.with(201);
    let first = anna.get("/api/chat-messages?limit=1").await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        (
            first.body["messages"][0]["content"].as_str(),
            first.body["hasMore"].as_bool()
        ),
        (Some("usual"), Some(false))
    );
    let polled = async || {
        let request = anna
            .request(Method::GET, "/api/chat-messages?limit=1")
            .header("if-none-match", &tag);
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(polled().await.status, 304);
    let mut urgent = notice(&anna, "t", "ERROR", "urgent");
    urgent["priority"] = json!("high");
    send(&agent, &urgent).await.with(201);
    let next = polled().await.with(200);
    assert_eq!(
        (&next["messages"][0]["content"], &next["messages"][0]["priority"]),
        (&json!("urgent"), &json!("high"))
    );
    assert_eq!((&next["total"], &next["hasMore"]), (&json!(2), &json!(true)));
}
