//! Where a page of a list ended that is ordered by time, newest first: opaque to clients, and stable while more happens.

use std::fmt::Display;

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

/// The microseconds and the id of the page's last item.
pub(crate) fn written(at: DateTime<Utc>, id: impl Display) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{id}", at.timestamp_micros()))
}

/// The `cursor` of a request's query.
pub(crate) fn of<T>(request: &Request, id: impl FnOnce(&str) -> Option<T>) -> Result<Option<(DateTime<Utc>, T)>> {
    request
        .query("cursor")?
        .map(|text| {
            read(text, id).ok_or_else(|| {
                Error::Invalid(vec![FieldError::parameter(
                    "cursor",
                    "must be the nextCursor of an earlier answer",
                )])
            })
        })
        .transpose()
}

fn read<T>(text: &str, id: impl FnOnce(&str) -> Option<T>) -> Option<(DateTime<Utc>, T)> {
    let decoded = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, rest) = decoded.split_once('.')?;
    let at = DateTime::from_timestamp_micros(micros.parse().ok()?).filter(|at| YEARS.contains(&at.timestamp()))?;
    Some((at, id(rest)?))
}

/// In seconds: what Postgres can hold, and no cursor of ours is beyond: 1970 to 9999.
const YEARS: std::ops::Range<i64> = 0..253_402_300_800;

#[cfg(test)]
mod tests {
    use domain::ids::UserId;

    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_nonsense_is_refused() {
        let at = DateTime::from_timestamp_micros(1_790_000_000_123_456).expect("in range");
        let anna = UserId::parse("auth0|anna.b é").expect("an id");
        assert_eq!(read(&written(at, &anna), UserId::parse), Some((at, anna)));
        for odd in [
            "",
            "x",
            "MTIz",
            "99999999999999999999.x",
            "-99999999999999999.x",
            "9.",
            "9",
        ] {
            assert_eq!(read(&BASE64_URL_SAFE_NO_PAD.encode(odd), UserId::parse), None, "{odd}");
            assert_eq!(read(odd, UserId::parse), None, "{odd}");
        }
    }
}
