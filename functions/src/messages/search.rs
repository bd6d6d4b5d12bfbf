//! `GET /api/chat/search`: my messages that match, newest first.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::ids::{ChatId, MessageId};
use domain::search::SearchResult;
use domain::text::SearchText;
use schemars::JsonSchema;
use serde::Serialize;
use store::search::SearchCursor;

use crate::cursor;
use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct SearchResults {
    results: Vec<SearchResult>,
    next_cursor: Option<String>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("searchMessages", "My messages that match, newest first")
        .for_people()
        .required_query::<SearchText>("q", "Words, \"a phrase\", or, -not this.")
        .query::<ChatId>("chatId", "Only in this chat.")
        .paged()
        .after_cursor()
        .answers::<SearchResults>(200, "A page of them, each with the text around the match.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let text = SearchText::parse(request.query("q")?.unwrap_or_default())
        .map_err(|refusal| Error::Invalid(vec![FieldError::parameter("q", refusal)]))?;
    let chat = request.query("chatId")?.map(chat_id).transpose()?;
    let after =
        cursor::of(&request, MessageId::parse)?.map(|(created_at, message_id)| SearchCursor { created_at, message_id });

    let page = reads
        .store
        .search(&caller.id, &text, chat, after, request.page_size()?)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    ok(&SearchResults {
        results: page.results,
        next_cursor: page.next.map(|next| cursor::written(next.created_at, next.message_id)),
    })
}

fn chat_id(text: &str) -> Result<ChatId> {
    ChatId::parse(text).ok_or_else(|| Error::Invalid(vec![FieldError::parameter("chatId", "must be a UUID")]))
}
