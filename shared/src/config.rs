//! Configuration is read once, when a function starts; what is missing or odd is named in one sentence.

mod attachments;
mod rates;
mod retention;
mod tokens;
mod webhooks;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::assistants::config::AssistantsConfig;
use crate::delivery::pusher::PusherSettings;
use crate::domain::budget::{BudgetPolicy, Period};
use crate::domain::chat::{History, Kind};
use crate::domain::limits::Limits;
use crate::domain::message::EditHistory;
use crate::domain::reply::WhenBusy;
use crate::domain::retention::Retention;
use crate::moderation::{ModerationSettings, OnFailure, SigningSecret};
use crate::store::Acting;

pub use attachments::AttachmentConfig;
pub use rates::RateConfig;
pub use tokens::{ClaimNames, TokenConfig, TokenKey};
pub use webhooks::{Targets, WebhookConfig};

/// Text that must never reach a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One sentence for whoever deploys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    pub database: DatabaseConfig,
    /// `SQS_QUEUE_URL`: the queue that wakes the worker.
    pub queue_url: String,
    /// `SQS_DEAD_LETTER_QUEUE_URL`: where the worker puts what it cannot read, with the reason; none: SQS does, without.
    pub dead_letter_queue_url: Option<String>,
    pub tokens: TokenConfig,
    /// `PUSHER_APP_ID`, `PUSHER_KEY`, `PUSHER_SECRET` and `PUSHER_CLUSTER` or `PUSHER_HOST` (with `PUSHER_PORT`,
    /// `PUSHER_SCHEME`); none of them: delivery by event stream and polling alone.
    pub pusher: Option<PusherSettings>,
    /// Who answers: `MODEL_*`, `SYSTEM_PROMPT*`, `MODEL_OVERRIDES`.
    pub assistants: AssistantsConfig,
    pub replies: ReplyConfig,
    pub budget: BudgetPolicy,
    pub limits: Limits,
    /// `MODERATION_URL` and its like; none: nobody is asked.
    pub moderation: Option<ModerationSettings>,
    /// `EDIT_HISTORY`: `kept`, or by default `none`.
    pub edit_history: EditHistory,
    pub attachments: AttachmentConfig,
    pub rates: RateConfig,
    pub people: PeopleConfig,
    /// `RETENTION`: `task=30d,assistant=365d`; what is not named is kept for ever.
    pub retention: Retention,
    pub webhooks: WebhookConfig,
    /// `STREAM_SECONDS`: how long a response streams before its reader is asked to come again; default 240. It must end
    /// before the function that gives it is ended.
    pub stream_for: Duration,
    /// `STREAMS_PER_PERSON`: how many event streams, and how many joined replies, somebody may have open at once; default 5.
    /// The newest stay.
    pub streams_per_person: i32,
    /// `FUNCTION_SECONDS`: how long an invocation may take where the platform does not say, as a local one; default 300, as in
    /// the template. Lambda says it.
    pub function_time: Duration,
    /// `CORS_ORIGINS`: comma-separated origins that browsers may call from; default `*`.
    pub cors_origins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`: `postgres://…`, a direct or session-mode connection.
    pub url: Secret,
    /// `DATABASE_PASSWORD`: where the URL has none. Or a JSON object with a `password`, as Secrets Manager keeps it.
    pub password: Option<Secret>,
    /// `DATABASE_CA`: the certificate, as PEM, of the authority that vouches for the server; the server is verified by it.
    /// None: as the URL's `sslmode` says, and encrypted at least where the server is on another machine.
    pub authority: Option<String>,
    /// `DATABASE_SCHEMA`: where Backtalk's tables live, apart from the application's own; default `backtalk`.
    pub schema: String,
    /// `DATABASE_CONNECTIONS`: of one function process; default 1, for a process serves one request at a time.
    pub connections: u32,
    /// `DATABASE_STATEMENT_SECONDS`: after which Postgres cancels a statement; default 8 in functions that answer people, and
    /// 30 in the worker, the sweeper and `person`. `migrate` has none.
    pub statement_timeout: Option<Duration>,
    /// `DATABASE_IDLE_SECONDS`: after which Postgres takes back a connection that is not used, of a frozen process for
    /// example; default 300.
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct ReplyConfig {
    /// `REPLY_LEASE_SECONDS`: how long a silent worker keeps its reply; default 20.
    pub lease: Duration,
    /// `REPLY_ATTEMPTS`: in all; default 3.
    pub attempts: i32,
    /// `REPLY_RETRY_SECONDS`: before the second attempt, doubled before the third; default 2.
    pub retry_after: Duration,
    /// `REPLY_WHEN_BUSY`: what becomes of a message while an earlier one is being answered: `queue` (default), `reject`
    /// or `replace`.
    pub when_busy: WhenBusy,
    /// `FOLLOW_UP_QUIET_SECONDS`: how long a post must be left alone before its edits are followed up; default 2.
    pub follow_up_quiet: Duration,
}

impl ReplyConfig {
    /// How long a failed attempt is left alone: doubled with each.
    #[must_use]
    pub fn retry_after_attempt(&self, attempt: i32) -> Duration {
        self.retry_after * 2_u32.saturating_pow(u32::try_from(attempt.max(1) - 1).unwrap_or(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeopleConfig {
    /// `UNKNOWN_PEOPLE`: what naming somebody does who never signed in: `refuse`, the default, or `create`.
    pub unknown: UnknownPeople,
    /// `ORGANISATIONS`: whom an organisation's boundary holds: `agents`, the default, `everyone`, or nobody (`open`).
    pub organisations: Organisations,
    /// `CHANNEL_HISTORY`: what those see who join a channel: `all`, the default, or what is said `since_join`.
    pub history: History,
    /// `ONLINE_SECONDS`: how long a heartbeat keeps somebody online; default 60. Clients send one twice in that while.
    pub online_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPeople {
    Refuse,
    Create,
}

/// Who reaches nobody that is known to be of another organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Organisations {
    Open,
    Agents,
    Everyone,
}

impl PeopleConfig {
    fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            online_for: env.seconds("ONLINE_SECONDS", 60)?,
            unknown: match env.optional("UNKNOWN_PEOPLE").as_deref() {
                None | Some("refuse") => UnknownPeople::Refuse,
                Some("create") => UnknownPeople::Create,
                Some(other) => {
                    return Err(ConfigError(format!(
                        "UNKNOWN_PEOPLE is {other:?}: use refuse or create."
                    )));
                }
            },
            organisations: match env.optional("ORGANISATIONS").as_deref() {
                None | Some("agents") => Organisations::Agents,
                Some("everyone") => Organisations::Everyone,
                Some("open") => Organisations::Open,
                Some(other) => {
                    return Err(ConfigError(format!(
                        "ORGANISATIONS is {other:?}: use agents, everyone or open."
                    )));
                }
            },
            history: match env.optional("CHANNEL_HISTORY").as_deref() {
                None | Some("all") => History::All,
                Some("since_join") => History::SinceJoin,
                Some(other) => {
                    return Err(ConfigError(format!(
                        "CHANNEL_HISTORY is {other:?}: use all or since_join."
                    )));
                }
            },
        })
    }
}

/// Where settings come from: the process environment, or a table in tests.
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment<'_> {
    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str, what: &str) -> Result<String, ConfigError> {
        self.optional(name)
            .ok_or_else(|| ConfigError(format!("{name} is not set: it must name {what}.")))
    }

    /// Refuses what is set and would not be heeded. `why`: what makes it so.
    fn refuse_unheeded(&self, name: &str, why: &str) -> Result<(), ConfigError> {
        match self.optional(name) {
            None => Ok(()),
            Some(_) => Err(ConfigError(format!("{name} is set, though {why}."))),
        }
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| ConfigError(format!("{name} is {text:?}, which is not a number."))),
        }
    }

    /// One of a few words.
    fn word<T: Copy + fmt::Display>(
        &self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Option<T>,
        all: &[T],
    ) -> Result<T, ConfigError> {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        parse(&text).ok_or_else(|| {
            let words: Vec<_> = all.iter().map(T::to_string).collect();
            ConfigError(format!("{name} is {text:?}: use one of {}.", words.join(", ")))
        })
    }

    /// A number of tokens; `none` is no limit.
    fn tokens(&self, name: &str, default: Option<i64>) -> Result<Option<i64>, ConfigError> {
        match self.optional(name).as_deref() {
            None => Ok(default),
            Some("none") => Ok(None),
            Some(text) => match text.parse() {
                Ok(tokens) if tokens >= 0 => Ok(Some(tokens)),
                _ => Err(ConfigError(format!(
                    "{name} is {text:?}: use a number of tokens, or none for no limit."
                ))),
            },
        }
    }

    pub(crate) fn seconds(&self, name: &str, default: u64) -> Result<Duration, ConfigError> {
        let seconds: f64 = self.parsed(name, default as f64)?;
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| ConfigError(format!("{name} is {seconds}, but must be more than 0 seconds.")))
    }
}

impl Config {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            database: DatabaseConfig::read(env)?,
            queue_url: env.required("SQS_QUEUE_URL", "the SQS queue that wakes the worker")?,
            dead_letter_queue_url: env.optional("SQS_DEAD_LETTER_QUEUE_URL"),
            tokens: TokenConfig::read(env)?,
            pusher: pusher(env)?,
            assistants: AssistantsConfig::read(env)?,
            replies: ReplyConfig::read(env)?,
            budget: budget(env)?,
            limits: limits(env)?,
            moderation: moderation(env)?,
            edit_history: edit_history(env)?,
            attachments: AttachmentConfig::read(env)?,
            rates: RateConfig::read(env)?,
            people: PeopleConfig::read(env)?,
            retention: retention::read(env)?,
            webhooks: WebhookConfig::read(env)?,
            stream_for: env.seconds("STREAM_SECONDS", 240)?,
            streams_per_person: streams_per_person(env)?,
            function_time: env.seconds("FUNCTION_SECONDS", 300)?,
            cors_origins: env
                .optional("CORS_ORIGINS")
                .unwrap_or_else(|| "*".into())
                .split(',')
                .map(|origin| origin.trim().to_owned())
                .collect(),
        })
    }
}

fn streams_per_person(env: &Environment<'_>) -> Result<i32, ConfigError> {
    let most = env.parsed("STREAMS_PER_PERSON", 5)?;
    if most < 1 {
        return Err(ConfigError(format!("STREAMS_PER_PERSON is {most}: use 1 or more.")));
    }
    Ok(most)
}

impl DatabaseConfig {
    /// A database by its URL alone, with all else as it is by default.
    #[must_use]
    pub fn of(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            authority: None,
            schema: Self::SCHEMA.into(),
            connections: Self::CONNECTIONS,
            statement_timeout: None,
            idle_timeout: Duration::from_secs(Self::IDLE_SECONDS),
        }
    }

    /// The variables that may be kept as secrets and change while a process runs.
    pub const SECRETS: [&str; 3] = ["DATABASE_URL", "DATABASE_PASSWORD", "DATABASE_CA"];
    const SCHEMA: &str = "backtalk";
    const CONNECTIONS: u32 = 1;
    const IDLE_SECONDS: u64 = 300;

    /// How long a statement may take. A person waits for an answer of API Gateway's 29 s at most; whoever works behind their
    /// back may take longer, and no function is killed before its statement is.
    #[must_use]
    pub fn statement_timeout(&self, acting: Acting) -> Duration {
        self.statement_timeout.unwrap_or(match acting {
            Acting::ForAPerson => Duration::from_secs(8),
            Acting::ForTheSystem => Duration::from_secs(30),
        })
    }

    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let schema = env.optional("DATABASE_SCHEMA").unwrap_or_else(|| Self::SCHEMA.into());
        let is_plain = schema
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_plain || schema.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(ConfigError(format!(
                "DATABASE_SCHEMA is {schema:?}: use lower-case letters, digits and underscores."
            )));
        }
        let url = env.required("DATABASE_URL", "the Postgres database")?;
        refuse_transaction_pooler(&url)?;
        let authority = env.optional("DATABASE_CA");
        if authority
            .as_ref()
            .is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----"))
        {
            return Err(ConfigError("DATABASE_CA is no certificate in PEM.".into()));
        }
        Ok(Self {
            url: Secret::new(url),
            password: env
                .optional("DATABASE_PASSWORD")
                .map(|text| Secret::new(password(text))),
            authority,
            schema,
            connections: env.parsed("DATABASE_CONNECTIONS", Self::CONNECTIONS)?,
            statement_timeout: match env.optional("DATABASE_STATEMENT_SECONDS") {
                None => None,
                Some(_) => Some(env.seconds("DATABASE_STATEMENT_SECONDS", 0)?),
            },
            idle_timeout: env.seconds("DATABASE_IDLE_SECONDS", Self::IDLE_SECONDS)?,
        })
    }
}

fn password(text: String) -> String {
    #[derive(Deserialize)]
    struct Kept {
        password: String,
    }
    serde_json::from_str(&text).map_or(text, |Kept { password }| password)
}

/// Behind a pooler in transaction mode, what one statement prepared or set meets another's connection: rows would be
/// wrong and policies off, without any error.
fn refuse_transaction_pooler(url: &str) -> Result<(), ConfigError> {
    let Ok(url) = Url::parse(url) else {
        // What is wrong with it is said by whoever connects.
        return Ok(());
    };
    let host = url.host_str().unwrap_or_default();
    let pooler = if url.port() == Some(6543) && host.contains("supabase.") {
        "Supabase's pooler in transaction mode; use port 5432, which is its session mode, or the direct host"
    } else if host.contains("-pooler.") && host.ends_with(".neon.tech") {
        "Neon's pooler, which works in transaction mode; use the host without \"-pooler\""
    } else if url
        .query_pairs()
        .any(|(name, value)| name == "pgbouncer" && value == "true")
    {
        "a PgBouncer in transaction mode, as it says by pgbouncer=true; use a direct or session-mode connection"
    } else {
        return Ok(());
    };
    Err(ConfigError(format!("DATABASE_URL names {pooler}.")))
}

impl ReplyConfig {
    fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            lease: env.seconds("REPLY_LEASE_SECONDS", 20)?,
            attempts: env.parsed("REPLY_ATTEMPTS", 3)?,
            retry_after: env.seconds("REPLY_RETRY_SECONDS", 2)?,
            follow_up_quiet: env.seconds("FOLLOW_UP_QUIET_SECONDS", 2)?,
            when_busy: env.word("REPLY_WHEN_BUSY", WhenBusy::Queue, WhenBusy::parse, WhenBusy::ALL)?,
        };
        if config.attempts < 1 {
            return Err(ConfigError(format!(
                "REPLY_ATTEMPTS is {}, but must be 1 at least.",
                config.attempts
            )));
        }
        Ok(config)
    }
}

/// `BUDGET_PERIOD`: `day`, `week` or `month`, the default. `BUDGET_TOKENS_PERSON` and `BUDGET_TOKENS_ORGANISATION`: tokens a
/// period, or `none`; by default 100,000 a person and no limit for organisations. Those who have a row in `budget_limits`
/// have that one.
fn budget(env: &Environment<'_>) -> Result<BudgetPolicy, ConfigError> {
    Ok(BudgetPolicy {
        period: env.word("BUDGET_PERIOD", Period::Month, Period::parse, Period::ALL)?,
        person_limit: env.tokens("BUDGET_TOKENS_PERSON", Some(100_000))?,
        organisation_limit: env.tokens("BUDGET_TOKENS_ORGANISATION", None)?,
    })
}

fn pusher(env: &Environment<'_>) -> Result<Option<PusherSettings>, ConfigError> {
    let names = ["PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET"];
    let [app_id, key, secret] = names.map(|name| env.optional(name));
    let (Some(app_id), Some(key), Some(secret)) = (&app_id, &key, &secret) else {
        let is_set = |(_, value): &(&str, &Option<String>)| value.is_some();
        let some: Vec<_> = names.into_iter().zip([&app_id, &key, &secret]).collect();
        return match (
            some.iter().find(|pair| is_set(pair)),
            some.iter().find(|pair| !is_set(pair)),
        ) {
            (Some((set, _)), Some((missing, _))) => Err(ConfigError(format!(
                "{missing} is not set, though {set} is: Pusher needs both."
            ))),
            _ => {
                let why = "PUSHER_APP_ID, PUSHER_KEY and PUSHER_SECRET are not";
                env.refuse_unheeded("PUSHER_HOST", why).map(|()| None)
            }
        };
    };
    if let Some(host) = env.optional("PUSHER_HOST") {
        env.refuse_unheeded("PUSHER_CLUSTER", "PUSHER_HOST says where Pusher is")?;
        let tls = match env.optional("PUSHER_SCHEME").as_deref() {
            None | Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(ConfigError(format!("PUSHER_SCHEME is {other:?}: use https or http."))),
        };
        let port = env.parsed("PUSHER_PORT", if tls { 443 } else { 80 })?;
        return Ok(Some(PusherSettings {
            app_id: app_id.clone(),
            key: key.clone(),
            secret: secret.clone(),
            host,
            port,
            tls,
        }));
    }
    let cluster = env.required(
        "PUSHER_CLUSTER",
        "the Pusher cluster, or PUSHER_HOST a server of one's own",
    )?;
    Ok(Some(PusherSettings::hosted(app_id, key, secret, &cluster)))
}

fn moderation(env: &Environment<'_>) -> Result<Option<ModerationSettings>, ConfigError> {
    let Some(address) = env.optional("MODERATION_URL") else {
        env.refuse_unheeded("MODERATION_SECRET", "MODERATION_URL is not: nobody would be asked")?;
        return Ok(None);
    };
    let url = Url::parse(&address)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()));
    let secret = env.required(
        "MODERATION_SECRET",
        "the secret that signs what MODERATION_URL is asked",
    )?;
    let kinds = env
        .optional("MODERATION_KINDS")
        .unwrap_or_else(|| "direct,channel,assistant,post".into());
    let kinds = kinds.split(',').map(|kind| {
        let kind = kind.trim();
        Kind::parse(kind)
            .ok_or_else(|| ConfigError(format!("MODERATION_KINDS has {kind:?}, which is no kind of chat.")))
    });
    Ok(Some(ModerationSettings {
        // Not repeated: it may carry a key.
        url: url.ok_or_else(|| ConfigError("MODERATION_URL is not an http:// or https:// address.".into()))?,
        secret: SigningSecret::parse(&secret).ok_or_else(|| {
            ConfigError(format!(
                "MODERATION_SECRET must be whsec_ and a key in base64, or a text, of {} bytes at least.",
                SigningSecret::LEAST_BYTES
            ))
        })?,
        timeout: Duration::from_millis(env.parsed("MODERATION_TIMEOUT_MS", 1000)?),
        on_failure: match env.optional("MODERATION_ON_FAILURE").as_deref() {
            None | Some("accept") => OnFailure::Accept,
            Some("reject") => OnFailure::Reject,
            Some(other) => {
                return Err(ConfigError(format!(
                    "MODERATION_ON_FAILURE is {other:?}: use accept or reject."
                )));
            }
        },
        kinds: kinds.collect::<Result<_, _>>()?,
    }))
}

fn edit_history(env: &Environment<'_>) -> Result<EditHistory, ConfigError> {
    match env.optional("EDIT_HISTORY").as_deref() {
        None | Some("none") => Ok(EditHistory::None),
        Some("kept") => Ok(EditHistory::Kept),
        Some(other) => Err(ConfigError(format!("EDIT_HISTORY is {other:?}: use kept or none."))),
    }
}

fn limits(env: &Environment<'_>) -> Result<Limits, ConfigError> {
    let defaults = Limits::default();
    let limits = Limits {
        content_bytes: env.parsed("MAX_CONTENT_BYTES", defaults.content_bytes)?,
        post_bytes: env.parsed("MAX_POST_BYTES", defaults.post_bytes)?,
        providers: env.parsed("MAX_PROVIDERS", defaults.providers)?,
        metadata_bytes: env.parsed("MAX_METADATA_BYTES", defaults.metadata_bytes)?,
        attachments: env.parsed("MAX_ATTACHMENTS", defaults.attachments)?,
        members: env.parsed("MAX_MEMBERS", defaults.members)?,
        mentions: env.parsed("MAX_MENTIONS", defaults.mentions)?,
        emojis: env.parsed("MAX_EMOJIS", defaults.emojis)?,
        ids: env.parsed("MAX_IDS", defaults.ids)?,
        body_bytes: env.parsed("MAX_BODY_BYTES", defaults.body_bytes)?,
        assistant_chats: env.parsed("MAX_ASSISTANT_CHATS", defaults.assistant_chats)?,
    };
    if limits.content_bytes > limits.body_bytes {
        return Err(ConfigError(format!(
            "MAX_CONTENT_BYTES is {}, but a whole request may have {} by MAX_BODY_BYTES.",
            limits.content_bytes, limits.body_bytes
        )));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("DATABASE_URL", "postgres://app:hunter2@db/app"),
        ("SQS_QUEUE_URL", "https://sqs/1/jobs"),
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("JWT_ISSUER", "site"),
        ("JWT_AUDIENCE", "chat"),
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_NAME", "m"),
        ("MODEL_KEY", "sk-secret"),
    ];

    /// The good settings with some changed; an empty value is as good as none.
    fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let value = |name: &str| {
            let all = changes.iter().chain(GOOD);
            all.into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::read(&Environment(&value))
    }

    #[test]
    fn a_password_is_taken_as_it_is_or_out_of_what_secrets_manager_keeps() {
        for text in ["pa:ss/w{rd", r#"{"username": "app", "password": "pa:ss/w{rd"}"#] {
            let config = read(&[("DATABASE_PASSWORD", text)]).expect("good settings");
            let password = config.database.password.expect("a password");
            assert_eq!(password.expose(), "pa:ss/w{rd");
        }
        assert_eq!(read(&[]).expect("good settings").database.password, None);
    }

    #[test]
    fn what_is_missing_or_odd_is_named_in_one_sentence() {
        for (name, value, says) in [
            ("DATABASE_URL", "", "DATABASE_URL is not set"),
            (
                "DATABASE_URL",
                "postgres://u:hunter2@aws-0-eu.pooler.supabase.com:6543/postgres",
                "DATABASE_URL names Supabase's pooler in transaction mode; use port 5432",
            ),
            (
                "DATABASE_URL",
                "postgres://u:hunter2@ep-cool-1-pooler.eu-central-1.aws.neon.tech/db?sslmode=require",
                "DATABASE_URL names Neon's pooler",
            ),
            (
                "DATABASE_URL",
                "postgres://u:hunter2@db:6432/app?pgbouncer=true",
                "DATABASE_URL names a PgBouncer in transaction mode",
            ),
            ("DATABASE_CA", "/etc/ca.pem", "DATABASE_CA is no certificate"),
            (
                "DATABASE_STATEMENT_SECONDS",
                "0",
                "DATABASE_STATEMENT_SECONDS is 0, but must be more",
            ),
            ("DATABASE_IDLE_SECONDS", "long", "DATABASE_IDLE_SECONDS is \"long\""),
            ("SQS_QUEUE_URL", " ", "SQS_QUEUE_URL is not set"),
            ("JWT_ALGORITHM", "none", "JWT_ALGORITHM is \"none\""),
            ("JWT_SECRET", "short", "JWT_SECRET is too short"),
            (
                "JWT_ALGORITHM",
                "ES256",
                "JWT_SECRET is set, though with JWT_ALGORITHM=ES256",
            ),
            (
                "JWT_JWKS_URL",
                "https://keys",
                "JWT_JWKS_URL is set, though with JWT_ALGORITHM=HS256",
            ),
            ("MODEL_PROVIDER", "bard", "MODEL_PROVIDER"),
            ("MODEL_NAME", "", "MODEL_NAME is not set"),
            ("PUSHER_KEY", "k", "PUSHER_APP_ID is not set, though PUSHER_KEY is"),
            (
                "PUSHER_HOST",
                "ws.example.org",
                "PUSHER_HOST is set, though PUSHER_APP_ID",
            ),
            (
                "MODERATION_SECRET",
                "0123456789abcdef01234567",
                "MODERATION_SECRET is set, though MODERATION_URL",
            ),
            ("MAX_CONTENT_BYTES", "10000000", "MAX_CONTENT_BYTES is 10000000, but"),
            ("REPLY_LEASE_SECONDS", "soon", "REPLY_LEASE_SECONDS is \"soon\""),
            ("REPLY_LEASE_SECONDS", "0", "more than 0 seconds"),
            ("REPLY_ATTEMPTS", "0", "REPLY_ATTEMPTS is 0"),
            ("MODEL_CONTEXT_TOKENS", "100", "leaves no room"),
            ("DATABASE_SCHEMA", "a; drop", "DATABASE_SCHEMA"),
            ("EDIT_HISTORY", "yes", "EDIT_HISTORY is \"yes\""),
            ("ATTACHMENT_TYPES", "image/png, jpeg", "ATTACHMENT_TYPES must be"),
            ("MAX_ATTACHMENT_BYTES", "0", "MAX_ATTACHMENT_BYTES is 0"),
            ("RATE_LIMIT_SEND", "many", "RATE_LIMIT_SEND is \"many\""),
            ("RETENTION", "task=soon", "RETENTION has \"task=soon\""),
            ("RETENTION", "tasks=3d", "RETENTION has \"tasks=3d\""),
            ("RETENTION", "task=0d", "RETENTION has \"task=0d\""),
            ("RETENTION", "task=1d,task=2d", "RETENTION names task twice"),
            ("WEBHOOK_TARGETS", "all", "WEBHOOK_TARGETS is \"all\""),
            ("WEBHOOK_ATTEMPTS", "0", "WEBHOOK_ATTEMPTS is 0"),
            ("UNKNOWN_PEOPLE", "maybe", "UNKNOWN_PEOPLE is \"maybe\""),
            ("CHANNEL_HISTORY", "some", "CHANNEL_HISTORY is \"some\""),
            ("ORGANISATIONS", "closed", "ORGANISATIONS is \"closed\""),
        ] {
            let error = read(&[(name, value)]).expect_err(name).to_string();
            assert!(error.contains(says), "{name}={value}: {error}");
        }
    }

    #[test]
    fn what_contradicts_is_named_in_one_sentence() {
        let elsewhere = [("JWT_ALGORITHM", "ES256"), ("JWT_SECRET", "")];
        let error = read(&elsewhere).expect_err("no keys").to_string();
        assert!(error.contains("JWT_JWKS_URL is not set"), "{error}");
        read(&[&elsewhere[..], &[("JWT_JWKS_URL", "https://keys")]].concat()).expect("good settings");
        let pusher = [
            ("PUSHER_APP_ID", "1"),
            ("PUSHER_KEY", "k"),
            ("PUSHER_SECRET", "s"),
            ("PUSHER_HOST", "h"),
        ];
        read(&pusher).expect("good settings");
        let error = read(&[&pusher[..], &[("PUSHER_CLUSTER", "eu")]].concat())
            .expect_err("two places")
            .to_string();
        assert!(error.contains("PUSHER_CLUSTER is set, though PUSHER_HOST"), "{error}");
    }

    #[test]
    fn a_moderation_hook_is_all_there_or_not_at_all() {
        const SECRET: &str = "0123456789abcdef01234567";
        assert_eq!(read(&[]).expect("no hook").moderation, None);
        let url = ("MODERATION_URL", "https://hook/?key=hush");
        let settings = read(&[url, ("MODERATION_SECRET", SECRET)]).expect("a hook").moderation;
        let settings = settings.expect("a hook");
        assert_eq!(
            (settings.timeout.as_millis(), settings.on_failure),
            (1000, OnFailure::Accept)
        );
        assert!(settings.kinds.contains(&Kind::Channel) && !settings.kinds.contains(&Kind::Task));
        for (name, value, says) in [
            ("MODERATION_URL", "ftp://hook/?key=hush", "MODERATION_URL is not"),
            ("MODERATION_URL", "hook?key=hush", "MODERATION_URL is not"),
            ("MODERATION_SECRET", "", "MODERATION_SECRET is not set"),
            ("MODERATION_SECRET", "hush", "MODERATION_SECRET must be"),
            ("MODERATION_KINDS", "direct,all", "MODERATION_KINDS has \"all\""),
            ("MODERATION_TIMEOUT_MS", "-1", "MODERATION_TIMEOUT_MS is \"-1\""),
            ("MODERATION_ON_FAILURE", "maybe", "MODERATION_ON_FAILURE is \"maybe\""),
        ] {
            let error = read(&[(name, value), url, ("MODERATION_SECRET", SECRET)])
                .expect_err(name)
                .to_string();
            assert!(
                error.contains(says) && !error.contains("hush"),
                "{name}={value}: {error}"
            );
        }
    }

    #[test]
    fn no_secret_is_shown_by_debug() {
        let pusher = [
            ("PUSHER_APP_ID", "1"),
            ("PUSHER_KEY", "k"),
            ("PUSHER_SECRET", "very-secret"),
            ("PUSHER_CLUSTER", "eu"),
        ];
        let shown = format!("{:?}", read(&pusher).expect("all is set"));
        for secret in ["hunter2", "0123456789abcdef", "sk-secret", "very-secret"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }

    #[test]
    fn a_failed_attempt_rests_twice_as_long_each_time() {
        let replies = read(&[]).expect("all is set").replies;
        let rests: Vec<_> = (1..=3)
            .map(|attempt| replies.retry_after_attempt(attempt).as_secs())
            .collect();
        assert_eq!(rests, [2, 4, 8]);
    }
}
