//! `PATCH /api/chat/{chatId}/messages/{messageId}`

use shared::app::App;
use shared::domain::rate::RateClass;
use shared::domain::text::Content;
use shared::http::{Request, Response, Result, parsed};

use super::change::answer;

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, message_id) = (request.chat_id()?, request.message_id()?);
    let mut fields = request.fields(&app)?;
    let most = app.config.limits.content_bytes;
    let content = fields.required("content", |text: String| Content::parse(&text, most));
    fields.finish()?;

    let change = app
        .store
        .edit_message(&caller.id, chat_id, message_id, &parsed(content))
        .await?;
    answer(&app, change).await
}
