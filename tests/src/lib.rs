//! What end-to-end tests are made of: the stack they run against ([`Stack`]), people who call it ([`Person`]), streamed
//! answers read piece by piece ([`Stream`]), functions of a test's own that may be broken or killed ([`Function`]), and
//! outside parts that fail on command ([`proxy`], [`llmock`]).
//!
//! Every test brings people of its own, so that tests run at once and in any order. A test waits for what must happen,
//! never for time to pass; only its patience is limited.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod contract;
pub mod function;
pub mod ledger;
pub mod llmock;
pub mod model;
pub mod person;
pub mod proxy;
pub mod queue;
pub mod random;
pub mod stack;
pub mod stream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

pub use function::{Function, Gateway};
pub use person::{Answer, Person};
pub use queue::Queue;
pub use random::Random;
pub use stack::Stack;
pub use stream::{Frame, Stream};

/// How long a test waits for what must happen. It is long, for it says nothing about speed: only that it does happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A message that the scripted model obeys.
#[must_use]
pub fn script(what: &Value) -> String {
    format!("/script {what}")
}

/// Looks again and again until there is what a test waits for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Runs tasks that all wait for one another before they do what they are for.
pub async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks = (0..count).map(|index| {
        let (barrier, task) = (barrier.clone(), task(index));
        tokio::spawn(async move {
            barrier.wait().await;
            task.await
        })
    });
    join_all(tasks).await.into_iter().map(|task| task.unwrap()).collect()
}
