//! Anything a client must learn of. This is the one place that makes an event of a change; every transport takes it
//! from here.

mod data;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::ids::{ChatId, MessageId, Seq, UserId};
use super::message::{Message, Reacting};
use super::unread::Receipt;

pub use data::{PresenceChanged, ReactionChanged, ReplyDelta, ReplyEnded, ReplyReasoning, ReplyStarted, Typing};

/// How long somebody is taken to be typing; clients that type on say so again before.
const TYPING_FOR: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    MessageCreated,
    MessageUpdated,
    MessageDeleted,
    ReactionChanged,
    ChatUpdated,
    ChatDeleted,
    MemberAdded,
    MemberRemoved,
    Read,
    ReplyStarted,
    ReplyReasoning,
    ReplyDelta,
    ReplyEnded,
    Typing,
    Presence,
}
wire_enum!(EventType {
    MessageCreated = "message.created",
    MessageUpdated = "message.updated",
    MessageDeleted = "message.deleted",
    ReactionChanged = "reaction.changed",
    ChatUpdated = "chat.updated",
    ChatDeleted = "chat.deleted",
    MemberAdded = "member.added",
    MemberRemoved = "member.removed",
    Read = "read",
    ReplyStarted = "reply.started",
    ReplyReasoning = "reply.reasoning",
    ReplyDelta = "reply.delta",
    ReplyEnded = "reply.ended",
    Typing = "typing",
    Presence = "presence",
});

/// The envelope that every transport carries unchanged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub chat_id: ChatId,
    /// Its place in the chat's sequence, where the event changes the chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    pub data: Value,
}

impl Event {
    /// A new message; it echoes the sender's `clientId`.
    #[must_use]
    pub fn message_created(message: &Message) -> Self {
        Self {
            event_type: EventType::MessageCreated,
            chat_id: message.chat_id,
            seq: Some(message.seq),
            at: Some(message.created_at),
            data: json!(message),
        }
    }

    /// The message of a reply that is over: a new one, or one that was written again.
    #[must_use]
    pub fn of_answer(message: &Message) -> Self {
        if message.version > 1 {
            Self::message_changed(message)
        } else {
            Self::message_created(message)
        }
    }

    /// A worker has begun to write; a higher attempt means that what came before is void.
    #[must_use]
    pub fn reply_started(chat_id: ChatId, message_id: MessageId, attempt: i32) -> Self {
        Self::passing(
            EventType::ReplyStarted,
            chat_id,
            json!(ReplyStarted { message_id, attempt }),
        )
    }

    /// The model thinks; with what it thinks, where that is to be shown.
    #[must_use]
    pub fn reply_reasoning(chat_id: ChatId, reasoning: &ReplyReasoning) -> Self {
        Self::passing(EventType::ReplyReasoning, chat_id, json!(reasoning))
    }

    /// More of a reply's text.
    #[must_use]
    pub fn reply_delta(chat_id: ChatId, delta: &ReplyDelta) -> Self {
        Self::passing(EventType::ReplyDelta, chat_id, json!(delta))
    }

    /// Always the last of a reply; without it the answer is not complete.
    #[must_use]
    pub fn reply_ended(chat_id: ChatId, ended: &ReplyEnded) -> Self {
        Self::passing(EventType::ReplyEnded, chat_id, json!(ended))
    }

    /// The reply that this event says is over.
    #[must_use]
    pub fn ended_reply(&self) -> Option<MessageId> {
        (self.event_type == EventType::ReplyEnded)
            .then(|| {
                self.data
                    .get("messageId")
                    .and_then(Value::as_str)
                    .and_then(MessageId::parse)
            })
            .flatten()
    }

    /// Whether this is the last that a person learns of the chat.
    #[must_use]
    pub fn ends_for(&self, person: &UserId) -> bool {
        match self.event_type {
            EventType::ChatDeleted => true,
            EventType::MemberRemoved => self.data.get("userId").and_then(Value::as_str) == Some(person.as_str()),
            _ => false,
        }
    }

    /// Where a client reads what an event says, when the event itself is too large for a transport.
    #[must_use]
    pub fn fetch_path(&self) -> String {
        match self.seq {
            Some(seq) => format!("/api/chat/{}/messages?changedAfter={}", self.chat_id, seq.value() - 1),
            None => format!("/api/chat/{}", self.chat_id),
        }
    }

    /// Somebody read up to a seq, marked as unread from one, or has it on their device.
    #[must_use]
    pub fn read(chat_id: ChatId, receipt: &Receipt, at: DateTime<Utc>) -> Self {
        Self::passing(EventType::Read, chat_id, json!(receipt)).at(at)
    }

    /// The chat itself changed, or who is in it. Its `seq` is absent where only the caller's own devices are told.
    #[must_use]
    pub fn chat_changed(
        event_type: EventType,
        chat_id: ChatId,
        seq: Option<Seq>,
        at: DateTime<Utc>,
        data: Value,
    ) -> Self {
        Self {
            seq,
            ..Self::passing(event_type, chat_id, data).at(at)
        }
    }

    /// A chat is there that was not: before its first message, so it takes no seq.
    #[must_use]
    pub fn chat_opened(chat_id: ChatId, at: DateTime<Utc>) -> Self {
        Self::passing(EventType::ChatUpdated, chat_id, json!({})).at(at)
    }

    /// A message says something else now, or was deleted.
    #[must_use]
    pub fn message_changed(message: &Message) -> Self {
        let is_deleted = message.deleted_at.is_some();
        Self {
            event_type: if is_deleted {
                EventType::MessageDeleted
            } else {
                EventType::MessageUpdated
            },
            seq: Some(message.changed_seq),
            at: message.deleted_at.or(message.edited_at),
            ..Self::message_created(message)
        }
    }

    /// Somebody has reacted to a message, or took it back: with all reactions that the message has now.
    #[must_use]
    pub fn reaction_changed(
        message: &Message,
        person: &UserId,
        emoji: &str,
        reacting: Reacting,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            event_type: EventType::ReactionChanged,
            chat_id: message.chat_id,
            seq: Some(message.changed_seq),
            at: Some(at),
            data: json!(ReactionChanged {
                message_id: message.id,
                reactions: message.reactions.clone(),
                user_id: person.clone(),
                emoji: emoji.to_owned(),
                is_added: reacting == Reacting::Add,
            }),
        }
    }

    /// Somebody types, or has stopped. Who says neither again within `expiresInSeconds` has stopped as well.
    #[must_use]
    pub fn typing(chat_id: ChatId, person: &UserId, is_typing: bool) -> Self {
        let typing = Typing {
            user_id: person.clone(),
            is_typing,
            expires_in_seconds: is_typing.then_some(TYPING_FOR.as_secs()),
        };
        Self::passing(EventType::Typing, chat_id, json!(typing))
    }

    /// The other one of a direct chat came online, or went.
    #[must_use]
    pub fn presence(chat_id: ChatId, person: &UserId, is_online: bool, at: DateTime<Utc>) -> Self {
        let presence = PresenceChanged {
            user_id: person.clone(),
            online: is_online,
            last_seen_at: at,
        };
        Self::passing(EventType::Presence, chat_id, json!(presence)).at(at)
    }

    /// A chat is gone with all that was in it.
    #[must_use]
    pub fn chat_deleted(chat_id: ChatId, at: DateTime<Utc>) -> Self {
        Self::passing(EventType::ChatDeleted, chat_id, json!({})).at(at)
    }

    /// An event that takes no seq: what it says can be read from the chat or the message.
    fn passing(event_type: EventType, chat_id: ChatId, data: Value) -> Self {
        Self {
            event_type,
            chat_id,
            seq: None,
            at: None,
            data,
        }
    }

    fn at(self, at: DateTime<Utc>) -> Self {
        Self { at: Some(at), ..self }
    }
}

/// An event and everyone who must learn of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub event: Event,
    pub audience: Vec<UserId>,
}
