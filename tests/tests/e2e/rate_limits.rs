//! Rate limits over HTTP: what a person is told, and that it is theirs alone.

use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tests::{Answer, Gateway, Person, Stack, at_once};

fn an_image() -> Value {
    json!({ "type": "image", "mimeType": "image/png", "size": 1 })
}

fn header(answer: &Answer, name: &str) -> String {
    let value = answer
        .headers
        .get(name)
        .unwrap_or_else(|| panic!("no {name}: {:?}", answer.headers));
    value.to_str().unwrap().to_owned()
}

/// What `RateLimit` says: how many more, and in how many seconds.
fn told(answer: &Answer, class: &str) -> (i64, i64) {
    let text = header(answer, "ratelimit");
    let rest = text
        .strip_prefix(&format!("\"{class}\";r="))
        .unwrap_or_else(|| panic!("{text}"));
    let (remaining, seconds) = rest.split_once(";t=").unwrap();
    (remaining.parse().unwrap(), seconds.parse().unwrap())
}

/// Behind functions of a test's own.
fn behind(gateway: &Gateway, person: &Person) -> Person {
    Person {
        stack: gateway.stack.clone(),
        ..person.clone()
    }
}

#[tokio::test]
async fn of_many_uploads_at_once_the_quota_goes_ahead_and_the_rest_learns_when_to_come_again() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let answers = at_once(60, |_| {
        let anna = anna.clone();
        async move { anna.post("/api/attachments", &an_image()).await }
    })
    .await;

    let (allowed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    // Half a second's requests may have come back meanwhile, for every two seconds that it took.
    assert!((30..50).contains(&allowed.len()), "{} of 60", allowed.len());
    assert!(
        allowed
            .iter()
            .all(|answer| header(answer, "ratelimit-policy") == r#""upload";q=30;w=60"#)
    );
    assert_eq!(allowed.iter().map(|answer| told(answer, "upload").0).max(), Some(29));
    for answer in refused {
        assert_eq!(header(&answer, "ratelimit-policy"), r#""upload";q=30;w=60"#);
        let (remaining, seconds) = told(&answer, "upload");
        assert_eq!(remaining, 0);
        assert!((1..=2).contains(&seconds), "{seconds}");
        assert_eq!(header(&answer, RETRY_AFTER.as_str()), seconds.to_string());
        // A page of another origin may read them.
        let exposed = header(&answer, "access-control-expose-headers");
        for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert_eq!(answer.problem(429, "rate-limited")["retryable"], true);
    }
    ben.post("/api/attachments", &an_image()).await.with(201);
    anna.assistant_chat().await;
}

#[tokio::test]
async fn a_message_too_many_is_refused_whole_and_other_classes_go_on() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let gateway = Gateway::start(&stack).await;
    let _send = gateway.function("send-message", &[("RATE_LIMIT_SEND", "2/3600s")]);
    let hurried = behind(&gateway, &anna);

    for left in [1, 0] {
        let answer = hurried.send(&chat, &format!("c-{left}"), "hi").await;
        assert_eq!(told(&answer, "send").0, left);
        assert_eq!(header(&answer, "ratelimit-policy"), r#""send";q=2;w=3600"#);
        answer.with(201);
    }
    anna.history_of(&chat, 4).await;
    let rows = stack.rows_of_chat(&chat).await;
    for _ in 0..3 {
        let answer = hurried.send(&chat, "c-2", "hi").await;
        let wait: i64 = header(&answer, RETRY_AFTER.as_str()).parse().unwrap();
        assert!((1700..=1800).contains(&wait), "{wait}");
        answer.problem(429, "rate-limited");
    }
    // A stream is refused before it begins.
    let stream = hurried.ask(&chat, "c-2", "hi").await;
    stream.answer().await.problem(429, "rate-limited");
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    anna.post(&format!("/api/chat/{chat}/typing"), &json!({}))
        .await
        .with(204);
}

#[tokio::test]
async fn who_is_nobody_spends_nothing_and_reads_are_counted() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let nobody = Person {
        token: "forged".into(),
        ..anna.clone()
    };
    let refused = nobody.post("/api/attachments", &an_image()).await;
    assert!(!refused.headers.contains_key("ratelimit"));
    refused.problem(401, "unauthenticated");
    let read = anna.get("/api/me").await;
    assert!(header(&read, "ratelimit-policy").starts_with("\"read\""));
    read.with(200);
    assert_eq!(spent_by(&stack, &anna).await, ["read"]);

    // What is refused for another reason was a request all the same.
    anna.post("/api/attachments", &json!({})).await.with(422);
    assert_eq!(spent_by(&stack, &anna).await, ["read", "upload"]);
}

async fn spent_by(stack: &Stack, person: &Person) -> Vec<String> {
    sqlx::query_scalar("select class from rate_limits where user_id = $1 order by 1")
        .bind(&person.id)
        .fetch_all(&stack.rows)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_route_is_counted_in_its_class() {
    let stack = Stack::running();
    let nowhere = "/api/chat/0192aaaa-0000-7000-8000-000000000000";
    for (method, path, class) in [
        (Method::POST, "/api/chat".to_owned(), "write"),
        (Method::DELETE, nowhere.to_owned(), "write"),
        (Method::POST, format!("{nowhere}/messages"), "send"),
        (Method::PATCH, format!("{nowhere}/messages/x"), "write"),
        (Method::DELETE, format!("{nowhere}/messages/x"), "write"),
        (Method::POST, format!("{nowhere}/typing"), "write"),
        (Method::GET, format!("/api/chat/stream?chatId={}", "x"), "stream"),
        (Method::POST, "/api/chat/stream-ticket".to_owned(), "stream"),
        (Method::POST, "/api/chat-messages/mark-read".to_owned(), "write"),
        (Method::POST, "/api/me/presence".to_owned(), "write"),
        (Method::POST, "/api/attachments".to_owned(), "upload"),
        (Method::GET, "/api/chat".to_owned(), "read"),
        (Method::GET, "/api/chat-messages".to_owned(), "read"),
        (Method::GET, "/api/chat/search?q=x".to_owned(), "search"),
    ] {
        let person = stack.person("anna");
        let answer = person.request(method.clone(), &path).send().await.unwrap();
        assert!(answer.status().as_u16() < 500, "{method} {path}: {}", answer.status());
        assert_eq!(spent_by(&stack, &person).await, [class], "{method} {path}");
        let policy = answer.headers()["ratelimit-policy"].to_str().unwrap();
        assert!(policy.starts_with(&format!("\"{class}\"")), "{policy}");
    }
}

#[tokio::test]
async fn what_looks_through_much_has_an_allowance_of_its_own() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    anna.send(&chat, "c-1", "hi").await.with(201);
    let gateway = Gateway::start(&stack).await;
    let settings = [("RATE_LIMIT_SEARCH", "2/3600s")];
    let _functions = ["search-messages", "mark-chat-read"].map(|name| gateway.function(name, &settings));
    let hurried = behind(&gateway, &anna);

    let (search, read) = ("/api/chat/search?q=lighthouse", format!("/api/chat/{chat}/read"));
    let found = hurried.get(search).await;
    assert_eq!(told(&found, "search").0, 1);
    found.with(200);
    hurried.post(&read, &json!({ "unreadFrom": 1 })).await.with(200);
    for answer in [
        hurried.get(search).await,
        hurried.post(&read, &json!({ "unreadFrom": 1 })).await,
    ] {
        assert_eq!(header(&answer, "ratelimit-policy"), r#""search";q=2;w=3600"#);
        assert_eq!(told(&answer, "search").0, 0);
        answer.problem(429, "rate-limited");
    }
    // To mark it read counts nothing anew.
    hurried.post(&read, &json!({})).await.with(200);
}

#[tokio::test]
async fn a_ticket_does_not_open_more_streams_than_its_holder_may() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let ticket = anna.post("/api/chat/stream-ticket", &json!({})).await.with(201)["ticket"].clone();
    let gateway = Gateway::start(&stack).await;
    // The ticket itself was one of them.
    let _stream = gateway.function(
        "stream-events",
        &[("RATE_LIMIT_STREAM", "2/3600s"), ("STREAM_SECONDS", "1")],
    );
    sqlx::query("update rate_limits set tat = now() + interval '1800 s' where user_id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    let url = format!(
        "{}/api/chat/stream?ticket={}",
        gateway.stack.api,
        ticket.as_str().unwrap()
    );
    let first = stack.http.get(&url).send().await.unwrap();
    assert_eq!(first.status(), 200);
    // A process gives one stream at a time.
    first.text().await.unwrap();
    Answer::of(stack.http.get(&url).send().await.unwrap())
        .await
        .problem(429, "rate-limited");
}
