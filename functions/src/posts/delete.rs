//! `DELETE /api/posts/{postId}`: with its chat, and whatever is being written there.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use pusher::Delivery;
use queue::Queue;

use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("deletePost", "Deletes a post with its chat")
        .for_people()
        .of_post()
        .answers_nothing(204, "Both are gone.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, queue: Queue, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let gone = reads.store.delete_post(&caller.id, request.post_id()?).await?;
    let gone = gone.ok_or(Error::NotFound("post"))?;
    let news = [Outgoing {
        event: Event::chat_deleted(gone.chat_id, gone.at),
        audience: gone.audience,
    }];
    // A wake-up that is lost does no harm: the sweeper finds the job.
    tokio::join!(delivery.publish(&news), queue.wake(gone.wake.as_slice()));
    Ok(no_content())
}
