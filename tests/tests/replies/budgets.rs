//! Tokens: reserved before a reply, settled after it, and never more than a person or an organisation may use.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::function::Restarted;
use tests::person::text;
use tests::stream::ending;
use tests::{Answer, Gateway, Person, Queue, Stack, at_once, eventually, script};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{is_anything_open, stop};

/// More requests at once than processes would be lost by `cargo lambda watch` now and then.
const SENDERS: usize = 10;

/// Sends what nobody answers before the test says so.
struct Reserving {
    stack: Stack,
    gateway: Gateway,
    queue: Queue,
    _functions: [Restarted; 2],
}

impl Reserving {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let stack = Stack::running();
        let gateway = Gateway::start(&stack).await;
        let queue = Queue::start(&stack).await;
        let settings = [settings, &[queue.setting()]].concat();
        let functions =
            [("send-message", SENDERS), ("worker", 1)].map(|(name, count)| gateway.restarted(name, count, &settings));
        Self {
            stack,
            gateway,
            queue,
            _functions: functions,
        }
    }

    /// What the first turn of a chat reserves.
    async fn price(&self, question: &str) -> i64 {
        let anna = self.stack.person("anna");
        let chat = anna.assistant_chat().await;
        anna.by(&self.gateway.stack)
            .send(&chat, "c-1", question)
            .await
            .with(201);
        self.stack.ledger(&anna).await.reserved
    }

    async fn answer_all(&self, chats: &[String]) {
        eventually("all answers", async || {
            for wake_up in self.queue.take().await {
                let batch = json!({ "Records": [{ "messageId": "m", "body": wake_up }] });
                self.gateway.stack.invoke("worker", &batch).await;
            }
            (!is_anything_open(&self.stack, chats).await).then_some(())
        })
        .await;
    }
}

async fn usage(person: &Person) -> Value {
    person.get("/api/usage").await.with(200)
}

async fn chats_of(person: &Person, count: usize) -> Vec<String> {
    let mut chats = Vec::new();
    for _ in 0..count {
        chats.push(person.assistant_chat().await);
    }
    chats
}

/// Checks at every look that no more is used and reserved than may be, while something happens.
async fn never_over<T>(stack: &Stack, subject: &str, limit: i64, doing: impl Future<Output = T>) -> T {
    let watching = async {
        loop {
            let sql = "select used + reserved from budgets where subject_id = $1";
            let taken: Vec<i64> = sqlx::query_scalar(sql)
                .bind(subject)
                .fetch_all(&stack.rows)
                .await
                .unwrap();
            assert!(taken.iter().all(|taken| *taken <= limit), "{taken:?} of {limit}");
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        done = doing => done,
        () = watching => unreachable!("it has no end"),
    }
}

/// A refusal says all that a client must know, in its body and its headers.
fn assert_refused(answer: Answer, subject: &str, limit: i64) -> Value {
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let (retry, policy, state) = (header("retry-after"), header("ratelimit-policy"), header("ratelimit"));
    let problem = answer.problem(429, "quota-exceeded");
    assert_eq!(
        (&problem["subject"], &problem["limit"]),
        (&json!(subject), &json!(limit))
    );
    let number = |name: &str| problem[name].as_i64().unwrap();
    let left = limit - number("used") - number("reserved");
    assert!((0..limit).contains(&left), "{problem}");
    let resets_after: i64 = retry.parse().unwrap();
    assert!(resets_after > 0 && resets_after <= 31 * 24 * 60 * 60, "{retry}");
    assert_eq!(policy, format!("\"{subject}-tokens\";q={limit};w=2592000"));
    assert_eq!(state, format!("\"{subject}-tokens\";r={left};t={retry}"));
    // The first of a month, in UTC.
    let resets_at = text(&problem["resetsAt"]);
    assert!(resets_at.contains("-01T00:00:00"), "{resets_at}");
    problem
}

#[tokio::test]
async fn of_turns_at_once_as_many_are_accepted_as_the_budget_has_room_for() {
    const TURNS: i64 = 3;
    let world = Reserving::start(&[]).await;
    let stack = &world.stack;
    let price = world.price("hello").await;
    let limit = TURNS * price + price / 2;
    let anna = stack.person("anna");
    let chats = chats_of(&anna, 5).await;
    stack.limit("person", &anna.id, limit).await;
    let before = usage(&anna).await;
    assert_eq!(
        (&before["used"], &before["reserved"], &before["limit"]),
        (&json!(0), &json!(0), &json!(limit))
    );
    assert_eq!(before["organisation"], Value::Null);

    let sender = anna.by(&world.gateway.stack);
    let answers = never_over(
        stack,
        &anna.id,
        limit,
        at_once(SENDERS, |number| {
            let (sender, chat) = (sender.clone(), chats[number % chats.len()].clone());
            async move {
                let client_id = format!("c-{number}");
                // Half of them would stream.
                let answer = if number < SENDERS / 2 {
                    sender.send(&chat, &client_id, "hello").await
                } else {
                    let stream = sender
                        .ask(&chat, &client_id, &script(&json!({ "words": 1, "delayMs": 60_000 })))
                        .await;
                    if stream.status() == 200 {
                        return (chat, client_id, None);
                    }
                    stream.answer().await
                };
                (chat, client_id, Some(answer))
            }
        }),
    )
    .await;
    let (refused, accepted): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(_, _, answer)| answer.as_ref().is_some_and(|answer| answer.status == 429));
    assert_eq!(accepted.len(), usize::try_from(TURNS).unwrap());
    for (_, _, answer) in refused {
        let problem = assert_refused(answer.unwrap(), "person", limit);
        assert_eq!(problem["resetsAt"], before["resetsAt"]);
    }
    // Nothing of the others is stored.
    let mut stored = [0, 0, 0];
    for chat in &chats {
        for (count, table) in stored.iter_mut().zip([
            "select count(*) from messages where chat_id = $1",
            "select count(*) from replies where chat_id = $1",
            "select count(*) from jobs where chat_id = $1",
        ]) {
            *count += stack.number(table, chat).await;
        }
    }
    assert_eq!(stored, [TURNS; 3]);
    let ledger = stack.ledger(&anna).await;
    assert_eq!((ledger.holds, ledger.used), (TURNS, 0));
    assert_eq!(ledger.reserved, ledger.held);
    assert_eq!(usage(&anna).await["reserved"], ledger.reserved);

    // A retry of what was accepted is no new turn.
    let slow = script(&json!({ "words": 1, "delayMs": 60_000 }));
    for (chat, client_id, answer) in &accepted {
        let said = if answer.is_some() { "hello" } else { &slow };
        let again = sender.send(chat, client_id, said).await.with(200);
        if let Some(answer) = answer {
            assert_eq!(again["message"], answer.body["message"]);
        }
    }
    assert_eq!(stack.ledger(&anna).await, ledger);

    for (chat, _, _) in &accepted {
        stop(&anna, chat, None).await.with(200);
    }
    world.answer_all(&chats).await;
    let used = stack.settled(&anna).await;
    let after = usage(&anna).await;
    assert_eq!((&after["used"], &after["reserved"]), (&json!(used), &json!(0)));
    // There is room again.
    sender.send(&chats[0], "again", "hello").await.with(201);
    world.answer_all(&chats).await;
    assert!(stack.settled(&anna).await > used);
}

#[tokio::test]
async fn an_organisation_shares_one_budget() {
    const TURNS: i64 = 4;
    let world = Reserving::start(&[]).await;
    let stack = &world.stack;
    let price = world.price("hello").await;
    let limit = TURNS * price + price / 2;
    let organisation = format!("org-{}", Uuid::now_v7().simple());
    stack.limit("organisation", &organisation, limit).await;
    let people: Vec<_> = (0..3).map(|_| stack.person_of("anna", Some(&organisation))).collect();
    let mut chats = Vec::new();
    for person in &people {
        chats.extend(chats_of(person, 3).await);
    }

    let answers = never_over(
        stack,
        &organisation,
        limit,
        at_once(chats.len(), |number| {
            let (sender, chat) = (people[number / 3].by(&world.gateway.stack), chats[number].clone());
            async move { sender.send(&chat, "c-1", "hello").await }
        }),
    )
    .await;

    let (refused, accepted): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 429);
    assert_eq!(accepted.len(), usize::try_from(TURNS).unwrap());
    for answer in refused {
        assert_refused(answer, "organisation", limit);
    }
    for person in &people {
        let shared = &usage(person).await["organisation"];
        assert_eq!(
            (&shared["reserved"], &shared["limit"]),
            (&json!(TURNS * price), &json!(limit))
        );
    }
    world.answer_all(&chats).await;
    let mut used = 0;
    for person in &people {
        used += stack.settled(person).await;
    }
    assert!(used > 0);
    for person in &people {
        let shared = &usage(person).await["organisation"];
        assert_eq!((&shared["used"], &shared["reserved"]), (&json!(used), &json!(0)));
    }
}

#[tokio::test]
async fn whatever_becomes_of_a_reply_its_tokens_are_settled() {
    let stack = Stack::running();
    let scenes = [
        (json!({ "words": 5 }), false),
        (json!({ "fail": "blocked", "failAfterWords": 3 }), false),
        (json!({ "fail": "unreachable" }), false),
        (
            json!({ "words": 9, "delayMs": 30, "fail": "truncate", "failAfterWords": 6 }),
            false,
        ),
        (json!({ "words": 100, "delayMs": 50 }), true),
    ];
    let used = join_all(scenes.iter().map(|(scene, is_stopped)| {
        let stack = &stack;
        async move {
            let anna = stack.person("anna");
            let chat = anna.assistant_chat().await;
            let mut stream = anna.ask(&chat, "c-1", &script(scene)).await;
            let mut frames = vec![stream.next().await.unwrap()];
            let during = usage(&anna).await;
            if *is_stopped {
                frames.extend(stream.until_deltas(3).await);
                assert!(during["reserved"].as_i64() > Some(1024), "{during}");
                stop(&anna, &chat, None).await.with(200);
            }
            while let Some(frame) = stream.next().await {
                frames.push(frame);
            }
            let used = stack.settled(&anna).await;
            let after = usage(&anna).await;
            assert_eq!(
                (&after["used"], &after["reserved"]),
                (&json!(used), &json!(0)),
                "{scene}"
            );
            used
        }
    }))
    .await;
    let [answered, blocked, unreachable, cut, stopped] = used.try_into().unwrap();
    // Who was never reached has counted nothing; three attempts cost three prompts.
    assert!(
        answered > 5 && blocked > 3 && unreachable == 0,
        "{answered}, {blocked}, {unreachable}"
    );
    assert!(cut > 2 * answered && stopped > 3, "{cut}, {stopped}");
}

/// Breaks off after so many words, each time.
fn broken(words: u32) -> String {
    script(&json!({ "words": 90, "delayMs": 10, "fail": "truncate", "failAfterWords": words }))
}

#[tokio::test]
async fn attempts_are_paid_for_and_made_only_within_the_budget() {
    let world = Reserving::start(&[("MODEL_MAX_OUTPUT_TOKENS", "100"), ("REPLY_RETRY_SECONDS", "1")]).await;
    let stack = &world.stack;
    let price = world.price(&broken(20)).await;
    for (room, attempts, reason) in [(price, 2, "budget-exhausted"), (3 * price, 3, "model-cut-the-answer")] {
        let anna = stack.person("anna");
        let chat = anna.assistant_chat().await;
        stack.limit("person", &anna.id, room).await;
        let sender = anna.by(&world.gateway.stack);
        let answering = async {
            let (frames, ()) = tokio::join!(
                async { sender.ask(&chat, "c-1", &broken(20)).await.all().await },
                async {
                    eventually("a reply", async || {
                        let replies = "select count(*) from replies where chat_id = $1";
                        (stack.number(replies, &chat).await == 1).then_some(())
                    })
                    .await;
                    world.answer_all(std::slice::from_ref(&chat)).await;
                }
            );
            frames
        };
        let frames = never_over(stack, &anna.id, room, answering).await;
        let end = ending(&frames);
        assert_eq!((&end["state"], &end["reason"]), (&json!("failed"), &json!(reason)));
        let reply = text(&end["messageId"]);
        assert_eq!(
            stack
                .number("select attempt::bigint from replies where id = $1", &reply)
                .await,
            attempts,
            "{reason}"
        );
        let told = anna.history(&chat).await[1].clone();
        assert_eq!(
            (&told["type"], &told["metadata"]),
            (&json!("ERROR"), &json!({ "reason": reason }))
        );
        let used = stack.settled(&anna).await;
        assert!(used > 0 && used <= room, "{used} of {room}");
        let said = stack
            .number("select output_tokens from replies where id = $1", &reply)
            .await;
        let once = i64::try_from((1..=20).map(|word| format!("word{word} ").len()).sum::<usize>() * 13).unwrap();
        let paid = if reason == "budget-exhausted" { 1 } else { attempts };
        assert_eq!(said, paid * ((once + 39) / 40), "what was said each time");
    }
    // Somebody without any budget has none at all.
    let ben = stack.person("ben");
    let chat = ben.assistant_chat().await;
    stack.limit("person", &ben.id, 0).await;
    let refused = ben.send(&chat, "c-1", "hello").await.problem(429, "quota-exceeded");
    assert_eq!((&refused["limit"], &refused["used"]), (&json!(0), &json!(0)));
    assert!(ben.history(&chat).await.is_empty());
}
