//! A queue that hands everything over twice, in any order, early, late, several at once, and again after the end.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Gateway, PATIENCE, Person, Queue, Random, Stack, script};
use tokio::time::Instant;

use crate::{is_anything_open, words};

const CHATS: usize = 3;
/// More batches at once than there are workers would be lost by `cargo lambda watch` now and then.
const WORKERS: usize = 4;

/// What is asked in a chat, one after the other without waiting: answered, failing for good, slow, refused, answered.
fn questions(seed: u64) -> Vec<String> {
    let random = &mut Random(seed);
    vec![
        script(&json!({ "text": words(random, 12), "delayMs": 15 })),
        script(&json!({ "words": 9, "delayMs": 10, "fail": "truncate", "failAfterWords": 4 })),
        script(&json!({ "text": words(random, 20), "delayMs": 30 })),
        script(&json!({ "fail": "blocked", "failAfterWords": 2 })),
        "and now?".to_owned(),
    ]
}

/// What a chat holds of its replies, in the order of the questions: type and text.
async fn answers(person: &Person, chat: &str) -> Vec<(Value, Value)> {
    let history = person.history(chat).await;
    let answers = history.into_iter().filter(|message| message["role"] != "user");
    answers
        .map(|message| (message["type"].clone(), message["content"].clone()))
        .collect()
}

fn batch(bodies: &[String]) -> Value {
    let record = |(number, body): (usize, &String)| json!({ "messageId": format!("m-{number}"), "body": body });
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn shuffle(random: &mut Random, bodies: &mut [String]) {
    for last in (1..bodies.len()).rev() {
        bodies.swap(last, random.below(last + 1));
    }
}

/// Hands batches over, as many at once as there are workers.
async fn hand_over(gateway: &Gateway, batches: &[Value]) {
    for at_once in batches.chunks(WORKERS) {
        let answers = join_all(at_once.iter().map(|batch| gateway.stack.invoke("worker", batch))).await;
        for answer in answers {
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
    }
}

/// Asks all questions, each person in a chat of theirs, before anything is answered.
async fn ask(gateway: &Gateway, stack: &Stack) -> (Vec<Person>, Vec<String>) {
    let (mut people, mut chats) = (Vec::new(), Vec::new());
    for seed in 0..CHATS {
        let anna = stack.person("anna");
        let chat = anna.assistant_chat().await;
        let sender = anna.by(&gateway.stack);
        for (number, question) in questions(seed as u64).iter().enumerate() {
            sender.send(&chat, &format!("c-{number}"), question).await.with(201);
        }
        people.push(anna);
        chats.push(chat);
    }
    (people, chats)
}

#[tokio::test]
async fn every_wake_up_twice_and_out_of_order_has_the_same_result_as_once() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    let queue = Queue::start(&stack).await;
    let settings = [queue.setting(), ("REPLY_RETRY_SECONDS", "1")];
    let _functions =
        [("send-message", 2), ("worker", WORKERS)].map(|(name, count)| gateway.restarted(name, count, &settings));
    let deadline = Instant::now() + 2 * PATIENCE;

    // As it should be: each once, one after the other.
    let (bens, once) = ask(&gateway, &stack).await;
    while is_anything_open(&stack, &once).await {
        assert!(Instant::now() < deadline, "in vain");
        let batches: Vec<_> = queue.take().await.into_iter().map(|body| batch(&[body])).collect();
        hand_over(&gateway, &batches).await;
    }

    // Every wake-up that was ever there; what is new is handed over at least twice, and old ones now and then.
    let (people, chats) = ask(&gateway, &stack).await;
    let random = &mut Random(42);
    let mut all: BTreeSet<String> = BTreeSet::new();
    let mut handed_over = 0;
    while is_anything_open(&stack, &chats).await {
        assert!(
            Instant::now() < deadline,
            "the queue has handed over {handed_over} in vain"
        );
        let new = queue.take().await;
        let old: Vec<_> = all.iter().filter(|_| random.below(4) == 0).cloned().collect();
        all.extend(new.iter().cloned());
        let mut twice = [new.clone(), new.into_iter().rev().collect(), old].concat();
        shuffle(random, &mut twice);
        handed_over += twice.len();
        let mut batches = Vec::new();
        let mut rest = &*twice;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(4)));
            batches.push(batch(now));
            rest = later;
        }
        hand_over(&gateway, &batches).await;
    }
    assert!(handed_over >= 2 * CHATS * 5, "{handed_over}");

    for ((anna, chat), (ben, other)) in people.iter().zip(&chats).zip(bens.iter().zip(&once)) {
        assert_eq!(answers(anna, chat).await, answers(ben, other).await);
        // No attempt more, and not a token: a model that was asked once too often would be paid for.
        let attempts = "select sum(attempt)::bigint from replies where chat_id = $1";
        assert_eq!(stack.number(attempts, chat).await, stack.number(attempts, other).await);
        assert_eq!(stack.settled(anna).await, stack.settled(ben).await);
    }

    // After the end: all of them once more, three times, at once.
    let mut before = Vec::new();
    for (anna, chat) in people.iter().zip(&chats) {
        before.push((stack.rows_of_chat(chat).await, stack.ledger(anna).await));
    }
    let mut stale: Vec<_> = all.iter().flat_map(|body| vec![body.clone(); 3]).collect();
    shuffle(random, &mut stale);
    let batches: Vec<_> = stale.chunks(7).map(batch).collect();
    hand_over(&gateway, &batches).await;
    for ((anna, chat), before) in people.iter().zip(&chats).zip(before) {
        assert_eq!((stack.rows_of_chat(chat).await, stack.ledger(anna).await), before);
    }
}

#[tokio::test]
async fn wake_ups_while_a_response_streams_do_not_write_a_second_answer() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    let queue = Queue::start(&stack).await;
    let settings = [queue.setting(), ("REPLY_LEASE_SECONDS", "1")];
    let _functions =
        [("send-message", 1), ("worker", 3)].map(|(name, count)| gateway.restarted(name, count, &settings));
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = words(&mut Random(5), 60);
    let mut stream = anna
        .by(&gateway.stack)
        .ask(&chat, "c-1", &script(&json!({ "text": said, "delayMs": 40 })))
        .await;
    let mut seen = stream.until_deltas(1).await;
    let job: uuid::Uuid = sqlx::query_scalar("select id from jobs where chat_id = $1")
        .bind(chat.parse::<uuid::Uuid>().unwrap())
        .fetch_one(&stack.rows)
        .await
        .unwrap();
    let wake_up = json!({ "v": 1, "jobId": job }).to_string();
    let waking = async {
        loop {
            let batch = batch(&[wake_up.clone(), wake_up.clone()]);
            let answers = join_all((0..3).map(|_| gateway.stack.invoke("worker", &batch))).await;
            assert!(
                answers
                    .iter()
                    .all(|answer| *answer == json!({ "batchItemFailures": [] }))
            );
        }
    };
    let reading = async {
        while let Some(frame) = stream.next().await {
            seen.push(frame);
        }
    };
    tokio::select! {
        () = reading => {}
        () = waking => unreachable!("it has no end"),
    }
    assert_eq!(tests::stream::text_of(&seen), said);
    assert_eq!(seen.iter().filter(|frame| frame.event == "reply.started").count(), 1);
    assert_eq!(anna.history(&chat).await.len(), 2);
    let attempts = "select sum(attempt)::bigint from replies where chat_id = $1";
    assert_eq!(stack.number(attempts, &chat).await, 1);
    stack.settled(&anna).await;
}
