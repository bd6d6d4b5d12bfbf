//! `POST /api/pusher/webhook`: who came to a presence channel and who left, signed by Pusher. Who is in one
//! is online.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use chrono::{TimeDelta, Utc};
use lambda_http::http::HeaderName;
use pusher::Delivery;
use pusher::client::{WebhookError, WebhookEvent};
use serde_json::{Map, Value};
use tracing::info;

use crate::openapi::Operation;
use crate::people::presence::tell;

const KEY: HeaderName = HeaderName::from_static("x-pusher-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pusher-signature");

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("receivePusherWebhook",
        "Who came to a presence channel, and who left",
    )
    .describe("Pusher calls it, signed: `time_ms`, and `events` with `name`, `channel` and `user_id`. What is of another form is skipped, for Pusher would send it again and again.")
    .for_pusher()
    .reads::<Map<String, Value>>()
    .answers_nothing(204, "It is noted.")
    .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let pusher = delivery.pusher().ok_or(Error::NotFound("Pusher application"))?;
    let header = |name| request.header(name).unwrap_or_default();
    let webhook = pusher
        .verify_webhook(request.raw_body()?, header(KEY), header(SIGNATURE))
        .map_err(|error| match error {
            WebhookError::Forged => {
                Error::Unauthenticated("is not needed here, but the webhook must be signed by Pusher".into())
            }
            WebhookError::Unreadable => Error::Malformed(FieldError::at("", "The body is not a JSON object.")),
        })?;
    let sent_at = webhook.at.unwrap_or_else(Utc::now);
    // One batch has one time; what comes later in it happened later.
    for (event, number) in webhook.events.iter().zip(0..) {
        let (channel, person, came) = match event {
            WebhookEvent::MemberAdded { channel, user } => (channel, user, true),
            WebhookEvent::MemberRemoved { channel, user } => (channel, user, false),
            WebhookEvent::ChannelOccupied { .. } | WebhookEvent::ChannelVacated { .. } => continue,
        };
        let at = sent_at + TimeDelta::microseconds(number);
        if let Some(presence) = reads.store.note_presence(person, channel.as_str(), at, came).await? {
            tell(&reads, &delivery, person, presence, at).await?;
        }
    }
    info!(events = webhook.events.len(), skipped = webhook.skipped, "webhook");
    Ok(no_content())
}
