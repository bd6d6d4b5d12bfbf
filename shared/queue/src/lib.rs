//! The queue, which wakes the worker, and brings it notices that agents put there themselves. A job itself is a row in
//! Postgres: a wake-up may be lost, doubled or late without harm, so a refusal is reported and never an error.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::warn;

use domain::ids::JobId;
use domain::reply::Wake;
use foundation::causes;
use telemetry::Part;

/// How long a sender waits for SQS. The sweeper finds what SQS did not take.
pub const WAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// SQS allows 15 minutes; a later job is woken by the sweeper.
const MAX_DELAY_SECONDS: i32 = 900;
/// SQS takes ten messages a call.
const BATCH: usize = 10;

/// What a wake-up says on the queue: `{"v": 1, "jobId": "…"}`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WakeUp {
    pub v: u32,
    pub job_id: String,
}

impl WakeUp {
    pub const VERSION: u32 = 1;

    #[must_use]
    pub fn of(job_id: JobId) -> Self {
        Self {
            v: Self::VERSION,
            job_id: job_id.to_string(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    dead_letters: Option<String>,
}

/// Whether SQS took the wake-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There was nothing to wake.
    Nothing,
    Sent,
    Refused,
}

impl Queue {
    #[must_use]
    pub fn new(client: Client, url: String, dead_letters: Option<String>) -> Self {
        Self {
            client,
            url,
            dead_letters,
        }
    }

    /// Puts a message that nothing can be done with among the dead letters, as it came and with the reason. `false`: it is
    /// not there, for none are configured or SQS did not take it; then it is left to the queue's own redrive policy.
    pub async fn send_to_dead_letter_queue(&self, message_id: &str, body: &str, reason: &str) -> bool {
        let Some(url) = self.dead_letters.as_deref().filter(|_| !body.is_empty()) else {
            return false;
        };
        let attribute = |text: &str| {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(text)
                .build()
        };
        let (Ok(reason), Ok(message_id)) = (attribute(reason), attribute(message_id)) else {
            return false;
        };
        let sent = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .message_attributes("reason", reason)
            .message_attributes("messageId", message_id)
            .send();
        match timeout(WAKE_TIMEOUT, sent).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                warn!(error = causes(&error), "a dead letter was refused");
                false
            }
            Err(_) => {
                warn!("a dead letter was not taken in time");
                false
            }
        }
    }

    /// Waits at most [`WAKE_TIMEOUT`].
    pub async fn wake(&self, wakes: &[Wake]) -> Woken {
        if wakes.is_empty() {
            return Woken::Nothing;
        }
        match telemetry::timing(Part::Queue, timeout(WAKE_TIMEOUT, self.send(wakes))).await {
            Ok(Ok(())) => Woken::Sent,
            Ok(Err(error)) => {
                warn!(
                    error = format!("{error:#}"),
                    jobs = wakes.len(),
                    "the queue refused a wake-up"
                );
                Woken::Refused
            }
            Err(_) => {
                warn!(jobs = wakes.len(), "the queue did not answer in time");
                Woken::Refused
            }
        }
    }

    async fn send(&self, wakes: &[Wake]) -> anyhow::Result<()> {
        let trace = telemetry::trace().map(|header| {
            MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(header)
                .build()
        });
        let trace = trace.transpose()?;
        for batch in wakes.chunks(BATCH) {
            let entries = batch
                .iter()
                .enumerate()
                .map(|(index, wake)| {
                    Ok(SendMessageBatchRequestEntry::builder()
                        .id(index.to_string())
                        .message_body(serde_json::to_string(&WakeUp::of(wake.job_id))?)
                        // On a standard queue this asks for fairness alone: a busy chat does not hold the others up.
                        .set_message_group_id(wake.chat_id.map(|chat| chat.to_string()))
                        .set_message_system_attributes(trace.clone().map(|header| {
                            HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, header)])
                        }))
                        .delay_seconds(wake.after_seconds.clamp(0, MAX_DELAY_SECONDS))
                        .build()?)
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let answer = self
                .client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries))
                .send()
                .await?;
            anyhow::ensure!(
                answer.failed().is_empty(),
                "SQS refused {} of {}",
                answer.failed().len(),
                batch.len()
            );
        }
        Ok(())
    }
}
