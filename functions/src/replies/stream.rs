//! A response that streams a reply: written in this process if the send claimed it, watched otherwise.

use shared::app::App;
use shared::domain::event::Event;
use shared::domain::ids::UserId;
use shared::http::EventSink;
use shared::store::messages::Sent;

use super::follow::{Seen, follow};
use super::write::{Attempt, write};

/// Streams the reply to a message that was just sent, or sent before. Runs to the reply's end even if the reader leaves.
pub async fn stream(app: &App, sender: &UserId, sent: &Sent, reader: &EventSink, request_id: &str) {
    reader.send(&Event::message_created(&sent.message));
    let Some(reply) = sent.reply else { return };
    let chat = sent.message.chat_id;
    let mut seen = Seen::default();
    if let Some(claim) = &sent.claim {
        match write(app, claim, Some(reader)).await {
            Attempt::Over { wake } => {
                app.queue.wake(wake.as_slice()).await;
                return;
            }
            Attempt::Requeued { wake } => {
                app.queue.wake(&[wake]).await;
            }
            Attempt::Lost | Attempt::Broken(_) => {}
        }
        // Whoever makes the next attempt, this reader sees it, and nothing of this one a second time.
        seen = Seen {
            attempt: claim.attempt,
            offset: usize::MAX,
        };
    }
    follow(app, sender, chat, reply.id, seen, reader, request_id).await;
}
