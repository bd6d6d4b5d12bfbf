//! Jobs: work that a commit left behind.

use serde_json::Value;

use super::ids::{ChatId, JobId};

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    Reply,
    Welcome,
    FollowUp,
    Notice,
    Webhook,
    Erase,
    DeleteChat,
}
wire_enum!(JobKind {
    Reply = "reply",
    Welcome = "welcome",
    FollowUp = "follow_up",
    Notice = "notice",
    Webhook = "webhook",
    Erase = "erase",
    DeleteChat = "delete_chat",
});

/// A job that one worker has for a while. A reply has a lease of its own instead: see [`super::reply::Claim`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    pub id: JobId,
    pub chat_id: Option<ChatId>,
    pub payload: Value,
    /// Counts from 1, and is the fence: whoever claims it later has a higher one.
    pub attempt: i32,
}

/// What came of reaching for a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobClaimOutcome {
    Claimed(ClaimedJob),
    /// It is not due yet, or somebody is at it: come again.
    Later {
        after_seconds: i32,
    },
    /// It is done, or parked.
    Over,
}
