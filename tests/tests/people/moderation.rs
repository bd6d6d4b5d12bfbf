//! The site's own hook: it sees what is to be said before anyone else, and decides; where it fails, the configuration does.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::person::text;
use tests::{Gateway, Person, Stack};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{channel, patch, people};

const SECRET: &str = "a secret of more than 24 bytes";

/// What the hook was asked, checked to be signed.
type Asked = Arc<Mutex<Vec<Value>>>;

/// A hook that refuses what contains "rude", breaks at "break", answers nonsense to "nonsense", and never at "hang".
async fn hook() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/judge", listener.local_addr().unwrap());
    let asked = Asked::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(judge(stream, seen.clone()));
        }
    });
    (address, asked)
}

async fn judge(stream: TcpStream, asked: Asked) {
    let mut stream = BufReader::new(stream);
    // As long as the connection is kept.
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name}: {head}"))
        };
        let mut body = vec![0; header("content-length").parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header("webhook-signature"), signature);
        let utterance: Value = serde_json::from_str(&body).unwrap();
        let content = text(&utterance["content"]);
        asked.lock().unwrap().push(utterance);
        let (status, answer) = match content.as_str() {
            content if content.contains("rude") => (
                "200 OK",
                json!({ "allow": false, "reason": "Be kind,\nplease.", "code": "rude" }).to_string(),
            ),
            "break" => ("500 Internal Server Error", "{}".to_owned()),
            "nonsense" => ("200 OK", "yes".to_owned()),
            "hang" => std::future::pending().await,
            "redirect" => ("307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/", String::new()),
            _ => ("200 OK", json!({ "allow": true }).to_string()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
    }
}

fn by(person: &Person, gateway: &Gateway) -> Person {
    Person {
        stack: gateway.stack.clone(),
        ..person.clone()
    }
}

#[tokio::test]
async fn what_the_hook_refuses_is_never_said() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[&ben]).await;
    let (address, asked) = hook().await;
    let gateway = Gateway::start(&stack).await;
    let settings = [
        ("MODERATION_URL", address.as_str()),
        ("MODERATION_SECRET", SECRET),
        ("MODERATION_TIMEOUT_MS", "10000"),
    ];
    let _functions = ["send-message", "edit-message"].map(|name| gateway.function(name, &settings));
    let here = by(&anna, &gateway);
    let said = here.send(&chat, "c-1", "hello").await.with(201)["message"].clone();
    let before = stack.rows_of_chat(&chat).await;
    let path = format!("/api/chat/{chat}/messages/{}", text(&said["id"]));
    for answer in [
        here.send(&chat, "c-2", "something rude").await,
        patch(&here, &path, &json!({ "content": "rude now" })).await,
    ] {
        let problem = answer.problem(422, "message-refused");
        assert_eq!(
            (&problem["detail"], &problem["code"]),
            (&json!("Be kind, please."), &json!("rude"))
        );
    }
    assert_eq!(stack.rows_of_chat(&chat).await, before);
    assert_eq!(ben.history(&chat).await, std::slice::from_ref(&said));
    // The same `clientId` may say something else: nothing was said by it.
    here.send(&chat, "c-2", "something kind").await.with(201);
    let (seen_send, seen_edit) = {
        let asked = asked.lock().unwrap();
        (
            asked[0].clone(),
            asked.iter().find(|asked| asked["action"] == "edit").cloned().unwrap(),
        )
    };
    assert_eq!(
        seen_send,
        json!({
            "action": "send", "chatId": chat, "kind": "channel", "senderId": anna.id, "content": "hello",
            "attachments": [], "mentions": [], "replyTo": null, "metadata": {},
        })
    );
    assert_eq!(
        (&seen_edit["messageId"], &seen_edit["content"]),
        (&said["id"], &json!("rude now"))
    );
    // What was accepted is not judged again when it is sent again, nor what a stranger may not say at all.
    let judged = asked.lock().unwrap().len();
    here.send(&chat, "c-1", "hello").await.with(200);
    let [dora] = people(&stack, ["dora"]).await;
    let _none = by(&dora, &gateway)
        .send(&chat, "c-1", "rude")
        .await
        .problem(404, "not-found");
    assert_eq!(asked.lock().unwrap().len(), judged);
}

#[tokio::test]
async fn where_the_hook_fails_the_configuration_decides() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let chat = channel(&anna, &[&ben]).await;
    let (address, _) = hook().await;
    // Of a port that nobody listens at.
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let failures = ["break", "nonsense", "hang", "redirect"];
    for (on_failure, is_said) in [("accept", true), ("reject", false)] {
        for (place, url) in [&address, &closed].into_iter().enumerate() {
            let gateway = Gateway::start(&stack).await;
            let _function = gateway.function(
                "send-message",
                &[
                    ("MODERATION_URL", url),
                    ("MODERATION_SECRET", SECRET),
                    ("MODERATION_TIMEOUT_MS", "300"),
                    ("MODERATION_ON_FAILURE", on_failure),
                ],
            );
            let here = by(&anna, &gateway);
            for content in failures {
                let (before, client_id) = (
                    stack.rows_of_chat(&chat).await,
                    format!("{on_failure}-{place}-{content}"),
                );
                let answer = here.send(&chat, &client_id, content).await;
                if is_said {
                    assert_eq!(answer.with(201)["message"]["content"], content);
                } else {
                    let problem = answer.problem(503, "moderation-unavailable");
                    assert_eq!(problem["retryable"], true);
                    assert!(!problem.to_string().contains("127.0.0.1"), "{problem}");
                    assert_eq!(stack.rows_of_chat(&chat).await, before);
                }
            }
        }
    }
    assert_eq!(ben.history(&chat).await.len(), 2 * failures.len());
}

/// Off by default, and only where it is asked for.
#[tokio::test]
async fn the_hook_sees_only_the_kinds_of_chats_that_it_is_for() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let (shared, pair) = (channel(&anna, &[&ben]).await, crate::direct(&anna, &ben).await);
    let (address, asked) = hook().await;
    let gateway = Gateway::start(&stack).await;
    let settings = [
        ("MODERATION_URL", address.as_str()),
        ("MODERATION_SECRET", SECRET),
        ("MODERATION_TIMEOUT_MS", "10000"),
        ("MODERATION_KINDS", "direct"),
    ];
    let _function = gateway.function("send-message", &settings);
    let here = by(&anna, &gateway);
    here.send(&shared, "c-1", "rude").await.with(201);
    let _no = here.send(&pair, "c-1", "rude").await.problem(422, "message-refused");
    assert_eq!(asked.lock().unwrap().len(), 1);
    anna.send(&pair, "c-1", "rude").await.with(201);
    assert_eq!(asked.lock().unwrap().len(), 1);
}
