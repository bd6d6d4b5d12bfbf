//! A chat is nobody else's business: not its content, not its existence. Every route is tried with the ids of others: by
//! somebody who was never there, and by somebody who was and is not any more.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack, script};
use uuid::Uuid;

const MANIFEST: &str = include_str!("../../../Cargo.toml");

/// What somebody gets who names what is not theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// As if there were no such chat.
    NotFound,
    /// An answer that shows nothing of it.
    Nothing(u16),
    Refusal(u16),
}
use Gets::{NotFound, Nothing, Refusal};

/// Every route there is, with somebody else's ids: `{chatId}`, `{messageId}` and `{userId}` stand for those of a chat that is
/// not one's own, and bodies would be good if it were.
fn routes() -> Vec<(Method, &'static str, Value, Gets)> {
    let message = json!({ "clientId": "c-9", "content": "let me in" });
    vec![
        (Method::GET, "/api/chat", Value::Null, Nothing(200)),
        (
            Method::POST,
            "/api/chat",
            json!({ "kind": "direct", "members": ["{chatId}"] }),
            NotFound,
        ),
        (Method::GET, "/api/chat/stream?chatId={chatId}", Value::Null, NotFound),
        (Method::POST, "/api/chat/stream-ticket", json!({}), Nothing(201)),
        (Method::GET, "/api/chat/{chatId}", Value::Null, NotFound),
        (
            Method::PATCH,
            "/api/chat/{chatId}",
            json!({ "title": "Mine", "muted": true, "archived": true }),
            NotFound,
        ),
        (Method::DELETE, "/api/chat/{chatId}", Value::Null, NotFound),
        (
            Method::POST,
            "/api/chat/{chatId}/members",
            json!({ "members": ["{me}"], "role": "admin" }),
            NotFound,
        ),
        (
            Method::PATCH,
            "/api/chat/{chatId}/members/{userId}",
            json!({ "role": "member" }),
            NotFound,
        ),
        (
            Method::DELETE,
            "/api/chat/{chatId}/members/{userId}",
            Value::Null,
            NotFound,
        ),
        (Method::GET, "/api/chat/{chatId}/messages", Value::Null, NotFound),
        (Method::POST, "/api/chat/{chatId}/messages", message.clone(), NotFound),
        (Method::POST, "/api/chat/{chatId}/message", message, NotFound),
        (
            Method::PATCH,
            "/api/chat/{chatId}/messages/{messageId}",
            json!({ "content": "forged" }),
            NotFound,
        ),
        (
            Method::DELETE,
            "/api/chat/{chatId}/messages/{messageId}",
            Value::Null,
            NotFound,
        ),
        (
            Method::GET,
            "/api/chat/{chatId}/messages/{messageId}/attachments/{index}",
            Value::Null,
            NotFound,
        ),
        (
            Method::GET,
            "/api/chat/{chatId}/messages/{messageId}/versions",
            Value::Null,
            NotFound,
        ),
        (
            Method::GET,
            "/api/chat/{chatId}/messages/{messageId}/stream",
            Value::Null,
            NotFound,
        ),
        (
            Method::PUT,
            "/api/chat/{chatId}/messages/{messageId}/reactions/{emoji}",
            Value::Null,
            NotFound,
        ),
        (
            Method::DELETE,
            "/api/chat/{chatId}/messages/{messageId}/reactions/{emoji}",
            Value::Null,
            NotFound,
        ),
        (Method::POST, "/api/chat/{chatId}/stop", Value::Null, NotFound),
        (
            Method::POST,
            "/api/chat/{chatId}/regenerate",
            json!({ "messageId": "{messageId}" }),
            NotFound,
        ),
        (Method::GET, "/api/chat/search?q=secret", Value::Null, Nothing(200)),
        (
            Method::POST,
            "/api/attachments",
            json!({ "type": "image", "mimeType": "image/png", "size": 1 }),
            Nothing(201),
        ),
        (Method::GET, "/api/posts", Value::Null, Nothing(200)),
        // Nobody makes a post for a chat of their choice.
        (
            Method::POST,
            "/api/posts",
            json!({ "content": "mine", "chatId": "{chatId}" }),
            Refusal(422),
        ),
        (Method::GET, "/api/posts/{postId}", Value::Null, NotFound),
        (
            Method::PATCH,
            "/api/posts/{postId}",
            json!({ "content": "not hers any more" }),
            NotFound,
        ),
        (Method::DELETE, "/api/posts/{postId}", Value::Null, NotFound),
        (
            Method::POST,
            "/api/posts/{postId}/follow-up",
            json!({ "postContent": "not hers any more", "trigger": "edit" }),
            NotFound,
        ),
        (Method::GET, "/api/usage", Value::Null, Nothing(200)),
        (Method::GET, "/api/people/blocked", Value::Null, Nothing(200)),
        (Method::PUT, "/api/people/{userId}/block", Value::Null, Nothing(204)),
        (Method::DELETE, "/api/people/{userId}/block", Value::Null, Nothing(204)),
        (
            Method::POST,
            "/api/chat/{chatId}/read",
            json!({ "seq": 1, "deliveredSeq": 1 }),
            NotFound,
        ),
        (
            Method::POST,
            "/api/chat/{chatId}/typing",
            json!({ "isTyping": true }),
            NotFound,
        ),
        (Method::GET, "/api/chat-messages", Value::Null, Nothing(200)),
        (
            Method::POST,
            "/api/chat-messages/mark-read",
            json!({ "messageIds": ["{messageId}"] }),
            Nothing(200),
        ),
        (
            Method::POST,
            "/api/chat-messages",
            json!({ "userId": "{userId}", "taskId": "t", "type": "INFO", "content": "from an agent" }),
            Refusal(403),
        ),
        (Method::GET, "/api/chat-messages/{taskId}", Value::Null, Nothing(200)),
        (Method::GET, "/api/openapi.json", Value::Null, Nothing(200)),
        (Method::GET, "/api/me", Value::Null, Nothing(200)),
        (Method::POST, "/api/me/presence", json!({}), Nothing(204)),
        (
            Method::POST,
            "/api/pusher/auth",
            json!("socket_id=1.2&channel_name=presence-chat-{chatId}"),
            Refusal(403),
        ),
        (
            Method::POST,
            "/api/pusher/webhook",
            json!({ "events": [{ "name": "member_added", "channel": "presence-chat-{chatId}", "user_id": "{userId}" }] }),
            Refusal(401),
        ),
    ]
}

/// What the gateway routes: `"/path" = [{ method = "GET", function = "…" }, …]`.
fn routed() -> BTreeSet<(String, String)> {
    let lines = MANIFEST
        .lines()
        .skip_while(|line| !line.starts_with("[workspace.metadata.lambda.watch.router]"))
        .skip(1);
    let routes = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ["));
    let methods = |functions: &str| -> Vec<String> {
        functions
            .split("method = \"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    routes
        .map(|(path, functions)| (path.trim_matches('"'), methods(functions)))
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (method, path.to_owned())))
        .collect()
}

#[test]
fn every_route_is_tried_by_strangers() {
    let tried = routes()
        .into_iter()
        .map(|(method, path, ..)| (method.to_string(), path.split('?').next().unwrap().to_owned()))
        .collect();
    let routed = routed();
    let untried: Vec<_> = routed.difference(&tried).collect();
    assert!(untried.is_empty(), "add to `routes` above: {untried:?}");
    let gone: Vec<_> = tried.difference(&routed).collect();
    assert!(gone.is_empty(), "take out of `routes` above: {gone:?}");
}

/// Somebody else's ids, to be put into paths and bodies.
struct Ids<'a> {
    chat: &'a str,
    message: &'a str,
    member: &'a str,
    post: &'a str,
}

impl Ids<'_> {
    fn filled(&self, text: &str, me: &Person) -> String {
        text.replace("{chatId}", self.chat)
            .replace("{messageId}", self.message)
            .replace("{userId}", self.member)
            .replace("{postId}", self.post)
            .replace("{me}", &me.id)
            .replace("{taskId}", "t")
            .replace("{emoji}", "%F0%9F%91%8D")
            .replace("{index}", "0")
    }

    async fn call(&self, person: &Person, method: &Method, path: &str, body: &Value, accept: &str) -> Answer {
        let mut request = person
            .request(method.clone(), &self.filled(path, person))
            .header("accept", accept);
        request = match body {
            Value::Null => request,
            // As forms are sent.
            Value::String(form) => request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(self.filled(form, person)),
            body => request
                .header("content-type", "application/json")
                .body(self.filled(&body.to_string(), person)),
        };
        Answer::of(request.send().await.unwrap()).await
    }
}

/// Tries every route on a chat that is not the person's, and on one that nobody has.
async fn try_everything(stack: &Stack, person: &Person, ids: &Ids<'_>, secrets: &[&str]) {
    let rows = stack.rows_of_chat(ids.chat).await;
    let nowhere = Uuid::now_v7().to_string();
    for (method, path, body, gets) in routes() {
        for accept in ["application/json", "text/event-stream"] {
            let foreign = ids.call(person, &method, path, &body, accept).await;
            let shown = foreign.body.to_string();
            assert!(
                secrets.iter().all(|secret| !shown.contains(secret)),
                "{method} {path}: {shown}"
            );
            match gets {
                Nothing(status) => assert_eq!(foreign.status, status, "{method} {path}: {shown}"),
                Refusal(status) => drop(foreign.with(status)),
                NotFound => {
                    let missing = Ids {
                        chat: &nowhere,
                        post: &nowhere,
                        ..*ids
                    };
                    let missing = missing.call(person, &method, path, &body, accept).await;
                    let (mut foreign, mut missing) =
                        (foreign.problem(404, "not-found"), missing.problem(404, "not-found"));
                    // Nobody can tell a foreign chat from one that does not exist.
                    foreign["requestId"].take();
                    missing["requestId"].take();
                    assert_eq!(foreign, missing, "{method} {path}");
                }
            }
            assert_eq!(stack.rows_of_chat(ids.chat).await, rows, "{method} {path}");
        }
    }
    // What counts for everyone else still does.
    let marked = json!({ "messageIds": [ids.message] });
    let marked = person.post("/api/chat-messages/mark-read", &marked).await.with(200);
    assert_eq!(marked, json!({ "success": true, "markedCount": 0 }));
    assert_eq!(person.get("/api/chat-messages").await.with(200)["total"], 0);
    assert_eq!(person.unread_total().await, 0);
    assert_eq!(stack.rows_of_chat(ids.chat).await, rows);
}

#[tokio::test]
async fn a_stranger_gets_404_on_everything_and_changes_nothing() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    // Known to the house, and not to this chat.
    let bens = ben.assistant_chat().await;
    anna.ask(&chat, "c-1", "secret").await.all().await;
    let reply = anna.send(&chat, "c-2", &script(&json!({ "words": 1 }))).await.with(201);
    anna.history_of(&chat, 4).await;
    let post = text(
        &anna
            .post("/api/posts", &json!({ "content": "a secret post" }))
            .await
            .with(201)["post"]["id"],
    );
    let message = text(&reply["message"]["id"]);
    let ids = Ids {
        chat: &chat,
        message: &message,
        member: &anna.id,
        post: &post,
    };
    try_everything(&stack, &ben, &ids, &["secret", &message]).await;
    let list = ben.get("/api/chat").await.with(200);
    assert_eq!((&list["total"], &list["chats"][0]["id"]), (&json!(1), &json!(bens)));

    // Replying to a message of a chat that one cannot see is replying to nothing.
    let body = json!({ "clientId": "c-1", "content": "what did she say?", "replyTo": message });
    let refusal = ben
        .post(&format!("/api/chat/{bens}/messages"), &body)
        .await
        .problem(422, "invalid-request");
    assert_eq!(refusal["errors"][0]["pointer"], "/replyTo");
}

#[tokio::test]
async fn who_was_removed_is_a_stranger() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    ben.get("/api/me").await.with(200);
    let body = json!({ "kind": "channel", "title": "secret harbour", "members": [ben.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    // He has an own one there, and has not read the other.
    ben.send(&chat, "c-1", "a secret of his own").await.with(201);
    let message = anna.send(&chat, "c-1", "secret").await.with(201)["message"].clone();
    anna.delete(&format!("/api/chat/{chat}/members/{}", ben.id))
        .await
        .with(204);
    let message = text(&message["id"]);
    let post = text(
        &anna
            .post("/api/posts", &json!({ "content": "a secret post" }))
            .await
            .with(201)["post"]["id"],
    );
    let ids = Ids {
        chat: &chat,
        message: &message,
        member: &anna.id,
        post: &post,
    };
    try_everything(&stack, &ben, &ids, &["secret", &message]).await;
    assert_eq!(ben.get("/api/chat").await.with(200)["total"], 0);
}
