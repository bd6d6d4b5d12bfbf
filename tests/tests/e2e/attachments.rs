//! Images: announced, sent to the bucket by a signed address, attached by their owner, seen by the chat, and gone when no
//! message shows them.

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Gateway, Person, Stack, eventually};
use uuid::Uuid;

/// Enough of a PNG to be told from other files.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0not much of one";

async fn announced(person: &Person, size: usize) -> Value {
    let body = json!({ "type": "image", "mimeType": "image/png", "size": size, "fileName": "a b.png" });
    person.post("/api/attachments", &body).await.with(201)
}

/// Sends bytes as the answer says: the status.
async fn put(person: &Person, upload: &Value, bytes: &[u8]) -> StatusCode {
    assert_eq!(upload["method"], "PUT");
    let mut request = person.stack.http.put(text(&upload["url"])).body(bytes.to_vec());
    for (name, value) in upload["headers"].as_object().unwrap() {
        request = request.header(name, text(value));
    }
    request.send().await.unwrap().status()
}

async fn uploaded(person: &Person, bytes: &[u8]) -> Value {
    let announced = announced(person, bytes.len()).await;
    assert_eq!(put(person, &announced["upload"], bytes).await, 200);
    announced["attachment"].clone()
}

async fn show(person: &Person, chat: &str, attachments: &Value) -> Answer {
    let client_id = Uuid::now_v7().to_string();
    let body = json!({ "clientId": client_id, "content": "look", "attachments": attachments });
    person.post(&format!("/api/chat/{chat}/messages"), &body).await
}

fn path_of(message: &Value, place: &str) -> String {
    let (chat, id) = (text(&message["chatId"]), text(&message["id"]));
    format!("/api/chat/{chat}/messages/{id}/attachments/{place}")
}

/// Where the redirect leads.
async fn location(person: &Person, path: &str) -> String {
    let still = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let request = person.request(Method::GET, path).build().unwrap();
    let answer = still.execute(request).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.headers()[LOCATION].to_str().unwrap().to_owned()
}

async fn direct_chat(stack: &Stack) -> (Person, Person, String) {
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    ben.get("/api/me").await.with(200);
    let body = json!({ "kind": "direct", "members": [ben.id] });
    let chat = text(&anna.post("/api/chat", &body).await.with(201)["chat"]["id"]);
    (anna, ben, chat)
}

#[tokio::test]
async fn an_image_is_uploaded_sent_and_seen_by_the_chat_byte_for_byte() {
    let stack = Stack::running();
    let (anna, ben, chat) = direct_chat(&stack).await;
    let cleo = stack.person("cleo");
    // Every byte there is, so that nothing on the way may take it for text.
    let bytes: Vec<u8> = PNG.iter().copied().chain(0..=255).collect();
    let attachment = uploaded(&anna, &bytes).await;
    assert!(text(&attachment["url"]).starts_with("s3://"), "{attachment}");

    // What it is was announced; a sender cannot say otherwise later.
    let mut claimed = attachment.clone();
    claimed["mimeType"] = json!("image/webp");
    claimed["size"] = json!(1);
    let sent = show(
        &anna,
        &chat,
        &json!([{ "type": "image", "url": "https://host/a.png" }, claimed]),
    )
    .await;
    let message = sent.with(201)["message"].clone();
    assert_eq!(message["attachments"][1], attachment);
    assert_eq!(
        (&attachment["mimeType"], &attachment["size"], &attachment["fileName"]),
        (&json!("image/png"), &json!(bytes.len()), &json!("a b.png"))
    );

    for person in [&anna, &ben] {
        let seen = stack
            .http
            .get(location(person, &path_of(&message, "1")).await)
            .send()
            .await
            .unwrap();
        assert_eq!(seen.status(), 200);
        assert_eq!(seen.headers()[CONTENT_TYPE], "image/png");
        assert_eq!(seen.bytes().await.unwrap(), bytes);
    }
    // A page that shows an image needs the address.
    let request = ben
        .request(Method::GET, &path_of(&message, "1"))
        .header(ACCEPT, "application/json");
    let view = Answer::of(request.send().await.unwrap()).await.with(200);
    let seen = stack.http.get(text(&view["url"])).send().await.unwrap();
    assert_eq!(seen.bytes().await.unwrap(), bytes);
    assert!(text(&view["expiresAt"]) > text(&message["createdAt"]));
    assert_eq!(location(&ben, &path_of(&message, "0")).await, "https://host/a.png");

    cleo.get(&path_of(&message, "1")).await.problem(404, "not-found");
    ben.get(&path_of(&message, "2")).await.problem(404, "not-found");
    for odd in ["x", "-1", "99999999999"] {
        let refused = ben.get(&path_of(&message, odd)).await.problem(422, "invalid-request");
        assert_eq!(refused["errors"][0]["parameter"], "index", "{odd}");
    }
    let whole = path_of(&message, "1");
    anna.delete(whole.strip_suffix("/attachments/1").unwrap())
        .await
        .with(200);
    ben.get(&whole).await.problem(404, "not-found");
}

#[tokio::test]
async fn the_bucket_refuses_another_type_size_or_place_than_was_announced() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let good = announced(&anna, PNG.len()).await["upload"].clone();
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let elsewhere = text(&good["url"]).replace("/attachments/", "/elsewhere/");
    let html = json!({ "content-type": "text/html" });

    assert_eq!(put(&anna, &changed("headers", html), PNG).await, 403);
    assert_eq!(put(&anna, &changed("url", json!(elsewhere)), PNG).await, 403);
    assert_eq!(put(&anna, &good, &PNG[1..]).await, 403);
    assert_eq!(put(&anna, &good, &[PNG, b"more"].concat()).await, 403);
    assert_eq!(put(&anna, &good, PNG).await, 200);
}

/// Else what was sent and moderated could become something else within ten minutes.
#[tokio::test]
async fn an_upload_is_taken_once_and_what_is_shown_stays_what_it_was() {
    let stack = Stack::running();
    let (anna, _, chat) = direct_chat(&stack).await;
    let announced = announced(&anna, PNG.len()).await;
    let upload = &announced["upload"];
    // What says so cannot be left out.
    let mut without = upload.clone();
    without["headers"].as_object_mut().unwrap().remove("if-none-match");
    assert_eq!(put(&anna, &without, PNG).await, 403);

    assert_eq!(put(&anna, upload, PNG).await, 200);
    let sent = show(&anna, &chat, &json!([announced["attachment"]])).await.with(201);
    let other: Vec<u8> = PNG.iter().rev().copied().collect();
    for _ in 0..2 {
        assert_eq!(put(&anna, upload, &other).await, 412);
    }
    assert_eq!(put(&anna, &without, &other).await, 403);
    let place = location(&anna, &path_of(&sent["message"], "0")).await;
    let seen = stack.http.get(place).send().await.unwrap();
    assert_eq!(seen.bytes().await.unwrap(), PNG);
}

#[tokio::test]
async fn an_announcement_that_cannot_be_taken_is_refused_with_the_place_that_is_wrong() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let good = json!({ "type": "image", "mimeType": "image/png", "size": 1 });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, pointers) in [
        (json!({}), &["/type", "/mimeType", "/size"][..]),
        (with("type", json!("video")), &["/type"]),
        (with("mimeType", json!("image/svg+xml")), &["/mimeType"]),
        (with("mimeType", json!("png")), &["/mimeType"]),
        (with("size", json!(0)), &["/size"]),
        (with("size", json!(5 * 1024 * 1024 + 1)), &["/size"]),
        (with("size", json!("1")), &["/size"]),
        (with("fileName", json!("../a")), &["/fileName"]),
        (with("ownerId", json!("ben")), &["/ownerId"]),
    ] {
        let refused = anna
            .post("/api/attachments", &body)
            .await
            .problem(422, "invalid-request");
        let errors = refused["errors"].as_array().unwrap();
        let places: Vec<_> = errors.iter().map(|error| text(&error["pointer"])).collect();
        assert_eq!(places, pointers, "{body}");
    }
    let largest = with("size", json!(5 * 1024 * 1024));
    anna.post("/api/attachments", &largest).await.with(201);
    assert_eq!(uploads_of(&stack, &anna).await, 1);
}

async fn uploads_of(stack: &Stack, person: &Person) -> i64 {
    sqlx::query_scalar("select count(*) from attachments where owner_id = $1")
        .bind(&person.id)
        .fetch_one(&stack.rows)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_an_own_upload_can_be_attached() {
    let stack = Stack::running();
    let (anna, ben, chat) = direct_chat(&stack).await;
    let (annas, bens) = (uploaded(&anna, PNG).await, uploaded(&ben, PNG).await);
    let rows = stack.rows_of_chat(&chat).await;
    let url = text(&annas["url"]);
    let with = |url: String| json!({ "type": "image", "url": url });
    for (what, odd) in [
        ("another's", bens),
        (
            "one that was never announced",
            with(format!("{}{}", &url[..url.len() - 36], Uuid::now_v7())),
        ),
        ("another bucket", with(url.replacen("s3://", "s3://other-", 1))),
        ("another folder", with(url.replacen("/attachments/", "/secrets/", 1))),
        ("a folder", with(url[..url.len() - 36].to_owned())),
        ("only a bucket", with("s3://bucket".to_owned())),
    ] {
        let refused = show(&anna, &chat, &json!([annas, odd]))
            .await
            .problem(422, "invalid-request");
        let errors = refused["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{what}: {refused}");
        assert_eq!(errors[0]["pointer"], "/attachments/1/url", "{what}");
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
}

#[tokio::test]
async fn a_retry_with_an_image_is_the_first_message_also_when_the_image_is_gone() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let attachment = uploaded(&anna, PNG).await;
    let path = format!("/api/chat/{chat}/messages");
    let body = json!({ "clientId": "c-1", "content": "look", "attachments": [attachment] });
    let first = anna.post(&path, &body).await.with(201)["message"].clone();
    sqlx::query("delete from attachments where owner_id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();

    let again = anna.post(&path, &body).await.with(200)["message"].clone();

    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["attachments"], json!([attachment]));
}

#[tokio::test]
async fn an_image_that_no_message_shows_is_deleted_a_day_later() {
    let stack = Stack::running();
    let (anna, _, chat) = direct_chat(&stack).await;
    let (kept, withdrawn) = (uploaded(&anna, PNG).await, uploaded(&anna, PNG).await);
    let keeps = show(&anna, &chat, &json!([kept])).await.with(201)["message"].clone();
    let message = show(&anna, &chat, &json!([withdrawn])).await.with(201)["message"].clone();
    let view = location(&anna, &path_of(&message, "0")).await;
    let see = async || stack.http.get(&view).send().await.unwrap().status();
    anna.delete(&format!("/api/chat/{chat}/messages/{}", text(&message["id"])))
        .await
        .with(200);
    stack.invoke("sweeper", &json!({})).await;
    assert_eq!(see().await, 200);

    sqlx::query("update attachments set unused_since = now() - interval '26 hours' where owner_id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    // The schedule's sweeper may be faster.
    eventually("an object that is deleted", async || {
        stack.invoke("sweeper", &json!({})).await;
        (see().await == 404).then_some(())
    })
    .await;

    eventually("a row that is deleted", async || {
        (uploads_of(&stack, &anna).await == 1).then_some(())
    })
    .await;
    let still = stack
        .http
        .get(location(&anna, &path_of(&keeps, "0")).await)
        .send()
        .await
        .unwrap();
    assert_eq!(still.bytes().await.unwrap(), PNG);
}

#[tokio::test]
async fn a_browser_may_send_to_the_bucket_from_another_origin() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let upload = announced(&anna, PNG.len()).await["upload"].clone();
    let preflight = stack
        .http
        .request(Method::OPTIONS, text(&upload["url"]))
        .header("origin", "https://site.example")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "content-type,if-none-match")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success(), "{}", preflight.status());
    let headers = preflight.headers();
    assert!(
        headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("PUT"),
        "{headers:?}"
    );
    assert!(headers.contains_key("access-control-allow-origin"), "{headers:?}");
}

#[tokio::test]
async fn without_a_bucket_uploads_are_refused_clearly_and_nothing_else_is() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let attachment = uploaded(&anna, PNG).await;
    let gateway = Gateway::start(&stack).await;
    let _create = gateway.function("create-attachment", &[("ATTACHMENTS_BUCKET", "")]);
    let _send = gateway.function("send-message", &[("ATTACHMENTS_BUCKET", "")]);
    let anna = Person {
        stack: gateway.stack.clone(),
        ..anna
    };
    let body = json!({ "type": "image", "mimeType": "image/png", "size": 1 });
    let refused = anna
        .post("/api/attachments", &body)
        .await
        .problem(501, "not-configured");
    assert_eq!(refused["retryable"], false);
    let refused = show(&anna, &chat, &json!([attachment]))
        .await
        .problem(422, "invalid-request");
    assert_eq!(refused["errors"][0]["pointer"], "/attachments/0/url");
    show(&anna, &chat, &json!([{ "type": "image", "url": "https://host/a.png" }]))
        .await
        .with(201);
}

#[tokio::test]
async fn the_model_sees_the_images_of_the_question_and_of_what_was_said_before() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let attachment = uploaded(&anna, PNG).await;
    show(&anna, &chat, &json!([attachment])).await.with(201);
    let history = anna.history_of(&chat, 2).await;
    let seen = format!("[1 image: image/png {} bytes] You said: look", PNG.len());
    assert_eq!(text(&history[1]["content"]), seen);
    // An image is tokens, too, and what was reserved for it is settled.
    let usage = anna.get("/api/usage").await.with(200);
    assert_eq!(usage["reserved"], 0);
    assert!(usage["used"].as_i64().unwrap() > 0, "{usage}");

    // What cannot be shown is mentioned, and is no reason to stay silent.
    let script = uploaded(&anna, b"<script>").await;
    show(
        &anna,
        &chat,
        &json!([script, { "type": "image", "url": "https://host.example/a.png" }]),
    )
    .await
    .with(201);
    let history = anna.history_of(&chat, 4).await;
    let answer = text(&history[3]["content"]);
    assert!(answer.starts_with("You said: look"), "{answer}");
    assert!(
        answer.contains("no PNG, JPEG, GIF or WebP") && answer.contains("https://host.example/a.png"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_image_needs_no_words() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    let attachment = uploaded(&anna, PNG).await;
    for (client_id, content) in [
        ("absent", None),
        ("null", Some(Value::Null)),
        ("blank", Some(json!(" \n"))),
    ] {
        let mut body = json!({ "clientId": client_id, "attachments": [attachment] });
        if let Some(content) = content {
            body["content"] = content;
        }
        let sent = anna.post(&path, &body).await.with(201)["message"].clone();
        assert_eq!(
            (&sent["content"], &sent["attachments"]),
            (&json!(""), &json!([attachment]))
        );
        assert_eq!(anna.post(&path, &body).await.with(200)["message"]["id"], sent["id"]);
    }
    // The model sees the image, in this question and in those after it.
    let history = anna.history_of(&chat, 6).await;
    let seen = format!("[1 image: image/png {} bytes]", PNG.len());
    for answer in history.iter().filter(|message| message["role"] == "assistant") {
        assert!(text(&answer["content"]).starts_with(&seen), "{answer}");
    }
    // With neither there is nothing to say.
    for odd in [json!([]), Value::Null] {
        let body = json!({ "clientId": "nothing", "attachments": odd });
        let refused = anna.post(&path, &body).await.problem(422, "invalid-request");
        assert_eq!(refused["errors"][0]["pointer"], "/content");
    }

    // Its words can be taken from an image, and not from a message that shows none.
    let worded = show(&anna, &chat, &json!([attachment])).await.with(201)["message"].clone();
    let wordy = anna.send(&chat, "words", "hello").await.with(201)["message"].clone();
    let empty = async |message: &Value| {
        let path = format!("{path}/{}", text(&message["id"]));
        let request = anna.request(Method::PATCH, &path).json(&json!({ "content": "" }));
        Answer::of(request.send().await.unwrap()).await
    };
    let emptied = empty(&worded).await.with(200)["message"].clone();
    assert_eq!(
        (&emptied["content"], &emptied["attachments"]),
        (&json!(""), &json!([attachment]))
    );
    let refused = empty(&wordy).await.problem(422, "invalid-request");
    assert_eq!(refused["errors"][0]["pointer"], "/content");
}

#[tokio::test]
async fn what_the_bytes_are_decides_and_media_types_have_one_spelling() {
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0 not much of one";
    let stack = Stack::running();
    let anna = stack.person("anna");
    for (said, kept) in [
        ("image/jpg", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("image/png; charset=binary", "image/png"),
    ] {
        let body = json!({ "type": "image", "mimeType": said, "size": JPEG.len() });
        let announced = anna.post("/api/attachments", &body).await.with(201);
        assert_eq!(announced["attachment"]["mimeType"], kept, "{said}");
        assert_eq!(put(&anna, &announced["upload"], JPEG).await, 200);
        let chat = anna.assistant_chat().await;
        show(&anna, &chat, &json!([announced["attachment"]])).await.with(201);
        let answer = text(&anna.history_of(&chat, 2).await[1]["content"]);
        let seen = format!("[1 image: image/jpeg {} bytes] You said: look", JPEG.len());
        assert_eq!(answer, seen, "{said}");
    }
}

#[tokio::test]
async fn an_image_that_was_never_uploaded_is_refused_and_then_taken() {
    let stack = Stack::running();
    let (anna, _, chat) = direct_chat(&stack).await;
    let there = uploaded(&anna, PNG).await;
    let announced = announced(&anna, PNG.len()).await;
    let rows = stack.rows_of_chat(&chat).await;
    let web = json!({ "type": "image", "url": "https://host/a.png" });
    let body = json!({
        "clientId": "c-1", "content": "look", "attachments": [web, there, announced["attachment"]],
    });
    let path = format!("/api/chat/{chat}/messages");
    let refused = anna.post(&path, &body).await.problem(422, "attachment-not-uploaded");
    assert_eq!(refused["retryable"], false);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 1);
    assert_eq!(refused["errors"][0]["pointer"], "/attachments/2/url");
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    // Once it is there, the same message is taken: what was refused has used no key.
    assert_eq!(put(&anna, &announced["upload"], PNG).await, 200);
    let sent = anna.post(&path, &body).await.with(201);
    assert_eq!(sent["message"]["attachments"].as_array().unwrap().len(), 3);
}
