//! `POST /api/chat/stream-ticket`

use std::time::Duration;

use backtalk_http::{Request, Response, Result, created};
use capabilities::Reads;
use domain::ticket::Ticket;
use schemars::JsonSchema;
use serde::Serialize;

use super::time_left;
use crate::openapi::Operation;

/// Long enough to open a connection with, too short to be worth stealing from a log of URLs.
const GOOD_FOR: Duration = Duration::from_secs(60);

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct IssuedTicket<'a> {
    ticket: &'a str,
    expires_in_seconds: u64,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("createStreamTicket", "A ticket for an `EventSource`")
        .for_people()
        .answers::<IssuedTicket<'_>>(201, "Good for `GET /api/chat/stream` alone, and not for long.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let good_for = GOOD_FOR.min(time_left(caller.token_expires_at)?);
    reads.store.upsert_user(&caller).await?;
    let ticket = Ticket::fresh();
    reads
        .store
        .issue_ticket(&caller.id, &ticket, GOOD_FOR, caller.token_expires_at)
        .await?;
    created(&IssuedTicket {
        ticket: ticket.expose(),
        expires_in_seconds: good_for.as_secs(),
    })
}
