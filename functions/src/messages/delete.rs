//! `DELETE /api/chat/{chatId}/messages/{messageId}`: the message keeps its place and loses its content.

use lambda_http::http::Method;
use shared::app::App;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result};

use super::change::{MessageChanged, answer};
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new(
        Method::DELETE,
        "/api/chat/{chatId}/messages/{messageId}",
        "deleteMessage",
        "Deletes a message of mine",
    )
    .describe("It keeps its place and loses its content.")
    .for_people(RateClass::Write)
    .in_chat()
    .of_message()
    .answers::<MessageChanged>(200, "The message without its content.")
    .refuses([Error::NotFound(""), Error::Forbidden("")])
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let change = app
        .store
        .delete_message(&caller.id, request.chat_id()?, request.message_id()?)
        .await?;
    answer(&app, change).await
}
