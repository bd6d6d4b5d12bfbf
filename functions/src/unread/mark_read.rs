//! `POST /api/chat-messages/mark-read`

use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use domain::ids::MessageId;
use domain::limits::Limits;
use pusher::Delivery;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MessagesMarked")]
#[serde(rename_all = "camelCase")]
struct MarkedRead {
    success: bool,
    marked_count: i64,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessagesToMark {
    #[schemars(length(max = Limits::DEFAULT.ids))]
    pub message_ids: Vec<MessageId>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("markMessagesRead", "Marks messages as read")
        .for_people()
        .reads::<MessagesToMark>()
        .answers::<MarkedRead>(200, "How many of them were unread.")
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let mut fields = request.fields()?;
    // Required, though it may be empty: a body without it is a mistake.
    fields.require("messageIds");
    let ids = fields.list("messageIds", reads.settings.limits.ids, |item| match item {
        Value::String(text) => MessageId::parse(&text).ok_or_else(|| "must be a UUID".to_owned()),
        _ => Err("must be a string".to_owned()),
    });
    fields.finish()?;

    let marked = reads.store.mark_messages_read(&caller.id, &ids).await?;
    let news: Vec<Outgoing> = marked
        .reads
        .into_iter()
        .map(|read| Outgoing {
            event: Event::read(read.chat_id, &read.receipt, read.at),
            audience: read.audience,
        })
        .collect();
    delivery.publish(&news).await;
    ok(&MarkedRead {
        success: true,
        marked_count: marked.count,
    })
}
