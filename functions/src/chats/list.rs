//! `GET /api/chat`

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, not_modified, ok, tagged};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use capabilities::Reads;
use chrono::DateTime;
use domain::chat::{Chat, Kind};
use domain::ids::ChatId;
use schemars::JsonSchema;
use serde::Serialize;
use store::chats::{ListCursor, ListFilter};

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatList {
    chats: Vec<Chat>,
    total: i64,
    next_cursor: Option<String>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listChats", "My chats, newest activity first")
        .for_people()
        .query::<Kind>("kind", "Only chats of this kind.")
        .query::<bool>(
            "archived",
            "Those that I have archived instead of those that I have not.",
        )
        .paged()
        .after_cursor()
        .answers_once::<ChatList>("A page of them, with members, last message and unread count.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let size = request.page_size()?;
    let filter = ListFilter {
        kind: request.query("kind")?.map(parse_kind).transpose()?,
        archived: request.flag("archived")?,
    };
    let cursor = request.query("cursor")?.map(parse_cursor).transpose()?;
    // Read before the list: a tag may be older than what it names, never newer.
    let tag = request.tag(&caller, &reads.store.inbox_head(&caller.id).await?, size);
    if request.has(&tag) {
        return Ok(not_modified(&tag));
    }
    reads.store.upsert_user(&caller).await?;
    let page = reads.store.chats(&caller.id, filter, cursor, size).await?;
    let list = ChatList {
        chats: page.chats,
        total: page.total,
        next_cursor: page.next.map(written),
    };
    Ok(tagged(ok(&list)?, &tag))
}

fn parse_kind(text: &str) -> Result<Kind> {
    Kind::parse(text).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        Error::Invalid(vec![FieldError::parameter(
            "kind",
            format!("must be one of {}", kinds.join(", ")),
        )])
    })
}

/// Opaque to clients: the version at which the list was begun, and microseconds and id of the last chat of the page.
fn written(cursor: ListCursor) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!(
        "{}.{}.{}",
        cursor.version,
        cursor.active_at.timestamp_micros(),
        cursor.chat_id
    ))
}

fn parse_cursor(text: &str) -> Result<ListCursor> {
    let read = || {
        let decoded = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (version, rest) = decoded.split_once('.')?;
        let (micros, id) = rest.split_once('.')?;
        Some(ListCursor {
            version: version.parse().ok().filter(|version| *version >= 0)?,
            active_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            chat_id: ChatId::parse(id)?,
        })
    };
    read().ok_or_else(|| {
        Error::Invalid(vec![FieldError::parameter(
            "cursor",
            "must be the nextCursor of an earlier answer",
        )])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_nonsense_is_refused() {
        let cursor = ListCursor {
            version: 41,
            active_at: DateTime::from_timestamp_micros(1_790_000_000_123_456).expect("in range"),
            chat_id: ChatId::fresh(),
        };
        assert_eq!(parse_cursor(&written(cursor)).expect("our own"), cursor);
        for odd in [
            "",
            "x",
            "%%%",
            "MTIz",
            &BASE64_URL_SAFE_NO_PAD.encode("99999999999999999999.x"),
        ] {
            assert!(parse_cursor(odd).is_err(), "{odd}");
        }
    }
}
