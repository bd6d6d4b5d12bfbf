//! Telling of a notice that is stored.

use domain::event::{Event, Outgoing};
use pusher::Delivery;
use queue::Queue;
use store::notices::Notified;

/// Tells the person's devices, and wakes what the organisation's webhooks are to be told, side by side. Whether Pusher took
/// it.
pub(crate) async fn tell(delivery: &Delivery, queue: &Queue, notified: &Notified) -> Option<bool> {
    let message = &notified.message;
    let opened = notified
        .opens_chat
        .then(|| Event::chat_opened(message.chat_id, message.created_at));
    let news: Vec<_> = opened
        .into_iter()
        .chain([Event::message_created(message)])
        .map(|event| Outgoing {
            event,
            audience: notified.audience.clone(),
        })
        .collect();
    let (_woken, pushed) = tokio::join!(queue.wake(&notified.webhooks), delivery.publish(&news));
    pushed
}
