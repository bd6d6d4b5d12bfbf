//! How long an invocation may go on. Lambda ends a function that is over its time without a word, so what may take long ends
//! itself before that.

use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

/// Kept back for whoever ends at the deadline: the last statements, and telling everyone.
const TO_END: Duration = Duration::from_secs(15);
/// With less than this left nothing long is begun: the next invocation has more.
const TO_BEGIN: Duration = Duration::from_secs(60);
/// Lambda's longest.
const LONGEST: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    /// From the invocation's beginning to `at`.
    whole: Duration,
}

impl Deadline {
    /// Of an invocation that begins now and is ended after `time`.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        let whole = time - TO_END.min(time / 4);
        Self {
            at: Instant::now() + whole,
            whole,
        }
    }

    /// Of an invocation that begins now and is ended at that time, in milliseconds since 1970, as Lambda says it. `otherwise`:
    /// how long it may take where that is nonsense; `cargo lambda` names a time in 1970.
    #[must_use]
    pub fn told(milliseconds: u64, otherwise: Duration) -> Self {
        let now = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
        let left = milliseconds.checked_sub(now).map(Duration::from_millis);
        Self::of(left.filter(|left| *left <= LONGEST).unwrap_or(otherwise))
    }

    /// When what was begun has to end.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether there is time to begin something long.
    #[must_use]
    pub fn leaves_time(&self) -> bool {
        self.at.saturating_duration_since(Instant::now()) >= TO_BEGIN.min(self.whole / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(deadline: Deadline) -> Duration {
        deadline.at() - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_ends_before_the_function_is_ended() {
        assert_eq!(left(Deadline::of(Duration::from_secs(300))), Duration::from_secs(285));
        assert_eq!(left(Deadline::of(Duration::from_secs(8))), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_platforms_time_is_taken_unless_it_is_nonsense() {
        let in_a_minute = u64::try_from(Utc::now().timestamp_millis()).unwrap() + 60_000;
        let otherwise = Duration::from_secs(300);
        let told = left(Deadline::told(in_a_minute, otherwise));
        assert!(
            told > Duration::from_secs(40) && told <= Duration::from_secs(45),
            "{told:?}"
        );
        for nonsense in [0, 30_000, u64::MAX] {
            assert_eq!(left(Deadline::told(nonsense, otherwise)), Duration::from_secs(285));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_long_is_begun_when_little_time_is_left() {
        let deadline = Deadline::of(Duration::from_secs(300));
        tokio::time::advance(Duration::from_secs(224)).await;
        assert!(deadline.leaves_time());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!deadline.leaves_time());
    }
}
