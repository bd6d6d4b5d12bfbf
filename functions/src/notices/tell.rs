//! Telling of a notice that is stored.

use app::App;
use domain::event::{Event, Outgoing};
use store::notices::Notified;

/// Tells the person's devices, and wakes what the organisation's webhooks are to be told, side by side. Whether Pusher took
/// it.
pub(crate) async fn tell(app: &App, notified: &Notified) -> Option<bool> {
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
    let (_woken, pushed) = tokio::join!(app.queue.wake(&notified.webhooks), app.delivery.publish(&news));
    pushed
}
