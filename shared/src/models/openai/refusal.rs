//! What a provider says when it does not answer.

use std::time::Duration;

use serde_json::Value;

use crate::models::refusal::{Refusal, detail, joined};
use crate::models::{ApiKey, ModelError};

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
    pub(super) fn read(refusal: &Refusal<'_>) -> Self {
        let Some(body) = refusal.json() else {
            return Self {
                detail: refusal.text(),
                ..Self::default()
            };
        };
        match body.get("error").filter(|error| !error.is_null()) {
            Some(error) => Self {
                is_named: true,
                ..Self::new(error, refusal.key)
            },
            None => Self::new(&body, refusal.key),
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
        Self {
            status: code.parse().ok().filter(|status| (400..600).contains(status)),
            detail: detail(&joined(&[&kind, &code, &said]), key),
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
