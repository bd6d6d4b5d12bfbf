//! The running stack, as `cargo xtask test` describes it to us.

use std::env;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{PATIENCE, Person};

/// Where everything is. Cheap to clone.
#[derive(Clone)]
pub struct Stack {
    pub api: String,
    pub http: reqwest::Client,
    /// The database as its owner sees it, for what a test looks up or puts in place behind the API's back.
    pub rows: PgPool,
    invoke: String,
    pub jwt: Jwt,
}

/// How the stack's tokens are made.
#[derive(Clone)]
pub struct Jwt {
    pub secret: String,
    pub issuer: String,
    pub audience: String,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("api", &self.api).finish_non_exhaustive()
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

pub(crate) fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run these tests by `cargo xtask test`, or read a running stack's env file first")
    })
}

impl Stack {
    /// The one that our environment describes.
    #[must_use]
    pub fn running() -> Self {
        let schema = env::var("DATABASE_SCHEMA").unwrap_or_else(|_| "backtalk".into());
        let rows = PgPoolOptions::new()
            .max_connections(2)
            .after_connect(move |connection, _| {
                let path = AssertSqlSafe(format!("set search_path = {schema}"));
                Box::pin(async move { connection.execute(path).await.map(drop) })
            })
            .connect_lazy(&setting("DATABASE_URL"))
            .unwrap();
        Self {
            api: setting("API_URL"),
            // The stack is on this machine, whatever way our environment has to the world.
            http: reqwest::Client::builder()
                .no_proxy()
                .read_timeout(PATIENCE)
                .build()
                .unwrap(),
            rows,
            invoke: setting("INVOKE_URL"),
            jwt: Jwt {
                secret: setting("JWT_SECRET"),
                issuer: setting("JWT_ISSUER"),
                audience: setting("JWT_AUDIENCE"),
            },
        }
    }

    /// Somebody whom no other test knows.
    #[must_use]
    pub fn person(&self, name: &str) -> Person {
        self.person_of(name, None)
    }

    /// Somebody of an organisation.
    #[must_use]
    pub fn person_of(&self, name: &str, organisation: Option<&str>) -> Person {
        let id = format!("{name}-{}", Uuid::now_v7().simple());
        let claims = json!({
            "sub": id, "name": name, "org_id": organisation,
            "iss": self.jwt.issuer, "aud": self.jwt.audience, "exp": in_an_hour(),
        });
        let token = self.jwt.signed(&claims);
        Person {
            id,
            token,
            stack: self.clone(),
        }
    }

    /// The same, reached by another gateway.
    #[must_use]
    pub(crate) fn behind(&self, gateway: &str) -> Self {
        let invoke = self.invoke.replacen(&self.api, gateway, 1);
        Self {
            api: gateway.to_owned(),
            invoke,
            ..self.clone()
        }
    }

    /// Where a function is called as AWS does.
    #[must_use]
    pub fn invoke_url(&self, function: &str) -> String {
        format!("{}/{function}/invocations", self.invoke)
    }

    /// Calls a function as AWS does, with an event, and answers what it returns.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let answer = self
            .http
            .post(self.invoke_url(function))
            .json(event)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{function} answers {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Every row of a table that belongs to a chat, as JSON text: for comparing before and after.
    pub async fn rows_of_chat(&self, chat: &str) -> Vec<String> {
        let mut all = Vec::new();
        for (table, condition) in [
            ("chats", "t.id = $1"),
            ("members", "t.chat_id = $1"),
            ("messages", "t.chat_id = $1"),
            ("replies", "t.chat_id = $1"),
            ("jobs", "t.chat_id = $1"),
            ("inbox", "t.chat_id = $1"),
            (
                "reactions",
                "t.message_id in (select id from messages where chat_id = $1)",
            ),
            (
                "reply_parts",
                "t.reply_id in (select id from replies where chat_id = $1)",
            ),
        ] {
            let sql = format!("select '{table} ' || to_jsonb(t)::text from {table} t where {condition} order by 1");
            let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).bind(id(chat));
            all.extend(query.fetch_all(&self.rows).await.unwrap());
        }
        all
    }

    /// A statement about one thing by its id, as the owner of the tables.
    pub async fn change(&self, sql: &'static str, of: &str) {
        sqlx::query(sql).bind(id(of)).execute(&self.rows).await.unwrap();
    }

    /// Waits for what must happen in a chat without the sweeper's help: no job there becomes late enough for it.
    pub async fn unswept<T>(&self, chat: &str, waiting: impl Future<Output = T>) -> T {
        let stay_early = async {
            loop {
                let late = "update jobs set run_at = now() where chat_id = $1 and run_at < now() - interval '1 second'";
                self.change(late, chat).await;
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            done = waiting => done,
            () = stay_early => unreachable!("it has no end"),
        }
    }

    /// One number about one thing by its id.
    pub async fn number(&self, sql: &'static str, of: &str) -> i64 {
        sqlx::query_scalar(sql)
            .bind(id(of))
            .fetch_one(&self.rows)
            .await
            .unwrap()
    }
}

impl Jwt {
    /// A token with these claims, signed as the stack expects it.
    #[must_use]
    pub fn signed(&self, claims: &Value) -> String {
        encode(
            &Header::default(),
            claims,
            &EncodingKey::from_secret(self.secret.as_bytes()),
        )
        .unwrap()
    }
}

#[must_use]
pub fn in_an_hour() -> i64 {
    now() + 3600
}

#[must_use]
pub fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn id(text: &str) -> Uuid {
    text.parse().unwrap()
}
