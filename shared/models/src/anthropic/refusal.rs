//! What Anthropic says when it does not answer. <https://platform.claude.com/docs/en/api/errors>

use std::time::Duration;

use serde_json::Value;

use crate::ModelError;
use crate::refusal::{Asked, Refusal, detail, fault, joined, status, told_wait};

/// An error, in a refusal's body or between the events of an answer.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    kind: String,
    /// What is wrong in particular, such as `enforced_spend_limit_reached`.
    code: String,
    /// Without the key, cut short.
    detail: String,
    /// The code, where it is a status, as gateways write it.
    status: Option<u16>,
    /// All that was said, in small letters.
    said: String,
    retry_after: Option<Duration>,
    shows_images: bool,
}

impl Complaint {
    pub(super) fn read(refusal: &Refusal<'_>) -> Self {
        let body = refusal.json().unwrap_or_default();
        match body.get("error").filter(|error| !error.is_null()) {
            Some(error) => Self::new(error, &body, refusal.asked),
            None => Self {
                said: refusal.said(),
                detail: refusal.text(),
                retry_after: told_wait(&Value::Null, &refusal.said()),
                shows_images: refusal.asked.shows_images,
                ..Self::default()
            },
        }
    }

    /// Of the value of `error`, and all that stands around it.
    pub(super) fn new(error: &Value, around: &Value, asked: &Asked) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, code) = (text(&error["type"]), text(&error["details"]["error_code"]));
        let said = match error.as_str() {
            Some(said) => said.to_owned(),
            None => text(&error["message"]),
        };
        Self {
            detail: detail(&joined(&[&kind, &code, &said]), &asked.key),
            status: status(&error["code"]).or_else(|| status(&error["status"])),
            retry_after: told_wait(error, &said),
            said: around.to_string().to_lowercase(),
            shows_images: asked.shows_images,
            kind,
            code,
        }
    }

    pub(super) fn with_status(self, status: u16, retry_after: Option<Duration>) -> ModelError {
        let retry_after = retry_after.or(self.retry_after);
        match status {
            _ if self.is_about_money() => return ModelError::QuotaExhausted,
            402 => return ModelError::QuotaExhausted,
            401 | 403 => return ModelError::Unauthorized,
            _ => {}
        }
        if let Some(fault) = fault(status, &self.said, self.shows_images, &self.detail) {
            return fault;
        }
        match status {
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

    /// Between events, where the headers have been sent long since.
    pub(super) fn amid_an_answer(self) -> ModelError {
        let status = match self.kind.as_str() {
            "rate_limit_error" if !self.is_about_money() => {
                return ModelError::RateLimited {
                    retry_after: self.retry_after,
                };
            }
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            _ => self.status.unwrap_or(500),
        };
        self.with_status(status, None)
    }

    fn is_about_money(&self) -> bool {
        self.kind == "billing_error" || self.code.contains("spend_limit_reached")
    }
}
