//! Streams that stay open: how many somebody may have, and until when.

use reqwest::Method;
use serde_json::json;
use tests::function::Gateway;
use tests::person::text;
use tests::stack::now;
use tests::{Answer, Frame, Person, Stack, Stream, at_once, eventually};

use crate::stream::{listen, until};
use crate::{Pair, say};

/// The same person with a token that ends in so many seconds.
fn briefly(person: &Person, seconds: i64) -> Person {
    let jwt = &person.stack.jwt;
    let claims = json!({
        "sub": person.id, "name": "brief", "iss": jwt.issuer, "aud": jwt.audience, "exp": now() + seconds,
    });
    Person {
        token: jwt.signed(&claims),
        ..person.clone()
    }
}

async fn rest(mut stream: Stream) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await {
        frames.push(frame);
    }
    frames
}

fn is_crowded(frames: &[Frame]) -> bool {
    let last = frames.last().expect("an end that says why");
    last.event == "error" && last.data["type"] == "too-many-streams" && last.data["status"] == 429
}

async fn open_streams(person: &Person) -> i64 {
    sqlx::query_scalar("select count(*) from open_streams where user_id = $1")
        .bind(&person.id)
        .fetch_one(&person.stack.rows)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_stream_ends_with_its_token_and_goes_on_with_the_next() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let brief = briefly(&anna, 15);
    let ends_at = now() + 15;
    let (mut by_token, _) = listen(&brief, "").await;
    let issued = brief.post("/api/chat/stream-ticket", &json!({})).await.with(201);
    assert!(issued["expiresInSeconds"].as_i64().unwrap() <= 15, "{issued}");
    let (mut by_ticket, _) = listen(&brief, &format!("?ticket={}", text(&issued["ticket"]))).await;
    let heard = say(&ben, &chat, "heard").await;
    let mut place = String::new();
    for stream in [&mut by_token, &mut by_ticket] {
        let frames = until(stream, |frame| frame.data["data"] == heard).await;
        place = frames.last().unwrap().id.clone().unwrap();
    }
    for stream in [by_token, by_ticket] {
        let frames = rest(stream).await;
        let events: Vec<_> = frames.iter().map(|frame| frame.event.as_str()).collect();
        assert_eq!(events, ["reconnect"]);
        assert!(now() >= ends_at, "not before");
    }
    // A token that is over, though elsewhere it is still good for a moment, opens no stream that would end at once.
    for path in ["/api/chat/stream", "/api/chat/stream-ticket"] {
        let method = if path.ends_with("ticket") {
            Method::POST
        } else {
            Method::GET
        };
        let answer = brief.request(method, path).send().await.unwrap();
        Answer::of(answer).await.problem(401, "unauthenticated");
    }
    let missed = say(&ben, &chat, "missed").await;
    let (mut again, _) = listen(&anna, &format!("?after={place}")).await;
    assert_eq!(again.next().await.unwrap().data["data"], missed);
}

#[tokio::test]
async fn where_somebody_opens_many_streams_the_newest_stay_and_the_oldest_are_told() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let mut streams = Vec::new();
    for _ in 0..7 {
        streams.push(listen(&anna, "").await.0);
    }
    let newest = streams.split_off(2);
    for oldest in streams {
        let frames = rest(oldest).await;
        assert!(is_crowded(&frames), "{frames:?}");
    }
    let heard = say(&ben, &chat, "heard").await;
    for mut stream in newest {
        until(&mut stream, |frame| frame.data["data"] == heard).await;
    }
}

#[tokio::test]
async fn thirty_streams_opened_at_once_leave_five_open_whatever_process_gives_them() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let gateway = Gateway::start(&stack).await;
    let _processes: Vec<_> = (0..10).map(|_| gateway.function("stream-events", &[])).collect();
    let here = anna.by(&gateway.stack);
    let opened = at_once(30, |number| {
        let here = here.clone();
        async move {
            let query = if number % 2 == 0 { "" } else { "?after=0" };
            let stream = here.get_events(&format!("/api/chat/stream{query}")).await;
            assert_eq!(stream.status(), 200);
            stream
        }
    })
    .await;
    assert_eq!(open_streams(&anna).await, 5);
    let ended = opened.into_iter().map(|stream| tokio::spawn(rest(stream)));
    let ended: Vec<_> = ended.collect();
    eventually("25 that are over", async || {
        (ended.iter().filter(|stream| stream.is_finished()).count() == 25).then_some(())
    })
    .await;
    assert_eq!(open_streams(&anna).await, 5);
    for stream in ended {
        if stream.is_finished() {
            let frames = stream.await.unwrap();
            assert!(is_crowded(&frames), "{frames:?}");
        } else {
            // Whoever leaves makes room.
            stream.abort();
        }
    }
    eventually("no stream of those who left", async || {
        (open_streams(&anna).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn joined_answers_have_room_of_their_own_and_end_for_newer_ones() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut asking = anna.ask(&chat, "c-1", r#"/script {"words": 400, "delayMs": 50}"#).await;
    asking.until_deltas(1).await;
    let gateway = Gateway::start(&stack).await;
    let _processes: Vec<_> = (0..3)
        .map(|_| gateway.function("join-reply", &[("STREAMS_PER_PERSON", "2")]))
        .collect();
    let here = anna.by(&gateway.stack);
    let (mut events, _) = listen(&anna, "").await;
    let mut joined = Vec::new();
    for _ in 0..3 {
        let mut stream = here
            .get_events(&format!("/api/chat/{chat}/messages/{chat}/stream"))
            .await;
        stream.until_deltas(1).await;
        joined.push(stream);
    }
    let newest = joined.split_off(1);
    assert!(is_crowded(&rest(joined.remove(0)).await));
    anna.post(&format!("/api/chat/{chat}/stop"), &json!({})).await.with(200);
    for stream in newest {
        assert_eq!(rest(stream).await.last().unwrap().event, "reply.ended");
    }
    until(&mut events, |frame| frame.event == "reply.ended").await;
    asking.all().await;
}

/// Prints what idle streams cost. Nothing else should run beside it.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_idle_streams_cost() {
    let stack = Stack::running();
    let number = async |sql: &'static str| -> i64 { sqlx::query_scalar(sql).fetch_one(&stack.rows).await.unwrap() };
    let commits = async || number("select xact_commit from pg_stat_database where datname = current_database()").await;
    let connections = async || number("select count(*) from pg_stat_activity where datname = current_database()").await;
    let seconds = 30;
    let pause = std::time::Duration::from_secs(seconds);
    for most in ["1000", "5"] {
        let gateway = Gateway::start(&stack).await;
        let quiet = connections().await;
        let processes: Vec<_> = (0..30)
            .map(|_| gateway.function("stream-events", &[("STREAMS_PER_PERSON", most)]))
            .collect();
        let anna = stack.person("anna");
        let here = anna.by(&gateway.stack);
        let opened = at_once(30, |_| {
            let here = here.clone();
            async move { here.get_events("/api/chat/stream").await }
        })
        .await;
        let reading: Vec<_> = opened.into_iter().map(|stream| tokio::spawn(rest(stream))).collect();
        tokio::time::sleep(pause).await;
        let (open, held, before) = (open_streams(&anna).await, connections().await - quiet, commits().await);
        tokio::time::sleep(pause).await;
        let rate = (commits().await - before) as f64 / seconds as f64;
        println!("at most {most}: {open} of 30 open, {held} connections, {rate:.1} statements a second");
        for stream in reading {
            stream.abort();
        }
        drop(processes);
    }
}
