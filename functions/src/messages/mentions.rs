//! Who is named in a message: read from a body, and refused where they are not in the chat.

use std::collections::HashSet;

use backtalk_http::error::{Error, FieldError};
use domain::ids::UserId;
use domain::text::Refusal;
use serde_json::Value;

/// Reads one item after the other of a list that names nobody twice.
pub(super) fn named() -> impl FnMut(Value) -> Result<UserId, Refusal> {
    let mut seen = HashSet::new();
    move |item| match item {
        Value::String(text) => {
            let id = UserId::parse(&text).ok_or_else(|| "must be the id of a person".to_owned())?;
            if seen.insert(id.clone()) {
                Ok(id)
            } else {
                Err("is named twice".to_owned())
            }
        }
        _ => Err("must be a string".to_owned()),
    }
}

/// Points at those who are not in the chat, by their places from 1 on.
pub(super) fn not_members(places: &[i64]) -> Error {
    let errors = places.iter().map(|place| {
        FieldError::at(
            format!("/mentions/{}", place - 1),
            "only members of a direct chat or a channel can be mentioned",
        )
    });
    Error::Invalid(errors.collect())
}
