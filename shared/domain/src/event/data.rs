//! What each type of event carries, and what the contract says of the envelope around it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::json;

use super::{Event, EventType};
use crate::chat::MemberRole;
use crate::ids::{ChatId, MessageId, Seq, UserId};
use crate::message::{Message, Reaction};
use crate::reply::{Failure, ReplyState};
use crate::unread::Receipt;

/// A worker has begun to write a reply.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyStarted {
    pub message_id: MessageId,
    /// From 1 on; a higher one means that the text of the one before is void.
    pub attempt: i32,
}

/// The model thinks before it answers.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyReasoning {
    pub message_id: MessageId,
    /// Whose thoughts they are, as with its text.
    pub attempt: i32,
    /// UTF-8 bytes of the attempt's thoughts before this. With `text` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// More of what it thinks, where that is shown; else that it thinks is all that is told, once an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// More of a reply's text.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyDelta {
    pub message_id: MessageId,
    /// Whose text it is: what an earlier attempt said may be heard after a later one has begun.
    pub attempt: i32,
    /// UTF-8 bytes of the attempt's text before this.
    pub offset: usize,
    pub text: String,
}

/// The last of a reply.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyEnded {
    pub message_id: MessageId,
    /// The last that had begun, 0 if none had: a reply that is written again goes on counting.
    pub attempt: i32,
    pub state: ReplyState,
    /// Of one that failed; `deadline` also of one that was stopped because it took too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Failure>,
    /// Of one that failed because the model's provider asks for rest: when that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<DateTime<Utc>>,
}

/// All reactions that a message has now, and what somebody did.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReactionChanged {
    pub message_id: MessageId,
    pub reactions: Vec<Reaction>,
    pub user_id: UserId,
    pub emoji: String,
    pub is_added: bool,
}

/// Somebody types, or has stopped.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    pub user_id: UserId,
    pub is_typing: bool,
    /// Who says nothing for so long has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// The other one of a direct chat came online, or went.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceChanged {
    pub user_id: UserId,
    pub online: bool,
    pub last_seen_at: DateTime<Utc>,
}

/// What the store's statements write of a chat that changed: that which did.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "Postgres writes it; it is only described here")]
struct ChatChanged {
    #[schemars(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// To the caller's own devices alone.
    #[schemars(skip_serializing_if = "Option::is_none")]
    archived: Option<bool>,
    /// To the caller's own devices alone.
    #[schemars(skip_serializing_if = "Option::is_none")]
    muted: Option<bool>,
    /// Those whose role changed.
    #[schemars(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<RoleChanged>>,
    /// Who did it; `null` where it came of itself.
    #[schemars(schema_with = "someone_or_none", skip_serializing_if = "Option::is_none")]
    by: Option<UserId>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "Postgres writes it; it is only described here")]
struct RoleChanged {
    user_id: UserId,
    role: MemberRole,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "Postgres writes it; it is only described here")]
struct MembersAdded {
    members: Vec<NewMember>,
    by: Option<UserId>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "Postgres writes it; it is only described here")]
struct NewMember {
    user_id: UserId,
    name: String,
    image: Option<String>,
    role: MemberRole,
    read_seq: Seq,
    read_at: Option<DateTime<Utc>>,
    delivered_seq: Seq,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "Postgres writes it; it is only described here")]
struct MemberRemoved {
    user_id: UserId,
    /// `null` where it came of itself.
    by: Option<UserId>,
}

#[derive(JsonSchema)]
struct Nothing {}

fn someone_or_none(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "oneOf": [generator.subschema_for::<UserId>(), { "type": "null" }] })
}

/// Whether events of a type take a place in the chat's sequence.
enum TakesSeq {
    Always,
    Sometimes,
    Never,
}

macro_rules! envelopes {
    ($($variant:ident: $data:ty, $takes_seq:ident, $description:literal;)+) => {
        $(
            struct $variant;

            impl JsonSchema for $variant {
                fn schema_name() -> Cow<'static, str> {
                    concat!(stringify!($variant), "Event").into()
                }

                fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                    let data = generator.subschema_for::<$data>();
                    envelope(generator, EventType::$variant, TakesSeq::$takes_seq, $description, data)
                }
            }
        )+

        impl Event {
            /// Every type of event, and the schema of its envelope.
            pub fn described(generator: &mut SchemaGenerator) -> Vec<(EventType, Schema)> {
                vec![$((EventType::$variant, generator.subschema_for::<$variant>())),+]
            }
        }

        impl JsonSchema for Event {
            fn schema_name() -> Cow<'static, str> {
                "Event".into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                // What is told apart here are all that there are.
                let _all = |event_type: EventType| match event_type {
                    $(EventType::$variant => (),)+
                };
                let envelopes: Vec<_> = Self::described(generator).into_iter().map(|(_, schema)| schema).collect();
                json_schema!({
                    "description": "The envelope that every transport carries unchanged.",
                    "oneOf": envelopes,
                })
            }
        }
    };
}

mod envelopes {
    use super::*;

    envelopes! {
        MessageCreated: Message, Always, "A new message; it echoes the sender's `clientId`.";
        MessageUpdated: Message, Always, "A message says something else now.";
        MessageDeleted: Message, Always, "A message was deleted: it keeps its place and has no content.";
        ReactionChanged: super::ReactionChanged, Always, "Somebody has reacted to a message, or took it back.";
        ChatUpdated: ChatChanged, Sometimes, "A chat changed, or is there that was not. Without `seq` it tells the caller's own devices alone, or of a new chat.";
        ChatDeleted: Nothing, Never, "A chat is gone with all that was in it.";
        MemberAdded: MembersAdded, Always, "People came to a channel.";
        MemberRemoved: super::MemberRemoved, Always, "Somebody left a channel or was removed.";
        Read: Receipt, Never, "Somebody read up to a seq, marked as unread from one, or has it on their device. In chats of more than twenty members, told to the reader's own devices alone.";
        ReplyStarted: super::ReplyStarted, Never, "A worker has begun to write an answer.";
        ReplyReasoning: super::ReplyReasoning, Never, "The model thinks before it answers; with what it thinks, where that is shown.";
        ReplyDelta: super::ReplyDelta, Never, "More of an answer's text.";
        ReplyEnded: super::ReplyEnded, Never, "Always the last of an answer; without it the answer is not complete.";
        Typing: super::Typing, Never, "Somebody types, or has stopped.";
        Presence: super::PresenceChanged, Never, "The other one of a direct chat came online, or went.";
    }
}

fn envelope(
    generator: &mut SchemaGenerator,
    event_type: EventType,
    takes_seq: TakesSeq,
    description: &str,
    data: Schema,
) -> Schema {
    let mut properties = json!({
        "type": { "const": event_type },
        "chatId": generator.subschema_for::<ChatId>(),
        "at": generator.subschema_for::<DateTime<Utc>>(),
        "data": data,
    });
    let mut required = vec!["type", "chatId", "data"];
    if !matches!(takes_seq, TakesSeq::Never) {
        properties["seq"] = json!(generator.subschema_for::<Seq>());
    }
    if matches!(takes_seq, TakesSeq::Always) {
        required.push("seq");
    }
    json_schema!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
    })
}
