//! Settings that every function may go by. They are read once, when it starts; what is missing or odd is named in one sentence.

mod known;
mod rates;
mod retention;

use std::time::Duration;

use domain::budget::{BudgetPolicy, Period};
use domain::chat::History;
use domain::limits::Limits;
use domain::message::EditHistory;
use domain::person::{Organisations, UnknownPeople};
use domain::reply::WhenBusy;
use domain::retention::Retention;
use foundation::environment::{ConfigError, Environment};

pub use known::KNOWN;
pub use rates::RateConfig;

/// What needs no secret and no part of its own.
#[derive(Clone, Debug)]
pub struct Settings {
    pub replies: ReplyConfig,
    pub budget: BudgetPolicy,
    pub limits: Limits,
    /// `EDIT_HISTORY`: `kept`, or by default `none`.
    pub edit_history: EditHistory,
    pub rates: RateConfig,
    pub people: PeopleConfig,
    /// `RETENTION`: `task=30d,assistant=365d`; what is not named is kept for ever.
    pub retention: Retention,
    /// `STREAM_SECONDS`: how long a response streams before its reader is asked to come again; default 240. It must end
    /// before the function that gives it is ended.
    pub stream_for: Duration,
    /// `STREAMS_PER_PERSON`: how many event streams, and how many joined replies, somebody may have open at once; default 5.
    /// The newest stay.
    pub streams_per_person: i32,
}

/// What the loop around every handler goes by.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// `CORS_ORIGINS`: comma-separated origins that browsers may call from; default `*`.
    pub cors_origins: Vec<String>,
    /// `MAX_BODY_BYTES`: of a request.
    pub body_bytes: usize,
    /// `FUNCTION_SECONDS`: how long an invocation may take where the platform does not say, as a local one; default 300, as in
    /// the template. Lambda says it.
    pub function_time: Duration,
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

impl PeopleConfig {
    fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            online_for: env.seconds("ONLINE_SECONDS", 60)?,
            unknown: match env.optional("UNKNOWN_PEOPLE").as_deref() {
                None | Some("refuse") => UnknownPeople::Refuse,
                Some("create") => UnknownPeople::Create,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "UNKNOWN_PEOPLE is {other:?}: use refuse or create."
                    )));
                }
            },
            organisations: match env.optional("ORGANISATIONS").as_deref() {
                None | Some("agents") => Organisations::Agents,
                Some("everyone") => Organisations::Everyone,
                Some("open") => Organisations::Open,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "ORGANISATIONS is {other:?}: use agents, everyone or open."
                    )));
                }
            },
            history: match env.optional("CHANNEL_HISTORY").as_deref() {
                None | Some("all") => History::All,
                Some("since_join") => History::SinceJoin,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "CHANNEL_HISTORY is {other:?}: use all or since_join."
                    )));
                }
            },
        })
    }
}

impl Settings {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            replies: ReplyConfig::read(env)?,
            budget: budget(env)?,
            limits: limits(env)?,
            edit_history: edit_history(env)?,
            rates: RateConfig::read(env)?,
            people: PeopleConfig::read(env)?,
            retention: retention::read(env)?,
            stream_for: env.seconds("STREAM_SECONDS", 240)?,
            streams_per_person: streams_per_person(env)?,
        })
    }
}

impl WebSettings {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            cors_origins: env
                .optional("CORS_ORIGINS")
                .unwrap_or_else(|| "*".into())
                .split(',')
                .map(|origin| origin.trim().to_owned())
                .collect(),
            body_bytes: limits(env)?.body_bytes,
            function_time: env.seconds("FUNCTION_SECONDS", 300)?,
        })
    }
}

fn streams_per_person(env: &Environment<'_>) -> Result<i32, ConfigError> {
    let most = env.parsed("STREAMS_PER_PERSON", 5)?;
    if most < 1 {
        return Err(ConfigError::new(format!(
            "STREAMS_PER_PERSON is {most}: use 1 or more."
        )));
    }
    Ok(most)
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
            return Err(ConfigError::new(format!(
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

fn edit_history(env: &Environment<'_>) -> Result<EditHistory, ConfigError> {
    match env.optional("EDIT_HISTORY").as_deref() {
        None | Some("none") => Ok(EditHistory::None),
        Some("kept") => Ok(EditHistory::Kept),
        Some(other) => Err(ConfigError::new(format!(
            "EDIT_HISTORY is {other:?}: use kept or none."
        ))),
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
        return Err(ConfigError::new(format!(
            "MAX_CONTENT_BYTES is {}, but a whole request may have {} by MAX_BODY_BYTES.",
            limits.content_bytes, limits.body_bytes
        )));
    }
    Ok(limits)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use backtalk_http::auth::TokenConfig;
    use domain::chat::Kind;
    use hooks::moderation::{ModerationSettings, OnFailure};
    use hooks::webhooks::WebhookConfig;
    use models::assistants::config::AssistantsConfig;
    use pusher::PusherSettings;
    use store::config::DatabaseConfig;
    use uploads::AttachmentConfig;

    use super::*;

    /// All that any function reads.
    #[derive(Debug)]
    #[allow(dead_code, reason = "some is only shown")]
    pub(crate) struct Everything {
        pub(crate) settings: Settings,
        pub(crate) web: WebSettings,
        pub(crate) database: DatabaseConfig,
        pub(crate) queue: String,
        pub(crate) tokens: TokenConfig,
        pub(crate) pusher: Option<PusherSettings>,
        pub(crate) assistants: AssistantsConfig,
        pub(crate) moderation: Option<ModerationSettings>,
        pub(crate) attachments: AttachmentConfig,
        pub(crate) webhooks: WebhookConfig,
    }

    impl Everything {
        pub(crate) fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
            Ok(Self {
                settings: Settings::read(env)?,
                web: WebSettings::read(env)?,
                database: DatabaseConfig::read(env)?,
                queue: {
                    env.optional("SQS_DEAD_LETTER_QUEUE_URL");
                    env.required("SQS_QUEUE_URL", "the SQS queue that wakes the worker")?
                },
                tokens: TokenConfig::read(env)?,
                pusher: PusherSettings::read(env)?,
                assistants: AssistantsConfig::read(env)?,
                moderation: ModerationSettings::read(env)?,
                attachments: AttachmentConfig::read(env)?,
                webhooks: WebhookConfig::read(env)?,
            })
        }
    }

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
    fn read(changes: &[(&str, &str)]) -> Result<Everything, ConfigError> {
        let value = |name: &str| {
            let all = changes.iter().chain(GOOD);
            all.into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Everything::read(&Environment(&value))
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
    fn the_settings_that_are_known_are_those_that_are_read() {
        let asked = RefCell::new(BTreeSet::new());
        let more: [&[(&str, &str)]; 4] = [
            &[],
            &[
                ("JWT_ALGORITHM", "RS256"),
                ("JWT_SECRET", ""),
                ("JWT_JWKS_URL", "https://keys"),
            ],
            &[
                ("PUSHER_APP_ID", "1"),
                ("PUSHER_KEY", "k"),
                ("PUSHER_SECRET", "s"),
                ("PUSHER_HOST", "h"),
            ],
            &[
                ("MODERATION_URL", "https://hook"),
                ("MODERATION_SECRET", "0123456789abcdef01234567"),
            ],
        ];
        for settings in more {
            let value = |name: &str| {
                asked.borrow_mut().insert(name.to_owned());
                let mut all = settings.iter().chain(GOOD);
                all.find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            Everything::read(&Environment(&value)).expect("good settings");
        }
        let mut asked = asked.into_inner();
        // Those are the SDK's, which does not look into `SETTINGS`.
        asked.retain(|name| !name.starts_with("AWS_"));
        let known: BTreeSet<_> = KNOWN.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(asked, known);
    }

    #[test]
    fn a_failed_attempt_rests_twice_as_long_each_time() {
        let replies = read(&[]).expect("all is set").settings.replies;
        let rests: Vec<_> = (1..=3)
            .map(|attempt| replies.retry_after_attempt(attempt).as_secs())
            .collect();
        assert_eq!(rests, [2, 4, 8]);
    }
}
