//! An event too large for Pusher becomes a pointer: the same envelope, with where to fetch the rest.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// The most bytes of an envelope that go out whole. It leaves a tenth of [`MAX_DATA`](super::MAX_DATA) free.
pub const POINTER_ABOVE: usize = 9 * 1024;

/// The envelope as it may be pushed: itself, or above [`POINTER_ABOVE`] bytes with `{"fetch": "/api/…"}` for its `data`.
/// Its other members stay as they are, letter by letter. What is no JSON object is no envelope and comes back unchanged.
#[must_use]
pub fn fit(envelope: String, fetch: &str) -> String {
    if envelope.len() <= POINTER_ABOVE {
        return envelope;
    }
    point(&envelope, fetch).unwrap_or(envelope)
}

fn point(envelope: &str, fetch: &str) -> serde_json::Result<String> {
    let pointer = to_raw_value(&json!({ "fetch": fetch }))?;
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(envelope)?;
    members.insert("data".to_owned(), &pointer);
    serde_json::to_string(&members)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// An envelope of exactly so many bytes.
    fn envelope(bytes: usize) -> String {
        let of = |content: &str| {
            format!(
                r#"{{"type":"message.created","chatId":"c","seq":9007199254740993,"at":"2026-11-21T07:00:00Z","data":{{"content":"{content}"}}}}"#
            )
        };
        of(&"x".repeat(bytes - of("").len()))
    }

    #[test]
    fn an_envelope_of_9_kib_goes_out_whole() {
        assert_eq!(fit(envelope(9_216), "/api/x"), envelope(9_216));
    }

    #[test]
    fn a_byte_more_and_it_says_where_to_fetch() {
        let pointer = fit(envelope(9_217), "/api/chat/c/messages?after=41&limit=1");
        assert_eq!(
            pointer,
            r#"{"at":"2026-11-21T07:00:00Z","chatId":"c","data":{"fetch":"/api/chat/c/messages?after=41&limit=1"},"seq":9007199254740993,"type":"message.created"}"#
        );
    }

    #[test]
    fn the_path_is_written_as_json() {
        let pointer: Value = serde_json::from_str(&fit(envelope(20_000), r#"/api/"\ü"#)).unwrap();
        assert_eq!(pointer["data"]["fetch"], r#"/api/"\ü"#);
    }

    #[test]
    fn what_is_no_envelope_is_left_alone() {
        for odd in [
            "x".repeat(9_217),
            format!("[{}]", "1,".repeat(5_000)),
            format!("\"{}\"", "y".repeat(9_300)),
        ] {
            assert_eq!(fit(odd.clone(), "/api/x"), odd);
        }
    }
}
