//! How long ago something was, in a process that is frozen between requests: the monotonic clock may stand still
//! meanwhile, so the wall clock is asked as well, and the longer time counts.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    #[must_use]
    pub fn elapsed(&self) -> Duration {
        // A wall clock that was set back says nothing.
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(by_wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_monotonic_clock_does_not_hide_an_hour() {
        let hour = Duration::from_secs(3600);
        let moment = Moment {
            wall: SystemTime::now() - hour,
            ..Moment::now()
        };
        assert!(moment.elapsed() >= hour);
        let set_back = Moment {
            wall: SystemTime::now() + hour,
            ..Moment::now()
        };
        assert!(set_back.elapsed() < hour);
    }
}
