//! How organisations' webhooks are told.

use std::time::Duration;

use foundation::environment::{ConfigError, Environment};

#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `WEBHOOK_TARGETS`: `public`, the default, or `any`.
    pub targets: Targets,
    /// `WEBHOOK_ATTEMPTS`: of one event, before it is parked; default 12, which is about two days.
    pub attempts: i32,
    /// `WEBHOOK_RETRY_SECONDS`: before the second attempt, four times as long before each further one; default 5.
    pub retry_after: Duration,
    /// `WEBHOOK_TIMEOUT_SECONDS`: for the whole of an answer; default 10.
    pub timeout: Duration,
}

/// Where events may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// By `https`, to public addresses alone.
    Public,
    /// By `http` too, and to any address: for a local stack, or where all webhooks are one's own.
    Any,
}

impl WebhookConfig {
    /// The longest rest between two attempts.
    const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);

    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            targets: match env.optional("WEBHOOK_TARGETS").as_deref() {
                None | Some("public") => Targets::Public,
                Some("any") => Targets::Any,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "WEBHOOK_TARGETS is {other:?}: use public or any."
                    )));
                }
            },
            attempts: env.parsed("WEBHOOK_ATTEMPTS", 12)?,
            retry_after: env.seconds("WEBHOOK_RETRY_SECONDS", 5)?,
            timeout: env.seconds("WEBHOOK_TIMEOUT_SECONDS", 10)?,
        };
        if config.attempts < 1 {
            return Err(ConfigError::new(format!(
                "WEBHOOK_ATTEMPTS is {}, but must be 1 at least.",
                config.attempts
            )));
        }
        Ok(config)
    }

    /// How long an event rests after so many attempts.
    #[must_use]
    pub fn rest_after(&self, attempt: i32) -> Duration {
        let further = u32::try_from(attempt.max(1) - 1).unwrap_or(0);
        self.retry_after
            .saturating_mul(4_u32.saturating_pow(further))
            .min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_fourfold_up_to_eight_hours() {
        let config = WebhookConfig::read(&Environment(&|_| None)).expect("defaults");
        let rests: Vec<_> = (1..=8).map(|attempt| config.rest_after(attempt).as_secs()).collect();
        assert_eq!(rests, [5, 20, 80, 320, 1280, 5120, 20480, 28800]);
        assert_eq!(config.rest_after(i32::MAX).as_secs(), 28800);
    }
}
