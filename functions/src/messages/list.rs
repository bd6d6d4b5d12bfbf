//! `GET /api/chat/{chatId}/messages`

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::chat::Chat;
use domain::ids::Seq;
use domain::message::Message;
use schemars::JsonSchema;
use serde::Serialize;
use store::messages::Range;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MessagePage")]
#[serde(rename_all = "camelCase")]
pub(crate) struct Messages {
    messages: Vec<Message>,
    seq: Seq,
    has_more: bool,
    /// With `changedAfter`, when the chat changed: its read positions included.
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<Chat>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listMessages", "Messages of a chat, ascending")
        .for_people()
        .in_chat()
        .query::<Seq>(
            "after",
            "Those after this seq. One of `after`, `before` and `changedAfter` at most.",
        )
        .query::<Seq>("before", "The newest before this seq.")
        .query::<Seq>(
            "changedAfter",
            "To catch up: what changed since, as it is now, and the chat where it did.",
        )
        .paged()
        .answers::<Messages>(
            200,
            "A page of them, the newest without a bound, and the `seq` that it is true for.",
        )
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let range = range(&request)?;
    let page = reads
        .store
        .messages(&caller.id, chat_id, range, request.page_size()?)
        .await?;
    let page = page.ok_or(Error::NotFound("chat"))?;
    let chat = match range {
        Range::ChangedAfter(after) if page.seq > after => reads.store.chat(&caller.id, chat_id).await?,
        _ => None,
    };
    ok(&Messages {
        messages: page.messages,
        seq: page.seq,
        has_more: page.has_more,
        chat,
    })
}

fn range(request: &Request) -> Result<Range> {
    let bounds = [
        request.seq("after")?.map(Range::After),
        request.seq("before")?.map(Range::Before),
        request.seq("changedAfter")?.map(Range::ChangedAfter),
    ];
    let mut given = bounds.into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Range::Newest),
        (Some(range), None) => Ok(range),
        (Some(_), Some(_)) => Err(Error::Invalid(vec![FieldError::parameter(
            "after",
            "only one of after, before and changedAfter can be given",
        )])),
    }
}
