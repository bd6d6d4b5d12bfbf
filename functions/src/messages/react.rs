//! `PUT` and `DELETE /api/chat/{chatId}/messages/{messageId}/reactions/{emoji}`: said twice, they are one reaction or none.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use domain::message::Reacting;
use domain::text::Emoji;
use lambda_http::http::Method;
use pusher::Delivery;
use store::reactions::Reacted;

use super::change::MessageChanged;
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation_to_add() -> Operation {
    reacting("addReaction", "Reacts to a message").refuses([Error::TooManyReactions { limit: 0 }])
}

#[must_use]
pub fn operation_to_remove() -> Operation {
    reacting("removeReaction", "Takes a reaction back")
}

fn reacting(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .describe("Said twice, it is one reaction or none.")
        .for_people()
        .in_chat()
        .of_message()
        .path::<Emoji>("emoji", "What one reacts with.")
        .answers::<MessageChanged>(200, "The message with all its reactions.")
        .refuses([Error::NotFound(""), Error::Blocked])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, message_id, emoji) = (request.chat_id()?, request.message_id()?, request.emoji()?);
    let reacting = if request.method() == Method::DELETE {
        Reacting::Remove
    } else {
        Reacting::Add
    };
    let limit = reads.settings.limits.emojis;

    let reacted = reads
        .store
        .react(&caller.id, chat_id, message_id, &emoji, reacting, limit)
        .await?;
    match reacted {
        Reacted::Done { message, audience, at } => {
            let event = Event::reaction_changed(&message, &caller.id, emoji.as_str(), reacting, at);
            let pusher_sent = delivery.publish(&[Outgoing { event, audience }]).await;
            ok(&MessageChanged {
                message: *message,
                pusher_sent,
            })
        }
        Reacted::Blocked => Err(Error::Blocked),
        Reacted::TooMany => Err(Error::TooManyReactions { limit }),
        Reacted::NoSuchMessage => Err(Error::NotFound("message")),
    }
}
