//! An unread message as the polling fallback shows it: the shape that the scheduling agent's clients already know.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::ids::{ChatId, MessageId, Seq};
use super::message::{MessageType, Role};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadMessage {
    pub id: MessageId,
    #[serde(rename = "type")]
    pub message_type: MessageType,
    pub task_id: Option<String>,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub role: Role,
    pub content: String,
    pub data: Value,
    pub created_at: DateTime<Utc>,
}

/// Oldest first; `total` counts those beyond the page too.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadMessages {
    pub messages: Vec<UnreadMessage>,
    pub total: i64,
    pub has_more: bool,
}
