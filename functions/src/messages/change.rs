//! What editing and deleting have in common: who is told, and what is answered.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Response, Result, ok};
use domain::event::{Event, Outgoing};
use domain::message::Message;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use store::messages::Change;

use super::mentions::not_members;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageChanged {
    pub message: Message,
    /// `null`: Pusher is not configured, or nothing changed.
    pub pusher_sent: Option<bool>,
}

/// `queue`: for a deletion, by which another reply may be the next; an edit wakes nobody.
pub(super) async fn answer(delivery: &Delivery, queue: Option<&Queue>, change: Change) -> Result<Response> {
    match change {
        Change::Made {
            message,
            audience,
            withheld,
            unanswered,
            wake,
        } => {
            let ended = unanswered.map(|ended| Event::reply_ended(message.chat_id, &ended));
            let mut news = withheld.outgoing(&message, &audience, Event::message_changed);
            news.extend(ended.map(|event| Outgoing { event, audience }));
            let waking = async {
                if let Some(queue) = queue {
                    queue.wake(wake.as_slice()).await;
                }
            };
            let ((), pusher_sent) = tokio::join!(waking, delivery.publish(&news));
            ok(&MessageChanged {
                message: *message,
                pusher_sent,
            })
        }
        Change::NotYours => Err(Error::Forbidden("Only who sent a message can change it.")),
        Change::NotMembers(places) => Err(not_members(&places)),
        Change::Blocked => Err(Error::Blocked),
        Change::NothingLeft => Err(Error::Invalid(vec![FieldError::at(
            "/content",
            "content must not be empty: the message shows nothing either",
        )])),
        Change::NoSuchMessage => Err(Error::NotFound("message")),
    }
}
