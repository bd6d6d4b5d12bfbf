//! A response that streams a reply: written in this process if it was claimed for it, watched otherwise.

use backtalk_http::EventSink;
use domain::ids::{ChatId, MessageId, UserId};
use domain::reply::Claim;

use capabilities::Reads;

use super::engine::Engine;
use super::follow::{Seen, follow};
use super::write::{Attempt, write};

/// Which reply, and the right to write it, if it was given.
#[derive(Debug)]
pub struct Streamed {
    pub chat_id: ChatId,
    pub reply: MessageId,
    pub claim: Option<Claim>,
}

/// Runs to the reply's end even if the reader leaves.
pub async fn stream(
    engine: &Engine,
    reads: &Reads,
    asker: &UserId,
    streamed: &Streamed,
    reader: &EventSink,
    request_id: &str,
) {
    let mut seen = Seen::default();
    if let Some(claim) = &streamed.claim {
        match write(engine, claim, Some(reader)).await {
            Attempt::Over { wake, .. } => {
                engine.queue.wake(wake.as_slice()).await;
                return;
            }
            Attempt::Requeued { wake, .. } | Attempt::PutBack { wake } => {
                engine.queue.wake(&[wake]).await;
            }
            Attempt::Lost | Attempt::Broken(_) => {}
        }
        // Whoever makes the next attempt, this reader sees it, and nothing of this one a second time.
        seen = Seen {
            attempt: claim.attempt,
            offset: usize::MAX,
            thoughts: Some(usize::MAX),
        };
    }
    follow(reads, asker, streamed.chat_id, streamed.reply, seen, reader, request_id).await;
}
