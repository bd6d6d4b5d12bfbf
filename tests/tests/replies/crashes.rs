//! The writer of a reply dies, at every place where it can.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use tests::function::Restarted;
use tests::person::text;
use tests::{Gateway, Person, Queue, Random, Stack, eventually, script};
use tokio::sync::Mutex;
use tokio::time::sleep;
use uuid::Uuid;

use crate::words;

/// Where `faults::point` stands in the code, in the order in which a reply comes by.
const PLACES: [&str; 8] = [
    "sent", "claimed", "prompted", "speaking", "stored", "said", "requeued", "ended",
];
const LEASE_SECONDS: &str = "4";
/// A lease, and a queue that waits for a dead worker and then hides its message as long; on a machine that is busy.
const END_WITHIN: Duration = Duration::from_secs(40);

const HEARS_NOTHING: Duration = Duration::from_secs(3);

/// Functions of our own that die on command, beside the stack's, with a queue of their own: nobody else's reply dies with them.
struct Mortals {
    gateway: Gateway,
    faults: PathBuf,
    /// Who sends now: one at a time, for whoever shares a process with the dying dies with them.
    sending: Mutex<()>,
    _functions: [Restarted; 3],
}

impl Mortals {
    async fn start(stack: &Stack) -> Self {
        const PROCESSES: usize = 6;
        let gateway = Gateway::start(stack).await;
        let queue = Queue::feeding(&gateway, PROCESSES).await;
        let faults = std::env::temp_dir().join(format!("faults-{}", Uuid::now_v7().simple()));
        fs::create_dir(&faults).unwrap();
        let settings = [
            queue.setting(),
            ("FAULTS_DIRECTORY", faults.to_str().unwrap()),
            ("REPLY_LEASE_SECONDS", LEASE_SECONDS),
            ("REPLY_RETRY_SECONDS", "1"),
            // A core dump of each death would take seconds.
            ("RUST_BACKTRACE", "0"),
        ];
        let functions = [("send-message", PROCESSES), ("worker", PROCESSES), ("sweeper", 1)]
            .map(|(name, processes)| gateway.restarted(name, processes, &settings));
        Self {
            gateway,
            faults,
            sending: Mutex::new(()),
            _functions: functions,
        }
    }

    fn doom(&self, place: &str, chat: &str) -> PathBuf {
        let wish = self.faults.join(format!("{place}.{chat}"));
        fs::write(&wish, "").unwrap();
        wish
    }

    /// Sends a question and does not wait for the answer, which may never come: the id of the reply. Sends it again as a
    /// client does that hears nothing, for `cargo lambda watch` gives some requests to processes that are dead.
    async fn send(&self, person: &Person, chat: &str, way: Way, question: &str) -> String {
        let body = json!({ "clientId": "c-1", "content": question });
        let accepts = match way {
            Way::Streaming => "text/event-stream",
            Way::Worker => "application/json",
        };
        let path = format!("/api/chat/{chat}/messages");
        let request = || {
            let request = person.by(&self.gateway.stack).request(Method::POST, &path);
            let request = request.header(ACCEPT, accepts).json(&body);
            tokio::spawn(async move {
                if let Ok(mut answer) = request.send().await {
                    while answer.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
                }
            })
        };
        let mut sent_at = Instant::now();
        request();
        eventually("a reply", async || {
            let reply = reply_in(&self.gateway.stack, chat).await;
            if reply.is_none() && sent_at.elapsed() > HEARS_NOTHING {
                sent_at = Instant::now();
                request();
            }
            reply
        })
        .await
    }
}

impl Drop for Mortals {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.faults);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Worker,
    Streaming,
}

async fn reply_in(stack: &Stack, chat: &str) -> Option<String> {
    let id: Option<Uuid> = sqlx::query_scalar("select id from replies where chat_id = $1")
        .bind(chat.parse::<Uuid>().unwrap())
        .fetch_optional(&stack.rows)
        .await
        .unwrap();
    id.map(|id| id.to_string())
}

async fn is_over(stack: &Stack, reply: &str) -> bool {
    let sql = "select count(*) from replies where id = $1 and state in ('completed', 'failed', 'stopped')";
    stack.number(sql, reply).await == 1
}

#[tokio::test]
async fn wherever_a_writer_dies_its_reply_ends_once_and_is_paid_for() {
    let stack = Stack::running();
    let mortals = Mortals::start(&stack).await;
    let cases = PLACES
        .into_iter()
        .flat_map(|place| [Way::Worker, Way::Streaming].map(|way| (place, way)));
    join_all(cases.enumerate().map(|(number, (place, way))| {
        let (stack, mortals) = (&stack, &mortals);
        async move {
            let took = die(stack, mortals, place, way, number as u64).await;
            println!("{place:>9} {way:?}: over after {:.1} s", took.as_secs_f64());
        }
    }))
    .await;
}

/// How long it took until the reply was over.
async fn die(stack: &Stack, mortals: &Mortals, place: &str, way: Way, seed: u64) -> Duration {
    let what = format!("{place} by {way:?}");
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = words(&mut Random(seed), 25);
    // Only what fails is put back into the queue, and what always fails ends as such.
    let (question, expected) = if place == "requeued" {
        let broken = json!({ "words": 9, "delayMs": 40, "fail": "truncate", "failAfterWords": 4 });
        (script(&broken), "The assistant could not answer. Please try again.")
    } else {
        (script(&json!({ "text": said, "delayMs": 40 })), &*said)
    };
    let wish = mortals.doom(place, &chat);
    let sending = mortals.sending.lock().await;
    let sent_at = Instant::now();
    let reply = mortals.send(&anna, &chat, way, &question).await;
    let death = format!("{what}: a death");
    let death = eventually(&death, async || (!wish.exists()).then_some(()));
    if way == Way::Streaming || place == "sent" {
        death.await;
        drop(sending);
    } else {
        drop(sending);
        death.await;
    }
    let has_told = !matches!((place, way), ("sent", _) | ("claimed" | "prompted", Way::Streaming));
    if !has_told {
        // Perhaps no wake-up had left the process. Such a job is found by the sweeper, once it is overdue.
        let overdue = "update jobs set run_at = now() - interval '1 minute'
                       where reply_id = $1 and exists (
                           select 1 from replies where id = $1 and (state = 'queued' or lease_until <= now())
                       )";
        let late = format!("{what}: a job that is overdue");
        eventually(&late, async || {
            stack.change(overdue, &reply).await;
            let is_early = "select count(*) from jobs where reply_id = $1 and run_at > now() - interval '30 seconds'";
            (stack.number(is_early, &reply).await == 0).then_some(())
        })
        .await;
        mortals.gateway.stack.invoke("sweeper", &json!({})).await;
    }
    let end = format!("{what}: the end");
    let waiting = eventually(&end, async || is_over(stack, &reply).await.then_some(()));
    stack.unswept(&chat, waiting).await;
    let took = sent_at.elapsed();
    assert!(took < END_WITHIN, "{what}: {took:?}");

    // One message, whole; the reply's own.
    let history = anna.history(&chat).await;
    assert_eq!(history.len(), 2, "{what}: {history:?}");
    assert_eq!(history[1]["id"], reply.as_str(), "{what}");
    assert_eq!(history[1]["content"], expected, "{what}");
    let kind = if place == "requeued" { "ERROR" } else { "TEXT" };
    assert_eq!(history[1]["type"], kind, "{what}");

    // It is over once and for all, and every attempt is paid for: also what the dead one cost, whose writer had the reply.
    let attempts = stack
        .number("select attempt::bigint from replies where id = $1", &reply)
        .await;
    let had_it = !matches!((place, way), ("ended", _) | ("sent", Way::Worker));
    let fewest = if place == "requeued" { 3 } else { 1 + i64::from(had_it) };
    // On a machine that is busy enough the living lose their leases, too.
    assert!((fewest..=3).contains(&attempts), "{what}: {attempts} attempts");
    if place != "requeued" {
        let paid = stack
            .number("select input_tokens from replies where id = $1", &reply)
            .await;
        let last = history[1]["usage"]["inputTokens"].as_i64().unwrap();
        assert_eq!(
            paid > last,
            attempts > 1,
            "{what}: {paid} of which {last} are the last attempt's"
        );
    }
    for table in [
        "select count(*) from jobs where reply_id = $1",
        "select count(*) from reply_parts where reply_id = $1",
    ] {
        assert_eq!(stack.number(table, &reply).await, 0, "{what}: {table}");
    }
    assert!(stack.settled(&anna).await > 0, "{what}");

    // The chat goes on.
    let next = anna.ask(&chat, "c-2", "and now?").await.all().await;
    assert_eq!(tests::stream::text_of(&next), "You said: and now?", "{what}");
    stack.settled(&anna).await;
    took
}

#[tokio::test]
async fn a_reply_whose_every_writer_dies_is_given_up_and_paid_for() {
    let stack = Stack::running();
    let mortals = Mortals::start(&stack).await;
    let ways = join_all([Way::Worker, Way::Streaming].map(|way| {
        let (stack, mortals) = (&stack, &mortals);
        async move {
            let anna = stack.person("anna");
            let chat = anna.assistant_chat().await;
            mortals.doom("stored", &chat);
            let question = script(&json!({ "text": words(&mut Random(1), 30), "delayMs": 40 }));
            let reply = mortals.send(&anna, &chat, way, &question).await;
            let next = anna.send(&chat, "c-2", "and now?").await.with(201);
            assert_eq!(next["reply"]["state"], "queued");
            let dying = async {
                loop {
                    mortals.doom("stored", &chat);
                    sleep(Duration::from_millis(20)).await;
                }
            };
            let history = tokio::select! {
                history = stack.unswept(&chat, given_up(stack, &anna, &chat, &reply)) => history,
                () = dying => unreachable!("it has no end"),
            };
            let told = history.iter().find(|message| message["id"] == reply.as_str()).unwrap();
            assert_eq!(
                (&told["type"], &told["role"]),
                (&json!("ERROR"), &json!("system")),
                "{way:?}"
            );
            assert_eq!(told["metadata"], json!({ "reason": "attempts-exhausted" }));
            assert_eq!(
                stack
                    .number("select attempt::bigint from replies where id = $1", &reply)
                    .await,
                3
            );
            fs::remove_file(mortals.faults.join(format!("stored.{chat}"))).ok();

            // What waited behind it is answered.
            let history = anna.history_of(&chat, 4).await;
            assert_eq!(text(&history[3]["id"]), text(&next["reply"]["id"]), "{way:?}");
            assert_eq!(history[3]["content"], "You said: and now?");
            assert!(stack.settled(&anna).await > 0);
        }
    }));
    ways.await;
}

async fn given_up(stack: &Stack, anna: &Person, chat: &str, reply: &str) -> Vec<Value> {
    eventually("a reply that is given up", async || {
        is_over(stack, reply).await.then_some(())
    })
    .await;
    anna.history(chat).await
}
