//! How fast a person may go.

use std::str::FromStr;
use std::time::Duration;

/// What routes have in common that share an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateClass {
    /// What makes a model answer.
    Send,
    /// Whatever else changes something.
    Write,
    /// What opens a stream.
    Stream,
    /// What only looks.
    Read,
    /// What looks through much: searches, and counting anew what is unread.
    Search,
    Upload,
    /// What agents tell people.
    Notice,
}
wire_enum!(RateClass {
    Send = "send",
    Write = "write",
    Stream = "stream",
    Read = "read",
    Search = "search",
    Upload = "upload",
    Notice = "notice",
});

/// So many requests in so many seconds: `120/60s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub quota: i32,
    pub seconds: i32,
}

impl RateLimit {
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.unsigned_abs()))
    }
}

impl FromStr for RateLimit {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (quota, period) = text.split_once('/').ok_or(())?;
        let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0).ok_or(());
        Ok(Self {
            quota: number(quota)?,
            seconds: number(period.trim().strip_suffix('s').ok_or(())?)?,
        })
    }
}

/// What came of a request's try to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub class: RateClass,
    pub limit: RateLimit,
    pub is_allowed: bool,
    /// How many more may follow at once.
    pub remaining: i32,
    /// Until the allowance is whole again.
    pub reset_after_seconds: i32,
    /// Until the next one may come; 0 if this one may.
    pub retry_after_seconds: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_quota_and_its_seconds() {
        assert_eq!(
            "120/60s".parse(),
            Ok(RateLimit {
                quota: 120,
                seconds: 60
            })
        );
        assert_eq!(
            " 1 / 3600s".parse(),
            Ok(RateLimit {
                quota: 1,
                seconds: 3600
            })
        );
        for odd in [
            "",
            "120",
            "120/60",
            "120/s",
            "0/60s",
            "1/0s",
            "-1/60s",
            "1/1.5s",
            "x/60s",
            "9999999999/1s",
        ] {
            assert_eq!(odd.parse::<RateLimit>(), Err(()), "{odd}");
        }
    }
}
