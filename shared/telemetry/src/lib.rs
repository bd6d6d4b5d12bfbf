//! What a request or an attempt of a reply concerned, and where its time went: gathered while it runs, and said in one line
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
    static GATHERED: Arc<Gathered>;
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
pub struct Gathered {
    microseconds: [AtomicU64; PARTS],
    statements: AtomicU64,
    person: OnceLock<String>,
    /// 0: none.
    seq: AtomicI64,
    /// X-Ray's header, by which the work that a request leaves behind is found beside it.
    trace: Option<String>,
}

impl Gathered {
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

/// Gathers what is said while `answering` runs. `trace`: X-Ray's header, where there is one.
pub async fn gathering<T>(trace: Option<String>, answering: impl Future<Output = T>) -> (T, Arc<Gathered>) {
    let gathered = Arc::new(Gathered {
        trace,
        ..Gathered::default()
    });
    let outcome = GATHERED.scope(Arc::clone(&gathered), answering).await;
    (outcome, gathered)
}

/// For a task of its own: what it does still counts for the request that began it, and carries its trace.
pub fn carrying<T>(doing: impl Future<Output = T>) -> impl Future<Output = T> {
    let gathered = GATHERED.try_with(Arc::clone).ok();
    async move {
        match gathered {
            Some(gathered) => GATHERED.scope(gathered, doing).await,
            None => doing.await,
        }
    }
}

/// Counts the time of `doing` as somebody's. Outside a request nobody counts.
pub async fn timing<T>(part: Part, doing: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = doing.await;
    say(|gathered| gathered.spend(part, begun.elapsed()));
    outcome
}

/// Who calls.
pub fn caller(person: &UserId) {
    say(|gathered| {
        gathered
            .person
            .get_or_init(|| hex::encode(&Sha256::digest(person.as_str())[..6]));
    });
}

/// What place the request took in its chat.
pub fn place(seq: Seq) {
    say(|gathered| gathered.seq.store(seq.value(), Ordering::Relaxed));
}

/// X-Ray's header of the request that is answered here.
#[must_use]
pub fn trace() -> Option<String> {
    GATHERED.try_with(|gathered| gathered.trace.clone()).ok().flatten()
}

/// Says what was gathered since `$began`, with fields of one's own and, last, a word for what it was.
#[macro_export]
macro_rules! say_gathered {
    ($gathered:expr, $began:expr, $($fields:tt)+) => {
        tracing::info!(
            person = $gathered.person(),
            seq = $gathered.seq(),
            milliseconds = $began.elapsed().as_secs_f64() * 1000.0,
            database_milliseconds = $gathered.milliseconds($crate::Part::Database),
            statements = $gathered.statements(),
            queue_milliseconds = $gathered.milliseconds($crate::Part::Queue),
            pusher_milliseconds = $gathered.milliseconds($crate::Part::Pusher),
            model_milliseconds = $gathered.milliseconds($crate::Part::Model),
            $($fields)+
        )
    };
}

fn say(what: impl FnOnce(&Gathered)) {
    // Outside a request nobody listens.
    let _outside = GATHERED.try_with(|gathered| what(gathered));
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
            say(|gathered| {
                gathered.spend(Part::Database, time);
                gathered.statements.fetch_add(1, Ordering::Relaxed);
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
        let ((), gathered) = gathering(Some("Root=1-2-3".into()), async {
            assert_eq!(trace().as_deref(), Some("Root=1-2-3"));
            caller(&UserId::parse("anna").expect("an id"));
            place(Seq::new(7).expect("a seq"));
            timing(Part::Pusher, tokio::time::sleep(Duration::from_millis(3))).await;
        })
        .await;
        let person = gathered.person().expect("a person");
        assert_eq!(person.len(), 12);
        assert!(!person.contains("anna"));
        assert_eq!(gathered.seq(), Some(7));
        assert!(gathered.milliseconds(Part::Pusher) >= 3.0);
        assert!(gathered.milliseconds(Part::Queue) == 0.0 && gathered.statements() == 0);
        let (task, gathered) = gathering(Some("Root=4-5-6".into()), async {
            tokio::spawn(carrying(async {
                place(Seq::new(8).expect("a seq"));
                trace()
            }))
            .await
        })
        .await;
        assert_eq!(task.expect("a task's end").as_deref(), Some("Root=4-5-6"));
        assert_eq!(gathered.seq(), Some(8));
        let ((), other) = gathering(None, async {}).await;
        assert_eq!((other.person(), other.seq()), (None, None));
    }
}
