//! One error type for requests. Its variants are what a client can act on; the rest is [`Error::Internal`], logged once
//! in full and shown to nobody. On the wire: RFC 9457 `application/problem+json`.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use foundation::PartError;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use domain::budget::{Exhausted, Subject};
use domain::moderation::Refused;
use domain::rate::Spent;
use domain::wire_enum;

/// So many bad fields are told at once: who has more of them has no use for the others, and an answer has an end.
pub const MOST_ERRORS: usize = 100;

/// Where in the request something is wrong, and what.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct FieldError {
    /// A JSON pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of a query or path parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<&'static str>,
    pub detail: String,
}

impl FieldError {
    #[must_use]
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            detail: detail.into(),
        }
    }

    #[must_use]
    pub fn parameter(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(name),
            detail: detail.into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body is not readable: {0:?}")]
    Malformed(FieldError),
    #[error("the request is not valid: {0:?}")]
    Invalid(Vec<FieldError>),
    #[error("the body is over {limit} bytes")]
    TooLarge { limit: usize },
    #[error("not authenticated: {0}")]
    Unauthenticated(Cow<'static, str>),
    #[error("at most {limit} active assistant chats")]
    TooManyChats { limit: i32 },
    #[error("at most {limit} different emojis")]
    TooManyReactions { limit: i32 },
    #[error("refused by the moderation hook")]
    MessageRefused(Refused),
    #[error("the moderation hook did not judge")]
    ModerationUnavailable,
    #[error("one of the two has blocked the other")]
    Blocked,
    /// The key was used before, for something else.
    #[error("a key is used anew: {0:?}")]
    KeyReused(FieldError),
    /// They were announced, and are not there.
    #[error("images that were never uploaded: {0:?}")]
    NotUploaded(Vec<FieldError>),
    /// The same of some of those whom a request names.
    #[error("a block between the caller and others: {0:?}")]
    BlockedPeople(Vec<FieldError>),
    #[error("too fast: {0:?}")]
    RateLimited(Spent),
    #[error("newer streams took its place: at most {limit}")]
    TooManyStreams { limit: i32 },
    #[error("at most {limit} members")]
    TooManyMembers { limit: usize },
    #[error("people who are not known: {0:?}")]
    NoSuchPeople(Vec<FieldError>),
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    #[error("not found: {0}")]
    NotFound(&'static str),
    #[error("this kind of chat does not allow it: {0}")]
    Conflict(&'static str),
    /// The chat's reply is being written, and the configuration says not to wait for it.
    #[error("a reply is running")]
    ReplyRunning,
    #[error("no budget: {0:?}")]
    QuotaExceeded(Exhausted),
    #[error("not configured: {0}")]
    NotConfigured(&'static str),
    #[error("a part we need does not answer: {0}")]
    Unavailable(#[source] anyhow::Error),
    /// Which keys sign tokens cannot be known now, so nobody is called a stranger.
    #[error("the signer's keys cannot be had: {cause}")]
    KeysUnavailable {
        retry_after_seconds: u64,
        #[source]
        cause: anyhow::Error,
    },
    #[error("internal: {0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// The key in this field of the body was used for something else.
    #[must_use]
    pub fn key_reused(pointer: &str) -> Self {
        Self::KeyReused(FieldError::at(
            pointer,
            "was used before, for something else: a retry must ask for the same, and anything new needs a key of its own",
        ))
    }
}

impl From<PartError> for Error {
    fn from(error: PartError) -> Self {
        match error {
            PartError::NotConfigured(what) => Self::NotConfigured(what),
            PartError::Unavailable(cause) => Self::Unavailable(cause),
            PartError::Broken(cause) => Self::Internal(cause),
        }
    }
}

/// What a program looks at: stable, one word for each thing that a client can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemType {
    MalformedBody,
    InvalidRequest,
    BodyTooLarge,
    Unauthenticated,
    TooManyChats,
    TooManyReactions,
    MessageRefused,
    ModerationUnavailable,
    Blocked,
    IdempotencyKeyReused,
    AttachmentNotUploaded,
    RateLimited,
    TooManyStreams,
    TooManyMembers,
    NotFound,
    Forbidden,
    Conflict,
    ReplyRunning,
    QuotaExceeded,
    NotConfigured,
    Unavailable,
    Internal,
}
wire_enum!(ProblemType {
    MalformedBody = "malformed-body",
    InvalidRequest = "invalid-request",
    BodyTooLarge = "body-too-large",
    Unauthenticated = "unauthenticated",
    TooManyChats = "too-many-chats",
    TooManyReactions = "too-many-reactions",
    MessageRefused = "message-refused",
    ModerationUnavailable = "moderation-unavailable",
    Blocked = "blocked",
    IdempotencyKeyReused = "idempotency-key-reused",
    AttachmentNotUploaded = "attachment-not-uploaded",
    RateLimited = "rate-limited",
    TooManyStreams = "too-many-streams",
    TooManyMembers = "too-many-members",
    NotFound = "not-found",
    Forbidden = "forbidden",
    Conflict = "conflict",
    ReplyRunning = "reply-running",
    QuotaExceeded = "quota-exceeded",
    NotConfigured = "not-configured",
    Unavailable = "unavailable",
    Internal = "internal",
});

/// The body of every error, and the data of `event: error` inside an event stream.
#[derive(Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    #[serde(rename = "type")]
    pub problem_type: ProblemType,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The moderation hook's own word for why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How the budget stands that has no room.
    #[serde(flatten)]
    pub quota: Option<Quota>,
}

#[derive(Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// `person` or `organisation`.
    pub subject: Subject,
    pub limit: i64,
    pub used: i64,
    pub reserved: i64,
    pub resets_at: DateTime<Utc>,
}

impl Error {
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        let (problem_type, title, status, detail) = match self {
            Self::Malformed(error) => (
                ProblemType::MalformedBody,
                "The body is not readable",
                StatusCode::BAD_REQUEST,
                error.detail.clone(),
            ),
            Self::Invalid(errors) => (
                ProblemType::InvalidRequest,
                "The request is not valid",
                StatusCode::UNPROCESSABLE_ENTITY,
                match errors.as_slice() {
                    [one] => one.detail.clone(),
                    many => format!("{} fields are not valid", many.len()),
                },
            ),
            Self::TooLarge { limit } => (
                ProblemType::BodyTooLarge,
                "The body is too large",
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("A body may have at most {limit} bytes."),
            ),
            Self::Unauthenticated(why) => (
                ProblemType::Unauthenticated,
                "Sign in first",
                StatusCode::UNAUTHORIZED,
                format!("The bearer token {why}."),
            ),
            Self::TooManyChats { limit } => (
                ProblemType::TooManyChats,
                "Too many assistant chats",
                StatusCode::FORBIDDEN,
                format!("You may have at most {limit} active assistant chats. Archive or delete one first."),
            ),
            Self::TooManyReactions { limit } => (
                ProblemType::TooManyReactions,
                "Too many reactions",
                StatusCode::CONFLICT,
                format!("A message may have at most {limit} different reactions."),
            ),
            Self::MessageRefused(refused) => (
                ProblemType::MessageRefused,
                "The message was refused",
                StatusCode::UNPROCESSABLE_ENTITY,
                refused.reason.clone(),
            ),
            Self::ModerationUnavailable => (
                ProblemType::ModerationUnavailable,
                "Messages cannot be checked right now",
                StatusCode::SERVICE_UNAVAILABLE,
                "What you write cannot be checked right now, so it was not accepted. Please try again.".to_owned(),
            ),
            Self::Blocked => (
                ProblemType::Blocked,
                "Not possible with this person",
                StatusCode::FORBIDDEN,
                // Not who has blocked whom: that is nobody's business but theirs.
                "You can't message this person.".to_owned(),
            ),
            Self::KeyReused(error) => (
                ProblemType::IdempotencyKeyReused,
                "The key was used for something else",
                StatusCode::UNPROCESSABLE_ENTITY,
                error.detail.clone(),
            ),
            Self::NotUploaded(_) => (
                ProblemType::AttachmentNotUploaded,
                "An image was not uploaded",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Upload the image first, as the announcement's answer says, and then send the message.".to_owned(),
            ),
            Self::BlockedPeople(_) => (
                ProblemType::Blocked,
                "Not possible with this person",
                StatusCode::FORBIDDEN,
                "You can't bring this person into a channel.".to_owned(),
            ),
            Self::RateLimited(spent) => (
                ProblemType::RateLimited,
                "Too many requests",
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "At most {} requests of this kind in {} seconds. Try again in {} seconds.",
                    spent.limit.quota, spent.limit.seconds, spent.retry_after_seconds
                ),
            ),
            Self::TooManyStreams { limit } => (
                ProblemType::TooManyStreams,
                "Too many open streams",
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "You have opened others since, and may have {limit} of them at once. Poll, or come again later."
                ),
            ),
            Self::TooManyMembers { limit } => (
                ProblemType::TooManyMembers,
                "Too many members",
                StatusCode::FORBIDDEN,
                format!("A channel may have at most {limit} members."),
            ),
            Self::NoSuchPeople(_) => (
                ProblemType::NotFound,
                "Not found",
                StatusCode::NOT_FOUND,
                "There is no such person.".to_owned(),
            ),
            Self::Forbidden(why) => (
                ProblemType::Forbidden,
                "Not allowed",
                StatusCode::FORBIDDEN,
                (*why).to_owned(),
            ),
            Self::NotFound(what) => (
                ProblemType::NotFound,
                "Not found",
                StatusCode::NOT_FOUND,
                format!("There is no such {what}."),
            ),
            Self::Conflict(why) => (
                ProblemType::Conflict,
                "Not possible here",
                StatusCode::CONFLICT,
                (*why).to_owned(),
            ),
            Self::ReplyRunning => (
                ProblemType::ReplyRunning,
                "The assistant is still answering",
                StatusCode::CONFLICT,
                "Wait for the answer to the last message, or stop it.".to_owned(),
            ),
            Self::QuotaExceeded(exhausted) => (
                ProblemType::QuotaExceeded,
                "The token budget is used up",
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "The {}'s budget of {} tokens a {} has no room for another answer.",
                    exhausted.subject, exhausted.limit, exhausted.period
                ),
            ),
            Self::NotConfigured(what) => (
                ProblemType::NotConfigured,
                "Not set up here",
                StatusCode::NOT_IMPLEMENTED,
                (*what).to_owned(),
            ),
            Self::Unavailable(_) | Self::KeysUnavailable { .. } => (
                ProblemType::Unavailable,
                "Not available right now",
                StatusCode::SERVICE_UNAVAILABLE,
                "A part of the service does not answer. Please try again.".to_owned(),
            ),
            Self::Internal(_) => (
                ProblemType::Internal,
                "Something went wrong on our side",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The fault is logged under this request id.".to_owned(),
            ),
        };
        let errors = match self {
            Self::Malformed(error) if error.pointer.is_some() => vec![error.clone()],
            Self::KeyReused(error) => vec![error.clone()],
            Self::Invalid(errors)
            | Self::NoSuchPeople(errors)
            | Self::NotUploaded(errors)
            | Self::BlockedPeople(errors) => errors.iter().take(MOST_ERRORS).cloned().collect(),
            _ => Vec::new(),
        };
        Problem {
            problem_type,
            title,
            status: status.as_u16(),
            detail,
            request_id: request_id.to_owned(),
            retryable: matches!(
                self,
                Self::RateLimited(_)
                    | Self::TooManyStreams { .. }
                    | Self::Unavailable(_)
                    | Self::KeysUnavailable { .. }
                    | Self::Internal(_)
                    | Self::ModerationUnavailable
                    | Self::ReplyRunning
                    | Self::QuotaExceeded(_)
            ),
            errors,
            code: match self {
                Self::MessageRefused(refused) => refused.code.clone(),
                _ => None,
            },
            quota: match self {
                Self::QuotaExceeded(exhausted) => Some(Quota {
                    subject: exhausted.subject,
                    limit: exhausted.limit,
                    used: exhausted.used,
                    reserved: exhausted.reserved,
                    resets_at: exhausted.resets_at,
                }),
                _ => None,
            },
        }
    }
}
