//! The contract: `/api/openapi.json`. Each handler says what it is in its own file by [`Operation`]; [`document`] puts
//! them together; what is served is the committed `docs/openapi.json`, which a test holds to the types.

mod components;
pub mod document;
pub mod get;
mod operation;
mod parameters;
mod streams;
#[cfg(test)]
pub(crate) mod written;

pub(crate) use components::Components;
pub use operation::Operation;
pub(crate) use operation::{message_refused, quota_exceeded};
pub(crate) use parameters::{LastStreamPlace, Number, StreamPlace};
pub(crate) use streams::{StreamedEvent, StreamedReply};
