//! `PATCH /api/chat/{chatId}`: its title, and how one keeps it.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::chat::Chat;
use domain::text::Title;
use pusher::Delivery;
use schemars::JsonSchema;
use serde::Serialize;
use store::chats::{ChatChange, Updated};

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
struct ChatUpdated {
    chat: Chat,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChatChanges {
    /// Of a channel, by its owner and admins; of an assistant chat.
    pub title: Option<Title>,
    /// How I keep it: nobody else sees it.
    pub archived: Option<bool>,
    /// How I keep it: nobody else sees it.
    pub muted: Option<bool>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("updateChat", "Renames, archives or mutes a chat")
        .for_people()
        .in_chat()
        .reads::<ChatChanges>()
        .answers::<ChatUpdated>(200, "The chat as it is now.")
        .refuses([
            Error::NotFound(""),
            Error::Forbidden(""),
            Error::TooManyChats { limit: 0 },
        ])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut fields = request.fields()?;
    let title = fields.optional("title", |text: String| Title::parse(&text));
    let archived = fields.optional("archived", |archived: bool| Ok(archived));
    let muted = fields.optional("muted", |muted: bool| Ok(muted));
    fields.finish()?;

    let change = ChatChange {
        title: title.as_ref(),
        archived,
        muted,
    };
    let limit = reads.settings.limits.assistant_chats;
    match reads.store.update_chat(&caller.id, chat_id, change, limit).await? {
        Updated::Made(news) => {
            delivery.publish(&news).await;
            let chat = reads.store.chat(&caller.id, chat_id).await?;
            ok(&ChatUpdated {
                chat: chat.ok_or(Error::NotFound("chat"))?,
            })
        }
        Updated::HasNoTitle => Err(Error::Invalid(vec![FieldError::at(
            "/title",
            "only channels and assistant chats have a title",
        )])),
        Updated::NotAllowed => Err(Error::Forbidden(
            "Only the owner and admins of a channel can rename it.",
        )),
        Updated::TooManyActive => Err(Error::TooManyChats { limit }),
        Updated::NoSuchChat => Err(Error::NotFound("chat")),
    }
}
