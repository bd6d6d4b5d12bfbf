//! `POST /api/chat`

use serde::Serialize;
use shared::app::App;
use shared::domain::chat::{Chat, Kind};
use shared::domain::text::Title;
use shared::error::{Error, FieldError};
use shared::http::{Request, Response, Result, created, parsed};

#[derive(Serialize)]
struct ChatCreated {
    chat: Chat,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app).await?;
    let mut fields = request.fields(&app)?;
    let kind = fields.required("kind", |text: String| {
        Kind::parse(&text).ok_or_else(|| "must be one of direct, channel, assistant".to_owned())
    });
    let title = fields.optional("title", |text: String| Title::parse(&text));
    fields.finish()?;

    let limit = app.config.limits.assistant_chats;
    let chat_id = match parsed(kind) {
        Kind::Assistant => {
            app.store.meet(&caller).await?;
            app.store
                .open_assistant_chat(&caller.id, caller.org_id.as_deref(), title.as_ref(), limit)
                .await?
                .ok_or(Error::TooManyChats { limit })?
        }
        Kind::Direct | Kind::Channel | Kind::Post | Kind::Task => {
            return Err(Error::Invalid(vec![FieldError::at("/kind", "kind must be assistant")]));
        }
    };
    let chat = app
        .store
        .chat(&caller.id, chat_id)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    created(&ChatCreated { chat })
}
