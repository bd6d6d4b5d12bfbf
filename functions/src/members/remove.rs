//! `DELETE /api/chat/{chatId}/members/{userId}`: the owner and admins remove others, everyone but the owner may leave.

use shared::app::App;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, no_content};

use super::tell;

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, member) = (request.chat_id()?, request.user_id()?);
    let outcome = app.store.remove_member(&caller.id, chat_id, &member).await?;
    tell(&app, outcome).await?;
    Ok(no_content())
}
