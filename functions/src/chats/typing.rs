//! `POST /api/chat/{chatId}/typing`: relayed to the other members, never stored.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use pusher::Delivery;
use schemars::JsonSchema;
use store::blocks::TypingAudience;

use crate::openapi::Operation;

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct TypingState {
    /// `true` unless it is said.
    pub is_typing: Option<bool>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("typing", "Tells the others that I type")
        .describe("Relayed, never stored.")
        .for_people()
        .in_chat()
        .may_read::<TypingState>()
        .answers_nothing(204, "They are told.")
        .refuses([Error::NotFound(""), Error::Blocked])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut fields = request.fields_or_none()?;
    let is_typing = fields
        .optional("isTyping", |is_typing: bool| Ok(is_typing))
        .unwrap_or(true);
    fields.finish()?;

    let audience = match reads.store.typing_audience(&caller.id, chat_id).await? {
        TypingAudience::Members(others) => others,
        TypingAudience::Blocked => return Err(Error::Blocked),
        TypingAudience::NoSuchChat => return Err(Error::NotFound("chat")),
    };
    delivery
        .publish(&[Outgoing {
            event: Event::typing(chat_id, &caller.id, is_typing),
            audience,
        }])
        .await;
    Ok(no_content())
}
