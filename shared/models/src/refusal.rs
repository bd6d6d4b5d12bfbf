//! What providers say when they do not answer: what all of them have in common.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::{ApiKey, ModelError};

mod fault;
mod parameter;
mod wait;

pub(super) use fault::fault;
pub(super) use parameter::{Parameter, refused_parameter};
pub(super) use wait::{retry_after, told_wait};

/// How much of what upstream says is kept for the log.
const MAX_DETAIL_CHARS: usize = 300;

/// Of the question, what its refusal is judged by.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) key: ApiKey,
    pub(super) shows_images: bool,
}

/// A response that is no answer.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// As far as it came.
    pub(super) body: &'a [u8],
    pub(super) asked: &'a Asked,
}

impl Refusal<'_> {
    /// The body as JSON, without the array that Google at times wraps its error in. It may as well be a proxy's page.
    pub(super) fn json(&self) -> Option<Value> {
        let mut body: Value = serde_json::from_slice(self.body).ok()?;
        Some(match body.get_mut(0) {
            Some(first) => first.take(),
            None => body,
        })
    }

    pub(super) fn text(&self) -> String {
        detail(&String::from_utf8_lossy(self.body), &self.asked.key)
    }

    /// All that it says, in small letters.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(self.body).to_lowercase()
    }
}

/// For the log: without the key, without control characters, cut short.
pub(super) fn detail(text: &str, key: &ApiKey) -> String {
    let text = match key.expose() {
        "" => text.to_owned(),
        // Some servers repeat the key that they refuse.
        key => text.replace(key, "***"),
    };
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_DETAIL_CHARS)
        .collect()
}

/// The words that are there, for [`detail`].
pub(super) fn joined(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(": ")
}

/// A number, or a text that is one: some servers write their codes so.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// A status of HTTP that tells of an error.
pub(super) fn status(value: &Value) -> Option<u16> {
    let number = number(value)?;
    (400..600).find(|status| f64::from(*status) == number)
}

/// Not answered, and which parameter of the request is why, if one is.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) error: ModelError,
    pub(super) parameter: Option<Parameter>,
}

impl From<ModelError> for Refused {
    fn from(error: ModelError) -> Self {
        Self { error, parameter: None }
    }
}

#[cfg(test)]
mod tests;
