//! `GET /api/chat-messages`

use serde::Serialize;
use shared::app::App;
use shared::domain::unread::UnreadMessages;
use shared::http::{Request, Response, Result, ok};

/// How soon a client without Pusher should ask again.
const POLL_AFTER_MS: u32 = 5000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unread {
    #[serde(flatten)]
    unread: UnreadMessages,
    poll_after_ms: u32,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app).await?;
    let size = request.page_size()?;
    let unread = app.store.unread_messages(&caller.id, size).await?;
    ok(&Unread {
        unread,
        poll_after_ms: POLL_AFTER_MS,
    })
}
