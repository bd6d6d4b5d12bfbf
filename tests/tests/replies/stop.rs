//! Stop: from any device, at any moment, whoever writes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::person::text;
use tests::stream::{answer_in, deltas, ending, outline, text_of};
use tests::{Gateway, Person, Queue, Random, Stack, eventually, script};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{stop, words};

const PEOPLE: usize = 5;
const STOPS_EACH: usize = 10;
/// It takes about a second; this says only that nobody waits for a writer that does not listen.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// What a person does when they ask for a stop.
#[derive(Clone, Copy, Debug)]
enum Scene {
    /// The worker writes, or is about to, or has.
    Worker,
    /// The response to the question streams.
    Streaming,
    /// The question waits for the answer to another.
    Behind,
    /// The model thinks.
    Silence,
    /// An attempt has failed, or soon will, and the next one waits.
    Resting,
}

const SCENES: [Scene; 5] = [
    Scene::Worker,
    Scene::Streaming,
    Scene::Behind,
    Scene::Silence,
    Scene::Resting,
];

async fn state_of(stack: &Stack, reply: &str) -> String {
    sqlx::query_scalar("select state from replies where id = $1")
        .bind(reply.parse::<Uuid>().unwrap())
        .fetch_one(&stack.rows)
        .await
        .unwrap()
}

#[tokio::test]
async fn stopped_at_any_time_a_reply_keeps_what_was_said_and_the_next_turn_works() {
    let stack = Stack::running();
    let people = join_all((0..PEOPLE).map(|number| stop_again_and_again(&stack, number as u64))).await;
    let mut stops: Vec<_> = people.into_iter().flatten().collect();
    stops.sort_by_key(|stop| stop.took);
    let took = |share: usize| stops[(stops.len() - 1) * share / 100].took;
    let with = |outcome: &str| stops.iter().filter(|stop| stop.outcome == outcome).count();
    println!(
        "{} stops answered within: p50 {:?}, p95 {:?}, at most {:?}; {} left a part, {} nothing, {} came too late",
        stops.len(),
        took(50),
        took(95),
        took(100),
        with("part"),
        with("nothing"),
        with("whole"),
    );
    // The dice must have shown every kind.
    assert_eq!(stops.len(), PEOPLE * STOPS_EACH);
    assert!(with("part") > 0 && with("nothing") > 0 && with("whole") > 0);
}

struct Stopped {
    took: Duration,
    outcome: &'static str,
}

async fn stop_again_and_again(stack: &Stack, number: u64) -> Vec<Stopped> {
    let anna = stack.person("anna");
    let mut random = Random(number);
    let hello = {
        let chat = anna.assistant_chat().await;
        anna.ask(&chat, "c-1", "hello").await.all().await
    };
    let instruction = answer_in(&hello).unwrap()["usage"]["inputTokens"].as_i64().unwrap() - 1;
    let mut chat = anna.assistant_chat().await;
    let mut stops = Vec::new();
    for round in 0..STOPS_EACH {
        if round == STOPS_EACH / 2 {
            chat = anna.assistant_chat().await;
        }
        let scene = SCENES[(number as usize + round) % SCENES.len()];
        stops.push(stop_once(stack, &anna, &chat, round, scene, &mut random).await);

        // The next turn is answered, and has seen all that is kept, the stopped answers included.
        let next = anna.ask(&chat, &format!("next-{round}"), "and now?").await.all().await;
        assert_eq!(text_of(&next), "You said: and now?", "after {scene:?}");
        let answer = answer_in(&next).unwrap();
        let history = anna.history(&chat).await;
        let before = history.iter().take_while(|message| message["id"] != answer["id"]);
        let said = before.filter(|message| message["type"] == "TEXT");
        let seen: usize = said
            .map(|message| text(&message["content"]).split_whitespace().count())
            .sum();
        assert_eq!(
            answer["usage"]["inputTokens"].as_i64().unwrap(),
            instruction + i64::try_from(seen).unwrap(),
            "after {scene:?}"
        );
        stack.settled(&anna).await;
    }
    stops
}

async fn stop_once(
    stack: &Stack,
    anna: &Person,
    chat: &str,
    round: usize,
    scene: Scene,
    random: &mut Random,
) -> Stopped {
    let said = words(random, 30);
    let (question, whole) = match scene {
        Scene::Silence => (
            script(&json!({ "words": 2, "delayMs": 1500 })),
            "word1 word2 ".to_owned(),
        ),
        Scene::Resting => (
            script(&json!({ "words": 9, "delayMs": 20, "fail": "truncate", "failAfterWords": 5 })),
            "word1 word2 word3 word4 word5 ".to_owned(),
        ),
        _ => (script(&json!({ "text": said, "delayMs": 25 })), said),
    };
    let client_id = format!("c-{round}");
    let mut reading = None;
    let mut first = None;
    let reply = match scene {
        Scene::Streaming | Scene::Silence => {
            let mut stream = anna.ask(chat, &client_id, &question).await;
            let mut frames = Vec::new();
            while frames
                .last()
                .is_none_or(|frame: &tests::Frame| frame.event != "reply.started")
            {
                frames.push(stream.next().await.unwrap());
            }
            let reply = text(&frames[frames.len() - 1].data["data"]["messageId"]);
            reading = Some(async move {
                while let Some(frame) = stream.next().await {
                    frames.push(frame);
                }
                frames
            });
            reply
        }
        Scene::Behind => {
            let slow = script(&json!({ "words": 20, "delayMs": 25 }));
            let sent = anna.send(chat, &format!("first-{round}"), &slow).await.with(201);
            first = Some(text(&sent["reply"]["id"]));
            text(&anna.send(chat, &client_id, &question).await.with(201)["reply"]["id"])
        }
        Scene::Worker | Scene::Resting => text(&anna.send(chat, &client_id, &question).await.with(201)["reply"]["id"]),
    };
    sleep(Duration::from_millis(random.below(1400) as u64)).await;

    // By its id where others run, too; else whatever runs.
    let named = first.is_some() || random.below(2) == 0;
    let asked_at = Instant::now();
    let answer = stop(anna, chat, named.then_some(&*reply)).await.with(200);
    let took = asked_at.elapsed();
    assert!(took < ANSWERED_WITHIN, "{scene:?}: {took:?}");

    // What is answered is so, at once.
    let state = state_of(stack, &reply).await;
    let is_stopped = answer["stopped"] == json!([reply]);
    assert_eq!(
        state,
        if is_stopped { "stopped" } else { "completed" },
        "{scene:?}: {answer}"
    );
    if !is_stopped {
        assert_eq!(answer["stopped"], json!([]));
    }
    let history = anna.history(chat).await;
    let kept = history.iter().find(|message| message["id"] == reply.as_str());
    let outcome = match kept {
        None => "nothing",
        Some(_) if !is_stopped => "whole",
        Some(_) => "part",
    };
    if let Some(message) = kept {
        let content = text(&message["content"]);
        assert_eq!(
            (&message["type"], &message["role"]),
            (&json!("TEXT"), &json!("assistant")),
            "{scene:?}"
        );
        assert!(
            !content.trim().is_empty() && whole.starts_with(&content),
            "{scene:?}: {content}"
        );
        assert!(is_stopped || content == whole, "{scene:?}: {content}");
    }
    for table in [
        "select count(*) from jobs where reply_id = $1",
        "select count(*) from reply_parts where reply_id = $1",
        "select count(*) from holds where reply_id = $1",
    ] {
        assert_eq!(stack.number(table, &reply).await, 0, "{scene:?}: {table}");
    }

    // Its reader is told the same.
    if let Some(reading) = reading {
        let frames = reading.await;
        assert_eq!(
            ending(&frames),
            &json!({ "messageId": reply, "attempt": 1, "state": state }),
            "{scene:?}"
        );
        assert_eq!(answer_in(&frames), kept, "{scene:?}");
        let told = text_of(&frames);
        let content = kept.map_or(String::new(), |message| text(&message["content"]));
        assert!(
            told.starts_with(&content) || content.starts_with(&told),
            "{told}\n{content}"
        );
    }
    // A second stop finds nothing to do, and the answer before is none of its business.
    if let Some(first) = first {
        let before = eventually("the answer before", async || {
            let history = anna.history(chat).await;
            history.into_iter().find(|message| message["id"] == first.as_str())
        });
        assert_eq!(
            text(&stack.unswept(chat, before).await["content"])
                .split_whitespace()
                .count(),
            20
        );
    }
    assert_eq!(stop(anna, chat, None).await.with(200), json!({ "stopped": [] }));
    Stopped { took, outcome }
}

#[tokio::test]
async fn what_nobody_has_begun_is_stopped_at_once_and_costs_nothing() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    // Wake-ups lie there.
    let queue = Queue::start(&stack).await;
    let sender = gateway.function("send-message", &[queue.setting()]);
    let worker = gateway.function("worker", &[queue.setting()]);
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut replies = Vec::new();
    for number in 0..3 {
        let sent = sender
            .send(&anna, &chat, &format!("c-{number}"), "hello")
            .await
            .with(201);
        replies.push(text(&sent["reply"]["id"]));
    }
    let events = anna.get_events("/api/chat/stream").await;
    assert_eq!(
        stop(&anna, &chat, Some(&replies[1])).await.with(200),
        json!({ "stopped": [replies[1]] })
    );
    let rest = stop(&anna, &chat, None).await.with(200);
    assert_eq!(
        rest,
        json!({ "stopped": [replies[0], replies[2]] }),
        "in the order of the questions"
    );

    for wake_up in queue.take().await {
        let batch = json!({ "Records": [{ "messageId": "m", "body": wake_up }] });
        assert_eq!(worker.invoke(&batch).await, json!({ "batchItemFailures": [] }));
    }
    assert_eq!(anna.history(&chat).await.len(), 3, "an empty answer leaves no message");
    assert_eq!(stack.settled(&anna).await, 0);
    // The other devices learn it.
    let mut ended = Vec::new();
    let mut events = events;
    while ended.len() < 3 {
        let frame = events.next().await.unwrap();
        if frame.event == "reply.ended" {
            assert_eq!(frame.data["data"]["state"], "stopped");
            ended.push(text(&frame.data["data"]["messageId"]));
        }
    }
    assert_eq!(ended, [&*replies[1], &replies[0], &replies[2]]);
}

#[tokio::test]
async fn a_stop_between_two_attempts_lets_the_next_question_be_answered() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let broken = script(&json!({ "words": 9, "delayMs": 20, "fail": "truncate", "failAfterWords": 5 }));
    let resting = text(&anna.send(&chat, "c-1", &broken).await.with(201)["reply"]["id"]);
    let next = text(&anna.send(&chat, "c-2", "and now?").await.with(201)["reply"]["id"]);
    eventually("an attempt that failed", async || {
        let failed = "select count(*) from replies where id = $1 and state = 'queued' and failure is not null";
        (stack.number(failed, &resting).await == 1).then_some(())
    })
    .await;

    let answer = stop(&anna, &chat, Some(&resting)).await.with(200);

    assert_eq!(answer, json!({ "stopped": [resting] }));
    let history = stack.unswept(&chat, anna.history_of(&chat, 3)).await;
    assert_eq!(history[2]["id"], next.as_str());
    assert_eq!(history[2]["content"], "You said: and now?");
    assert!(
        stack
            .number("select output_tokens from replies where id = $1", &resting)
            .await
            > 0
    );
    stack.settled(&anna).await;
}

#[tokio::test]
async fn a_writer_that_hangs_does_not_prevent_a_stop_and_changes_nothing_when_it_wakes() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    let writer = gateway.function("send-message", &[]);
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = words(&mut Random(9), 100);
    let mut events = anna.get_events(&format!("/api/chat/stream?chatId={chat}")).await;
    let mut stream = writer
        .ask(&anna, &chat, "c-1", &script(&json!({ "text": said, "delayMs": 60 })))
        .await;
    let mut seen = stream.until_deltas(10).await;
    let reply = text(&seen[1].data["data"]["messageId"]);
    eventually("stored text", async || {
        let parts = "select count(*) from reply_parts where reply_id = $1";
        (stack.number(parts, &reply).await > 0).then_some(())
    })
    .await;
    writer.freeze();

    let asked_at = Instant::now();
    let answer = stop(&anna, &chat, None).await.with(200);
    let took = asked_at.elapsed();
    println!("a stop without its writer took {took:?}");
    assert!(took < ANSWERED_WITHIN, "{took:?}");
    assert_eq!(answer, json!({ "stopped": [reply] }));
    let kept = anna.history(&chat).await[1].clone();
    let content = text(&kept["content"]);
    assert!(
        !content.is_empty() && said.starts_with(&content) && content.len() < said.len(),
        "{content}"
    );
    let spent = stack.settled(&anna).await;
    assert!(spent > 0);
    let mut told: Vec<tests::Frame> = Vec::new();
    while told.last().is_none_or(|frame| frame.event != "reply.ended") {
        told.push(events.next().await.unwrap());
    }
    assert_eq!(answer_in(&told), Some(&kept));
    assert_eq!(told[told.len() - 1].data["data"]["state"], "stopped");

    let rows = stack.rows_of_chat(&chat).await;
    writer.thaw();
    while let Some(frame) = stream.next().await {
        seen.push(frame);
    }
    assert_eq!(
        ending(&seen),
        &json!({ "messageId": reply, "attempt": 1, "state": "stopped" })
    );
    assert_eq!(
        answer_in(&seen),
        Some(&kept),
        "whatever its reader had heard of it, this is what was kept"
    );
    assert!(deltas(&seen).count() < 100);
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    assert_eq!(stack.settled(&anna).await, spent);

    let next = anna.ask(&chat, "c-2", "and now?").await.all().await;
    assert_eq!(
        outline(&next),
        [
            "message.created",
            "reply.started",
            "reply.delta",
            "message.created",
            "reply.ended"
        ]
    );
    assert_eq!(text_of(&next), "You said: and now?");
}

#[tokio::test]
async fn strangers_stop_nothing_and_what_is_over_stays_as_it_is() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 30, "delayMs": 50 })))
        .await;
    let mut seen = stream.until_deltas(2).await;
    let reply = text(&seen[1].data["data"]["messageId"]);
    stop(&ben, &chat, None).await.problem(404, "not-found");
    stop(&ben, &chat, Some(&reply)).await.problem(404, "not-found");
    stop(&anna, &chat, Some("nonsense"))
        .await
        .problem(422, "invalid-request");
    let path = format!("/api/chat/{chat}/stop");
    anna.post(&path, &json!({ "reply": reply }))
        .await
        .problem(422, "invalid-request");
    let other = Uuid::now_v7().to_string();
    assert_eq!(
        stop(&anna, &chat, Some(&other)).await.with(200),
        json!({ "stopped": [] })
    );
    while let Some(frame) = stream.next().await {
        seen.push(frame);
    }
    assert_eq!(ending(&seen)["state"], "completed", "nothing of that has stopped it");

    let rows = stack.rows_of_chat(&chat).await;
    for named in [None, Some(&*reply)] {
        let answer: Value = stop(&anna, &chat, named).await.with(200);
        assert_eq!(answer, json!({ "stopped": [] }));
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
}
