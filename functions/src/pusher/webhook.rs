//! `POST /api/pusher/webhook`: who came to a presence channel and who left, signed by Pusher. Both say that the person was
//! there.

use std::collections::HashSet;

use lambda_http::http::HeaderName;
use shared::app::App;
use shared::delivery::pusher::{WebhookError, WebhookEvent};
use shared::error::{Error, FieldError};
use shared::http::{Request, Response, Result, no_content};
use tracing::info;

const KEY: HeaderName = HeaderName::from_static("x-pusher-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pusher-signature");

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let pusher = app.delivery.pusher().ok_or(Error::NotFound("Pusher application"))?;
    let header = |name| request.header(name).unwrap_or_default();
    let webhook = pusher
        .verify_webhook(request.raw_body(&app)?, header(KEY), header(SIGNATURE))
        .map_err(|error| match error {
            WebhookError::Forged => {
                Error::Unauthenticated("is not needed here, but the webhook must be signed by Pusher")
            }
            WebhookError::Unreadable => Error::Malformed(FieldError::at("", "The body is not a JSON object.")),
        })?;
    let seen: HashSet<_> = webhook
        .events
        .iter()
        .filter_map(|event| match event {
            WebhookEvent::MemberAdded { user, .. } | WebhookEvent::MemberRemoved { user, .. } => Some(user),
            WebhookEvent::ChannelOccupied { .. } | WebhookEvent::ChannelVacated { .. } => None,
        })
        .collect();
    for person in &seen {
        app.store.saw(person, webhook.at).await?;
    }
    info!(seen = seen.len(), skipped = webhook.skipped, "webhook");
    Ok(no_content())
}
