//! `GET /api/chat/{chatId}`

use serde::Serialize;
use shared::app::App;
use shared::domain::chat::Chat;
use shared::domain::limits::PageSize;
use shared::domain::message::Message;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, ok};

#[derive(Serialize)]
struct OpenedChat {
    chat: Chat,
    /// The newest page, ascending.
    messages: Vec<Message>,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let chat_id = request.chat_id()?;
    let mut chat = app
        .store
        .chat(&caller.id, chat_id)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    let (messages, reply) = app.store.newest(&caller.id, chat_id, PageSize::DEFAULT).await?;
    chat.reply = reply;
    ok(&OpenedChat { chat, messages })
}
