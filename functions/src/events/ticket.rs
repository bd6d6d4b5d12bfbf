//! `POST /api/chat/stream-ticket`

use std::time::Duration;

use serde::Serialize;
use shared::app::App;
use shared::domain::rate::RateClass;
use shared::domain::ticket::Ticket;
use shared::http::{Request, Response, Result, created};

/// Long enough to open a connection with, too short to be worth stealing from a log of URLs.
const GOOD_FOR: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IssuedTicket<'a> {
    ticket: &'a str,
    expires_in_seconds: u64,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Stream).await?;
    app.store.meet(&caller).await?;
    let ticket = Ticket::fresh();
    app.store.issue_ticket(&caller.id, &ticket, GOOD_FOR).await?;
    created(&IssuedTicket {
        ticket: ticket.expose(),
        expires_in_seconds: GOOD_FOR.as_secs(),
    })
}
