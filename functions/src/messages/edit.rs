//! `PATCH /api/chat/{chatId}/messages/{messageId}`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, parsed};
use capabilities::{ModerationHook, Reads};
use domain::ids::UserId;
use domain::limits::Limits;
use domain::message::Edit;
use domain::text::{Content, ContentOrNone};
use pusher::Delivery;
use schemars::JsonSchema;

use super::change::{MessageChanged, answer};
use super::mentions::named;
use super::moderated::{Saying, moderated};
use crate::openapi::{Operation, message_refused};

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageToEdit {
    pub content: ContentOrNone,
    /// Absent: they stay as they are.
    #[schemars(length(max = Limits::DEFAULT.mentions), extend("uniqueItems" = true))]
    pub mentions: Option<Vec<UserId>>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("editMessage", "Changes what a message of mine says")
        .for_people()
        .in_chat()
        .of_message()
        .reads::<MessageToEdit>()
        .answers::<MessageChanged>(200, "The message as it is now.")
        .refuses([
            Error::NotFound(""),
            Error::Forbidden(""),
            Error::Blocked,
            Error::ModerationUnavailable,
            message_refused(),
        ])
}

pub async fn handle(reads: Reads, delivery: Delivery, hook: ModerationHook, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, message_id) = (request.chat_id()?, request.message_id()?);
    let mut fields = request.fields()?;
    let limits = &reads.settings.limits;
    let content = fields.required("content", |text: String| Content::or_none(&text, limits.content_bytes));
    // An edit that does not speak of mentions leaves them.
    let mentions = fields
        .has("mentions")
        .then(|| fields.list("mentions", limits.mentions, named()));
    fields.finish()?;

    let edit = Edit {
        content: parsed(content),
        mentions,
    };
    moderated(&reads, &hook, &caller.id, chat_id, Saying::Changed(message_id, &edit)).await?;
    let change = reads
        .store
        .edit_message(&caller.id, chat_id, message_id, &edit, reads.settings.edit_history)
        .await?;
    answer(&delivery, None, change).await
}
