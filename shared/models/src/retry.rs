//! Asks again while nothing has been said or thought. After the first chunk an error is the caller's: to ask again then would bill
//! twice and could contradict what people have read.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{Chunk, Chunks, Model, ModelError, Prompt};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RetryPolicy {
    /// In all; 0 counts as 1.
    pub(super) attempts: u32,
    /// Before the second attempt, doubled before each further one; jitter adds up to as much again.
    pub(super) first_wait: Duration,
    /// A provider that asks for more (`Retry-After`) is not asked again here: whoever waits learns it at once, and to ask
    /// earlier would only meet the same limit.
    pub(super) longest_wait: Duration,
    /// From the first attempt to the beginning of the last. How long an attempt may take is the model's to say, which hears more
    /// of life than the words that come here.
    pub(super) patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

/// A model that is asked again as the policy allows. Its [`Model::stream`] is that of the first attempt that says or thinks
/// anything, a plain [`Chunk::Done`] included, with its first chunk at hand (and what was counted before it), or the last attempt's error.
pub(super) struct Retrying {
    model: Arc<dyn Model>,
    policy: RetryPolicy,
}

impl Retrying {
    #[must_use]
    pub(super) fn new(model: Arc<dyn Model>, policy: RetryPolicy) -> Self {
        Self { model, policy }
    }
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("model", &self.model)
            .field("policy", &self.policy)
            .finish()
    }
}

#[async_trait]
impl Model for Retrying {
    fn name(&self) -> &str {
        self.model.name()
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let (model, policy) = (self.model.as_ref(), &self.policy);
        let begun = Instant::now();
        let patience = || policy.patience.saturating_sub(begun.elapsed());
        let ask = || ask_until_the_first_chunk(model, prompt);
        let backoff = ExponentialBuilder::new()
            .with_min_delay(policy.first_wait)
            .with_max_delay(policy.longest_wait)
            .with_max_times(policy.attempts.saturating_sub(1) as usize)
            .with_jitter()
            // Without its `std` feature backon seeds every jitter alike, and all processes would come back together.
            .with_jitter_seed(RandomState::new().build_hasher().finish());
        ask.retry(backoff)
            .when(ModelError::is_retryable)
            .adjust(|error, wait| {
                let asked = error.retry_after().unwrap_or_default();
                let wait = wait?.max(asked);
                (asked <= policy.longest_wait && wait < patience()).then_some(wait)
            })
            .notify(|error, wait| {
                tracing::warn!(model = model.name(), %error, detail = error.detail(), ?wait, "model asked again");
            })
            .await
    }
}

async fn ask_until_the_first_chunk(model: &dyn Model, prompt: &Prompt) -> Result<Chunks, ModelError> {
    let mut chunks = model.stream(prompt).await?;
    // A count alone is nothing said: some providers count the prompt and then find that they are overloaded.
    let mut counted = None;
    let first = loop {
        match chunks.next().await.ok_or(ModelError::Truncated)?? {
            Chunk::Counted(usage) => counted = Some(usage),
            said => break said,
        }
    };
    let heard = counted.map(Chunk::Counted).into_iter().chain([first]);
    Ok(stream::iter(heard.map(Ok)).chain(chunks).boxed())
}

#[cfg(test)]
mod tests;
