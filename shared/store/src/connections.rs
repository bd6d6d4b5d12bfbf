//! Connections to Postgres, for processes that serve one request at a time and are frozen between them.
//!
//! sqlx's own pool tries again for seconds what another try does not mend, waits without end for a peer that is gone, and
//! asks for a sign of life after a statement, where it protects nobody. Here that is asked before a connection is used
//! again, unless it was used a moment ago; whatever waits has a bound; and what Postgres refuses is refused at once, and
//! for a second without asking it again.

mod executor;
mod lease;

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPool, PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Connection, Either, Error, Executor, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use self::executor::Statement;
use self::lease::Lease;
use super::{DbRole, options, settle_in};
use crate::config::DatabaseConfig;
use foundation::moment::Moment;

/// How long a request waits for a connection that others use.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// For all of it: TCP, TLS, the password and our settings.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A ping is one round trip, so a connection is asked for one only when it may have died: when its process was idle or
/// frozen since. Under load it is not asked at all.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// Below what poolers and load balancers allow.
const MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long a refusal is taken for the answer of the next request, too.
const REFUSAL_LASTS: Duration = Duration::from_secs(1);
/// Where the database is, is not read again more often than this: the parameter store answers few a second, and all
/// processes are refused at the same time.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);
const READ_AGAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Postgres cancels what takes too long; who hears nothing even then has lost it.
const GRACE: Duration = Duration::from_secs(1);
/// Of a transaction whose function was killed between two statements.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// Reads once more where the database is and by which password, for those are kept outside of the process.
pub type ReadAgain = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<DatabaseConfig>> + Send + Sync>;

#[derive(Clone, Debug)]
pub(super) enum Connections {
    Ours(Arc<Server>),
    /// Those of a test, which has set them up.
    Given(PgPool),
}

/// A server, and the connections to it that are open.
pub(super) struct Server {
    role: DbRole,
    read_again: Option<ReadAgain>,
    target: Mutex<Target>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    refusal: Mutex<Option<(Moment, Refused)>>,
    read_at: Mutex<Option<Moment>>,
}

#[derive(Clone)]
struct Target {
    config: DatabaseConfig,
    options: PgConnectOptions,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made: Moment,
    since: Moment,
}

/// Why there is no connection. No statement has failed, for none was sent, so it is told as an error of the way there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no connection: {0}")]
struct Refused(Arc<Error>);

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Io(io::Error::other(refused))
    }
}

pub(super) fn no_answer(within: Duration) -> Error {
    let waited = format!("no answer within {} s", within.as_secs_f64());
    Error::Io(io::Error::new(ErrorKind::TimedOut, waited))
}

/// Whether the session is at fault and not the statement: it has ended or must end, and another one may do better.
pub(super) fn is_of_the_session(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    // A result's columns have changed by a migration, and the session's prepared statement goes by those before.
    let is_outdated = || {
        let error = error.try_downcast_ref::<PgDatabaseError>();
        code == "0A000" && error.and_then(PgDatabaseError::routine) == Some("RevalidateCachedQuery")
    };
    // A server that has become a replica; a prepared statement that a pooler lost; and the classes of connection
    // exceptions and of sessions that are ended.
    ["25006", "26000"].contains(&&*code) || code.starts_with("08") || code.starts_with("57P") || is_outdated()
}

/// Whether the statement was surely not carried out: it is committed after Postgres has said that it is complete, and it
/// had not said that.
fn nothing_was_done(error: &Error, answer: &[Either<PgQueryResult, PgRow>]) -> bool {
    let is_said = matches!(error, Error::Database(error) if is_of_the_session(&**error));
    is_said && !answer.iter().any(Either::is_left)
}

impl Connections {
    pub(super) fn to(config: &DatabaseConfig, role: DbRole, read_again: Option<ReadAgain>) -> Result<Self, Error> {
        let most = usize::try_from(config.connections).unwrap_or(1).max(1);
        Ok(Self::Ours(Arc::new(Server {
            role,
            read_again,
            target: Mutex::new(Target::of(config)?),
            permits: Arc::new(Semaphore::new(most)),
            idle: Mutex::default(),
            refusal: Mutex::default(),
            read_at: Mutex::default(),
        })))
    }

    /// A connection for what needs the same one several times.
    pub(super) async fn lease(&self) -> Result<Lease, Error> {
        match self {
            Self::Ours(server) => server.lease().await,
            Self::Given(pool) => Ok(Lease::Given(pool.acquire().await?)),
        }
    }
}

impl Target {
    fn of(config: &DatabaseConfig) -> Result<Self, Error> {
        Ok(Self {
            config: config.clone(),
            options: options(config)?.application_name("backtalk"),
        })
    }

    /// What is said first on a connection. Not as parameters of its start, which poolers refuse.
    fn settings(&self, role: DbRole) -> String {
        let milliseconds = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128);
        format!(
            "set statement_timeout = {}; set idle_session_timeout = {}; set idle_in_transaction_session_timeout = {}; {}",
            milliseconds(self.config.statement_timeout(role)),
            milliseconds(self.config.idle_timeout),
            milliseconds(IDLE_IN_TRANSACTION),
            settle_in(&self.config.schema, role)
        )
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// How long one statement may go without its answer.
    fn bound(&self) -> Duration {
        locked(&self.target).config.statement_timeout(self.role) + GRACE
    }

    async fn lease(self: &Arc<Self>) -> Result<Lease, Error> {
        let permit = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.permits).acquire_owned());
        let permit = permit
            .await
            .map_err(|_| Error::PoolTimedOut)?
            .map_err(|_| Error::PoolClosed)?;
        let (connection, made, is_fresh) = match self.idle_one().await {
            Some(idle) => (idle.connection, idle.made, false),
            None => (self.connect().await?, Moment::now(), true),
        };
        Ok(Lease::Ours {
            connection,
            made,
            is_fresh,
            server: Arc::clone(self),
            _permit: permit,
        })
    }

    /// A connection that is open and alive.
    async fn idle_one(&self) -> Option<Idle> {
        loop {
            let mut idle = locked(&self.idle).pop()?;
            if idle.made.elapsed() >= MAX_LIFETIME {
                // Whether the server hears of it does not matter.
                let _told = timeout(PING_TIMEOUT, idle.connection.close()).await;
                continue;
            }
            if idle.since.elapsed() < PING_AFTER_IDLE {
                return Some(idle);
            }
            match timeout(PING_TIMEOUT, idle.connection.ping()).await {
                Ok(Ok(())) => return Some(idle),
                // It was ended by the server, which the others may know nothing of.
                Ok(Err(_)) => {}
                // What does not answer is no better by another connection that is as old.
                Err(_) => locked(&self.idle).clear(),
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        if let Some((at, refused)) = &*locked(&self.refusal)
            && at.elapsed() < REFUSAL_LASTS
        {
            return Err(refused.clone().into());
        }
        let mut outcome = self.try_to_connect().await;
        if let Err(error) = &outcome
            && self.is_elsewhere(error).await
        {
            outcome = self.try_to_connect().await;
        }
        let (refusal, outcome) = match outcome {
            Ok(connection) => (None, Ok(connection)),
            Err(error) => {
                let refused = Refused(Arc::new(error));
                (Some((Moment::now(), refused.clone())), Err(refused.into()))
            }
        };
        *locked(&self.refusal) = refusal;
        outcome
    }

    async fn try_to_connect(&self) -> Result<PgConnection, Error> {
        let target = locked(&self.target).clone();
        let connecting = async {
            let mut connection = PgConnection::connect_with(&target.options).await?;
            connection.execute(AssertSqlSafe(target.settings(self.role))).await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(no_answer(CONNECT_TIMEOUT)))
    }

    /// Whether the database has another address or password than when the process started, which is known from now on.
    async fn is_elsewhere(&self, error: &Error) -> bool {
        let Some(read_again) = &self.read_again else {
            return false;
        };
        // Who is let in, and which database there is; and whatever comes between.
        let may_be = match error {
            Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                code.starts_with("28") || code.starts_with("3D")
            }
            _ => true,
        };
        {
            let mut read_at = locked(&self.read_at);
            if !may_be || read_at.is_some_and(|at| at.elapsed() < READ_AGAIN_AFTER) {
                return false;
            }
            *read_at = Some(Moment::now());
        }
        let read = match timeout(READ_AGAIN_TIMEOUT, read_again()).await {
            Ok(read) => read,
            Err(_) => Err(no_answer(READ_AGAIN_TIMEOUT).into()),
        };
        match read.and_then(|config| Ok(Target::of(&config)?)) {
            Ok(target) => {
                let mut known = locked(&self.target);
                let is_other = target.config != known.config;
                *known = target;
                is_other
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "where the database is cannot be read again"
                );
                false
            }
        }
    }

    /// All that a statement answers. It is sent once more, on a fresh connection, where its session was at fault and it
    /// was surely not carried out.
    async fn run(self: &Arc<Self>, statement: Statement) -> Result<Vec<Either<PgQueryResult, PgRow>>, Error> {
        let bound = self.bound();
        let mut is_second = false;
        loop {
            let mut lease = self.lease().await?;
            let mut answer = Vec::new();
            let sent = async {
                let mut coming = lease.fetch_many(statement.clone());
                while let Some(one) = coming.try_next().await? {
                    answer.push(one);
                }
                Ok(())
            };
            let outcome = timeout(bound, sent).await.unwrap_or_else(|_| Err(no_answer(bound)));
            let error = match outcome {
                Ok(()) => {
                    lease.give_back();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match &error {
                Error::Database(error) if !is_of_the_session(&**error) => lease.give_back(),
                _ => {
                    // What has ended this session, a restart for example, has ended the others.
                    locked(&self.idle).clear();
                    if !is_second && !lease.is_fresh() && nothing_was_done(&error, &answer) {
                        is_second = true;
                        continue;
                    }
                }
            }
            return Err(error);
        }
    }
}
