//! What providers say when they do not answer: what all of them have in common.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::ApiKey;

/// How much of what upstream says is kept for the log.
const MAX_DETAIL_CHARS: usize = 300;

/// A response that is no stream.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// As far as it came.
    pub(super) body: &'a [u8],
    pub(super) key: &'a ApiKey,
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
        detail(&String::from_utf8_lossy(self.body), self.key)
    }

    /// Whether it says that the model has no eyes, in the words of llama.cpp, OpenAI, OpenRouter, Mistral and Ollama, vLLM,
    /// Gemini. A picture of the wrong kind or size is another matter.
    pub(super) fn is_blind(&self) -> bool {
        const WORDS: [&str; 6] = [
            "image input is not supported",
            "image_url is only supported by certain models",
            "support image input",
            "not support images",
            "is not a multimodal model",
            "image input modality is not enabled",
        ];
        let said = String::from_utf8_lossy(self.body).to_lowercase();
        WORDS.iter().any(|words| said.contains(words))
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

/// How long a provider asks to be left alone: OpenAI's milliseconds, or the standard's seconds or date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str, unit: f64| {
        let number: f64 = text(name)?.parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    number("retry-after-ms", 0.001)
        .or_else(|| number(RETRY_AFTER.as_str(), 1.0))
        .or_else(|| {
            let date = DateTime::parse_from_rfc2822(text(RETRY_AFTER.as_str())?).ok()?;
            Some((date.to_utc() - Utc::now()).to_std().unwrap_or_default())
        })
}
