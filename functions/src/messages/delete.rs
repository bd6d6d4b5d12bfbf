//! `DELETE /api/chat/{chatId}/messages/{messageId}`: the message keeps its place and loses its content.

use shared::app::App;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result};

use super::change::answer;

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let change = app
        .store
        .delete_message(&caller.id, request.chat_id()?, request.message_id()?)
        .await?;
    answer(&app, change).await
}
