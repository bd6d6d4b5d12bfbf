//! An upgrade without a pause: the functions of the version before go on serving while and after this version has migrated
//! their database. `cargo xtask test` builds them, and says where they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use tests::person::text;
use tests::{Function, Gateway, Person, Queue, Stack, contract};
use uuid::Uuid;

const FUNCTIONS: [&str; 8] = [
    "create-chat",
    "get-me",
    "list-chats",
    "list-messages",
    "list-unread",
    "mark-chat-read",
    "send-message",
    "worker",
];

/// Processes of one version's functions, on a database and a queue of the test's own.
struct Version {
    gateway: Gateway,
    binaries: PathBuf,
    settings: Vec<(&'static str, String)>,
    _functions: [Function; 8],
}

impl Version {
    async fn start(stack: &Stack, binaries: &Path, database: &str, queue: &Queue) -> Self {
        let gateway = Gateway::before(stack, binaries).await;
        let settings = [("DATABASE_URL", database), queue.setting()];
        Self {
            _functions: FUNCTIONS.map(|name| gateway.function(name, &settings)),
            gateway,
            binaries: binaries.to_owned(),
            settings: settings.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    fn migrate(&self) {
        let migrated = Command::new(self.binaries.join("migrate"))
            .envs(self.settings.iter().cloned())
            .envs([("MIGRATE_ONCE", "1"), ("LOG_FORMAT", "text")])
            .output()
            .unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
    }
}

/// What two people do all day, and what they have done so far.
struct Day {
    anna: Person,
    ben: Person,
    direct: String,
    assistant: String,
    messages: usize,
    answers: usize,
}

impl Day {
    async fn begin(stack: &Stack, version: &Version) -> Self {
        let (anna, ben) = (stack.person("anna"), stack.person("ben"));
        let at = |person: &Person| person.by(&version.gateway.stack);
        for person in [&anna, &ben] {
            at(person).get("/api/me").await.with(200);
        }
        let body = json!({ "kind": "direct", "members": [ben.id] });
        let direct = at(&anna).post("/api/chat", &body).await.with(201);
        Self {
            direct: text(&direct["chat"]["id"]),
            assistant: at(&anna).assistant_chat().await,
            anna,
            ben,
            messages: 0,
            answers: 0,
        }
    }

    /// Everything once more, by this version: all that was there is still read, and one more of each is written.
    async fn goes_on(&mut self, version: &Version, queue: &Queue) {
        let stack = &version.gateway.stack;
        let (anna, ben) = (self.anna.by(stack), self.ben.by(stack));
        self.messages += 1;
        let key = format!("c-{}", self.messages);
        let sent = anna.send(&self.direct, &key, "hello").await.with(201);
        // A retry is the same message.
        let again = anna.send(&self.direct, &key, "hello").await.with(200);
        assert_eq!(sent["message"]["id"], again["message"]["id"]);
        assert_eq!(ben.unread_total().await, 1);
        let unread = ben.get("/api/chat-messages").await.with(200);
        assert_eq!(unread["messages"][0]["id"], sent["message"]["id"], "{unread}");
        ben.post(&format!("/api/chat/{}/read", self.direct), &json!({}))
            .await
            .with(200);
        assert_eq!(ben.unread_total().await, 0);
        assert_eq!(ben.history(&self.direct).await.len(), self.messages);

        for way in ["by the worker", "in the response"] {
            self.answers += 1;
            let key = format!("q-{}", self.answers);
            if way == "by the worker" {
                anna.send(&self.assistant, &key, "hello").await.with(201);
                let records: Vec<_> = queue.take().await.iter().map(|body| record(body)).collect();
                assert!(!records.is_empty());
                let done = stack.invoke("worker", &json!({ "Records": records })).await;
                assert_eq!(done["batchItemFailures"], json!([]));
            } else {
                let frames = anna.ask(&self.assistant, &key, "hello").await.all().await;
                assert_eq!(frames.last().unwrap().event, "reply.ended", "{frames:?}");
            }
            let history = anna.history(&self.assistant).await;
            let answers = history.iter().filter(|message| message["role"] == "assistant");
            assert_eq!(answers.count(), self.answers, "{way}: {history:?}");
        }
        assert_eq!(anna.get("/api/chat").await.with(200)["total"], 2);
    }
}

fn record(body: &str) -> Value {
    let id = Uuid::now_v7();
    json!({ "messageId": id, "receiptHandle": "r", "body": body, "attributes": {}, "eventSource": "aws:sqs" })
}

#[tokio::test]
#[ignore = "`cargo xtask test` runs it, for which it builds the version before"]
async fn the_version_before_goes_on_serving_on_the_schema_of_this_one() {
    contract::with_another_version();
    let stack = Stack::running();
    let name = format!("upgrade_{}", Uuid::now_v7().simple());
    let create = AssertSqlSafe(format!("create database {name}"));
    stack.rows.execute(create).await.unwrap();
    let server = env::var("DATABASE_URL").unwrap();
    let database = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let queue = Queue::start(&stack).await;
    let before = PathBuf::from(env::var("FUNCTIONS_BEFORE").unwrap());
    let test = env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();

    let old = Version::start(&stack, &before, &database, &queue).await;
    old.migrate();
    let mut day = Day::begin(&stack, &old).await;
    day.goes_on(&old, &queue).await;

    let new = Version::start(&stack, built, &database, &queue).await;
    new.migrate();
    // Processes that know the schema of before, and such as come to the new one.
    day.goes_on(&old, &queue).await;
    drop(old);
    let old = Version::start(&stack, &before, &database, &queue).await;
    day.goes_on(&old, &queue).await;
    day.goes_on(&new, &queue).await;
    day.goes_on(&old, &queue).await;
    new.migrate();
    day.goes_on(&new, &queue).await;
}
