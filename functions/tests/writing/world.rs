//! What each of these tests starts from: the functions' own parts, on a database of its own.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::time::Duration;

use backtalk_http::{Request, Response};
use capabilities::{Capabilities, Capability, Jobs, Models, ModerationHook, Reads, Start};
use chrono::Utc;
use domain::ids::{ChatId, UserId};
use domain::person::{Caller, CallerRole};
use domain::rate::RateClass;
use foundation::deadline::Deadline;
use functions::{messages, replies, worker};
use hooks::webhooks::Webhooks;
use http_body_util::BodyExt;
use jsonwebtoken::{EncodingKey, Header, encode};
use lambda_http::RequestExt;
use lambda_http::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use pusher::Delivery;
use queue::Queue;
use serde_json::{Value, json};
use sqlx::PgPool;
use store::chats::AssistantChat;
use store::role;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use uploads::Attachments;
use uuid::Uuid;

use crate::peer::Peer;

const SECRET: &str = "a secret of thirty-two bytes or more";
const ISSUER: &str = "test";
const SCHEMA: &str = "public";
/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) rows: PgPool,
    pub(crate) peer: Peer,
    /// As functions that act for people have it.
    pub(crate) people: People,
    /// As the worker has it.
    pub(crate) system: System,
}

/// What a function that acts for people is given.
#[derive(Clone)]
pub(crate) struct People {
    pub(crate) reads: Reads,
    pub(crate) models: Models,
    delivery: Delivery,
    queue: Queue,
    uploads: Attachments,
    hook: ModerationHook,
}

impl Deref for People {
    type Target = Reads;

    fn deref(&self) -> &Reads {
        &self.reads
    }
}

impl People {
    /// In an invocation that must end by then.
    pub(crate) fn until(&self, deadline: Deadline) -> Self {
        Self {
            reads: self.reads.invoked(deadline),
            ..self.clone()
        }
    }
}

/// What the worker is given.
#[derive(Clone)]
pub(crate) struct System {
    pub(crate) jobs: Jobs,
    delivery: Delivery,
    queue: Queue,
    models: Models,
    uploads: Attachments,
    webhooks: Webhooks,
}

/// Somebody, and their assistant chat.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) caller: Caller,
    pub(crate) chat: ChatId,
    token: String,
}

impl World {
    pub(crate) async fn on(rows: PgPool, settings: &[(&str, &str)]) -> Self {
        // The files alone were applied; `migrate` sees to the role as well.
        role::ready(&mut rows.acquire().await.unwrap(), SCHEMA).await.unwrap();
        let peer = Peer::start().await;
        let database = rows.connect_options();
        let at = peer.at.to_string();
        let (host, port) = at.split_once(':').unwrap();
        let url = format!(
            "postgres://{}@{}:{}/{}",
            database.get_username(),
            database.get_host(),
            database.get_port(),
            database.get_database().unwrap()
        );
        let (queue, model) = (format!("http://{at}/000000000000/jobs"), format!("http://{at}/v1"));
        let endpoint = format!("http://{at}");
        let usual: [(&str, &str); 19] = [
            ("DATABASE_URL", &url),
            ("DATABASE_SCHEMA", SCHEMA),
            ("DATABASE_CONNECTIONS", "4"),
            ("SQS_QUEUE_URL", &queue),
            ("AWS_ENDPOINT_URL", &endpoint),
            ("ATTACHMENTS_BUCKET", "bucket"),
            ("JWT_ALGORITHM", "HS256"),
            ("JWT_SECRET", SECRET),
            ("JWT_ISSUER", ISSUER),
            ("JWT_AUDIENCE", ISSUER),
            ("PUSHER_APP_ID", "1"),
            ("PUSHER_KEY", "key"),
            ("PUSHER_SECRET", "secret"),
            ("PUSHER_HOST", host),
            ("PUSHER_PORT", port),
            ("PUSHER_SCHEME", "http"),
            ("MODEL_PROVIDER", "scripted"),
            ("MODEL_NAME", "test"),
            ("MODEL_URL", &model),
        ];
        let settings: BTreeMap<String, String> = usual
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let aws = aws::at(&endpoint);
        let start = Start::of(settings, aws);
        let (delivery, queue, models, uploads) = <(Delivery, Queue, Models, Attachments)>::make(&start).await.unwrap();
        let (reads, hook, jobs, webhooks) = <(Reads, ModerationHook, Jobs, Webhooks)>::make(&start).await.unwrap();
        Self {
            people: People {
                reads,
                models: models.clone(),
                delivery: delivery.clone(),
                queue: queue.clone(),
                uploads: uploads.clone(),
                hook,
            },
            system: System {
                jobs,
                delivery,
                queue,
                models,
                uploads,
                webhooks,
            },
            rows,
            peer,
        }
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        let caller = Caller {
            id: UserId::parse(name).unwrap(),
            name: name.to_owned(),
            image: None,
            org_id: None,
            role: CallerRole::Person,
            token_expires_at: Utc::now(),
        };
        let store = &self.people.store;
        store.upsert_user(&caller).await.unwrap();
        let chat = store.open_assistant_chat(&caller.id, None, None, i32::MAX, None).await;
        let claims = json!({"sub": name, "iss": ISSUER, "aud": ISSUER, "exp": Utc::now().timestamp() + 3600});
        Person {
            caller,
            chat: opened(chat.unwrap()),
            token: encode(
                &Header::default(),
                &claims,
                &EncodingKey::from_secret(SECRET.as_bytes()),
            )
            .unwrap(),
        }
    }

    /// `POST …/messages` with these fields besides, for JSON or for a stream.
    pub(crate) async fn post(&self, app: &People, person: &Person, body: Value, accept: &str) -> Response {
        self.sent(app, person, body, accept).await.unwrap()
    }

    async fn sent(
        &self,
        app: &People,
        person: &Person,
        mut body: Value,
        accept: &str,
    ) -> backtalk_http::Result<Response> {
        body["clientId"] = json!(Uuid::now_v7().to_string());
        let path = format!("/api/chat/{}/messages", person.chat);
        let path_parameters = HashMap::from([("chatId".to_owned(), vec![person.chat.to_string()])]);
        let request = request(person, "POST", &path, accept, body).with_path_parameters(path_parameters);
        let app = app.clone();
        let most = app.settings.limits.body_bytes;
        let handled = messages::send::handle(
            app.reads,
            app.delivery,
            app.queue,
            app.models,
            app.uploads,
            app.hook,
            Request::new(request, most, Some(RateClass::Send)),
        );
        // As the loop around a handler does it.
        Box::pin(handled).await
    }

    /// Asks; the worker is to answer.
    pub(crate) async fn ask(&self, person: &Person, content: &str) {
        let response = self
            .post(&self.people, person, json!({ "content": content }), "application/json")
            .await;
        assert_eq!(response.status(), 201);
    }

    /// Asks, and says with which status that was answered.
    pub(crate) async fn try_to_post(&self, person: &Person, body: Value) -> u16 {
        match self.sent(&self.people, person, body, "application/json").await {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.problem("r").status,
        }
    }

    /// The request for somebody's events.
    pub(crate) fn listening(&self, person: &Person) -> Request {
        let request = request(person, "GET", "/api/chat/stream", "text/event-stream", Value::Null);
        Request::new(request, self.people.settings.limits.body_bytes, Some(RateClass::Send))
    }

    /// The same person in another chat of theirs.
    pub(crate) async fn another_chat(&self, person: &Person) -> Person {
        let chat = self
            .people
            .store
            .open_assistant_chat(&person.caller.id, None, None, i32::MAX, None)
            .await;
        Person {
            chat: opened(chat.unwrap()),
            ..person.clone()
        }
    }

    /// Joins what is being written in the person's chat, in a format of its own or in ours.
    pub(crate) async fn join(&self, app: &People, person: &Person, format: &str) -> Response {
        let chat = person.chat.to_string();
        let path = format!("/api/chat/{chat}/messages/{chat}/stream");
        let of_path = [("chatId", chat.clone()), ("messageId", chat)].map(|(name, id)| (name.to_owned(), vec![id]));
        let of_query = Some(("format".to_owned(), vec![format.to_owned()])).filter(|_| !format.is_empty());
        let request = request(person, "GET", &path, "text/event-stream", Value::Null)
            .with_path_parameters(HashMap::from(of_path))
            .with_query_string_parameters(of_query.into_iter().collect::<HashMap<_, _>>());
        replies::join::handle(
            app.reads.clone(),
            Request::new(request, app.settings.limits.body_bytes, Some(RateClass::Send)),
        )
        .await
        .unwrap()
    }

    /// Hands the worker a wake-up for each job that waits, in one batch.
    pub(crate) async fn work(&self, system: &System) {
        let jobs: Vec<Uuid> = sqlx::query_scalar("select id from jobs order by id")
            .fetch_all(&self.rows)
            .await
            .unwrap();
        let records: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(number, job)| {
                json!({"messageId": format!("m-{number}"), "body": json!({"v": 1, "jobId": job}).to_string()})
            })
            .collect();
        let batch = serde_json::from_value(json!({ "Records": records })).unwrap();
        let system = system.clone();
        let handled = worker::handle(
            system.jobs,
            system.delivery,
            system.queue,
            system.models,
            system.uploads,
            system.webhooks,
            batch,
        );
        let answer = Box::pin(handled).await.unwrap();
        assert_eq!(serde_json::to_value(answer).unwrap(), json!({"batchItemFailures": []}));
    }

    /// The worker, in an invocation that is ended after so long.
    pub(crate) fn worker_for(&self, time: Duration) -> System {
        System {
            jobs: self.system.jobs.invoked(Deadline::of(time)),
            ..self.system.clone()
        }
    }

    pub(crate) async fn row(&self, sql: &'static str) -> Value {
        sqlx::query_scalar(sql).fetch_one(&self.rows).await.unwrap()
    }

    /// The newest reply.
    pub(crate) async fn reply(&self) -> Value {
        self.row("select to_jsonb(r) from replies r order by created_at desc, prompt_seq desc limit 1")
            .await
    }

    /// The newest message.
    pub(crate) async fn message(&self) -> Value {
        self.row("select to_jsonb(m) from messages m order by created_at desc, seq desc limit 1")
            .await
    }
}

fn request(person: &Person, method: &str, path: &str, accept: &str, body: Value) -> lambda_http::Request {
    let body = if body.is_null() {
        lambda_http::Body::Empty
    } else {
        lambda_http::Body::from(body.to_string())
    };
    lambda_http::http::Request::builder()
        .method(method)
        .uri(path)
        .header(AUTHORIZATION, format!("Bearer {}", person.token))
        .header(ACCEPT, accept)
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}

/// Reads a stream to its end: names and data.
pub(crate) async fn events(response: Response) -> Vec<(String, Value)> {
    events_noting(response, "", &Notify::new()).await
}

/// The same, saying when an event of a name was heard.
pub(crate) async fn events_noting(response: Response, name: &str, heard: &Notify) -> Vec<(String, Value)> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let noted = format!("event: {name}\n");
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
        if String::from_utf8_lossy(&bytes).contains(&noted) {
            heard.notify_one();
        }
    }
    std::str::from_utf8(&bytes)
        .unwrap()
        .split("\n\n")
        .filter_map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = serde_json::from_str(field("data: ")?).ok()?;
            Some((field("event: ").unwrap_or_default().to_owned(), data))
        })
        .collect()
}

/// The text that deltas of one attempt are, each beginning where the one before ended.
pub(crate) fn joined<'a>(deltas: impl Iterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for delta in deltas {
        let data = &delta["data"];
        assert_eq!(data["offset"], text.len(), "{delta} after {text:?}");
        text.push_str(data["text"].as_str().unwrap());
    }
    text
}

pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "there never is {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn script(script: &Value) -> String {
    format!("/script {script}")
}

fn opened(chat: AssistantChat) -> ChatId {
    match chat {
        AssistantChat::Opened(chat) => chat,
        other => panic!("{other:?}"),
    }
}
