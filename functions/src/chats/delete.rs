//! `DELETE /api/chat/{chatId}`: the owner deletes it with all that hangs on it; a member of a channel leaves.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use pusher::Delivery;
use queue::Queue;
use store::chats::Deleted;

use crate::members::tell;
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("deleteChat",
        "Deletes a chat, or leaves it",
    )
    .describe("The owner deletes it with all that hangs on it, and it is gone for all members at once; a member of a channel leaves.")
    .for_people()
    .in_chat()
    .answers_nothing(204, "It is gone, or you are not in it any more.")
    .refuses([Error::NotFound(""), Error::Forbidden(""), Error::Conflict("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, queue: Queue, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    match reads.store.delete_chat(&caller.id, chat_id).await? {
        Deleted::Gone { audience, at, wake } => {
            let news = [Outgoing {
                event: Event::chat_deleted(chat_id, at),
                audience,
            }];
            // A wake-up that is lost does no harm: the sweeper finds the job.
            tokio::join!(delivery.publish(&news), queue.wake(wake.as_slice()));
            Ok(no_content())
        }
        // The same as `DELETE …/members/{userId}` with one's own id.
        Deleted::NotYourChannel => {
            let left = reads.store.remove_member(&caller.id, chat_id, &caller.id).await?;
            tell(&reads, &delivery, left).await?;
            Ok(no_content())
        }
        Deleted::NotYours => Err(Error::Forbidden("Only the owner of a chat can delete it.")),
        Deleted::NoSuchChat => Err(Error::NotFound("chat")),
    }
}
