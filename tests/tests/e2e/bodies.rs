//! What comes from outside is taken as it is or refused with the place that is wrong; never cut, never a 500.

use reqwest::Method;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Stack, eventually};
use uuid::Uuid;

/// Where a refusal points.
fn places(problem: &Value, kind: &str) -> Vec<String> {
    let errors = problem["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors: {problem}"));
    let mut places: Vec<_> = errors
        .iter()
        .map(|error| error[kind].as_str().unwrap_or("-").to_owned())
        .collect();
    assert!(
        errors
            .iter()
            .all(|error| error["detail"].as_str().is_some_and(|detail| !detail.is_empty()))
    );
    places.sort();
    places
}

#[tokio::test]
async fn a_message_that_cannot_be_taken_is_refused_with_the_place_that_is_wrong() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    let rows = stack.rows_of_chat(&chat).await;
    let good = json!({ "clientId": "c-1", "content": "hi" });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let attachment = json!({ "type": "image", "url": "https://host/a.png" });
    let attached = |name: &str, value: Value| {
        let mut one = attachment.clone();
        one[name] = value;
        with("attachments", json!([attachment, one]))
    };

    for (what, body, pointers) in [
        ("nothing", json!({}), &["/clientId", "/content"][..]),
        (
            "nulls",
            json!({ "clientId": null, "content": null }),
            &["/clientId", "/content"],
        ),
        ("an array", json!([good]), &[""]),
        ("a string", json!("hi"), &[""]),
        ("a number", json!(7), &[""]),
        ("null", Value::Null, &[""]),
        ("content that is a number", with("content", json!(7)), &["/content"]),
        ("content that is an object", with("content", json!({})), &["/content"]),
        ("empty content", with("content", json!("")), &["/content"]),
        ("blank content", with("content", json!(" \n\t\u{a0}")), &["/content"]),
        (
            "33 KiB of content",
            with("content", json!("x".repeat(33 * 1024))),
            &["/content"],
        ),
        (
            "32 KiB and a byte",
            with("content", json!("x".repeat(32 * 1024 + 1))),
            &["/content"],
        ),
        (
            "few letters of many bytes",
            with("content", json!("👍".repeat(8 * 1024 + 1))),
            &["/content"],
        ),
        (
            "content that nobody can see",
            with("content", json!("\u{200b}\u{2060}\u{feff}\u{3164}\u{2800}\u{e0041}")),
            &["/content"],
        ),
        ("a bell in content", with("content", json!("a\u{7}b")), &["/content"]),
        (
            "an escape in content",
            with("content", json!("a\u{9b}31mb")),
            &["/content"],
        ),
        (
            "a control character in metadata",
            with("metadata", json!({ "a": "\u{1b}" })),
            &["/metadata"],
        ),
        (
            "metadata that is larger once it is stored",
            with("metadata", json!({ "a": vec![1e300; 100] })),
            &["/metadata"],
        ),
        ("NUL in content", with("content", json!("a\u{0}b")), &["/content"]),
        ("NUL in clientId", with("clientId", json!("a\u{0}b")), &["/clientId"]),
        ("an empty clientId", with("clientId", json!("")), &["/clientId"]),
        (
            "a long clientId",
            with("clientId", json!("c".repeat(129))),
            &["/clientId"],
        ),
        (
            "NUL in a metadata value",
            with("metadata", json!({ "a": [{ "b": "\u{0}" }] })),
            &["/metadata"],
        ),
        (
            "NUL in a metadata key",
            with("metadata", json!({ "a\u{0}": 1 })),
            &["/metadata"],
        ),
        ("metadata that is an array", with("metadata", json!([])), &["/metadata"]),
        (
            "17 KiB of metadata",
            with("metadata", json!({ "a": "x".repeat(17 * 1024) })),
            &["/metadata"],
        ),
        (
            "a replyTo that is no id",
            with("replyTo", json!("first")),
            &["/replyTo"],
        ),
        (
            "a replyTo to nothing",
            with("replyTo", json!(Uuid::now_v7())),
            &["/replyTo"],
        ),
        ("an unknown field", with("role", json!("system")), &["/role"]),
        (
            "an unknown field with odd letters",
            with("a/~b", json!(1)),
            &["/a~1~0b"],
        ),
        (
            "11 attachments",
            with("attachments", json!(vec![&attachment; 11])),
            &["/attachments"],
        ),
        (
            "attachments that are no list",
            with("attachments", json!({})),
            &["/attachments"],
        ),
        (
            "an attachment that is none",
            with("attachments", json!([7])),
            &["/attachments/0"],
        ),
        (
            "an attachment of another type",
            attached("type", json!("video")),
            &["/attachments/1/type"],
        ),
        (
            "an attachment by script",
            attached("url", json!("javascript:alert(1)")),
            &["/attachments/1/url"],
        ),
        (
            "an attachment without encryption",
            attached("url", json!("http://host/a")),
            &["/attachments/1/url"],
        ),
        (
            "an odd media type",
            attached("mimeType", json!("png")),
            &["/attachments/1/mimeType"],
        ),
        ("a negative size", attached("size", json!(-1)), &["/attachments/1/size"]),
        (
            "a size with a fraction",
            attached("size", json!(1.5)),
            &["/attachments/1/size"],
        ),
        (
            "an unknown field of an attachment",
            attached("alt", json!("x")),
            &["/attachments/1/alt"],
        ),
        (
            "all at once",
            json!({ "content": "", "metadata": 1, "x": 1 }),
            &["/clientId", "/content", "/metadata", "/x"],
        ),
    ] {
        let problem = anna.post(&path, &body).await;
        assert_eq!(problem.status.as_u16(), 422, "{what}: {}", problem.body);
        assert_eq!(
            places(&problem.problem(422, "invalid-request"), "pointer"),
            pointers,
            "{what}"
        );
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows, "nothing of all this was stored");
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    let rows = stack.rows_of_chat(&chat).await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    for (what, body) in [
        ("nothing", Vec::new()),
        ("white space", b" \r\n".to_vec()),
        ("half an object", br#"{"clientId": "c-1", "#.to_vec()),
        ("words", b"hello there".to_vec()),
        ("a form", b"clientId=c-1&content=hi".to_vec()),
        (
            "two objects",
            br#"{"clientId":"c-1","content":"a"} {"clientId":"c-2","content":"b"}"#.to_vec(),
        ),
        (
            "a high surrogate alone",
            br#"{"clientId":"c-1","content":"a \ud83d b"}"#.to_vec(),
        ),
        (
            "a low surrogate alone",
            br#"{"clientId":"c-1","content":"\udc4d"}"#.to_vec(),
        ),
        (
            "surrogates in the wrong order",
            br#"{"clientId":"c-1","content":"\udc4d\ud83d"}"#.to_vec(),
        ),
        (
            "a surrogate in a key",
            br#"{"clientId":"c-1","content":"a","metadata":{"\ud83d":1}}"#.to_vec(),
        ),
        (
            "bytes that are no UTF-8",
            b"{\"clientId\":\"c-1\",\"content\":\"\xff\xfe\"}".to_vec(),
        ),
        (
            "UTF-16",
            "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("NUL bytes", b"{\"clientId\":\"c-1\",\"content\":\"a\0b\"}".to_vec()),
        ("10,000 arrays", deep("[", "]").into_bytes()),
        ("10,000 objects", deep("{\"a\":", "}").into_bytes()),
        (
            "deep metadata",
            format!(
                r#"{{"clientId":"c","content":"a","metadata":{{"a":{}}}}}"#,
                deep("[", "]")
            )
            .into(),
        ),
        (
            "a number too large to be one",
            br#"{"clientId":"c-1","content":"a","metadata":{"n":1e999}}"#.to_vec(),
        ),
    ] {
        for path in [&*path, "/api/chat", "/api/chat-messages/mark-read"] {
            let answer = anna.post_raw(path, body.clone()).await;
            assert_eq!(answer.status.as_u16(), 400, "{what}: {}", answer.body);
            let problem = answer.problem(400, "malformed-body");
            assert_eq!(places(&problem, "pointer").len(), 1, "{what}");
        }
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 1);
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_refused_where_it_stands() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let messages = format!("/api/chat/{chat}/messages");
    for (path, body, pointer) in [
        (
            &*messages,
            r#"{"clientId":"c","content":"a","content":"b"}"#,
            "/content",
        ),
        (
            &*messages,
            r#"{"clientId":"c","content":"a","metadata":{"a":[{"b":1,"b":1}]}}"#,
            "/metadata/a/0/b",
        ),
        ("/api/chat", r#"{"kind":"assistant","kind":"assistant"}"#, "/kind"),
        ("/api/posts", r#"{"content":"a","content":"b"}"#, "/content"),
        (
            "/api/chat-messages/mark-read",
            r#"{"messageIds":[],"messageIds":[]}"#,
            "/messageIds",
        ),
    ] {
        let problem = anna.post_raw(path, body.into()).await.problem(400, "malformed-body");
        assert_eq!(places(&problem, "pointer"), [pointer], "{body}");
    }
    let ui = r#"{"id":"c","messages":[{"id":"m","role":"user","role":"user","parts":[{"type":"text","text":"a"}]}]}"#;
    let path = format!("{messages}?format=ui-message-stream");
    let problem = anna.post_raw(&path, ui.into()).await.problem(400, "malformed-body");
    assert_eq!(places(&problem, "pointer"), ["/messages/0/role"]);
    assert_eq!(anna.history(&chat).await.len(), 0);
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_is_refused() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    for (path, parameter) in [
        ("/api/chat?limit=1&limit=2", "limit"),
        ("/api/chat?kind=direct&kind=direct", "kind"),
        ("/api/chat/search?q=a&q=b", "q"),
        ("/api/chat/stream?ticket=a&ticket=b", "ticket"),
    ] {
        let problem = anna.get(path).await.problem(422, "invalid-request");
        assert_eq!(places(&problem, "parameter"), [parameter], "{path}");
    }
}

#[tokio::test]
async fn a_reaction_has_one_spelling_however_it_is_typed() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let message = anna.send(&chat, "c-1", "hi").await.with(201)["message"]["id"].clone();
    let of = |emoji: &str| format!("/api/chat/{chat}/messages/{}/reactions/{emoji}", text(&message));
    // A thumb with its skin tone, and behind it the selector that some keyboards put there.
    for emoji in ["%F0%9F%91%8D%F0%9F%8F%BD%EF%B8%8F", "%F0%9F%91%8D%F0%9F%8F%BD"] {
        let answer = Answer::of(anna.request(Method::PUT, &of(emoji)).send().await.unwrap()).await;
        assert_eq!(answer.with(200)["message"]["reactions"][0]["emoji"], "👍🏽");
    }
    assert_eq!(anna.history(&chat).await[0]["reactions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_unread() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let path = format!("/api/chat/{chat}/messages");
    for body in [
        vec![b' '; 256 * 1024 + 1],
        format!(r#"{{"clientId":"{}"}}"#, "x".repeat(300 * 1024)).into_bytes(),
    ] {
        anna.post_raw(&path, body).await.problem(413, "body-too-large");
    }
    assert_eq!(anna.history(&chat).await.len(), 0);
}

#[tokio::test]
async fn what_is_within_the_limits_is_stored_as_it_came() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let attachment = json!({ "type": "image", "url": "https://host/a.png", "mimeType": "image/png", "size": 1 });
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for (number, (content, metadata, attachments)) in [
        (" x ".to_owned(), json!({}), json!([])),
        (
            "👍".repeat(8 * 1024),
            json!({ "a": "x".repeat(15 * 1024) }),
            json!(vec![&attachment; 10]),
        ),
        (
            "\u{feff}\u{202e}e\u{301}\r\n\u{10ffff}\"\\".to_owned(),
            json!({ "é/~": [1.5, null, -0.25] }),
            json!([attachment]),
        ),
        (
            "x".to_owned(),
            json!({ "deep": deep }),
            json!([{ "type": "image", "url": "https://host/?q=%20#f" }]),
        ),
        (
            "x".to_owned(),
            json!({ "n": 9_007_199_254_740_993_i64, "t": true }),
            json!([]),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({
            "clientId": format!("c-{number}"), "content": content, "metadata": metadata, "attachments": attachments,
            "replyTo": null,
        });
        let sent = anna.post(&format!("/api/chat/{chat}/messages"), &body).await.with(201);
        // The longest of them reserves all that a person has.
        eventually("an answer's end", async || {
            let open = "select count(*) from holds join replies on id = reply_id where chat_id = $1";
            (stack.number(open, &chat).await == 0).then_some(())
        })
        .await;
        assert_eq!(sent["message"]["content"], content);
        assert_eq!(sent["message"]["metadata"], metadata);
        assert_eq!(sent["message"]["attachments"], attachments);
        let kept = anna
            .get(&format!("/api/chat/{chat}/messages?after=0&limit=100"))
            .await
            .with(200);
        let kept = kept["messages"].as_array().unwrap();
        assert!(
            kept.contains(&sent["message"]),
            "number {number} is kept as it was answered"
        );
    }
}

#[tokio::test]
async fn a_bad_path_or_query_is_named() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let messages = format!("/api/chat/{chat}/messages");
    let of_messages = |query: &str| format!("{messages}?{query}");
    for (path, parameter) in [
        ("/api/chat/first".to_owned(), "chatId"),
        ("/api/chat/first/messages".to_owned(), "chatId"),
        (format!("/api/chat/{}", chat.replace('-', "")), "chatId"),
        (format!("/api/chat/%7B{chat}%7D"), "chatId"),
        (format!("/api/chat/{chat}0"), "chatId"),
        ("/api/chat/%00".to_owned(), "chatId"),
        ("/api/chat/%ff%fe".to_owned(), "chatId"),
        (of_messages("limit=0"), "limit"),
        (of_messages("limit=101"), "limit"),
        (of_messages("limit=-1"), "limit"),
        (of_messages("limit=ten"), "limit"),
        (of_messages("limit="), "limit"),
        (of_messages("limit=99999999999999999999"), "limit"),
        (of_messages("after=-1"), "after"),
        (of_messages("after=x"), "after"),
        (of_messages("before=1.5"), "before"),
        (of_messages("before=9223372036854775808"), "before"),
        (of_messages("changedAfter="), "changedAfter"),
        (of_messages("after=1&before=3"), "after"),
        (of_messages("changedAfter=1&after=1"), "after"),
        ("/api/chat?kind=secret".to_owned(), "kind"),
        ("/api/chat?kind=".to_owned(), "kind"),
        ("/api/chat?cursor=x".to_owned(), "cursor"),
        ("/api/chat?cursor=%00".to_owned(), "cursor"),
        ("/api/chat?limit=1000".to_owned(), "limit"),
        ("/api/chat-messages?limit=0".to_owned(), "limit"),
    ] {
        let answer = anna.get(&path).await;
        assert_eq!(answer.status.as_u16(), 422, "{path}: {}", answer.body);
        let problem = answer.problem(422, "invalid-request");
        assert_eq!(places(&problem, "parameter"), [parameter], "{path}");
    }
    let delete = anna.delete("/api/chat/first").await;
    assert_eq!(places(&delete.problem(422, "invalid-request"), "parameter"), ["chatId"]);
}

#[tokio::test]
async fn other_bodies_are_read_as_strictly() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    anna.get("/api/me").await.with(200);
    let id = Uuid::now_v7();
    for (path, body, pointers) in [
        ("/api/chat", json!({}), &["/kind"][..]),
        ("/api/chat", json!({ "kind": "secret" }), &["/kind"]),
        ("/api/chat", json!({ "kind": "task" }), &["/kind"]),
        ("/api/chat", json!({ "kind": 7 }), &["/kind"]),
        ("/api/chat", json!({ "kind": "assistant", "title": "" }), &["/title"]),
        (
            "/api/chat",
            json!({ "kind": "assistant", "title": "t".repeat(201) }),
            &["/title"],
        ),
        (
            "/api/chat",
            json!({ "kind": "assistant", "title": "\u{0}" }),
            &["/title"],
        ),
        (
            "/api/chat",
            json!({ "kind": "assistant", "ownerId": "ben" }),
            &["/ownerId"],
        ),
        ("/api/chat-messages/mark-read", json!({}), &["/messageIds"]),
        (
            "/api/chat-messages/mark-read",
            json!({ "messageIds": null }),
            &["/messageIds"],
        ),
        (
            "/api/chat-messages/mark-read",
            json!({ "messageIds": id }),
            &["/messageIds"],
        ),
        (
            "/api/chat-messages/mark-read",
            json!({ "messageIds": [id, "x", 7] }),
            &["/messageIds/1", "/messageIds/2"],
        ),
        (
            "/api/chat-messages/mark-read",
            json!({ "messageIds": vec![id; 101] }),
            &["/messageIds"],
        ),
        (
            "/api/chat-messages/mark-read",
            json!({ "messageIds": [id], "all": true }),
            &["/all"],
        ),
    ] {
        let answer = anna.post(path, &body).await;
        assert_eq!(answer.status.as_u16(), 422, "{path} {body}: {}", answer.body);
        assert_eq!(
            places(&answer.problem(422, "invalid-request"), "pointer"),
            pointers,
            "{path} {body}"
        );
    }
    assert_eq!(anna.get("/api/chat").await.with(200)["total"], 0);
    for ids in [json!([]), json!(vec![id; 100])] {
        let marked = anna
            .post("/api/chat-messages/mark-read", &json!({ "messageIds": ids }))
            .await
            .with(200);
        assert_eq!(marked["markedCount"], 0);
    }
}

#[tokio::test]
async fn a_route_that_does_not_exist_is_not_found() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    for path in ["/", "/api", "/api/chats", "/api/chat/x/y/z"] {
        let answer: Answer = anna.get(path).await;
        assert_eq!(answer.status.as_u16(), 404, "{path}");
    }
}
