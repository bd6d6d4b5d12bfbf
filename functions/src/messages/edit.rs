//! `PATCH /api/chat/{chatId}/messages/{messageId}`

use shared::app::App;
use shared::domain::message::Edit;
use shared::domain::rate::RateClass;
use shared::domain::text::Content;
use shared::http::{Request, Response, Result, parsed};

use super::change::answer;
use super::mentions::named;
use super::moderated::{Saying, moderated};

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, message_id) = (request.chat_id()?, request.message_id()?);
    let mut fields = request.fields(&app)?;
    let limits = &app.config.limits;
    let content = fields.required("content", |text: String| Content::parse(&text, limits.content_bytes));
    // An edit that does not speak of mentions leaves them.
    let mentions = fields
        .has("mentions")
        .then(|| fields.list("mentions", limits.mentions, named()));
    fields.finish()?;

    let edit = Edit {
        content: parsed(content),
        mentions,
    };
    moderated(&app, &caller.id, chat_id, Saying::Changed(message_id, &edit)).await?;
    let change = app
        .store
        .edit_message(&caller.id, chat_id, message_id, &edit, app.config.edit_history)
        .await?;
    answer(&app, change).await
}
