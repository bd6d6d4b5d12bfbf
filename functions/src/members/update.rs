//! `PATCH /api/chat/{chatId}/members/{userId}`: the owner says what others may do, and may make one of them the owner.

use shared::app::App;
use shared::domain::chat::MemberRole;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, parsed};

use super::{answer, tell};

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let (chat_id, member) = (request.chat_id()?, request.user_id()?);
    let mut fields = request.fields(&app)?;
    let role = fields.required("role", |text: String| {
        MemberRole::parse(&text).ok_or_else(|| "must be owner, admin or member".to_owned())
    });
    fields.finish()?;

    let outcome = app
        .store
        .change_role(&caller.id, chat_id, &member, parsed(role))
        .await?;
    tell(&app, outcome).await?;
    answer(&app, &caller.id, chat_id).await
}
