//! The two ways to an answer: straight from the model's server, and through us.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use backtalk_http::Request;
use capabilities::{Capabilities, Models, ModerationHook, Reads, Start};
use chrono::Utc;
use domain::ids::{ChatId, UserId};
use domain::person::{Caller, CallerRole};
use domain::rate::RateClass;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use jsonwebtoken::{EncodingKey, Header, encode};
use lambda_http::RequestExt;
use lambda_http::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use pusher::Delivery;
use queue::Queue;
use serde_json::{Value, json};
use store::chats::AssistantChat;
use tokio::time::Instant;
use uploads::Attachments;
use uuid::Uuid;

use crate::model::{ModelServer, Pace, TOKEN};

const SECRET: &str = "a secret of thirty-two bytes or more";
const ISSUER: &str = "bench";
const SYSTEM_PROMPT: &str = "You are a helpful assistant in a chat. Answer briefly and to the point.";
const ASSISTANT_CHATS: i32 = 5;

/// One answer as its reader saw it.
pub(crate) struct Heard {
    pub(crate) begun: Instant,
    /// When our own message came back: it is stored then. Nobody stores it where the model is asked directly.
    pub(crate) stored: Option<Instant>,
    /// When each token came.
    pub(crate) at: Vec<Instant>,
    /// When each token was said.
    pub(crate) said: Vec<Instant>,
}

impl Heard {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            stored: None,
            at: Vec::new(),
            said: Vec::new(),
        }
    }

    fn take_in(&mut self, text: &str) {
        let now = Instant::now();
        self.at.extend(std::iter::repeat_n(now, text.len() / TOKEN.len()));
    }

    fn ended(self, pace: Pace, said: Vec<Instant>) -> Result<Self> {
        ensure!(
            self.at.len() == pace.tokens,
            "{} of {} tokens came",
            self.at.len(),
            pace.tokens
        );
        Ok(Self { said, ..self })
    }

    pub(crate) fn first(&self) -> Duration {
        self.at[0] - self.begun
    }

    /// How long after it was said each token came.
    pub(crate) fn lags(&self) -> impl Iterator<Item = Duration> {
        self.at.iter().zip(&self.said).map(|(came, said)| *came - *said)
    }

    /// From the first token to the last.
    pub(crate) fn speaking(&self) -> Duration {
        self.at[self.at.len() - 1] - self.at[0]
    }
}

/// Somebody who asks, in one of the two ways.
#[derive(Clone)]
pub(crate) enum Asker {
    Directly(Direct),
    ThroughUs(Box<Person>),
}

impl Asker {
    pub(crate) async fn ask(&self, pace: Pace) -> Result<Heard> {
        match self {
            Self::Directly(direct) => direct.ask(pace).await,
            Self::ThroughUs(person) => person.ask(pace).await,
        }
    }
}

/// A client of the model's own API.
#[derive(Clone)]
pub(crate) struct Direct {
    http: reqwest::Client,
    model: ModelServer,
}

impl Direct {
    pub(crate) fn new(model: &ModelServer) -> Self {
        Self {
            http: reqwest::Client::new(),
            model: model.clone(),
        }
    }

    async fn ask(&self, pace: Pace) -> Result<Heard> {
        let question = question();
        let speech = self.model.answer_to(&question, pace);
        let request = json!({
            "model": "bench", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 1024,
            "messages": [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": question}],
        });
        let mut heard = Heard::begin();
        let url = format!("{}/chat/completions", self.model.url());
        let response = self.http.post(url).json(&request).send().await?.error_for_status()?;
        let mut pieces = response.bytes_stream();
        let mut buffer = Vec::new();
        while let Some(piece) = pieces.next().await {
            buffer.extend_from_slice(&piece?);
            let mut read = 0;
            while let Some(end) = buffer[read..].iter().position(|byte| *byte == b'\n') {
                let line = &buffer[read..read + end];
                read += end + 1;
                if let Some(data) = line.strip_prefix(b"data: ").filter(|data| *data != b"[DONE]") {
                    let chunk: Value = serde_json::from_slice(data)?;
                    heard.take_in(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
                }
            }
            buffer.drain(..read);
        }
        heard.ended(pace, speech.said())
    }
}

/// What a process of `send-message` is given.
pub(crate) type App = (Reads, Delivery, Queue, Models, Attachments, ModerationHook);

/// What the functions of this bench run on.
pub(crate) struct Place {
    pub(crate) database_url: String,
    pub(crate) model: ModelServer,
}

impl Place {
    /// As a process of `send-message` makes it when it starts.
    pub(crate) async fn app(&self) -> Result<App> {
        let settings = BTreeMap::from([
            ("DATABASE_URL", self.database_url.clone()),
            ("SQS_QUEUE_URL", format!("http://{}/000000000000/jobs", self.model.at)),
            ("JWT_ALGORITHM", "HS256".to_owned()),
            ("JWT_SECRET", SECRET.to_owned()),
            ("JWT_ISSUER", ISSUER.to_owned()),
            ("JWT_AUDIENCE", ISSUER.to_owned()),
            ("MODEL_PROVIDER", "openai".to_owned()),
            ("MODEL_URL", self.model.url()),
            ("MODEL_NAME", "bench".to_owned()),
            ("SYSTEM_PROMPT", SYSTEM_PROMPT.to_owned()),
            // A limit is looked at, but not reached.
            ("BUDGET_TOKENS_PERSON", "1000000000".to_owned()),
        ]);
        let settings = settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let aws = aws::at(&format!("http://{}", self.model.at));
        Ok(App::make(&Start::of(settings, aws)).await?)
    }

    /// Somebody new with a new assistant chat.
    pub(crate) async fn person(&self, app: &App) -> Result<Person> {
        let name = Uuid::now_v7().to_string();
        let caller = Caller {
            id: UserId::parse(&name).context("an id")?,
            name: "Bench".into(),
            image: None,
            org_id: None,
            role: CallerRole::Person,
            token_expires_at: Utc::now(),
        };
        let store = &app.0.store;
        store.upsert_user(&caller).await?;
        let opened = store
            .open_assistant_chat(&caller.id, None, None, ASSISTANT_CHATS, None)
            .await?;
        let AssistantChat::Opened(chat) = opened else {
            bail!("no chat: {opened:?}")
        };
        let claims = json!({
            "sub": name, "iss": ISSUER, "aud": ISSUER, "exp": Utc::now().timestamp() + 24 * 60 * 60,
        });
        let token = encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )?;
        Ok(Person {
            app: app.clone(),
            model: self.model.clone(),
            chat,
            token,
        })
    }
}

/// Somebody who sends messages to `POST /api/chat/{chatId}/messages` and reads the streamed answers.
#[derive(Clone)]
pub(crate) struct Person {
    app: App,
    model: ModelServer,
    chat: ChatId,
    token: String,
}

impl Person {
    /// The same, served by another process.
    pub(crate) fn in_process(self, app: App) -> Self {
        Self { app, ..self }
    }

    async fn ask(&self, pace: Pace) -> Result<Heard> {
        let question = question();
        let speech = self.model.answer_to(&question, pace);
        let body = json!({"clientId": Uuid::now_v7().to_string(), "content": question}).to_string();
        let request = lambda_http::http::Request::post(format!("/api/chat/{}/messages", self.chat))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, "text/event-stream")
            .header(CONTENT_TYPE, "application/json")
            .body(lambda_http::Body::from(body))?
            .with_path_parameters(HashMap::from([("chatId".to_owned(), vec![self.chat.to_string()])]));
        let mut heard = Heard::begin();
        let (reads, delivery, queue, models, uploads, hook) = self.app.clone();
        let request = Request::new(request, reads.settings.limits.body_bytes, Some(RateClass::Send));
        let response = functions::messages::send::handle(reads, delivery, queue, models, uploads, hook, request).await;
        let mut body = response.map_err(|error| anyhow!("refused: {error:?}"))?.into_body();
        let mut last = Value::Null;
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            let text = std::str::from_utf8(&bytes)?;
            let Some((_, data)) = text.split_once("\ndata: ") else {
                continue;
            };
            last = serde_json::from_str(data.trim_end())?;
            match last["type"].as_str() {
                Some("reply.delta") => heard.take_in(last["data"]["text"].as_str().unwrap_or_default()),
                Some("message.created") if heard.stored.is_none() => heard.stored = Some(Instant::now()),
                _ => {}
            }
        }
        ensure!(last["data"]["state"] == "completed", "the reply ended so: {last}");
        heard.ended(pace, speech.said())
    }
}

/// No two are the same: the model's server goes by it.
fn question() -> String {
    format!("Which number is this, and what is known of it? {}", Uuid::now_v7())
}
