//! `PUT` and `DELETE /api/chat/{chatId}/messages/{messageId}/reactions/{emoji}`: said twice, they are one reaction or none.

use lambda_http::http::Method;
use shared::app::App;
use shared::domain::event::{Event, Outgoing};
use shared::domain::message::Reacting;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, ok};
use shared::store::reactions::Reacted;

use super::change::MessageChanged;

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, message_id, emoji) = (request.chat_id()?, request.message_id()?, request.emoji()?);
    let reacting = if request.method() == Method::DELETE {
        Reacting::Remove
    } else {
        Reacting::Add
    };
    let limit = app.config.limits.emojis;

    let reacted = app
        .store
        .react(&caller.id, chat_id, message_id, &emoji, reacting, limit)
        .await?;
    match reacted {
        Reacted::Done { message, audience, at } => {
            let event = Event::reaction_changed(&message, &caller.id, emoji.as_str(), reacting, at);
            let pusher_sent = app.delivery.publish(&[Outgoing { event, audience }]).await;
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
