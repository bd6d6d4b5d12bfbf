//! An unread message as the polling fallback shows it: the shape that the scheduling agent's clients already know.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ids::{ChatId, MessageId, Seq, UserId};
use super::message::{MessageType, Role};
use super::notice::Priority;

#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
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
    #[schemars(with = "Map<String, Value>")]
    pub data: Value,
    /// Said where it is not normal.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    pub created_at: DateTime<Utc>,
}

/// How far a member of a chat has come.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub user_id: UserId,
    pub read_seq: Seq,
    /// When the position was last moved on by reading or sending; `null` for who never did either.
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: Seq,
}

/// Where to move one's read position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMark {
    /// Nowhere: only what was delivered is told.
    Stay,
    End,
    /// On to a seq; never back.
    UpTo(Seq),
    /// Back to before a seq; never on.
    UnreadFrom(Seq),
}

/// Of high priority first, then the oldest; `total` counts those beyond the page too.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadMessages {
    pub messages: Vec<UnreadMessage>,
    pub total: i64,
    pub has_more: bool,
}
