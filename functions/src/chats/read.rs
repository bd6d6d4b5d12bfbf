//! `POST /api/chat/{chatId}/read`: to the end, up to a seq, or back to unread from one; and what has been delivered.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use domain::ids::Seq;
use domain::rate::RateClass;
use domain::unread::{ReadMark, Receipt};
use pusher::Delivery;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ReadPosition")]
#[serde(rename_all = "camelCase")]
struct MarkedRead {
    #[serde(flatten)]
    receipt: Receipt,
    unread_count: i64,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadMarks {
    /// Read up to here; never back.
    pub seq: Option<Seq>,
    /// On this device up to here.
    pub delivered_seq: Option<Seq>,
    /// Unread again from here on. Not together with `seq`.
    #[schemars(extend("minimum" = 1))]
    pub unread_from: Option<Seq>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("markChatRead",
        "Moves my read position",
    )
    .describe("Without a body: to the end. `unreadFrom` spends a request of the class `search`, too: it counts what is unread.")
    .for_people()
    .in_chat()
    .may_read::<ReadMarks>()
    .answers::<MarkedRead>(200, "Where I am now.")
    .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut fields = request.fields_or_none()?;
    let from_0 = |value: i64| Seq::new(value).ok_or_else(|| "must be a whole number of 0 or more".to_owned());
    let up_to = fields.optional("seq", from_0);
    let delivered = fields.optional("deliveredSeq", from_0);
    let unread_from = fields.optional("unreadFrom", |value: i64| {
        Seq::new(value)
            .filter(|seq| seq.value() > 0)
            .ok_or_else(|| "must be a whole number of 1 or more".to_owned())
    });
    fields.finish()?;
    let mark = match (up_to, unread_from, delivered) {
        (Some(_), Some(_), _) => {
            return Err(Error::Invalid(vec![FieldError::at(
                "/unreadFrom",
                "only one of seq and unreadFrom can be given",
            )]));
        }
        (Some(seq), None, _) => ReadMark::UpTo(seq),
        (None, Some(seq), _) => ReadMark::UnreadFrom(seq),
        (None, None, Some(_)) => ReadMark::Stay,
        (None, None, None) => ReadMark::End,
    };

    if let ReadMark::UnreadFrom(_) = mark {
        // All that follows is counted anew.
        reads.spend(&request, &caller.id, RateClass::Search).await?;
    }
    let standing = reads.store.mark_chat_read(&caller.id, chat_id, mark, delivered).await?;
    let standing = standing.ok_or(Error::NotFound("chat"))?;
    delivery
        .publish(&[Outgoing {
            event: Event::read(chat_id, &standing.receipt, standing.at),
            audience: standing.audience,
        }])
        .await;
    ok(&MarkedRead {
        receipt: standing.receipt,
        unread_count: standing.unread_count,
    })
}
