//! What Bedrock, or the SDK in its place, says when it does not answer.

use std::fmt;

use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamError;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_smithy_types::event_stream::RawMessage;

use crate::refusal::{Parameter, Refused, detail, fault, joined, refused_parameter};
use crate::{ApiKey, ModelError};
use foundation::causes;

/// `sent`: the parameters of the request that a model may refuse.
pub(super) fn refused<R: fmt::Debug>(
    error: &SdkError<ConverseStreamError, R>,
    shows_images: bool,
    sent: &[Parameter],
) -> Refused {
    let error = match error {
        SdkError::ServiceError(refusal) => {
            let said = refusal.err().message().unwrap_or_default();
            let error = by_code(refusal.err().code().unwrap_or_default(), said, shows_images);
            let parameter = match error {
                ModelError::Rejected { status, .. } => refused_parameter(status, &said.to_lowercase(), sent),
                _ => None,
            };
            return Refused { error, parameter };
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => ModelError::Unreachable { detail: causes(error) },
        SdkError::ResponseError(_) => ModelError::Malformed { detail: causes(error) },
        // No region, for example.
        _ => ModelError::Rejected {
            status: 400,
            detail: causes(error),
        },
    };
    error.into()
}

/// Amid an answer.
pub(super) fn broken(error: &SdkError<ConverseStreamOutputError, RawMessage>, shows_images: bool) -> ModelError {
    match error {
        SdkError::ServiceError(refusal) => {
            // Of an exception among the frames the SDK keeps no code, but its type.
            let (error, said) = (refusal.err(), refusal.err().message().unwrap_or_default());
            if error.is_throttling_exception() {
                by_code("ThrottlingException", said, shows_images)
            } else if error.is_validation_exception() {
                by_code("ValidationException", said, shows_images)
            } else {
                by_code(error.code().unwrap_or_default(), said, shows_images)
            }
        }
        SdkError::ResponseError(error) if !matches!(error.raw(), RawMessage::Invalid(Some(_))) => {
            ModelError::Malformed {
                detail: "a frame of the answer cannot be read".into(),
            }
        }
        // The stream ended, or the connection, with half a frame or without one.
        _ => ModelError::Truncated,
    }
}

fn by_code(code: &str, said: &str, shows_images: bool) -> ModelError {
    let detail = detail(&joined(&[code, said]), &ApiKey::default());
    let rejected = |status| {
        let fault = fault(status, &said.to_lowercase(), shows_images, &detail);
        fault.unwrap_or_else(|| ModelError::Rejected {
            status,
            detail: detail.clone(),
        })
    };
    match code {
        // It says so in words alone: "Too many tokens per day, please wait before trying again."
        "ThrottlingException" if said.contains("per day") => ModelError::QuotaExhausted,
        "ThrottlingException" => ModelError::RateLimited { retry_after: None },
        "ServiceQuotaExceededException" => ModelError::QuotaExhausted,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature" => ModelError::Unauthorized,
        "ValidationException" => rejected(400),
        "ResourceNotFoundException" => rejected(404),
        // What is not known is the service's fault.
        _ => ModelError::Overloaded { retry_after: None },
    }
}
