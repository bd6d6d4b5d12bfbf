//! For agents in Rust: sending notices, by HTTP or by the queue, with one call for each type.
//!
//! ```no_run
//! # async fn example() -> Result<(), backtalk_notices::SendError> {
//! use serde_json::json;
//! use backtalk_notices::{Notice, Notices, Sent};
//!
//! let notices = Notices::by_http("https://chat.example.com", "the agent's token")?;
//! let booked = Notice::new("task_123", "user_456", "Your meeting has been scheduled.")
//!     .data(json!({"eventId": "event_789"}))
//!     .key("task_123-booked");
//! // Sent again with the same key, it is the same notice.
//! let sent: Sent = notices.send_confirmation(&booked).await?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use aws_sdk_sqs::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use domain::message::MessageType;
use domain::notice::Priority;
use domain::notice::QueuedNotice;
use foundation::causes;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to tell whom of which task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    task_id: String,
    user_id: String,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    #[serde(skip_serializing_if = "Priority::is_normal")]
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Notice {
    #[must_use]
    pub fn new(task_id: impl Into<String>, user_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            task_id: task_id.into(),
            user_id: user_id.into(),
            content: content.into(),
            data: None,
            org_id: None,
            priority: Priority::Normal,
            key: None,
        }
    }

    /// A JSON object for programs, of 16 KiB at most.
    #[must_use]
    pub fn data(self, data: Value) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    /// Whose task it is.
    #[must_use]
    pub fn organisation(self, org_id: impl Into<String>) -> Self {
        Self {
            org_id: Some(org_id.into()),
            ..self
        }
    }

    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Your own name for it among the notices of the task to this person, of 128 characters at most: whatever is sent again
    /// with it, by HTTP or by the queue, is the same notice.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }
}

/// What came of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Stored {
        message_id: String,
        /// Whether Pusher took it; without, it is found by event stream and polling.
        pusher_sent: bool,
    },
    /// The queue has it. It is stored when the worker comes to it.
    Queued { queue_message_id: String },
}

/// Nothing is known to be stored: sent again with the same key, it is stored once.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// What was refused and why, as the API's problem says it.
    #[error("refused with {status}: {detail}")]
    Refused {
        status: u16,
        detail: String,
        /// Whether the same may be accepted later.
        retryable: bool,
    },
    #[error("the API cannot be reached: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the queue did not take it: {0}")]
    Queue(String),
}

/// The way to send notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notices(Way);

#[derive(Clone, Debug)]
enum Way {
    Http {
        http: reqwest::Client,
        url: String,
        token: String,
    },
    Queue {
        client: Client,
        url: String,
    },
}

#[derive(Serialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    message_type: MessageType,
    #[serde(flatten)]
    notice: &'a Notice,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    message_id: String,
    pusher_sent: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    retryable: bool,
}

impl Notices {
    /// By `POST /api/chat-messages` of the API at `base`, with a token that says `role: agent`.
    pub fn by_http(base: &str, token: impl Into<String>) -> Result<Self, SendError> {
        Ok(Self(Way::Http {
            http: reqwest::Client::builder().timeout(PATIENCE).build()?,
            url: format!("{}/api/chat-messages", base.trim_end_matches('/')),
            token: token.into(),
        }))
    }

    /// By the queue, which goes on taking notices while the database is away. Its policy says who may.
    #[must_use]
    pub fn by_queue(client: Client, queue_url: impl Into<String>) -> Self {
        Self(Way::Queue {
            client,
            url: queue_url.into(),
        })
    }

    /// How a task goes: "Checking availability…".
    pub async fn send_scheduling_update(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::SchedulingUpdate, notice).await
    }

    /// It is done.
    pub async fn send_confirmation(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::Confirmation, notice).await
    }

    /// A question, whose answer comes by the webhook `clarification.answered`.
    pub async fn send_clarification(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::Clarification, notice).await
    }

    /// It will not be done; open questions of the task are closed.
    pub async fn send_cancellation(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::Cancellation, notice).await
    }

    /// It has failed.
    pub async fn send_error(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::Error, notice).await
    }

    pub async fn send_info(&self, notice: &Notice) -> Result<Sent, SendError> {
        self.send(MessageType::Info, notice).await
    }

    async fn send(&self, message_type: MessageType, notice: &Notice) -> Result<Sent, SendError> {
        let typed = Typed { message_type, notice };
        match &self.0 {
            Way::Http { http, url, token } => {
                let answer = http.post(url).bearer_auth(token).json(&typed).send().await?;
                let status = answer.status();
                if status.is_success() {
                    let stored: Stored = answer.json().await?;
                    return Ok(Sent::Stored {
                        message_id: stored.message_id,
                        pusher_sent: stored.pusher_sent,
                    });
                }
                // Something before the API may have answered, and not in its words.
                let problem: Problem = answer.json().await.unwrap_or_default();
                Err(SendError::Refused {
                    status: status.as_u16(),
                    detail: problem.detail,
                    retryable: problem.retryable || status.is_server_error(),
                })
            }
            Way::Queue { client, url } => {
                let body = serde_json::json!({"v": QueuedNotice::VERSION, "notice": typed});
                let sent = client.send_message().queue_url(url).message_body(body.to_string());
                let sent = sent.send().await.map_err(|error| SendError::Queue(causes(&error)))?;
                Ok(Sent::Queued {
                    queue_message_id: sent.message_id.unwrap_or_default(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_notice_is_written_as_the_api_reads_it() {
        let notice = Notice::new("t-1", "anna", "Done.")
            .data(json!({"eventId": 7}))
            .organisation("acme")
            .priority(Priority::High)
            .key("k-1");
        let typed = Typed {
            message_type: MessageType::Confirmation,
            notice: &notice,
        };
        assert_eq!(
            json!(typed),
            json!({
                "type": "CONFIRMATION", "taskId": "t-1", "userId": "anna", "content": "Done.",
                "data": {"eventId": 7}, "orgId": "acme", "priority": "high", "key": "k-1"
            })
        );
        let plain = Typed {
            message_type: MessageType::Info,
            notice: &Notice::new("t-1", "anna", "Hm."),
        };
        assert_eq!(
            json!(plain),
            json!({"type": "INFO", "taskId": "t-1", "userId": "anna", "content": "Hm."})
        );
    }
}
