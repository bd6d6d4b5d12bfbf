//! `PATCH /api/chat/{chatId}/members/{userId}`: the owner says what others may do, and may make one of them the owner.

use lambda_http::http::Method;
use schemars::JsonSchema;
use shared::app::App;
use shared::domain::chat::MemberRole;
use shared::domain::ids::UserId;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, parsed};

use super::{MembersChanged, answer, tell};
use crate::openapi::Operation;

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleToGive {
    pub role: MemberRole,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new(
        Method::PATCH,
        "/api/chat/{chatId}/members/{userId}",
        "updateMember",
        "Gives somebody another role in a channel",
    )
    .for_people(RateClass::Write)
    .in_chat()
    .path::<UserId>("userId", "Whose role.")
    .reads::<RoleToGive>()
    .answers::<MembersChanged>(200, "The chat as it is now.")
    .refuses([
        Error::NotFound(""),
        Error::Forbidden(""),
        Error::Conflict(""),
        Error::BlockedPeople(Vec::new()),
    ])
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, member) = (request.chat_id()?, request.user_id()?);
    let mut fields = request.fields(&app)?;
    let role = fields.required("role", |text: String| {
        MemberRole::parse(&text).ok_or_else(|| "must be owner, admin or member".to_owned())
    });
    fields.finish()?;

    let outcome = app
        .store
        .change_role(&caller.id, chat_id, &member, parsed(role))
        .await?;
    tell(&app, outcome).await?;
    answer(&app, &caller.id, chat_id).await
}
