//! `GET /api/chat-messages`

use backtalk_http::{Request, Response, Result, not_modified, ok, tagged};
use capabilities::Reads;
use domain::unread::UnreadMessages;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::Operation;

/// The soonest that a client without Pusher should ask again: while something happens. While nothing does, it asks less often.
const POLL_AFTER_MS: u32 = 2000;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unread {
    #[serde(flatten)]
    unread: UnreadMessages,
    poll_after_ms: u32,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listUnread", "My unread messages over all chats, oldest first")
        .describe("The polling fallback.")
        .for_people()
        .paged()
        .answers_once::<Unread>("A page of them, and when to ask again.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let size = request.page_size()?;
    // Read before the list: a tag may be older than what it names, never newer.
    let tag = request.tag(&caller, &reads.store.inbox_head(&caller.id).await?, size);
    if request.has(&tag) {
        return Ok(not_modified(&tag));
    }
    let unread = reads.store.unread_messages(&caller.id, size).await?;
    let answer = ok(&Unread {
        unread,
        poll_after_ms: POLL_AFTER_MS,
    })?;
    Ok(tagged(answer, &tag))
}
