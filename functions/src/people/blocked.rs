//! `GET /api/people/blocked`: whom I have blocked, newest first.

use serde::Serialize;
use shared::app::App;
use shared::domain::ids::UserId;
use shared::domain::person::BlockedPerson;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, ok};
use shared::store::blocks::BlockedCursor;

use crate::cursor;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockedPeople {
    people: Vec<BlockedPerson>,
    next_cursor: Option<String>,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let after = cursor::of(&request, UserId::parse)?.map(|(blocked_at, user_id)| BlockedCursor { blocked_at, user_id });
    let (people, next) = app
        .store
        .blocked(&caller.id, after.as_ref(), request.page_size()?)
        .await?;
    ok(&BlockedPeople {
        people,
        next_cursor: next.map(|next| cursor::written(next.blocked_at, next.user_id)),
    })
}
