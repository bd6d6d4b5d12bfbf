//! Pusher away, in every way: what is sent is stored, says so, and arrives by the other ways.

use serde_json::{Value, json};
use tests::function::Gateway;
use tests::proxy::{Proxy, Way};
use tests::{Person, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Pair, stream};

/// Sends through a function with a Pusher of its own, and checks that all else is as ever.
async fn assert_sent(stack: &Stack, settings: &[(&str, &str)], pusher_sent: Value) {
    let Pair { anna, ben, chat } = Pair::meet(stack).await;
    let (mut listening, _) = stream::listen(&ben, "").await;
    let gateway = Gateway::start(stack).await;
    let sending = gateway.function("send-message", settings);
    let answer = sending.send(&anna, &chat, "c-1", "hi").await.with(201);
    assert_eq!(answer["pusherSent"], pusher_sent, "{settings:?}");
    let heard = listening.next().await.unwrap();
    assert_eq!(heard.data["data"], answer["message"]);
    let unread = ben.get("/api/chat-messages").await.with(200);
    assert_eq!(
        (&unread["total"], &unread["messages"][0]["id"]),
        (&json!(1), &answer["message"]["id"])
    );
    // A retry finds it, and tells nobody again.
    let again = sending.send(&anna, &chat, "c-1", "hi").await.with(200);
    assert_eq!(
        (&again["message"], &again["pusherSent"]),
        (&answer["message"], &Value::Null)
    );
}

const NONE: [(&str, &str); 4] = [
    ("PUSHER_APP_ID", ""),
    ("PUSHER_KEY", ""),
    ("PUSHER_SECRET", ""),
    ("PUSHER_HOST", ""),
];

#[tokio::test]
async fn without_pusher_everything_else_works() {
    let stack = Stack::running();
    assert_sent(&stack, &NONE, Value::Null).await;

    let Pair { anna, chat, .. } = Pair::meet(&stack).await;
    let gateway = Gateway::start(&stack).await;
    let _functions = ["typing", "pusher-auth", "pusher-webhook"].map(|name| gateway.function(name, &NONE));
    let here = Person {
        stack: gateway.stack.clone(),
        ..anna
    };
    here.post(&format!("/api/chat/{chat}/typing"), &json!({}))
        .await
        .with(204);
    for path in ["/api/pusher/auth", "/api/pusher/webhook"] {
        let _none = here.post(path, &json!({})).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn wrong_credentials_are_reported() {
    let stack = Stack::running();
    for settings in [
        ("PUSHER_SECRET", "wrong"),
        ("PUSHER_KEY", "wrong"),
        ("PUSHER_APP_ID", "404"),
    ] {
        assert_sent(&stack, &[settings], json!(false)).await;
    }
}

#[tokio::test]
async fn a_refused_connection_is_reported() {
    let stack = Stack::running();
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert_sent(&stack, &[("PUSHER_PORT", &port.to_string())], json!(false)).await;
    let closed = Proxy::to("127.0.0.1:9", Way::Closed).await;
    assert_sent(&stack, &[("PUSHER_PORT", port_of(closed.address()))], json!(false)).await;
    assert_sent(&stack, &[("PUSHER_HOST", "no-such-host.invalid")], json!(false)).await;
}

fn port_of(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[tokio::test]
async fn a_silent_pusher_holds_no_sender_up() {
    let stack = Stack::running();
    // It takes connections and never says a word: that answers come at all shows that nobody waits for it.
    let silent = Proxy::to("127.0.0.1:9", Way::Silent).await;
    let settings = [("PUSHER_PORT", port_of(silent.address()))];
    assert_sent(&stack, &settings, json!(false)).await;

    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let gateway = Gateway::start(&stack).await;
    let sending = gateway.function("send-message", &settings);
    let frames = sending
        .ask(&anna, &chat, "c-1", r#"/script {"words": 60, "delayMs": 10}"#)
        .await
        .all()
        .await;
    assert_eq!(tests::stream::ending(&frames)["state"], "completed");
    silent.turn(Way::Closed);
}

#[tokio::test]
async fn an_html_page_is_no_pusher() {
    let stack = Stack::running();
    for head in [
        "200 OK",
        "503 Service Unavailable",
        "302 Found\r\nlocation: http://127.0.0.1:9/login",
    ] {
        let port = serve_html(head).await.to_string();
        assert_sent(&stack, &[("PUSHER_PORT", &port)], json!(false)).await;
    }
}

/// A captive portal, a proxy's error, a page to sign in.
async fn serve_html(head: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let page = "<!doctype html><title>Welcome</title>";
                let answer = format!(
                    "HTTP/1.1 {head}\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                    page.len()
                );
                let mut request = [0; 16 * 1024];
                let _gone = connection.read(&mut request).await;
                let _gone = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}
