//! Vercel's AI SDK against our API, with nothing of ours between them but an address: its own parser and schema, and its
//! `useChat` on a page of React.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};

use crate::node::Client;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0not much of one";

/// A page of this person with one chat.
fn page(person: &Person, chat: &str, settings: &[(&str, &str)]) -> Client {
    let needed = [
        ("API_URL", &*person.stack.api),
        ("TOKEN", &*person.token),
        ("CHAT", chat),
    ];
    Client::start("chat.mjs", &[&needed, settings].concat())
}

async fn send(page: &mut Client, content: &str) {
    page.tell(&json!({ "send": { "text": content } })).await;
}

/// What the page shows once it is in this status, with so many messages.
async fn shows(page: &mut Client, status: &str, messages: usize) -> Value {
    page.hears(&format!("a page that is {status} with {messages} messages"), |line| {
        line["on"] == "page" && line["status"] == status && line["messages"].as_array().unwrap().len() == messages
    })
    .await
}

fn last(page: &Value) -> &Value {
    page["messages"].as_array().unwrap().last().unwrap()
}

fn text_of(message: &Value) -> String {
    let parts = message["parts"].as_array().unwrap().iter();
    parts
        .filter(|part| part["type"] == "text")
        .map(|part| text(&part["text"]))
        .collect()
}

fn script(script: &Value) -> String {
    format!("/script {script}")
}

#[tokio::test]
async fn a_page_with_use_chat_drives_a_conversation() {
    let stack = Stack::running();
    for dialect in ["query", "header"] {
        let anna = stack.person("anna");
        let chat = anna.assistant_chat().await;
        let mut page = page(&anna, &chat, &[("DIALECT", dialect)]);
        shows(&mut page, "ready", 0).await;

        let said = "Grüße 👋🏽 an alle 🌍";
        send(&mut page, &script(&json!({ "text": said, "delayMs": 60 }))).await;
        shows(&mut page, "submitted", 1).await;
        // Word by word, and not all at once.
        let first = shows(&mut page, "streaming", 2).await;
        assert!(said.starts_with(&text_of(last(&first))), "{first}");
        assert_ne!(text_of(last(&first)), said);
        let answered = shows(&mut page, "ready", 2).await;
        let finish = page.hears("the end", |line| line["on"] == "finish").await;
        assert_eq!(
            finish,
            json!({ "on": "finish", "isAbort": false, "isDisconnect": false, "isError": false })
        );

        let history = anna.history(&chat).await;
        let [question, answer] = history.as_slice() else {
            panic!("{history:?}")
        };
        assert_eq!(question["clientId"], answered["messages"][0]["id"]);
        let shown = last(&answered);
        assert_eq!((text_of(shown), &shown["id"]), (said.to_owned(), &answer["id"]));
        assert_eq!(
            shown["metadata"],
            json!({
                "chatId": chat, "seq": answer["seq"], "createdAt": answer["createdAt"], "usage": answer["usage"],
                "state": "completed",
            })
        );

        // The page sends all it has; what is known here is not stored again.
        send(&mut page, "and who are you?").await;
        let answered = shows(&mut page, "ready", 4).await;
        assert_eq!(text_of(last(&answered)), "You said: and who are you?");
        assert_eq!(anna.history(&chat).await.len(), 4);
        page.tell(&json!({ "look": true })).await;
        let shown = page.hears("what is on the page", |line| line["on"] == "shown").await;
        assert_eq!(
            shown["lines"].as_array().unwrap()[1..],
            [
                json!(said),
                json!("and who are you?"),
                json!("You said: and who are you?")
            ]
        );
    }
}

#[tokio::test]
async fn a_page_shows_why_there_is_no_answer_and_goes_on() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    shows(&mut page, "ready", 0).await;

    send(&mut page, &script(&json!({ "fail": "blocked" }))).await;
    let failed = page.hears("an error", |line| line["status"] == "error").await;
    assert_eq!(failed["error"], "The assistant can't answer this message.");

    // Before there is a stream, a refusal is an answer of its own.
    page.tell(&json!({ "send": { "text": " " } })).await;
    let refused = page
        .hears("a refusal", |line| {
            line["status"] == "error" && line["error"] != failed["error"]
        })
        .await;
    let problem: Value = serde_json::from_str(&text(&refused["error"])).unwrap();
    assert_eq!(
        (&problem["type"], &problem["status"]),
        (&json!("invalid-request"), &json!(422))
    );
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| text(&error["pointer"]))
        .collect();
    assert!(places.len() == 1 && places[0].ends_with("/parts"), "{places:?}");

    send(&mut page, "hello").await;
    let answered = page
        .hears("an answer", |line| {
            line["status"] == "ready" && line["messages"].as_array().is_some_and(|messages| !messages.is_empty())
        })
        .await;
    assert_eq!(text_of(last(&answered)), "You said: hello");
    assert_eq!(answered["error"], Value::Null);
}

/// Every attempt says the same words and breaks off: the page has them once, and then the error.
#[tokio::test]
async fn further_attempts_do_not_repeat_what_a_page_has() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    let broken = json!({ "text": "one two three four", "fail": "truncate", "failAfterWords": 3 });
    send(&mut page, &script(&broken)).await;
    let failed = page.hears("an error", |line| line["status"] == "error").await;
    assert_eq!(failed["error"], "The assistant could not answer. Please try again.");
    assert_eq!(text_of(last(&failed)).trim_end(), "one two three");
    let history = anna.history(&chat).await;
    assert_eq!(history.last().unwrap()["type"], "ERROR");
}

#[tokio::test]
async fn a_page_sends_an_uploaded_image_and_is_told_where_to_upload_one() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let announced = json!({ "type": "image", "mimeType": "image/png", "size": PNG.len() });
    let announced = anna.post("/api/attachments", &announced).await.with(201);
    let upload = stack
        .http
        .put(text(&announced["upload"]["url"]))
        .header("content-type", "image/png")
        .header("if-none-match", "*")
        .body(PNG);
    assert_eq!(upload.send().await.unwrap().status(), 200);

    let mut page = page(&anna, &chat, &[]);
    let file = |url: &Value| json!({ "type": "file", "mediaType": "image/png", "filename": "a.png", "url": url });
    let inline = json!({ "text": "look", "files": [file(&json!("data:image/png;base64,AAAA"))] });
    page.tell(&json!({ "send": inline })).await;
    let refused = page.hears("a refusal", |line| line["status"] == "error").await;
    assert!(text(&refused["error"]).contains("POST /api/attachments"), "{refused}");
    assert!(text(&refused["error"]).contains("/messages/0/parts/0/url"), "{refused}");

    let stored = json!({ "text": "look", "files": [file(&announced["attachment"]["url"])] });
    page.tell(&json!({ "send": stored })).await;
    page.hears("an answer", |line| {
        line["status"] == "ready" && line["messages"].as_array().is_some_and(|messages| messages.len() == 3)
    })
    .await;
    let history = anna.history(&chat).await;
    assert_eq!(history[0]["attachments"], json!([announced["attachment"]]));
}

#[tokio::test]
async fn a_page_that_leaves_does_not_end_the_answer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    send(&mut page, &script(&json!({ "words": 20, "delayMs": 100 }))).await;
    shows(&mut page, "streaming", 2).await;
    page.tell(&json!({ "abort": true })).await;
    let finish = page.hears("the end", |line| line["on"] == "finish").await;
    assert_eq!(finish["isAbort"], true);
    let history = anna.history_of(&chat, 2).await;
    assert_eq!(text(&history[1]["content"]).split_whitespace().count(), 20);
}

/// What the SDK's own parser, schema and reader make of an answer: the kinds of chunks, and the message.
async fn read(person: &Person, chat: &str, body: &Value) -> (Vec<String>, Value) {
    let body = body.to_string();
    let settings = [
        ("API_URL", &*person.stack.api),
        ("TOKEN", &*person.token),
        ("CHAT", chat),
        ("BODY", &*body),
    ];
    let mut reader = Client::start("ui-message-stream.mjs", &settings);
    let head = reader.hears("the head", |line| line["on"] == "head").await;
    assert_eq!(head["status"], 200);
    assert_eq!(head["headers"]["x-vercel-ai-ui-message-stream"], "v1");
    let mut kinds = Vec::new();
    loop {
        let line = reader.hears("more of the answer", |_| true).await;
        if line["on"] == "message" {
            return (kinds, line);
        }
        kinds.push(text(&line["chunk"]["type"]));
        kinds.dedup();
    }
}

#[tokio::test]
async fn the_sdks_own_schema_takes_every_chunk_and_a_retry_is_the_same_message() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let body = json!({ "clientId": "c-1", "content": script(&json!({ "text": "one two three" })) });
    let whole = ["start", "text-start", "text-delta", "text-end", "finish"];

    let (kinds, first) = read(&anna, &chat, &body).await;
    assert_eq!(kinds, whole);
    assert_eq!(
        (text_of(&first["message"]), &first["error"]),
        ("one two three".to_owned(), &Value::Null)
    );
    let (kinds, again) = read(&anna, &chat, &body).await;
    assert_eq!(kinds, whole);
    assert_eq!(again["message"], first["message"]);
    assert_eq!(anna.history(&chat).await.len(), 2);

    let body = json!({ "clientId": "c-2", "content": script(&json!({ "fail": "blocked" })) });
    let (kinds, failed) = read(&anna, &chat, &body).await;
    assert_eq!(kinds, ["start", "error"]);
    assert_eq!(failed["error"], "The assistant can't answer this message.");
}

#[tokio::test]
async fn what_the_dialect_cannot_say_is_refused_before_anything_is_stored() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    let message = json!({ "id": "u-1", "role": "user", "parts": [{ "type": "text", "text": "hi" }] });
    let with = |name: &str, value: Value| {
        let mut body = json!({ "id": chat, "messages": [message], "trigger": "submit-message" });
        body[name] = value;
        body
    };
    let rows = stack.rows_of_chat(&chat).await;
    let dialect = format!("{path}?format=ui-message-stream");
    for (body, pointer) in [
        (with("trigger", json!("resubmit-message")), "/trigger"),
        (with("messageId", json!("u-1")), "/messageId"),
        (with("messages", json!([])), "/messages"),
        (
            with(
                "messages",
                json!([{ "id": "x".repeat(129), "role": "user", "parts": message["parts"] }]),
            ),
            "/messages/0/id",
        ),
        (
            with("messages", json!([{ "id": "u-1", "role": "user", "parts": [] }])),
            "/messages/0/parts",
        ),
    ] {
        let refused = anna.post(&dialect, &body).await.problem(422, "invalid-request");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}");
    }
    // In our own dialect the SDK's body is what it is: unknown.
    anna.post(&path, &with("id", json!(chat)))
        .await
        .problem(422, "invalid-request");
    let refused = anna.post(&format!("{path}?format=xml"), &with("id", json!(chat))).await;
    assert_eq!(
        refused.problem(422, "invalid-request")["errors"][0]["parameter"],
        "format"
    );
    assert_eq!(stack.rows_of_chat(&chat).await, rows);

    // A long history is no harm.
    let long = json!({ "id": "a-1", "role": "assistant", "parts": [{ "type": "text", "text": "x".repeat(1 << 20) }] });
    let request = anna
        .request(reqwest::Method::POST, &dialect)
        .json(&with("messages", json!([long, message])));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    let too_long = with("later", json!("x".repeat(4 << 20)));
    Answer::of(
        anna.request(reqwest::Method::POST, &dialect)
            .json(&too_long)
            .send()
            .await
            .unwrap(),
    )
    .await
    .problem(413, "body-too-large");
}

#[tokio::test]
async fn a_page_that_is_loaded_again_resumes_the_answer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut first = page(&anna, &chat, &[]);
    // Long enough for another page to start in the meantime.
    send(&mut first, &script(&json!({ "words": 150, "delayMs": 100 }))).await;
    let begun = shows(&mut first, "streaming", 2).await;
    drop(first);

    let question = json!([begun["messages"][0]]).to_string();
    let mut second = page(&anna, &chat, &[("MESSAGES", &question), ("RESUME", "yes")]);
    let resumed = shows(&mut second, "streaming", 2).await;
    assert_eq!(last(&resumed)["id"], last(&begun)["id"]);
    let answered = shows(&mut second, "ready", 2).await;
    let history = anna.history(&chat).await;
    assert_eq!(text_of(last(&answered)), text(&history[1]["content"]));

    // Where nothing runs there is nothing to resume.
    let mut third = page(&anna, &chat, &[("MESSAGES", &question), ("RESUME", "yes")]);
    third.hears("a page at rest", |line| line["status"] == "ready").await;
}

#[tokio::test]
async fn a_stopped_answer_keeps_what_was_said_and_the_next_turn_works() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    send(&mut page, &script(&json!({ "words": 100, "delayMs": 100 }))).await;
    shows(&mut page, "streaming", 2).await;
    let stopped = anna.post(&format!("/api/chat/{chat}/stop"), &json!({})).await;
    assert!(stopped.status.is_success(), "{}", stopped.body);
    let ended = shows(&mut page, "ready", 2).await;
    assert_eq!(last(&ended)["metadata"]["state"], "stopped");
    assert_eq!(text_of(last(&ended)), text(&anna.history(&chat).await[1]["content"]));
    send(&mut page, "hello").await;
    let answered = shows(&mut page, "ready", 4).await;
    assert_eq!(text_of(last(&answered)), "You said: hello");
}

#[tokio::test]
async fn an_answer_is_written_anew() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    send(&mut page, "hello").await;
    let first = shows(&mut page, "ready", 2).await;
    page.tell(&json!({ "regenerate": true })).await;
    shows(&mut page, "submitted", 1).await;
    let second = shows(&mut page, "ready", 2).await;
    assert_eq!(text_of(last(&second)), "You said: hello");
    assert_eq!(last(&second)["id"], last(&first)["id"], "an answer keeps its id");
    assert_eq!(anna.history(&chat).await[1]["version"], 2);
}

#[tokio::test]
async fn an_older_answer_is_written_anew_by_its_own_name_or_its_questions() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut page = page(&anna, &chat, &[]);
    send(&mut page, "one").await;
    let first = shows(&mut page, "ready", 2).await;
    send(&mut page, "two").await;
    shows(&mut page, "ready", 4).await;
    let versions = async || -> Vec<Value> {
        let history = anna.history(&chat).await;
        let answers = history.iter().filter(|message| message["role"] == "assistant");
        answers.map(|answer| answer["version"].clone()).collect()
    };
    // The page forgets what came after; we do not.
    page.tell(&json!({ "regenerate": { "messageId": first["messages"][1]["id"] } }))
        .await;
    shows(&mut page, "submitted", 1).await;
    let again = shows(&mut page, "ready", 2).await;
    assert_eq!(text_of(last(&again)), "You said: one");
    assert_eq!(last(&again)["id"], first["messages"][1]["id"]);
    assert_eq!(versions().await, [2, 1]);
    page.tell(&json!({ "regenerate": { "messageId": first["messages"][0]["id"] } }))
        .await;
    shows(&mut page, "submitted", 1).await;
    shows(&mut page, "ready", 2).await;
    assert_eq!(versions().await, [3, 1]);

    let dialect = format!("/api/chat/{chat}/messages?format=ui-message-stream");
    let question = first["messages"][0].clone();
    let body =
        |name: &str| json!({ "id": chat, "messages": [question], "trigger": "regenerate-message", "messageId": name });
    let rows = stack.rows_of_chat(&chat).await;
    for unknown in ["msg-unknown", "0192aaaa-0000-7000-8000-000000000000", ""] {
        anna.post(&dialect, &body(unknown)).await.problem(404, "not-found");
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    // Our own id of the question does as well, and a key makes a retry safe.
    let ours = text(&anna.history(&chat).await[0]["id"]);
    let mut keyed = body(&ours);
    keyed["clientId"] = json!("r-1");
    for _ in 0..2 {
        let request = anna.request(reqwest::Method::POST, &dialect).json(&keyed);
        assert!(
            request
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
                .ends_with("data: [DONE]\n\n")
        );
        assert_eq!(versions().await, [4, 1]);
    }
}

#[tokio::test]
async fn a_page_sends_an_image_without_words() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let announced = json!({ "type": "image", "mimeType": "IMAGE/PNG", "size": PNG.len() });
    let announced = anna.post("/api/attachments", &announced).await.with(201);
    let upload = stack
        .http
        .put(text(&announced["upload"]["url"]))
        .header("content-type", "image/png")
        .header("if-none-match", "*")
        .body(PNG);
    assert_eq!(upload.send().await.unwrap().status(), 200);
    let mut page = page(&anna, &chat, &[]);
    let file = json!({ "type": "file", "mediaType": "IMAGE/PNG", "url": announced["attachment"]["url"] });
    page.tell(&json!({ "send": { "files": [file] } })).await;
    let answered = shows(&mut page, "ready", 2).await;
    let seen = format!("[1 image: image/png {} bytes]", PNG.len());
    assert!(text_of(last(&answered)).starts_with(&seen), "{answered}");
    let history = anna.history(&chat).await;
    assert_eq!(
        (&history[0]["content"], &history[0]["attachments"]),
        (&json!(""), &json!([announced["attachment"]]))
    );
}
