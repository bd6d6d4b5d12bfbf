//! Who is in a channel: `/api/chat/{chatId}/members`.

pub mod add;
pub mod remove;
pub mod update;

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Response, Result, ok};
use capabilities::Reads;
use domain::chat::Chat;
use domain::ids::{ChatId, UserId};
use domain::person::Caller;
use domain::person::Organisations;
use pusher::Delivery;
use schemars::JsonSchema;
use serde::Serialize;
use store::channels::Membership;

#[derive(JsonSchema, Serialize)]
struct MembersChanged {
    chat: Chat,
}

/// Tells everyone of a change, or the caller why there is none.
pub(crate) async fn tell(reads: &Reads, delivery: &Delivery, outcome: Membership) -> Result<()> {
    match outcome {
        Membership::Changed(news) => {
            delivery.publish(news.as_slice()).await;
            Ok(())
        }
        Membership::Unknown(people) => Err(unknown_among(&people, &[])),
        Membership::Blocked(people) => Err(blocked_among(&people, &[])),
        Membership::NoSuchMember => Err(Error::NotFound("member")),
        Membership::Full => Err(Error::TooManyMembers {
            limit: reads.settings.limits.members,
        }),
        Membership::OwnerStays => Err(Error::Conflict(
            "Make somebody else the owner first, or delete the channel.",
        )),
        Membership::NotAllowed => Err(Error::Forbidden("Your role in this channel does not allow it.")),
        Membership::NotAChannel => Err(Error::Conflict("Only channels have members that come and go.")),
        Membership::NoSuchChat => Err(Error::NotFound("chat")),
    }
}

/// The chat as it is now.
async fn answer(reads: &Reads, me: &UserId, chat_id: ChatId) -> Result<Response> {
    let chat = reads.store.chat(me, chat_id).await?.ok_or(Error::NotFound("chat"))?;
    ok(&MembersChanged { chat })
}

/// Those of some people whom the caller's organisation keeps them from reaching, where people are kept from any.
pub(crate) async fn beyond(reads: &Reads, caller: &Caller, people: &[UserId]) -> Result<Vec<UserId>> {
    match (&caller.org_id, reads.settings.people.organisations) {
        (Some(own), Organisations::Everyone) => Ok(reads.store.of_other_organisations(own, people).await?),
        _ => Ok(Vec::new()),
    }
}

/// Points at those of a list of members whom nobody knows.
pub(crate) fn unknown_among(unknown: &[UserId], members: &[UserId]) -> Error {
    Error::NoSuchPeople(pointed_at(unknown, members, "is not a known person"))
}

/// Points at those of a list of members with whom the caller has a block, whoever made it.
pub(crate) fn blocked_among(blocked: &[UserId], members: &[UserId]) -> Error {
    Error::BlockedPeople(pointed_at(blocked, members, "is not possible for you"))
}

fn pointed_at(some: &[UserId], members: &[UserId], why: &str) -> Vec<FieldError> {
    members
        .iter()
        .enumerate()
        .filter(|(_, member)| some.contains(member))
        .map(|(index, _)| FieldError::at(format!("/members/{index}"), why))
        .collect()
}
