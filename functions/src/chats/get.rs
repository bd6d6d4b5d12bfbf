//! `GET /api/chat/{chatId}`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::chat::Chat;
use domain::limits::PageSize;
use domain::message::Message;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenedChat {
    chat: Chat,
    /// The newest page, ascending.
    messages: Vec<Message>,
    /// Whether there are older ones: `before` the first of these.
    has_more: bool,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("getChat",
        "A chat and its newest page of messages",
    )
    .for_people()
    .in_chat()
    .answers::<OpenedChat>(
        200,
        "The chat, its members with their read positions, the newest messages, and the answer that is being written.",
    )
    .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut chat = reads
        .store
        .chat(&caller.id, chat_id)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    let (newest, reply) = reads.store.newest(&caller.id, chat_id, PageSize::DEFAULT).await?;
    chat.reply = reply;
    ok(&OpenedChat {
        chat,
        messages: newest.items,
        has_more: newest.has_more,
    })
}
