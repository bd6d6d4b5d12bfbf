//! `PATCH /api/chat/{chatId}/members/{userId}`: the owner says what others may do, and may make one of them the owner.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, parsed};
use capabilities::Reads;
use domain::chat::MemberRole;
use domain::ids::UserId;
use pusher::Delivery;
use schemars::JsonSchema;

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
    Operation::new("updateMember", "Gives somebody another role in a channel")
        .for_people()
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

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, member) = (request.chat_id()?, request.user_id()?);
    let mut fields = request.fields()?;
    let role = fields.required("role", |text: String| {
        MemberRole::parse(&text).ok_or_else(|| "must be owner, admin or member".to_owned())
    });
    fields.finish()?;

    let outcome = reads
        .store
        .change_role(&caller.id, chat_id, &member, parsed(role))
        .await?;
    tell(&reads, &delivery, outcome).await?;
    answer(&reads, &caller.id, chat_id).await
}
