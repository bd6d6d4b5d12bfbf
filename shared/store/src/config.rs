//! Where the database is, and how it is used.

use std::time::Duration;

use foundation::environment::{ConfigError, Environment};
use foundation::secret::Secret;
use serde::Deserialize;
use url::Url;

use super::DbRole;

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
    pub fn statement_timeout(&self, role: DbRole) -> Duration {
        self.statement_timeout.unwrap_or(match role {
            DbRole::App => Duration::from_secs(8),
            DbRole::Owner => Duration::from_secs(30),
        })
    }

    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let schema = env.optional("DATABASE_SCHEMA").unwrap_or_else(|| Self::SCHEMA.into());
        let is_plain = schema
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_plain || schema.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(ConfigError::new(format!(
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
            return Err(ConfigError::new("DATABASE_CA is no certificate in PEM."));
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
    Err(ConfigError::new(format!("DATABASE_URL names {pooler}.")))
}
