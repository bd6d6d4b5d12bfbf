//! Rows as Postgres hands them over in JSON, and the domain types that they become.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Error, Result};
use domain::chat::{Chat, Kind, Member, MemberRole};
use domain::event::ReplyEnded;
use domain::ids::{Seq, UserId};
use domain::message::{Message, MessageType, Reaction, ReplyPreview, Role, Status, Usage};
use domain::notice::Priority;
use domain::page::{Kept, Page};
use domain::person::Person;
use domain::reply::{Failure, ReplyState};
use domain::unread::UnreadMessage;
use domain::withheld::Withheld;

/// What the members of one chat may take of an answer, which has a page of its messages beside them: never reached by as
/// many members as a channel has unless configured otherwise.
const MEMBERS_BYTES: usize = 1024 * 1024;

/// A word of ours that came back from the database.
pub(super) fn word<T>(what: &'static str, word: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    parse(word).ok_or_else(|| super::unreadable(what, word))
}

pub(super) fn seq(value: i64) -> Result<Seq> {
    Seq::new(value).ok_or_else(|| super::unreadable("seq", value))
}

pub(super) fn user_id(text: &str) -> Result<UserId> {
    word("user id", text, UserId::parse)
}

pub(super) fn people(ids: &[String]) -> Result<Vec<UserId>> {
    ids.iter().map(|id| user_id(id)).collect()
}

pub(super) fn priority(rank: i16) -> Result<Priority> {
    Priority::of_rank(rank).ok_or_else(|| super::unreadable("priority", rank))
}

/// The end of a reply, as statements write it into inboxes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndRow {
    message_id: Uuid,
    /// Absent from what older versions wrote.
    attempt: Option<i32>,
    state: String,
    reason: Option<String>,
    retry_at: Option<DateTime<Utc>>,
}

impl TryFrom<EndRow> for ReplyEnded {
    type Error = Error;

    fn try_from(row: EndRow) -> Result<Self> {
        Ok(Self {
            message_id: row.message_id.into(),
            attempt: row.attempt.unwrap_or(0),
            state: word("reply state", &row.state, ReplyState::parse)?,
            // One that only a newer version knows must not keep anybody from their inbox.
            reason: row.reason.as_deref().and_then(Failure::parse),
            retry_at: row.retry_at,
        })
    }
}

/// What `withheld` of the schema gives.
#[derive(Debug, Default, Deserialize)]
pub(super) struct WithheldRow {
    blind: Vec<String>,
    without_preview: Vec<String>,
    unnamed: Vec<String>,
}

impl TryFrom<WithheldRow> for Withheld {
    type Error = Error;

    fn try_from(row: WithheldRow) -> Result<Self> {
        Ok(Self {
            blind: people(&row.blind)?,
            without_preview: people(&row.without_preview)?,
            unnamed: people(&row.unnamed)?,
        })
    }
}

/// What `message_json` gives.
#[derive(Debug, Deserialize)]
pub(super) struct MessageRow {
    chat_id: Uuid,
    seq: i64,
    id: Uuid,
    changed_seq: i64,
    role: String,
    #[serde(rename = "type")]
    message_type: String,
    status: String,
    sender_id: Option<String>,
    client_id: Option<String>,
    content: String,
    reasoning: Option<String>,
    metadata: Value,
    attachments: Value,
    mentions: Vec<String>,
    reply_to: Option<Uuid>,
    reply_preview: Option<ReplyPreview>,
    usage: Option<Usage>,
    priority: i16,
    reactions: Vec<Reaction>,
    created_at: DateTime<Utc>,
    edited_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    version: i32,
}

impl TryFrom<MessageRow> for Message {
    type Error = Error;

    fn try_from(row: MessageRow) -> Result<Self> {
        Ok(Self {
            id: row.id.into(),
            chat_id: row.chat_id.into(),
            seq: seq(row.seq)?,
            changed_seq: seq(row.changed_seq)?,
            role: word("role", &row.role, Role::parse)?,
            message_type: word("message type", &row.message_type, MessageType::parse)?,
            status: word("status", &row.status, Status::parse)?,
            sender_id: row.sender_id.as_deref().map(user_id).transpose()?,
            client_id: row.client_id,
            content: row.content,
            reasoning: row.reasoning,
            metadata: row.metadata,
            attachments: row.attachments,
            mentions: row.mentions.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
            reply_to: row.reply_to.map(Into::into),
            reply_preview: row.reply_preview,
            reactions: row.reactions,
            usage: row.usage,
            priority: priority(row.priority)?,
            created_at: row.created_at,
            edited_at: row.edited_at,
            deleted_at: row.deleted_at,
            version: row.version,
        })
    }
}

pub(super) fn messages(page: Json<Vec<MessageRow>>) -> Result<Vec<Message>> {
    page.0.into_iter().map(Message::try_from).collect()
}

#[derive(Debug, Deserialize)]
pub(super) struct MemberRow {
    user_id: String,
    name: String,
    image: Option<String>,
    role: String,
    read_seq: i64,
    read_at: Option<DateTime<Utc>>,
    delivered_seq: i64,
    last_seen_at: Option<DateTime<Utc>>,
    online: bool,
}

impl TryFrom<MemberRow> for Member {
    type Error = Error;

    fn try_from(row: MemberRow) -> Result<Self> {
        Ok(Self {
            user_id: user_id(&row.user_id)?,
            name: row.name,
            image: row.image,
            role: word("member role", &row.role, MemberRole::parse)?,
            read_seq: seq(row.read_seq)?,
            read_at: row.read_at,
            delivered_seq: seq(row.delivered_seq)?,
            last_seen_at: row.last_seen_at,
            online: row.online,
        })
    }
}

/// A chat as one of its members sees it.
#[derive(Debug)]
pub(super) struct ChatRow {
    pub id: Uuid,
    pub kind: String,
    pub title: Option<String>,
    pub post_id: Option<Uuid>,
    pub task_id: Option<String>,
    pub last_seq: i64,
    pub last_message: Option<Json<MessageRow>>,
    pub unread_count: i64,
    pub unread_mentions: i64,
    pub read_seq: i64,
    pub muted: bool,
    pub archived: bool,
    pub members: Json<Vec<MemberRow>>,
    pub member_count: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_message_at: Option<DateTime<Utc>>,
    pub active_at: DateTime<Utc>,
}

impl ChatRow {
    pub(super) fn seen_by(self, viewer: &UserId) -> Result<Chat> {
        let kind = word("chat kind", &self.kind, Kind::parse)?;
        let members = self.members.0.into_iter().map(Member::try_from);
        let Page { items: members, .. } =
            Page::within(members.collect::<Result<_>>()?, usize::MAX, MEMBERS_BYTES, Kept::First);
        let user = (kind == Kind::Direct)
            .then(|| members.iter().find(|member| member.user_id != *viewer))
            .flatten()
            .map(|other| Person {
                id: other.user_id.clone(),
                name: other.name.clone(),
                image: other.image.clone(),
            });
        Ok(Chat {
            id: self.id.into(),
            kind,
            title: self.title,
            last_seq: seq(self.last_seq)?,
            last_message: self.last_message.map(|row| row.0.try_into()).transpose()?,
            unread_count: self.unread_count,
            unread_mentions: self.unread_mentions,
            read_seq: seq(self.read_seq)?,
            muted: self.muted,
            archived: self.archived,
            members,
            member_count: self.member_count,
            user,
            reply: None,
            post_id: self.post_id,
            task_id: self.task_id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            last_message_at: self.last_message_at,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct UnreadRow {
    id: Uuid,
    #[serde(rename = "type")]
    message_type: String,
    task_id: Option<String>,
    chat_id: Uuid,
    seq: i64,
    role: String,
    content: String,
    metadata: Value,
    priority: i16,
    created_at: DateTime<Utc>,
}

impl TryFrom<UnreadRow> for UnreadMessage {
    type Error = Error;

    fn try_from(row: UnreadRow) -> Result<Self> {
        Ok(Self {
            id: row.id.into(),
            message_type: word("message type", &row.message_type, MessageType::parse)?,
            task_id: row.task_id,
            chat_id: row.chat_id.into(),
            seq: seq(row.seq)?,
            role: word("role", &row.role, Role::parse)?,
            content: row.content,
            data: row.metadata,
            priority: priority(row.priority)?,
            created_at: row.created_at,
        })
    }
}
