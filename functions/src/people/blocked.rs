//! `GET /api/people/blocked`: whom I have blocked, newest first.

use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::ids::UserId;
use domain::person::BlockedPerson;
use schemars::JsonSchema;
use serde::Serialize;
use store::blocks::BlockedCursor;

use crate::cursor;
use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockedPeople {
    people: Vec<BlockedPerson>,
    next_cursor: Option<String>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listBlocked", "Whom I have blocked, newest first")
        .for_people()
        .paged()
        .after_cursor()
        .answers::<BlockedPeople>(200, "A page of them.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let after = cursor::of(&request, UserId::parse)?.map(|(blocked_at, user_id)| BlockedCursor { blocked_at, user_id });
    let (people, next) = reads
        .store
        .blocked(&caller.id, after.as_ref(), request.page_size()?)
        .await?;
    ok(&BlockedPeople {
        people,
        next_cursor: next.map(|next| cursor::written(next.blocked_at, next.user_id)),
    })
}
