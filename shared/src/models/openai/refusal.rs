//! What a provider says when it does not answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::models::{ApiKey, ModelError};

/// How much of what upstream says is kept for the log.
const MAX_DETAIL_CHARS: usize = 300;

/// An error as providers describe it, in a refusal's body or between the chunks of an answer.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    kind: String,
    code: String,
    /// The code, where it is a status, as llama.cpp's is.
    status: Option<u16>,
    /// Without the key, cut short.
    detail: String,
    /// It stood in a body under the name of `error`.
    is_named: bool,
}

impl Complaint {
    /// Of a body, which may as well be a proxy's page in HTML.
    pub(super) fn read(body: &[u8], key: &ApiKey) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self {
                detail: detail(&String::from_utf8_lossy(body), key),
                ..Self::default()
            };
        };
        // Google's compatible endpoint wraps its error in an array.
        let body = body.get(0).unwrap_or(&body);
        match body.get("error").filter(|error| !error.is_null()) {
            Some(error) => Self {
                is_named: true,
                ..Self::new(error, key)
            },
            None => Self::new(body, key),
        }
    }

    /// Of the value of `error`: an object, or at times a mere text.
    pub(super) fn new(error: &Value, key: &ApiKey) -> Self {
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let (kind, code) = (text("type"), text("code"));
        let said = match error.as_str() {
            Some(said) => said.to_owned(),
            None => text("message") + &text("detail"),
        };
        let words = [kind.as_str(), code.as_str(), said.as_str()];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Self {
            status: code.parse().ok().filter(|status| (400..600).contains(status)),
            detail: detail(&words.join(": "), key),
            kind,
            code,
            is_named: false,
        }
    }

    pub(super) fn with_status(self, status: u16, retry_after: Option<Duration>) -> ModelError {
        match status {
            // 402 is how DeepSeek and OpenRouter say that nothing is left.
            _ if self.is("insufficient_quota") => ModelError::QuotaExhausted,
            402 => ModelError::QuotaExhausted,
            401 | 403 => ModelError::Unauthorized,
            429 => ModelError::RateLimited { retry_after },
            408 | 409 | 425 | 500..=599 => ModelError::Overloaded { retry_after },
            _ => match self.block() {
                Some(reason) => ModelError::Blocked {
                    reason: reason.into(),
                    usage: None,
                },
                None => ModelError::Rejected {
                    status,
                    detail: self.detail,
                },
            },
        }
    }

    /// Where the answer's status was 200 and its body is an error all the same.
    pub(super) fn among_answers(self) -> Option<ModelError> {
        self.is_named.then(|| self.amid_an_answer())
    }

    /// Between chunks, where the status has been sent long since. What is not known is the server's fault.
    pub(super) fn amid_an_answer(self) -> ModelError {
        let status = match self.status {
            Some(status) => status,
            None if self.is("rate_limit_exceeded") || self.is("rate_limit_error") || self.is("slow_down") => 429,
            None if self.is("invalid_api_key") || self.is("authentication_error") => 401,
            None if self.is("invalid_request_error") || self.block().is_some() => 400,
            None => 500,
        };
        self.with_status(status, None)
    }

    /// Azure's and OpenAI's words for a prompt that is not answered.
    fn block(&self) -> Option<&'static str> {
        ["content_filter", "content_policy_violation"]
            .into_iter()
            .find(|word| self.is(word))
    }

    fn is(&self, word: &str) -> bool {
        self.kind == word || self.code == word
    }
}

fn detail(text: &str, key: &ApiKey) -> String {
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
