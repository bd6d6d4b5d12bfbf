//! One row of a chat.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fingerprint::Fingerprint;
use super::ids::{ChatId, MessageId, Seq, UserId};
use super::notice::Priority;
use super::text::{AttachmentUrl, ClientId, Content, FileName, Metadata, MimeType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    System,
}
wire_enum!(Role as "MessageRole" => { User = "user", Assistant = "assistant", System = "system" });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    Text,
    SchedulingUpdate,
    Confirmation,
    Clarification,
    Cancellation,
    Error,
    Info,
}
wire_enum!(MessageType {
    Text = "TEXT",
    SchedulingUpdate = "SCHEDULING_UPDATE",
    Confirmation = "CONFIRMATION",
    Clarification = "CLARIFICATION",
    Cancellation = "CANCELLATION",
    Error = "ERROR",
    Info = "INFO",
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Sent,
    Failed,
}
wire_enum!(Status as "MessageStatus" => { Sent = "sent", Failed = "failed" });

/// A message as clients see it. A deleted one keeps its place and loses its content.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub id: MessageId,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub changed_seq: Seq,
    pub role: Role,
    #[serde(rename = "type")]
    pub message_type: MessageType,
    pub status: Status,
    pub sender_id: Option<UserId>,
    pub client_id: Option<String>,
    pub content: String,
    /// What the model thought before it said this, where that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[schemars(with = "Map<String, Value>")]
    pub metadata: Value,
    #[schemars(with = "Vec<Attachment>")]
    pub attachments: Value,
    /// Who is named; each is a member.
    pub mentions: Vec<UserId>,
    pub reply_to: Option<MessageId>,
    /// What it replies to, as that is now.
    pub reply_preview: Option<ReplyPreview>,
    pub reactions: Vec<Reaction>,
    pub usage: Option<Usage>,
    /// Of a notice; said where it is not normal.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    pub created_at: DateTime<Utc>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// 1, and one more with each time that the answer was written again.
    pub version: i32,
}

/// As much of a message as a reply to it shows. A deleted one has no content.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyPreview {
    pub id: MessageId,
    pub sender_id: Option<String>,
    #[schemars(with = "Role")]
    pub role: String,
    /// Its first 200 characters.
    pub content: String,
    pub deleted_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    pub emoji: String,
    pub user_ids: Vec<String>,
}

/// What somebody does with a reaction of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reacting {
    Add,
    Remove,
}

/// What an answer cost, as the provider counted.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TokenUsage")]
pub struct Usage {
    pub input_tokens: u32,
    pub output_tokens: u32,
    pub cached_tokens: u32,
    pub model: String,
}

/// A message that someone wants to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub client_id: ClientId,
    /// `None` beside attachments alone.
    pub content: Option<Content>,
    pub attachments: Vec<Attachment>,
    pub mentions: Vec<UserId>,
    pub reply_to: Option<MessageId>,
    pub metadata: Metadata,
}

impl Draft {
    /// What it says; nothing where it only shows something.
    #[must_use]
    pub fn text(&self) -> &str {
        said(self.content.as_ref())
    }

    /// What is asked for by its `clientId`, however it is found to be stored: of an upload its address alone, for what was
    /// announced of it stands, whatever the sender says.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let attachments: Vec<_> = self
            .attachments
            .iter()
            .map(|attachment| match attachment.url.object() {
                Some(_) => json!({"url": attachment.url}),
                None => json!(attachment),
            })
            .collect();
        let mut mentions: Vec<_> = self.mentions.iter().map(UserId::as_str).collect();
        mentions.sort_unstable();
        Fingerprint::of(json!({
            "content": self.content,
            "attachments": attachments,
            "mentions": mentions,
            "replyTo": self.reply_to,
            "metadata": self.metadata,
        }))
    }
}

fn said(content: Option<&Content>) -> &str {
    content.map_or("", Content::as_str)
}

/// What a message is to say from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// `None` leaves what it shows alone.
    pub content: Option<Content>,
    /// `None` leaves them as they are.
    pub mentions: Option<Vec<UserId>>,
}

impl Edit {
    /// What it is to say; nothing where it only shows something.
    #[must_use]
    pub fn text(&self) -> &str {
        said(self.content.as_ref())
    }
}

/// What becomes of what a message said before an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditHistory {
    None,
    /// It stays, for its sender and for those who run the channel.
    Kept,
}

/// What a message said before.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct MessageVersion {
    /// 1 is what it said first.
    pub version: i32,
    #[schemars(with = "Role")]
    pub role: String,
    #[serde(rename = "type")]
    #[schemars(with = "MessageType")]
    pub message_type: String,
    pub content: String,
    #[schemars(with = "Map<String, Value>")]
    pub metadata: Value,
    pub usage: Option<Usage>,
    /// What replaced it: `edited` or `regenerated`.
    pub reason: String,
    pub created_at: DateTime<Utc>,
    pub replaced_at: DateTime<Utc>,
}

/// Something shown with a message.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    #[serde(rename = "type")]
    pub attachment_type: AttachmentType,
    pub url: AttachmentUrl,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<MimeType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<FileName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentType {
    Image,
}
wire_enum!(AttachmentType { Image = "image" });
