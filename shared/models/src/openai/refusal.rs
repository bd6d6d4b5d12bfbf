//! What a provider says when it does not answer.

use std::time::Duration;

use serde_json::Value;

use crate::ModelError;
use crate::refusal::{Asked, Refusal, detail, fault, joined, status, told_wait};

/// An error as providers describe it, in a refusal's body or between the chunks of an answer.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    kind: String,
    code: String,
    /// The code, where it is a status, as llama.cpp's is.
    status: Option<u16>,
    /// All that was said, in small letters.
    said: String,
    /// Without the key, cut short.
    detail: String,
    retry_after: Option<Duration>,
    shows_images: bool,
}

impl Complaint {
    pub(super) fn read(refusal: &Refusal<'_>) -> Self {
        let Some(body) = refusal.json() else {
            return Self {
                said: refusal.said(),
                detail: refusal.text(),
                retry_after: told_wait(&Value::Null, &refusal.said()),
                shows_images: refusal.asked.shows_images,
                ..Self::default()
            };
        };
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(&body);
        Self::new(error, &body, refusal.asked)
    }

    /// Of the value of `error`, an object or at times a mere text, and all that stands around it.
    pub(super) fn new(error: &Value, around: &Value, asked: &Asked) -> Self {
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let first = |names: &[&str]| names.iter().map(|name| text(name)).find(|text| !text.is_empty());
        let kind = text("type");
        let code = first(&["code", "error_code"]).unwrap_or_default();
        let words = match error.as_str() {
            Some(said) => said.to_owned(),
            None => text("message") + &text("detail") + &text("msg"),
        };
        let statuses = ["code", "status", "status_code", "error_code"];
        let said = around.to_string().to_lowercase();
        Self {
            status: statuses.iter().find_map(|name| status(error.get(*name)?)),
            detail: detail(&joined(&[&kind, &code, &words]), &asked.key),
            retry_after: told_wait(error, &words),
            shows_images: asked.shows_images,
            said,
            kind,
            code,
        }
    }

    pub(super) fn with_status(self, status: u16, retry_after: Option<Duration>) -> ModelError {
        let retry_after = retry_after.or(self.retry_after);
        match status {
            // 402 is how DeepSeek and OpenRouter say that nothing is left.
            _ if self.is("insufficient_quota") => return ModelError::QuotaExhausted,
            402 => return ModelError::QuotaExhausted,
            401 | 403 => return ModelError::Unauthorized,
            _ => {}
        }
        if let Some(reason) = self.block().filter(|_| status < 500 && status != 429) {
            return ModelError::Blocked {
                reason: reason.into(),
                usage: None,
            };
        }
        if let Some(fault) = fault(status, &self.said, self.shows_images, &self.detail) {
            return fault;
        }
        match status {
            429 => ModelError::RateLimited { retry_after },
            408 | 409 | 425 | 500..=599 => ModelError::Overloaded { retry_after },
            _ => ModelError::Rejected {
                status,
                detail: self.detail,
            },
        }
    }

    /// Between chunks, where the status has been sent long since. What is not known is the server's fault.
    pub(super) fn amid_an_answer(self) -> ModelError {
        let status = match self.status {
            Some(status) => status,
            None if self.is("context_length_exceeded") || self.block().is_some() => 400,
            None => [self.kind.as_str(), self.code.as_str()]
                .into_iter()
                .find_map(status_of_word)
                .unwrap_or(500),
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

/// As OpenAI and Anthropic name their kinds of errors, and as Python's libraries do.
fn status_of_word(word: &str) -> Option<u16> {
    Some(match word {
        "invalid_request_error" | "BadRequestError" | "BAD_REQUEST" => 400,
        "invalid_api_key" | "authentication_error" | "AuthenticationError" => 401,
        "permission_error" | "PermissionDeniedError" => 403,
        "not_found_error" | "NotFoundError" => 404,
        "request_too_large" => 413,
        "rate_limit_exceeded" | "rate_limit_error" | "slow_down" | "RateLimitError" => 429,
        _ => return None,
    })
}
