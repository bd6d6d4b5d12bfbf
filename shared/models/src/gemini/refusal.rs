//! What Google says when it does not answer. <https://google.aip.dev/193>

use std::time::Duration;

use serde_json::Value;

use crate::ModelError;
use crate::refusal::{Asked, Refusal, detail, fault, joined, status, told_wait};

/// A `google.rpc.Status`, in a refusal's body or between the pieces of an answer.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    code: Option<u16>,
    /// Such as `RESOURCE_EXHAUSTED`.
    status: String,
    /// Without the key, cut short.
    detail: String,
    /// A `google.rpc.ErrorInfo` says so.
    is_key_invalid: bool,
    /// A quota that is not full again before tomorrow.
    is_of_a_day: bool,
    retry_after: Option<Duration>,
    /// All that was said, in small letters.
    said: String,
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
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        let violations = details.iter().filter_map(|detail| detail["violations"].as_array());
        let quotas = violations
            .flatten()
            .filter_map(|violation| violation["quotaId"].as_str());
        let reasons: Vec<_> = details.iter().filter_map(|detail| detail["reason"].as_str()).collect();
        let said = error.as_str().unwrap_or_else(|| text("message"));
        let mut words = vec![text("status")];
        words.extend(&reasons);
        words.push(said);
        Self {
            code: status(&error["code"]),
            status: text("status").to_owned(),
            detail: detail(&joined(&words), &asked.key),
            is_key_invalid: reasons.iter().any(|reason| reason.starts_with("API_KEY_")),
            is_of_a_day: quotas.into_iter().any(|quota| quota.contains("PerDay")),
            retry_after: details
                .iter()
                .find_map(|detail| duration(detail["retryDelay"].as_str()?))
                .or_else(|| told_wait(error, said)),
            said: around.to_string().to_lowercase(),
            shows_images: asked.shows_images,
        }
    }

    pub(super) fn with_status(self, status: u16, retry_after: Option<Duration>) -> ModelError {
        let retry_after = self.retry_after.or(retry_after);
        match status {
            // An unknown key is a wrong argument to Google, with 400.
            _ if self.is_key_invalid => return ModelError::Unauthorized,
            401 | 403 => return ModelError::Unauthorized,
            402 => return ModelError::QuotaExhausted,
            429 if self.is_of_a_day => return ModelError::QuotaExhausted,
            _ => {}
        }
        if let Some(fault) = fault(status, &self.said, self.shows_images, &self.detail) {
            return fault;
        }
        match status {
            429 => ModelError::RateLimited { retry_after },
            // 499: Google has given the request up.
            408 | 409 | 499..=599 => ModelError::Overloaded { retry_after },
            _ => ModelError::Rejected {
                status,
                detail: self.detail,
            },
        }
    }

    /// Between the pieces of an answer, where the status has been sent long since.
    pub(super) fn amid_an_answer(self) -> ModelError {
        let code = self.code.unwrap_or(match self.status.as_str() {
            "RESOURCE_EXHAUSTED" => 429,
            "UNAUTHENTICATED" => 401,
            "PERMISSION_DENIED" => 403,
            "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
            "NOT_FOUND" => 404,
            _ => 500,
        });
        self.with_status(code, None)
    }
}

/// As JSON writes a `google.protobuf.Duration`: `53s`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
