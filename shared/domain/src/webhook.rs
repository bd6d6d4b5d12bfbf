//! What an organisation's own servers are told.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ids::{ChatId, JobId};
use super::job::ClaimedJob;
use super::message::Message;

/// What a webhook may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEvent {
    MessageCreated,
    ClarificationAnswered,
    ReplyEnded,
}
wire_enum!(WebhookEvent {
    MessageCreated = "message.created",
    ClarificationAnswered = "clarification.answered",
    ReplyEnded = "reply.ended",
});

/// One event for one webhook, to be delivered now.
#[derive(Clone, Debug)]
pub struct WebhookCall {
    pub job: ClaimedJob,
    pub chat_id: ChatId,
    pub url: String,
    /// Where its secret is kept: `env:NAME` or `ssm:/path`.
    pub secret: String,
    pub event: WebhookEvent,
    pub at: DateTime<Utc>,
    pub organisation: String,
    /// Of a `task` chat.
    pub task_id: Option<String>,
    /// The person of a `task` chat.
    pub person: Option<String>,
    /// What was said, as it is now; `None` where it is gone.
    pub message: Option<Message>,
    /// What was answered.
    pub clarification: Option<Message>,
    /// Of a reply's end.
    pub data: Value,
}

/// What came of reaching for a webhook's event.
#[derive(Clone, Debug)]
pub enum WebhookClaimOutcome {
    Claimed(Box<WebhookCall>),
    /// An earlier event of the chat comes first, and its end wakes this one.
    Behind,
    /// It is not due yet, or somebody is at it.
    Later {
        job: JobId,
        after_seconds: i32,
    },
    /// It is done, or parked.
    Over,
}
