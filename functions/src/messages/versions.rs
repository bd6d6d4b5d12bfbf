//! `GET /api/chat/{chatId}/messages/{messageId}/versions`: what the message said before, newest first.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::message::MessageVersion;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::{Number, Operation};

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageVersions {
    versions: Vec<MessageVersion>,
    has_more: bool,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listVersions", "What a message said before, newest first")
        .for_people()
        .in_chat()
        .of_message()
        .query::<Number<1>>("before", "Those before this version.")
        .paged()
        .answers::<MessageVersions>(200, "A page of them.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, message_id) = (request.chat_id()?, request.message_id()?);
    let before = request.query("before")?.map(version).transpose()?;
    let page = reads
        .store
        .versions(&caller.id, chat_id, message_id, before, request.page_size()?)
        .await?
        .ok_or(Error::NotFound("message"))?;
    ok(&MessageVersions {
        versions: page.versions,
        has_more: page.has_more,
    })
}

fn version(text: &str) -> Result<i32> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        Error::Invalid(vec![FieldError::parameter(
            "before",
            "must be the number of a version, from 1 on",
        )])
    })
}
