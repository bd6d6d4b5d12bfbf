//! What Anthropic says when it does not answer. <https://platform.claude.com/docs/en/api/errors>

use std::time::Duration;

use serde_json::Value;

use crate::models::refusal::{Refusal, detail, joined};
use crate::models::{ApiKey, ModelError};

/// An error, in a refusal's body or between the events of an answer.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    kind: String,
    /// What is wrong in particular, such as `enforced_spend_limit_reached`.
    code: String,
    /// Without the key, cut short.
    detail: String,
    /// It stood in a body under the name of `error`.
    is_named: bool,
}

impl Complaint {
    pub(super) fn read(refusal: &Refusal<'_>) -> Self {
        let body = refusal.json().unwrap_or_default();
        match body.get("error").filter(|error| !error.is_null()) {
            Some(error) => Self {
                is_named: true,
                ..Self::new(error, refusal.key)
            },
            None => Self {
                detail: refusal.text(),
                ..Self::default()
            },
        }
    }

    pub(super) fn new(error: &Value, key: &ApiKey) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, code) = (text(&error["type"]), text(&error["details"]["error_code"]));
        let said = match error.as_str() {
            Some(said) => said.to_owned(),
            None => text(&error["message"]),
        };
        Self {
            detail: detail(&joined(&[&kind, &code, &said]), key),
            kind,
            code,
            is_named: false,
        }
    }

    pub(super) fn with_status(self, status: u16, retry_after: Option<Duration>) -> ModelError {
        match status {
            _ if self.is_about_money() => ModelError::QuotaExhausted,
            402 => ModelError::QuotaExhausted,
            401 | 403 => ModelError::Unauthorized,
            // A rate limit says when it is over; a spend limit does not.
            429 if retry_after.is_none() => ModelError::QuotaExhausted,
            429 => ModelError::RateLimited { retry_after },
            408 | 409 | 500..=599 => ModelError::Overloaded { retry_after },
            _ => ModelError::Rejected {
                status,
                detail: self.detail,
            },
        }
    }

    /// Where the answer's status was 200 and its body is an error all the same.
    pub(super) fn among_answers(self) -> Option<ModelError> {
        self.is_named.then(|| self.amid_an_answer())
    }

    /// Between events, where the headers have been sent long since.
    pub(super) fn amid_an_answer(self) -> ModelError {
        let status = match self.kind.as_str() {
            "rate_limit_error" if !self.is_about_money() => return ModelError::RateLimited { retry_after: None },
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            _ => 500,
        };
        self.with_status(status, None)
    }

    fn is_about_money(&self) -> bool {
        self.kind == "billing_error" || self.code.contains("spend_limit_reached")
    }
}
