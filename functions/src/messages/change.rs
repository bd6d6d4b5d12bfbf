//! What editing and deleting have in common: who is told, and what is answered.

use serde::Serialize;
use shared::app::App;
use shared::domain::event::{Event, Outgoing};
use shared::domain::message::Message;
use shared::error::Error;
use shared::http::{Response, Result, ok};
use shared::store::messages::Change;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageChanged {
    message: Message,
    /// `null`: Pusher is not configured, or nothing changed.
    pusher_sent: Option<bool>,
}

pub(super) async fn answer(app: &App, change: Change) -> Result<Response> {
    match change {
        Change::Made { message, audience } => {
            let news = Outgoing {
                event: Event::message_changed(&message),
                audience,
            };
            let pusher_sent = app.delivery.publish(&[news]).await;
            ok(&MessageChanged {
                message: *message,
                pusher_sent,
            })
        }
        Change::NotYours => Err(Error::Forbidden("Only who sent a message can change it.")),
        Change::NoSuchMessage => Err(Error::NotFound("message")),
    }
}
