//! `GET /api/chat/stream`: what happens, in order, to everyone who listens, from wherever they left off.

use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tests::function::Gateway;
use tests::person::text;
use tests::{Frame, PATIENCE, Person, Stack, Stream};
use tokio::time::timeout;

use crate::node::Client;
use crate::{Pair, delete, edit, mark_read, say, whole_history};

/// Listens from a place on, or from now; answers the place where it begins, too.
pub(crate) async fn listen(person: &Person, query: &str) -> (Stream, String) {
    let response = person
        .request(Method::GET, &format!("/api/chat/stream{query}"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = Stream::of(response);
    let first = stream.next().await.unwrap();
    assert!(first.event == "ready", "{first:?}");
    (stream, first.id.unwrap())
}

/// Reads until an event is there; answers all of them.
pub(crate) async fn until(stream: &mut Stream, is_it: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = stream
            .next()
            .await
            .unwrap_or_else(|| panic!("the stream has ended after {frames:?}"));
        frames.push(frame);
        if is_it(&frames[frames.len() - 1]) {
            return frames;
        }
    }
}

fn is_about(message: &Value) -> impl Fn(&Frame) -> bool {
    let id = message["id"].clone();
    move |frame| frame.data["data"]["id"] == id
}

/// Event names and the chats' seqs, which say the order.
fn outline(frames: &[Frame]) -> Vec<(&str, Option<i64>)> {
    frames
        .iter()
        .map(|frame| (frame.event.as_str(), frame.data["seq"].as_i64()))
        .collect()
}

#[tokio::test]
async fn two_tabs_and_two_devices_each_get_every_event() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let mut listeners = Vec::new();
    for person in [&anna, &anna, &ben, &ben] {
        listeners.push(listen(person, "").await.0);
    }
    let hi = say(&anna, &chat, "hi").await;
    mark_read(&ben, &[&hi]).await;
    edit(&anna, &hi, "hello").await.with(200);
    delete(&anna, &hi).await.with(200);
    let end = say(&ben, &chat, "bye").await;

    for mut listener in listeners {
        let heard = until(&mut listener, is_about(&end)).await;
        let expected = [
            ("message.created", Some(1)),
            ("read", None),
            ("message.updated", Some(2)),
            ("message.deleted", Some(3)),
            ("message.created", Some(4)),
        ];
        assert_eq!(outline(&heard), expected);
        assert_eq!(heard[1].data["data"]["userId"], *ben.id);
        // A late reader gets the present state of what is gone, never what it was.
        assert_eq!(heard[3].data["data"]["content"], "");
        assert_eq!(heard[4].data["data"], end);
        assert!(
            heard
                .iter()
                .all(|frame| frame.data["chatId"] == *chat && frame.data["type"] == *frame.event)
        );
        let ids: Vec<i64> = heard
            .iter()
            .map(|frame| frame.id.as_ref().unwrap().parse().unwrap())
            .collect();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "contiguous: {ids:?}");
    }
}

#[tokio::test]
async fn pusher_and_stream_carry_the_same_envelopes() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let mut pusher = Client::pusher(&anna).await;
    pusher.subscribe(&format!("private-user-{}", anna.id)).await;
    let (mut stream, _) = listen(&anna, "").await;
    let mut waits = Vec::new();
    // One after the other, for a stream tells what a message says by then.
    let hi = say(&ben, &chat, "hi").await;
    waits.push(("chat-message", stream.next().await.unwrap()));
    mark_read(&anna, &[&hi]).await;
    waits.push(("read", stream.next().await.unwrap()));
    edit(&ben, &hi, "hello").await.with(200);
    waits.push(("message.updated", stream.next().await.unwrap()));
    delete(&ben, &hi).await.with(200);
    waits.push(("message.deleted", stream.next().await.unwrap()));
    let own = anna.assistant_chat().await;
    waits.push(("chat.updated", stream.next().await.unwrap()));
    anna.delete(&format!("/api/chat/{own}")).await.with(204);
    waits.push(("chat.deleted", stream.next().await.unwrap()));
    for (name, frame) in waits {
        assert_eq!(pusher.hears_event(name).await, frame.data, "{name}");
    }
}

#[tokio::test]
async fn a_reader_goes_on_after_its_place_and_may_choose_one_chat() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let other = anna.assistant_chat().await;
    let first = say(&ben, &chat, "first").await;
    let asked = anna.ask(&other, "c-1", "a question").await.all().await;
    let answer = asked[asked.len() - 2].data["data"].clone();
    let last = say(&ben, &chat, "last").await;

    // From the beginning: two chats that were opened, their messages, and the end of a reply.
    let (mut all, place) = listen(&anna, "?after=0").await;
    assert_eq!(place, "0");
    let heard = until(&mut all, is_about(&last)).await;
    let expected = [
        ("chat.updated", None),
        ("chat.updated", None),
        ("message.created", Some(1)),
        ("message.created", Some(1)),
        ("message.created", Some(2)),
        ("reply.ended", None),
        ("message.created", Some(2)),
    ];
    assert_eq!(outline(&heard), expected);
    assert_eq!(heard[4].data["data"], answer);

    // After each of its events, exactly the rest: by the URL, by the header, and by the header over the URL.
    for (number, frame) in heard.iter().enumerate() {
        let place = frame.id.as_ref().unwrap();
        let rest = &heard[number + 1..];
        let (mut by_url, _) = listen(&anna, &format!("?after={place}")).await;
        let by_header = anna
            .request(Method::GET, "/api/chat/stream?after=0")
            .header("last-event-id", place);
        let mut by_header = Stream::of(by_header.send().await.unwrap());
        let ready = by_header.next().await.unwrap();
        assert_eq!((ready.event.as_str(), ready.id.as_ref()), ("ready", Some(place)));
        for expected in rest {
            for stream in [&mut by_url, &mut by_header] {
                let frame = stream.next().await.unwrap();
                assert_eq!((&frame.id, &frame.data), (&expected.id, &expected.data));
            }
        }
    }

    let (mut one, _) = listen(&anna, &format!("?after=0&chatId={chat}")).await;
    let heard = until(&mut one, is_about(&last)).await;
    let ids: Vec<_> = heard.iter().map(|frame| frame.data["data"]["id"].clone()).collect();
    assert_eq!(ids, [Value::Null, first["id"].clone(), last["id"].clone()]);
}

#[tokio::test]
async fn a_running_reply_is_heard_from_its_start_by_whoever_comes_late() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut asking = anna.ask(&chat, "c-1", r#"/script {"words": 80, "delayMs": 20}"#).await;
    let begun = asking.until_deltas(3).await;
    let (mut late, _) = listen(&anna, "").await;
    let heard = until(&mut late, |frame| frame.event == "reply.ended").await;
    let mut rest = begun;
    rest.extend(asking.all().await);

    assert_eq!(heard[0].event, "reply.started");
    let message = &heard[heard.len() - 2];
    assert_eq!(message.data, rest[rest.len() - 2].data);
    assert_eq!(heard[heard.len() - 1].data["data"], rest[rest.len() - 1].data["data"]);
    let so_far = tests::stream::text_of(&heard);
    assert!(!so_far.is_empty());
    assert!(text(&message.data["data"]["content"]).starts_with(&so_far));
}

#[tokio::test]
async fn a_place_that_is_not_kept_or_never_was_says_resync() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    for number in 0..5 {
        say(&ben, &chat, &number.to_string()).await;
    }
    let head = inbox_version(&anna).await;
    sqlx::query("delete from inbox where user_id = $1 and version <= $2")
        .bind(&anna.id)
        .bind(head - 2)
        .execute(&stack.rows)
        .await
        .unwrap();
    let kept_from = head - 2;
    for (place, is_kept) in [
        ("the beginning", false),
        ("too early", false),
        ("the oldest that is kept", true),
        ("now", true),
        ("the future", false),
        ("the end of time", false),
    ] {
        let head = inbox_version(&anna).await;
        let after = match place {
            "the beginning" => 0,
            "too early" => kept_from - 1,
            "the oldest that is kept" => kept_from,
            "now" => head,
            "the future" => head + 1,
            _ => i64::MAX,
        };
        let (mut stream, _) = listen(&anna, &format!("?after={after}")).await;
        if !is_kept {
            let resync = stream.next().await.unwrap();
            assert_eq!(
                (resync.event.as_str(), &resync.data["version"]),
                ("resync", &json!(head)),
                "{place}"
            );
            assert_eq!(resync.id.unwrap(), head.to_string());
        }
        let marker = say(&ben, &chat, place).await;
        let heard = until(&mut stream, is_about(&marker)).await;
        assert!(
            heard.iter().all(|frame| frame.event == "message.created"),
            "{place}: {:?}",
            outline(&heard)
        );
        let missed = if is_kept { head - after } else { 0 };
        assert_eq!(heard.len(), usize::try_from(missed).unwrap() + 1, "{place}");
    }

    // All of it is gone, and nothing has happened since: whoever has everything has lost nothing.
    sqlx::query("delete from inbox where user_id = $1")
        .bind(&anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    let head = inbox_version(&anna).await;
    let (mut behind, _) = listen(&anna, &format!("?after={}", head - 1)).await;
    assert_eq!(behind.next().await.unwrap().event, "resync");
    let (mut current, _) = listen(&anna, &format!("?after={head}")).await;
    let marker = say(&ben, &chat, "after all").await;
    assert_eq!(until(&mut current, is_about(&marker)).await.len(), 1);
}

async fn inbox_version(person: &Person) -> i64 {
    let version = sqlx::query_scalar("select version from inbox_heads where user_id = $1").bind(&person.id);
    version.fetch_one(&person.stack.rows).await.unwrap()
}

#[tokio::test]
async fn a_silent_stream_beats_and_tells_proxies_not_to_buffer() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let mut response = anna.request(Method::GET, "/api/chat/stream").send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header(CONTENT_TYPE.as_str()), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    let mut heard = String::new();
    while !heard.contains(": keep-alive\n\n") {
        let chunk = timeout(PATIENCE, response.chunk())
            .await
            .expect("a heartbeat")
            .unwrap()
            .unwrap();
        heard.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn a_stream_ends_as_planned_and_goes_on_where_it_ended() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let gateway = Gateway::start(&stack).await;
    let _brief = gateway.function("stream-events", &[("STREAM_SECONDS", "3")]);
    let here = Person {
        stack: gateway.stack.clone(),
        ..anna.clone()
    };
    let (mut stream, _) = listen(&here, "").await;
    let heard = say(&ben, &chat, "heard").await;
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await {
        frames.push(frame);
    }
    assert_eq!(outline(&frames), [("message.created", Some(1)), ("reconnect", None)]);
    assert_eq!(frames[0].data["data"], heard);
    assert_eq!(frames[1].id, None, "a planned end moves no place");

    let missed = say(&ben, &chat, "missed").await;
    let (mut again, _) = listen(&anna, &format!("?after={}", frames[0].id.as_ref().unwrap())).await;
    assert_eq!(again.next().await.unwrap().data["data"], missed);
}

#[tokio::test]
async fn a_browsers_event_source_listens_by_ticket_and_comes_back_with_a_new_one() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let mut places = HashMap::new();
    let mut place = String::from("0");
    for round in 0..2 {
        let issued = anna.post("/api/chat/stream-ticket", &json!({})).await.with(201);
        assert_eq!(issued["expiresInSeconds"], 60);
        let url = format!(
            "{}/api/chat/stream?ticket={}&after={place}",
            stack.api,
            text(&issued["ticket"])
        );
        let mut source = Client::start("stream.mjs", &[("STREAM_URL", &url), ("TOKEN", "")]);
        let sent = say(&ben, &chat, &round.to_string()).await;
        loop {
            let event = source
                .hears("the message", |line| line["name"] == "message.created")
                .await;
            let id = text(&event["id"]);
            assert_eq!(
                places.insert(id.clone(), event["data"]["data"]["id"].clone()),
                None,
                "told twice"
            );
            place = id;
            if event["data"]["data"] == sent {
                break;
            }
        }
    }
    assert_eq!(places.len(), 2);
}

#[tokio::test]
async fn a_chats_only_question_deleted_while_it_is_answered_leaves_nothing_hanging() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    // One running answer, and a question behind it.
    let mut stream = anna
        .ask(&chat, "c-1", r#"/script {"words": 2000, "delayMs": 20}"#)
        .await;
    let seen = stream.until_deltas(2).await;
    let question = seen[0].data["data"].clone();
    let waiting = anna.send(&chat, "c-2", "never mind").await.with(201);
    delete(&anna, &waiting["message"]).await.with(200);
    delete(&anna, &question).await.with(200);

    // It ends by itself, long before its two thousand words.
    let frames = stream.all().await;
    assert_eq!(tests::stream::ending(&frames)["state"], "stopped");
    let history = whole_history(&anna, &chat).await;
    let roles: Vec<_> = history.iter().map(|message| text(&message["role"])).collect();
    assert_eq!(
        roles,
        ["user", "user", "assistant"],
        "what was said of the answer is kept; the other was not begun"
    );
    let open = anna.get(&format!("/api/chat/{chat}")).await.with(200);
    assert!(open["chat"]["reply"].is_null(), "{open}");
}
