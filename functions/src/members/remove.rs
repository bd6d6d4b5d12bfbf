//! `DELETE /api/chat/{chatId}/members/{userId}`: the owner and admins remove others, everyone but the owner may leave.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use domain::ids::UserId;
use pusher::Delivery;

use super::tell;
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("removeMember", "Removes somebody from a channel, or leaves it")
        .for_people()
        .in_chat()
        .path::<UserId>("userId", "Who goes.")
        .answers_nothing(204, "They are not in it any more.")
        .refuses([Error::NotFound(""), Error::Forbidden(""), Error::Conflict("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, member) = (request.chat_id()?, request.user_id()?);
    let outcome = reads.store.remove_member(&caller.id, chat_id, &member).await?;
    tell(&reads, &delivery, outcome).await?;
    Ok(no_content())
}
