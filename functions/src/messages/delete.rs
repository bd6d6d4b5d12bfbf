//! `DELETE /api/chat/{chatId}/messages/{messageId}`: the message keeps its place and loses its content.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result};
use capabilities::Reads;
use pusher::Delivery;
use queue::Queue;

use super::change::{MessageChanged, answer};
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("deleteMessage", "Deletes a message of mine")
        .describe("It keeps its place and loses its content.")
        .for_people()
        .in_chat()
        .of_message()
        .answers::<MessageChanged>(200, "The message without its content.")
        .refuses([Error::NotFound(""), Error::Forbidden("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, queue: Queue, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let change = reads
        .store
        .delete_message(&caller.id, request.chat_id()?, request.message_id()?)
        .await?;
    answer(&delivery, Some(&queue), change).await
}
