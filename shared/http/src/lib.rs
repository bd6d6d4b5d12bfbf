//! The thin layer that makes a Lambda function of a handler: requests parsed, errors turned into problems, one log line
//! a request, and no way for a panic to leave as anything but a 500.

pub mod auth;
pub mod error;
mod fields;
mod json;
mod request;
mod response;
mod serve;
mod streaming;
mod ui_message_stream;

pub use fields::{Fields, parsed};
pub use json::json_of;
pub use request::Request;
pub use response::{
    Body, EventSink, Response, StreamFormat, accepted, created, event_stream, found, json, no_content, not_modified,
    ok, tagged,
};
pub use serve::{Context, Work, log_to_stdout, serve, serve_batches, serve_streaming};

/// What a handler returns.
pub type Result<T> = std::result::Result<T, crate::error::Error>;
