//! What a request or an attempt of a reply concerned, and where its time went: collected while it runs, and logged in one line
//! when it is over. Nobody is named in it.

pub mod metrics;

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::task_local;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

use domain::ids::{Seq, UserId};

task_local! {
    static REQUEST_LOG: Arc<RequestLog>;
}

/// Who else works on a request. Side by side, their times may sum to more than it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Database,
    Queue,
    Pusher,
    Model,
}

const PARTS: usize = 4;
/// sqlx tells of each statement under this name, with the seconds that it took.
const STATEMENTS: &str = "sqlx::query";
const SECONDS: &str = "elapsed_secs";

#[derive(Debug, Default)]
pub struct RequestLog {
    microseconds: [AtomicU64; PARTS],
    statements: AtomicU64,
    person: OnceLock<String>,
    /// 0: none.
    seq: AtomicI64,
    /// X-Ray's header, by which the work that a request leaves behind is found beside it.
    trace: Option<String>,
}

impl RequestLog {
    #[must_use]
    pub fn milliseconds(&self, part: Part) -> f64 {
        self.microseconds[part as usize].load(Ordering::Relaxed) as f64 / 1000.0
    }

    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// A name that tells people apart and names nobody.
    #[must_use]
    pub fn person(&self) -> Option<&str> {
        self.person.get().map(String::as_str)
    }

    #[must_use]
    pub fn seq(&self) -> Option<i64> {
        Some(self.seq.load(Ordering::Relaxed)).filter(|seq| *seq != 0)
    }

    fn spend(&self, part: Part, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.microseconds[part as usize].fetch_add(microseconds, Ordering::Relaxed);
    }
}

/// Collects what is said while `answering` runs. `trace`: X-Ray's header, where there is one.
pub async fn with_request_log<T>(trace: Option<String>, answering: impl Future<Output = T>) -> (T, Arc<RequestLog>) {
    let request_log = Arc::new(RequestLog {
        trace,
        ..RequestLog::default()
    });
    let outcome = REQUEST_LOG.scope(Arc::clone(&request_log), answering).await;
    (outcome, request_log)
}

/// For a task of its own: what it does still counts for the request that began it, and carries its trace.
pub fn in_current_request<T>(doing: impl Future<Output = T>) -> impl Future<Output = T> {
    let request_log = REQUEST_LOG.try_with(Arc::clone).ok();
    async move {
        match request_log {
            Some(request_log) => REQUEST_LOG.scope(request_log, doing).await,
            None => doing.await,
        }
    }
}

/// Counts the time of `doing` as somebody's. Outside a request nobody counts.
pub async fn timing<T>(part: Part, doing: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = doing.await;
    say(|request_log| request_log.spend(part, begun.elapsed()));
    outcome
}

/// Who calls.
pub fn caller(person: &UserId) {
    say(|request_log| {
        request_log
            .person
            .get_or_init(|| hex::encode(&Sha256::digest(person.as_str())[..6]));
    });
}

/// What place the request took in its chat.
pub fn place(seq: Seq) {
    say(|request_log| request_log.seq.store(seq.value(), Ordering::Relaxed));
}

/// X-Ray's header of the request that is answered here.
#[must_use]
pub fn trace() -> Option<String> {
    REQUEST_LOG
        .try_with(|request_log| request_log.trace.clone())
        .ok()
        .flatten()
}

/// Logs what was collected since `$began`, with further fields and, last, a word for what it was.
#[macro_export]
macro_rules! log_request {
    ($request_log:expr, $began:expr, $($fields:tt)+) => {
        tracing::info!(
            person = $request_log.person(),
            seq = $request_log.seq(),
            milliseconds = $began.elapsed().as_secs_f64() * 1000.0,
            database_milliseconds = $request_log.milliseconds($crate::Part::Database),
            statements = $request_log.statements(),
            queue_milliseconds = $request_log.milliseconds($crate::Part::Queue),
            pusher_milliseconds = $request_log.milliseconds($crate::Part::Pusher),
            model_milliseconds = $request_log.milliseconds($crate::Part::Model),
            $($fields)+
        )
    };
}

fn say(what: impl FnOnce(&RequestLog)) {
    // Outside a request nobody listens.
    let _outside = REQUEST_LOG.try_with(|request_log| what(request_log));
}

/// Hears of each statement from sqlx.
pub fn statements<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    Statements.with_filter(Targets::new().with_target(STATEMENTS, LevelFilter::DEBUG))
}

struct Statements;

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        event.record(&mut Taken);
    }
}

struct Taken;

impl Visit for Taken {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == SECONDS
            && let Ok(time) = Duration::try_from_secs_f64(value)
        {
            say(|request_log| {
                request_log.spend(Part::Database, time);
                request_log.statements.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_while_a_request_is_answered_is_gathered_and_nothing_else() {
        caller(&UserId::parse("nobody").expect("an id"));
        assert_eq!(trace(), None);
        let ((), request_log) = with_request_log(Some("Root=1-2-3".into()), async {
            assert_eq!(trace().as_deref(), Some("Root=1-2-3"));
            caller(&UserId::parse("anna").expect("an id"));
            place(Seq::new(7).expect("a seq"));
            timing(Part::Pusher, tokio::time::sleep(Duration::from_millis(3))).await;
        })
        .await;
        let person = request_log.person().expect("a person");
        assert_eq!(person.len(), 12);
        assert!(!person.contains("anna"));
        assert_eq!(request_log.seq(), Some(7));
        assert!(request_log.milliseconds(Part::Pusher) >= 3.0);
        assert!(request_log.milliseconds(Part::Queue) == 0.0 && request_log.statements() == 0);
        let (task, request_log) = with_request_log(Some("Root=4-5-6".into()), async {
            tokio::spawn(in_current_request(async {
                place(Seq::new(8).expect("a seq"));
                trace()
            }))
            .await
        })
        .await;
        assert_eq!(task.expect("a task's end").as_deref(), Some("Root=4-5-6"));
        assert_eq!(request_log.seq(), Some(8));
        let ((), other) = with_request_log(None, async {}).await;
        assert_eq!((other.person(), other.seq()), (None, None));
    }
}
