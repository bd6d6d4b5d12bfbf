//! What an agent tells one person of one task.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fingerprint::Fingerprint;
use super::ids::{ChatId, MessageId, Seq, UserId};
use super::message::{MessageType, Role};
use super::text::{ClientId, Content, Metadata, OrganisationId, TaskId};

/// How much a notice matters: the order of the unread list before all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}
wire_enum!(Priority { High = "high", Normal = "normal", Low = "low" });

impl Priority {
    /// As it is stored.
    #[must_use]
    pub fn rank(self) -> i16 {
        match self {
            Self::High => 1,
            Self::Normal => 0,
            Self::Low => -1,
        }
    }

    #[must_use]
    pub fn of_rank(rank: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|priority| priority.rank() == rank)
    }

    /// What most notices have is not said.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// A notice that an agent wants to send.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeDraft {
    pub user_id: UserId,
    pub task_id: TaskId,
    /// Any but `TEXT`.
    pub message_type: MessageType,
    pub content: Content,
    pub data: Metadata,
    pub organisation: Option<OrganisationId>,
    pub priority: Priority,
    /// The sender's own name for it, which makes a retry the same notice of this task.
    pub key: Option<ClientId>,
}

impl NoticeDraft {
    /// What is asked for by its key, which is one of its task and its person.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(json!({
            "type": self.message_type,
            "content": self.content,
            "data": self.data,
            "priority": self.priority,
        }))
    }
}

/// A message of a task as the scheduling agent's clients know it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskMessage {
    pub id: MessageId,
    #[serde(rename = "type")]
    pub message_type: MessageType,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub role: Role,
    pub content: String,
    #[schemars(with = "Map<String, Value>")]
    pub data: Value,
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    pub read: bool,
    /// Of a `CLARIFICATION`: whether it waits for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    pub reply_to: Option<MessageId>,
    pub created_at: DateTime<Utc>,
}

/// The newest of a task's messages, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessages {
    pub messages: Vec<TaskMessage>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// What an agent puts on the queue itself: `{"v": 1, "notice": {…}}`, with the fields that `POST /api/chat-messages` takes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedNotice {
    pub v: u32,
    pub notice: Map<String, Value>,
}

impl QueuedNotice {
    pub const VERSION: u32 = 1;
}
