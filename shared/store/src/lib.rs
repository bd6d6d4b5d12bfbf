//! Everything that is kept, in Postgres: one module a noun, and the only place that knows sqlx.
//!
//! Every statement that acts for a person names them twice: in its own conditions, the first lock, and by `acting_as`,
//! which the row-level policies go by, the second. `(select acting_as($1))` in a `where` becomes a one-time filter above
//! the scan, so the policies find the caller set without a round trip of its own.

pub mod attachments;
pub mod blocks;
pub mod budgets;
pub mod channels;
pub mod chats;
pub mod config;
pub mod deletion;
pub mod erasure;
pub mod export;
pub mod inbox;
pub mod jobs;
pub mod messages;
pub mod moderation;
pub mod notices;
pub mod people;
pub mod posts;
pub mod rates;
pub mod reactions;
pub mod reading;
pub mod refusals;
pub mod replies;
pub mod retention;
pub mod role;
pub mod search;
pub mod streams;
pub mod sweeps;
pub mod thoughts;
pub mod tickets;
pub mod unread;
pub mod versions;
pub mod webhooks;

mod connections;
mod migrate;
mod rows;

use std::net::IpAddr;
use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};

use crate::config::DatabaseConfig;
use connections::Connections;
pub use connections::ReadAgain;
pub use migrate::migrate;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// The database role that a process acts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbRole {
    /// As the role of [`role`], usually `backtalk_app`, which sees only what the person named by each statement may see.
    App,
    /// As the owner of the tables: workers, the sweeper, migrations.
    Owner,
}

#[derive(Clone, Debug)]
pub struct Store {
    pool: Connections,
}

pub use foundation::PartError as Error;

/// Whether Postgres could not be reached or would not serve, as opposed to a statement that failed.
fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Whom a row names was erased at this very moment: a second look finds nobody.
            if error.is_foreign_key_violation() {
                return true;
            }
            // Classes: connection exception, insufficient resources, operator intervention, system error.
            let is_class = |code: &str| ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class));
            connections::is_of_the_session(&**error) || error.code().is_some_and(|code| is_class(&code))
        }
        error => matches!(
            error,
            // A connection that is cut before Postgres has said its first word is taken for bad protocol.
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
        ),
    }
}

/// A row holds what no version of ours has written.
fn unreadable(what: &str, value: impl std::fmt::Debug) -> Error {
    Error::Broken(anyhow::anyhow!("a stored {what} cannot be read: {value:?}"))
}

pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when Postgres refused.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|error| {
            let is_unavailable = is_unavailable(&error);
            let error = anyhow::Error::new(error).context(doing);
            if is_unavailable {
                Error::Unavailable(error)
            } else {
                Error::Broken(error)
            }
        })
    }
}

/// Whether a unique index refused a row: somebody else was first, and a fresh look will show what they did.
fn lost_a_race(error: &sqlx::Error, indexes: &[&str]) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.is_unique_violation() && error.constraint().is_some_and(|name| indexes.contains(&name))
        }
        _ => false,
    }
}

impl Store {
    /// Connects when it is first used.
    pub fn connect(config: &DatabaseConfig, role: DbRole) -> Result<Self> {
        Self::connect_reading_again(config, role, None)
    }

    /// The same, for a process that can ask once more where the database is when it is refused there.
    pub fn connect_reading_again(config: &DatabaseConfig, role: DbRole, read_again: Option<ReadAgain>) -> Result<Self> {
        let pool = Connections::to(config, role, read_again).doing("reading DATABASE_URL")?;
        Ok(Self { pool })
    }

    /// A store on a pool that is there already: each test has its own database.
    #[must_use]
    pub fn on(pool: PgPool) -> Self {
        Self {
            pool: Connections::Given(pool),
        }
    }
}

/// Where to connect, and never without encryption but on this machine or where the URL says so: by itself, Postgres'
/// protocol goes on in plain text with whoever says that there is none.
fn options(config: &DatabaseConfig) -> std::result::Result<PgConnectOptions, sqlx::Error> {
    let mut options = PgConnectOptions::from_str(config.url.expose())?;
    if let Some(password) = &config.password {
        options = options.password(password.expose());
    }
    if let Some(authority) = &config.authority {
        let authority = authority.as_bytes().to_vec();
        return Ok(options
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(authority));
    }
    let host = options.get_host();
    let is_here = options.get_socket().is_some()
        || host == "localhost"
        || IpAddr::from_str(host.trim_matches(['[', ']'])).is_ok_and(|address| address.is_loopback());
    Ok(match options.get_ssl_mode() {
        PgSslMode::Prefer if !is_here => options.ssl_mode(PgSslMode::Require),
        _ => options,
    })
}

/// The schema's name is checked by the configuration to be plain lower-case letters.
fn settle_in(schema: &str, role: DbRole) -> String {
    let needed = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    // A function that is newer than the schema would fail here and there; it had better not serve at all. Class 57 makes it
    // a 503, to be tried again.
    let check = format!(
        "do $$ begin
            if to_regclass('_sqlx_migrations') is null
                or {needed} > (select coalesce(max(version), 0) from _sqlx_migrations where success)
            then
                raise exception 'the schema {schema} is older than this function: run migrate' using errcode = '57P03';
            end if;
        end $$"
    );
    // Planning our statements with their policies takes longer than running them, and every one of them looks up keys: the
    // plan for all values is the plan for each.
    let settled = format!("set search_path = {schema}; {check}; set plan_cache_mode = force_generic_plan");
    match role {
        DbRole::App => format!("{settled}; {}", role::change(schema)),
        DbRole::Owner => settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str, authority: Option<&str>) -> PgSslMode {
        let config = DatabaseConfig {
            authority: authority.map(Into::into),
            ..DatabaseConfig::of(url)
        };
        options(&config).expect("a URL").get_ssl_mode()
    }

    #[test]
    fn nothing_goes_to_another_machine_in_plain_text_unless_it_is_said() {
        for (url, expected) in [
            ("postgres://u:p@db.example.com/app", PgSslMode::Require),
            ("postgres://u:p@10.0.0.7/app?sslmode=prefer", PgSslMode::Require),
            ("postgres://u:p@db/app?sslmode=disable", PgSslMode::Disable),
            ("postgres://u:p@db/app?sslmode=verify-full", PgSslMode::VerifyFull),
            ("postgres://u:p@127.0.0.1:5433/app", PgSslMode::Prefer),
            ("postgres://u:p@[::1]/app", PgSslMode::Prefer),
            ("postgres://u:p@localhost/app", PgSslMode::Prefer),
        ] {
            let found = mode(url, None);
            assert!(
                std::mem::discriminant(&found) == std::mem::discriminant(&expected),
                "{url}: {found:?}"
            );
        }
        assert!(matches!(
            mode(
                "postgres://u:p@db/app?sslmode=prefer",
                Some("-----BEGIN CERTIFICATE-----")
            ),
            PgSslMode::VerifyFull
        ));
    }
}
