//! What makes a retry safe: a key of the client's own, and what was asked for by it, so that the same key with other
//! content is told from a retry.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::text::ClientId;

/// What a request asks for, in a few bytes. It stands with what the request made, whatever becomes of that later: a retry
/// is told by what was asked, not by what is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    /// Half of SHA-256: only a client's own requests are compared, and nobody gains by making two of theirs look alike.
    const BYTES: usize = 16;

    /// Of these fields. One that is null or empty counts as absent, so that a new field leaves the fingerprints of requests
    /// without it as they were.
    #[must_use]
    pub(super) fn of(fields: Value) -> Self {
        let Value::Object(fields) = fields else {
            unreachable!("callers in this module's neighbours write objects")
        };
        let is_there = |value: &Value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        };
        let there: Map<_, _> = fields.into_iter().filter(|(_, value)| is_there(value)).collect();
        // serde_json keeps objects sorted by their names.
        let hash = Sha256::digest(Value::Object(there).to_string());
        let (first, _) = hash.split_first_chunk().expect("SHA-256 has 32 bytes");
        Self(*first)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The client's own name for a request, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub client_id: ClientId,
    pub asked: Fingerprint,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_fields_and_absent_ones_make_no_difference() {
        let one: Value = serde_json::from_str(r#"{"a": {"x": 1, "y": [2]}, "b": "text"}"#).unwrap();
        let other: Value =
            serde_json::from_str(r#"{"b": "text", "c": null, "d": [], "a": {"y": [2], "x": 1}}"#).unwrap();
        assert_eq!(Fingerprint::of(one), Fingerprint::of(other));
    }

    #[test]
    fn whatever_else_differs_does() {
        let all = [
            json!({"content": "a"}),
            json!({"content": "b"}),
            json!({"content": "a "}),
            json!({"content": "A"}),
            json!({"title": "a"}),
            json!({"content": "a", "metadata": {"a": 1}}),
            json!({"content": "a", "metadata": {"a": "1"}}),
            json!({"content": "a", "mentions": ["x"]}),
        ];
        for (place, one) in all.iter().enumerate() {
            for other in &all[place + 1..] {
                assert_ne!(
                    Fingerprint::of(one.clone()),
                    Fingerprint::of(other.clone()),
                    "{one} {other}"
                );
            }
        }
    }

    /// They are stored: a retry that comes after an upgrade is still a retry.
    #[test]
    fn a_fingerprint_is_the_same_in_every_version() {
        let of = Fingerprint::of(json!({"content": "hi", "metadata": {"a": [1, "é"]}}));
        assert_eq!(hex::encode(of.as_bytes()), "2f6eefe357fa0ff91e3bb36fad16ce75");
    }
}
