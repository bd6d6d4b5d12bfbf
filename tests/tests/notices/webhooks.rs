//! What goes back to an organisation's own servers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::contract::hold_event;
use tests::person::text;
use tests::stack::now;
use tests::{Gateway, Queue, Stack, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::{agent, known, notice, send};

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Fails,
    Redirects,
    /// It takes the event, and dies before it has said so.
    TakesAndDies,
    Takes,
}

/// A server of an organisation's own.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

#[derive(Clone, Debug)]
struct Heard {
    does: Does,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Receiver {
    /// It does one after the other, and then takes everything.
    async fn start(script: &'static [Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let kept = heard.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let (mut connection, headers, body) = read(connection).await;
                    let does = {
                        let mut heard = heard.lock().unwrap();
                        let does = script.get(heard.len()).copied().unwrap_or(Does::Takes);
                        heard.push(Heard { does, headers, body });
                        does
                    };
                    let head = match does {
                        Does::TakesAndDies => return,
                        Does::Takes => "204 No Content",
                        Does::Fails => "500 Internal Server Error",
                        Does::Redirects => "307 Temporary Redirect\r\nlocation: /elsewhere",
                    };
                    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _gone = connection.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, heard: kept }
    }

    fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock().unwrap().clone();
        for one in &heard {
            hold_event("webhook", &serde_json::from_str(&one.body).unwrap());
        }
        heard
    }
}

async fn read(connection: TcpStream) -> (TcpStream, BTreeMap<String, String>, String) {
    let mut reader = BufReader::new(connection);
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("POST /hook "), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).await.unwrap();
    (reader.into_inner(), headers, String::from_utf8(body).unwrap())
}

async fn listen(stack: &Stack, organisation: &str, url: &str, events: &[&str]) {
    // A secret that every worker of the stack has.
    sqlx::query("insert into webhooks (id, org_id, url, secret, events) values ($1, $2, $3, 'env:JWT_SECRET', $4)")
        .bind(Uuid::now_v7())
        .bind(organisation)
        .bind(url)
        .bind(events)
        .execute(&stack.rows)
        .await
        .unwrap();
}

/// As Standard Webhooks says.
fn assert_signed(stack: &Stack, heard: &Heard) {
    let (id, timestamp) = (&heard.headers["webhook-id"], &heard.headers["webhook-timestamp"]);
    let mut mac = Hmac::<Sha256>::new_from_slice(stack.jwt.secret.as_bytes()).unwrap();
    mac.update(format!("{id}.{timestamp}.{}", heard.body).as_bytes());
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(heard.headers["webhook-signature"], expected);
    assert!((now() - timestamp.parse::<i64>().unwrap()).abs() < 300);
}

#[tokio::test]
async fn a_receiver_that_fails_gets_each_event_in_order_and_can_tell_duplicates() {
    let stack = Stack::running();
    let organisation = format!("org-{}", Uuid::now_v7().simple());
    let receiver = Receiver::start(&[Does::Fails, Does::Redirects, Does::Fails, Does::TakesAndDies]).await;
    listen(
        &stack,
        &organisation,
        &receiver.url,
        &["message.created", "clarification.answered"],
    )
    .await;
    let (agent, anna) = (
        agent(&stack, Some(&organisation)),
        known(&stack, Some(&organisation)).await,
    );

    let gateway = Gateway::start(&stack).await;
    let queue = Queue::feeding(&gateway, 1).await;
    let settings = [
        queue.setting(),
        ("WEBHOOK_RETRY_SECONDS", "0.2"),
        ("WEBHOOK_TARGETS", "any"),
    ];
    let _worker = gateway.function("worker", &settings);
    let _functions = ["send-notice", "send-message"].map(|name| gateway.function(name, &[queue.setting()]));
    let agent = agent.by(&gateway.stack);
    for (message_type, says) in [("INFO", "one"), ("INFO", "two"), ("CLARIFICATION", "which title?")] {
        send(&agent, &notice(&anna, "task_1", message_type, says))
            .await
            .with(201);
    }
    let list = anna.get("/api/chat-messages/task_1").await.with(200);
    let asked = &list["messages"][2];
    assert_eq!(
        (asked["open"].as_bool(), list["messages"][0].get("open")),
        (Some(true), None)
    );
    let chat = text(&asked["chatId"]);
    anna.by(&gateway.stack).send(&chat, "c-1", "Lunch").await.with(201);
    assert_eq!(
        anna.get("/api/chat-messages/task_1").await.with(200)["messages"][2]["open"],
        false
    );

    let heard = eventually("all five were taken", async || {
        let heard = receiver.heard();
        let taken = heard.iter().filter(|one| one.does == Does::Takes).count();
        (taken == 5).then_some(heard)
    })
    .await;
    for one in &heard {
        assert_signed(&stack, one);
    }
    // The first came five times, under one id: so a receiver knows that it has it.
    let ids: Vec<_> = heard.iter().map(|one| one.headers["webhook-id"].clone()).collect();
    assert_eq!(ids[..5], vec![ids[0].clone(); 5]);
    assert_eq!(heard[3].body, heard[4].body);
    let mut seen = Vec::new();
    let mut events: Vec<Value> = Vec::new();
    for one in heard
        .iter()
        .filter(|one| [Does::Takes, Does::TakesAndDies].contains(&one.does))
    {
        if !seen.contains(&one.headers["webhook-id"]) {
            seen.push(one.headers["webhook-id"].clone());
            events.push(serde_json::from_str(&one.body).unwrap());
        }
    }
    let told: Vec<_> = events
        .iter()
        .map(|event| (text(&event["type"]), event["seq"].as_i64().unwrap()))
        .collect();
    let told: Vec<_> = told.iter().map(|(what, seq)| (what.as_str(), *seq)).collect();
    assert_eq!(
        told,
        [
            ("message.created", 1),
            ("message.created", 2),
            ("message.created", 3),
            ("clarification.answered", 4),
            ("message.created", 4)
        ]
    );
    for (event, id) in events.iter().zip(&seen) {
        assert_eq!(
            (&event["id"], &event["organisation"]),
            (&json!(id), &json!(organisation))
        );
        assert_eq!(event["chatId"], *chat);
    }
    let answered = &events[3]["data"];
    assert_eq!(
        (&answered["taskId"], &answered["userId"]),
        (&json!("task_1"), &json!(anna.id))
    );
    assert_eq!(answered["answer"]["content"], "Lunch");
    assert_eq!(answered["clarification"]["id"], asked["id"]);
    assert_eq!(answered["clarification"]["metadata"], json!({ "eventId": "event_789" }));
    assert_eq!(
        stack
            .number("select count(*) from jobs where chat_id = $1", &chat)
            .await,
        0
    );
}

#[tokio::test]
async fn an_event_that_is_never_taken_is_parked_and_an_address_inside_is_never_asked() {
    let stack = Stack::running();
    let organisation = format!("org-{}", Uuid::now_v7().simple());
    let receiver = Receiver::start(&[]).await;
    listen(&stack, &organisation, &receiver.url, &["message.created"]).await;
    let (agent, anna) = (
        agent(&stack, Some(&organisation)),
        known(&stack, Some(&organisation)).await,
    );
    let gateway = Gateway::start(&stack).await;
    let queue = Queue::feeding(&gateway, 1).await;
    let settings = [
        queue.setting(),
        ("WEBHOOK_TARGETS", "public"),
        ("WEBHOOK_ATTEMPTS", "2"),
        ("WEBHOOK_RETRY_SECONDS", "0.2"),
    ];
    let _worker = gateway.function("worker", &settings);
    let _function = gateway.function("send-notice", &[queue.setting()]);
    send(&agent.by(&gateway.stack), &notice(&anna, "t", "INFO", "hi"))
        .await
        .with(201);
    let chat = text(&anna.get("/api/chat-messages/t").await.with(200)["messages"][0]["chatId"]);
    let parked = "select count(*) from jobs where chat_id = $1 and state = 'dead' and attempts = 2
        and last_error like '%not public%'";
    eventually("it is parked", async || {
        (stack.number(parked, &chat).await == 1).then_some(())
    })
    .await;
    assert!(receiver.heard().is_empty());
}
