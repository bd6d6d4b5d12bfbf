//! One step after the other, each within its share of a run: what one of them cannot do, or takes too long for, is no other's
//! loss.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use backtalk_http::Result;
use backtalk_http::error::Error;
use domain::ids::ChatId;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

/// When a step is to begin nothing more. What it has begun may take a while longer, and is cut off after [`Steps::run`]'s
/// share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(Instant);

impl Until {
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Steps {
    failed: Vec<&'static str>,
}

impl Steps {
    /// Runs a step for at most `share`, with a quarter of it for what was begun last. Nothing is what came of one that fails,
    /// panics or is cut off.
    pub(super) async fn step<T, F>(&mut self, name: &'static str, share: Duration, step: impl FnOnce(Until) -> F) -> T
    where
        T: Default,
        F: Future<Output = Result<T>>,
    {
        let until = Until(Instant::now() + share * 3 / 4);
        match timeout(share, AssertUnwindSafe(step(until)).catch_unwind()).await {
            Ok(Ok(Ok(done))) => return done,
            Ok(Ok(Err(error))) => error!(step = name, %error, "a step of the sweeper failed"),
            Ok(Err(_)) => error!(step = name, "a step of the sweeper panicked"),
            Err(_) => error!(step = name, ?share, "a step of the sweeper was cut off"),
        }
        self.failed.push(name);
        T::default()
    }

    pub(super) fn failed(self) -> Vec<&'static str> {
        self.failed
    }
}

/// What went wrong with one chat keeps no other waiting: the first failure is the step's, once it is through.
pub(super) fn kept_for_later(failure: &mut Option<Error>, chat: ChatId, error: store::Error) {
    warn!(%chat, %error, "a step of the sweeper left a chat out");
    if failure.is_none() {
        *failure = Some(error.into());
    }
}

/// Deletes batch after batch, until one is not full or the time is over. How many rows.
pub(super) async fn in_batches<F>(most: i64, until: Until, mut batch: impl FnMut(i64) -> F) -> Result<u64>
where
    F: Future<Output = store::Result<u64>>,
{
    let mut rows = 0;
    loop {
        let deleted = batch(most).await?;
        rows += deleted;
        if i64::try_from(deleted).is_ok_and(|deleted| deleted < most) || until.is_over() {
            return Ok(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_step_that_fails_panics_or_hangs_stops_no_other() {
        let mut steps = Steps::default();
        let failed: u64 = steps
            .step("failing", LONG, |_| async { Err(Error::NotFound("it")) })
            .await;
        let panicked: u64 = steps.step("panicking", LONG, |_| async { panic!("on purpose") }).await;
        let hung: u64 = steps.step("hanging", Duration::from_millis(1), |_| pending()).await;
        let done = steps.step("last", LONG, |_| async { Ok(7) }).await;
        assert_eq!((failed, panicked, hung, done), (0, 0, 0, 7));
        assert_eq!(steps.failed(), ["failing", "panicking", "hanging"]);
    }

    #[tokio::test]
    async fn batches_end_with_what_is_there_or_with_the_time() {
        let mut left = 25;
        let mut batch = |most: i64| {
            let deleted = most.min(left);
            left -= deleted;
            async move { Ok(deleted.unsigned_abs()) }
        };
        let over = Until(Instant::now());
        assert_eq!(in_batches(10, over, &mut batch).await.unwrap_or(0), 10, "never none");
        let long = Until(Instant::now() + LONG);
        assert_eq!(in_batches(10, long, &mut batch).await.unwrap_or(0), 15);
    }
}
