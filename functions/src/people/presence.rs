//! `POST /api/me/presence`: the heartbeat of people without Pusher, whose connections tell it otherwise.

use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use chrono::{DateTime, Utc};
use domain::event::{Event, Outgoing};
use domain::ids::UserId;
use pusher::Delivery;
use schemars::JsonSchema;
use store::people::Presence;

use crate::openapi::Operation;

#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Heartbeat {}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("presence", "I am here")
        .describe("The heartbeat of people without Pusher, whose connections tell it otherwise.")
        .for_people()
        .may_read::<Heartbeat>()
        .answers_nothing(204, "It is noted.")
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    request.fields_or_none()?.finish()?;
    reads.store.upsert_user(&caller).await?;
    let presence = reads
        .store
        .heartbeat(&caller.id, reads.settings.people.online_for)
        .await?;
    tell(&reads, &delivery, &caller.id, presence, Utc::now()).await?;
    Ok(no_content())
}

/// So many people are told at most that somebody came online or went: those with whom they have a direct chat, and who
/// are online. Others see it when they next look at a chat.
const MOST_CONTACTS: i64 = 20;

pub(crate) async fn tell(
    reads: &Reads,
    delivery: &Delivery,
    person: &UserId,
    presence: Presence,
    at: DateTime<Utc>,
) -> Result<()> {
    if presence.was_online == presence.is_online || delivery.pusher().is_none() {
        return Ok(());
    }
    let contacts = reads.store.online_contacts(person, MOST_CONTACTS).await?;
    let news: Vec<_> = contacts
        .into_iter()
        .map(|(chat_id, other)| Outgoing {
            event: Event::presence(chat_id, person, presence.is_online, at),
            audience: vec![other],
        })
        .collect();
    delivery.publish(&news).await;
    Ok(())
}
