//! `POST /api/chat`

use std::collections::HashSet;

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, created, ok, parsed};
use capabilities::Reads;
use domain::chat::{self, Chat, Kind};
use domain::event::{Event, Outgoing};
use domain::fingerprint::IdempotencyKey;
use domain::ids::{ChatId, UserId};
use domain::limits::Limits;
use domain::person::Caller;
use domain::person::UnknownPeople;
use domain::text::{ClientId, Title};
use pusher::Delivery;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::channels::Channel;
use store::chats::{AssistantChat, DirectChat};

use crate::members::{beyond, blocked_among, unknown_among};
use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
struct ChatOpened {
    chat: Chat,
}

/// Kinds that people open by themselves.
const OPENED: [Kind; 3] = [Kind::Direct, Kind::Channel, Kind::Assistant];

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChatToOpen {
    /// Your own name for it: a retry with the same one is the same chat, for as long as that is there.
    pub client_id: Option<ClientId>,
    #[schemars(with = "String", extend("enum" = OPENED))]
    pub kind: Kind,
    /// Required for a channel; a direct chat has none.
    pub title: Option<Title>,
    /// A channel's first members; the one other person of a direct chat; nobody in an assistant chat.
    #[schemars(length(max = Limits::DEFAULT.members))]
    pub members: Option<Vec<UserId>>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("createChat", "Opens a chat")
        .describe(
            "A `direct` chat is there once for two people: it is found or opened. A person may have so \
            many active `assistant` chats.",
        )
        .for_people()
        .reads::<ChatToOpen>()
        .answers::<ChatOpened>(201, "It is open.")
        .answers::<ChatOpened>(
            200,
            "A direct chat with this person that was open before, or what this `clientId` has opened.",
        )
        .refuses([
            Error::NotFound(""),
            Error::Conflict(""),
            Error::key_reused("/clientId"),
            Error::Blocked,
            Error::TooManyChats { limit: 0 },
            Error::TooManyMembers { limit: 0 },
        ])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let mut fields = request.fields()?;
    let client_id = fields.optional("clientId", |text: String| ClientId::parse(&text));
    let kind = fields.required("kind", |text: String| match Kind::parse(&text) {
        Some(kind @ (Kind::Direct | Kind::Channel | Kind::Assistant)) => Ok(kind),
        _ => Err("must be direct, channel or assistant".to_owned()),
    });
    if kind == Some(Kind::Channel) {
        fields.require("title");
    }
    let title = fields.optional("title", |text: String| Title::parse(&text));
    let members = fields.list("members", reads.settings.limits.members, |item| match item {
        Value::String(text) => UserId::parse(&text).ok_or_else(|| "must be the id of a person".to_owned()),
        _ => Err("must be a string".to_owned()),
    });
    fields.finish()?;

    reads.store.upsert_user(&caller).await?;
    let kind = parsed(kind);
    let key = client_id.map(|client_id| IdempotencyKey {
        client_id,
        asked: chat::fingerprint(kind, title.as_ref(), &members),
    });
    let (chat_id, audience) = match kind {
        Kind::Direct => open_direct(&reads, &caller, title.as_ref(), &members, key.as_ref()).await?,
        Kind::Channel => open_channel(&reads, &caller, &parsed(title), &members, key.as_ref()).await?,
        _ => open_assistant(&reads, &caller, title.as_ref(), &members, key.as_ref()).await?,
    };
    let chat = reads.store.chat(&caller.id, chat_id).await?.ok_or(match key {
        Some(_) => Error::Conflict("This clientId was used for a chat that you are not in any more."),
        None => Error::NotFound("chat"),
    })?;
    let Some(audience) = audience else {
        return ok(&ChatOpened { chat });
    };
    delivery
        .publish(&[Outgoing {
            event: Event::chat_opened(chat_id, chat.created_at),
            audience,
        }])
        .await;
    created(&ChatOpened { chat })
}

/// A chat, and if it is new who must learn of it.
type Opened = (ChatId, Option<Vec<UserId>>);

/// Opens the chat of two people, or finds it.
async fn open_direct(
    reads: &Reads,
    caller: &Caller,
    title: Option<&Title>,
    members: &[UserId],
    key: Option<&IdempotencyKey>,
) -> Result<Opened> {
    if title.is_some() {
        return Err(invalid("/title", "a direct chat has no title"));
    }
    let other = match members {
        [other] if *other != caller.id => other,
        _ => {
            return Err(invalid(
                "/members",
                "members must name the one other person of a direct chat",
            ));
        }
    };
    if !beyond(reads, caller, members).await?.is_empty() {
        return Err(Error::NotFound("person"));
    }
    let mut opened = reads.store.open_direct_chat(&caller.id, other, key).await?;
    if opened == DirectChat::NoSuchPerson && reads.settings.people.unknown == UnknownPeople::Create {
        reads.store.create_placeholder_users(members).await?;
        opened = reads.store.open_direct_chat(&caller.id, other, key).await?;
    }
    match opened {
        DirectChat::Known(chat_id) => Ok((chat_id, None)),
        DirectChat::Opened { chat_id, audience } => Ok((chat_id, Some(audience))),
        DirectChat::KeyReused => Err(Error::key_reused("/clientId")),
        DirectChat::Blocked => Err(Error::Blocked),
        DirectChat::NoSuchPerson => Err(Error::NotFound("person")),
    }
}

async fn open_channel(
    reads: &Reads,
    caller: &Caller,
    title: &Title,
    members: &[UserId],
    key: Option<&IdempotencyKey>,
) -> Result<Opened> {
    let limit = reads.settings.limits.members;
    let everyone: HashSet<_> = members.iter().chain([&caller.id]).collect();
    if everyone.len() > limit {
        return Err(Error::TooManyMembers { limit });
    }
    let beyond = beyond(reads, caller, members).await?;
    if !beyond.is_empty() {
        return Err(unknown_among(&beyond, members));
    }
    let org_id = caller.org_id.as_deref();
    let mut opened = reads
        .store
        .open_channel(&caller.id, org_id, title, members, key)
        .await?;
    if let (Channel::Unknown(people), UnknownPeople::Create) = (&opened, reads.settings.people.unknown) {
        reads.store.create_placeholder_users(people).await?;
        opened = reads
            .store
            .open_channel(&caller.id, org_id, title, members, key)
            .await?;
    }
    match opened {
        Channel::Opened { chat_id, audience } => Ok((chat_id, Some(audience))),
        Channel::Known(chat_id) => Ok((chat_id, None)),
        Channel::KeyReused => Err(Error::key_reused("/clientId")),
        Channel::Unknown(people) => Err(unknown_among(&people, members)),
        Channel::Blocked(people) => Err(blocked_among(&people, members)),
    }
}

async fn open_assistant(
    reads: &Reads,
    caller: &Caller,
    title: Option<&Title>,
    members: &[UserId],
    key: Option<&IdempotencyKey>,
) -> Result<Opened> {
    if !members.is_empty() {
        return Err(invalid("/members", "an assistant chat has no members but its owner"));
    }
    let limit = reads.settings.limits.assistant_chats;
    let opened = reads
        .store
        .open_assistant_chat(&caller.id, caller.org_id.as_deref(), title, limit, key)
        .await?;
    match opened {
        AssistantChat::Opened(chat_id) => Ok((chat_id, Some(vec![caller.id.clone()]))),
        AssistantChat::Known(chat_id) => Ok((chat_id, None)),
        AssistantChat::KeyReused => Err(Error::key_reused("/clientId")),
        AssistantChat::TooManyActive => Err(Error::TooManyChats { limit }),
    }
}

fn invalid(pointer: &str, detail: &str) -> Error {
    Error::Invalid(vec![FieldError::at(pointer, detail)])
}
