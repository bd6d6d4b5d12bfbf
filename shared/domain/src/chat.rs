//! A conversation, as its members see it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::fingerprint::Fingerprint;
use super::ids::{ChatId, Seq, UserId};
use super::message::Message;
use super::person::Person;
use super::text::Title;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Exactly two people, one chat a pair.
    Direct,
    /// Named, with many members.
    Channel,
    /// One person and the AI.
    Assistant,
    /// The AI chat of a post.
    Post,
    /// The notices of one agent task to one person.
    Task,
}
wire_enum!(Kind as "ChatKind" => { Direct = "direct", Channel = "channel", Assistant = "assistant", Post = "post", Task = "task" });

impl Kind {
    /// Whether a person's message here is answered by the AI.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Assistant | Self::Post)
    }
}

/// What is asked for by the `clientId` of a chat that is to be opened; its members are a set.
#[must_use]
pub fn fingerprint(kind: Kind, title: Option<&Title>, members: &[UserId]) -> Fingerprint {
    let members: BTreeSet<_> = members.iter().map(UserId::as_str).collect();
    Fingerprint::of(json!({"kind": kind, "title": title, "members": members}))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    Owner,
    Admin,
    Member,
}
wire_enum!(MemberRole { Owner = "owner", Admin = "admin", Member = "member" });

/// How much of what was said before is seen by those who join a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    All,
    SinceJoin,
}

/// A chat as one of its members sees it: unread, read position, muted and archived are theirs.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    pub id: ChatId,
    pub kind: Kind,
    pub title: Option<String>,
    pub last_seq: Seq,
    pub last_message: Option<Message>,
    pub unread_count: i64,
    /// How often I am named in what I have not read; 100 stands for as many or more.
    pub unread_mentions: i64,
    pub read_seq: Seq,
    pub muted: bool,
    pub archived: bool,
    /// In a list 20 of a channel's at most: oneself, who spoke last, who runs it, who came first. Elsewhere all of them.
    pub members: Vec<Member>,
    /// How many there are.
    pub member_count: i64,
    /// Direct chats: the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Person>,
    /// The answer that is being written, with its text so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<super::reply::RunningReply>,
    pub post_id: Option<Uuid>,
    pub task_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_message_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub user_id: UserId,
    pub name: String,
    pub image: Option<String>,
    pub role: MemberRole,
    pub read_seq: Seq,
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: Seq,
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Connected to Pusher, or heard of within the last minute.
    pub online: bool,
}
