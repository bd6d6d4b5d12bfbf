//! `GET /api/chat/{chatId}/messages/{messageId}/stream`

use std::time::Duration;

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, event_stream, no_content};
use capabilities::Reads;
use domain::ids::{MessageId, UserId};
use domain::stream::StreamKind;
use store::streams::OpenStream;
use tokio::time::sleep;

use super::follow::{Seen, follow};
use crate::openapi::{Number, Operation, StreamedReply};

/// How soon a reader is told that newer ones have taken its place.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("joinReply", "An answer that is being written, from anywhere on")
        .for_people()
        .in_chat()
        .path::<MessageId>(
            "messageId",
            "The answer; the chat's own id means whatever is being written there.",
        )
        .query::<Number<0>>("offset", "UTF-8 bytes of its text that you have.")
        .query::<Number<0>>(
            "attempt",
            "The attempt that you have them of; the present one unless it is said.",
        )
        .in_dialect()
        .streams::<StreamedReply>("Its text from there on as events; `reply.ended` is always the last.")
        .answers_nothing(204, "Nothing is being written.")
        .refuses([Error::NotFound("")])
}

/// Streams a reply that runs, or waits to run, from what the reader has of it. The chat's own id in place of a message's
/// means whatever runs there, for readers who were gone before they learnt its id.
pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let message_id = request.message_id()?;
    let offset = number(&request, "offset")?;
    let attempt = number(&request, "attempt")?;
    let stream_format = request.stream_format()?;

    let named = (message_id.uuid() != chat_id.uuid()).then_some(message_id);
    let running = reads
        .store
        .open_reply(&caller.id, chat_id, named)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    let Some(running) = running else {
        return Ok(no_content());
    };
    let seen = Seen {
        // A reader that does not say which attempt it has seen means the present one.
        attempt: match (attempt, offset) {
            (Some(attempt), _) => attempt,
            (None, Some(1..)) => running.attempt,
            (None, _) => 0,
        },
        offset: offset.map_or(0, |offset| usize::try_from(offset).unwrap_or(0)),
        thoughts: None,
    };
    let limit = reads.settings.streams_per_person;
    let open = reads
        .store
        .open_stream(&caller.id, StreamKind::Reply, limit)
        .await?
        .stream;
    let (reader, response) = event_stream(stream_format);
    let request_id = request.id().to_owned();
    tokio::spawn(async move {
        let (me, reply) = (&caller.id, running.message_id);
        tokio::select! {
            () = follow(&reads, me, chat_id, reply, seen, &reader, &request_id) => {}
            () = crowded(&reads, me, open) => reader.send_error(&Error::TooManyStreams { limit }, &request_id),
        }
        // Before the response ends, for then the process is frozen. If it fails, its lease ends.
        let _closed = reads.store.close_stream(me, open).await;
    });
    Ok(response)
}

/// Until newer streams have taken this one's place.
async fn crowded(reads: &Reads, me: &UserId, open: OpenStream) {
    loop {
        sleep(KEEP_EVERY).await;
        if let Ok(false) = reads.store.keep_stream(me, open).await {
            return;
        }
    }
}

fn number(request: &Request, name: &'static str) -> Result<Option<i32>> {
    request
        .query(name)?
        .map(|text| {
            text.parse()
                .ok()
                .filter(|number| *number >= 0)
                .ok_or_else(|| Error::Invalid(vec![FieldError::parameter(name, "must be a whole number of 0 or more")]))
        })
        .transpose()
}
