//! The words of Backtalk as types. Nothing here does I/O or knows of HTTP, SQL or AWS.

#[macro_use]
mod wire_enum;

pub mod attachment;
pub mod budget;
pub mod characters;
pub mod chat;
pub mod event;
pub mod fingerprint;
pub mod ids;
pub mod inbox;
pub mod job;
pub mod limits;
pub mod message;
pub mod moderation;
pub mod notice;
pub mod page;
pub mod person;
pub mod post;
pub mod rate;
pub mod reply;
pub mod retention;
pub mod search;
pub mod stream;
pub mod text;
pub mod ticket;
pub mod tokens;
pub mod unread;
pub mod webhook;
pub mod withheld;

/// For [`wire_enum!`], wherever it is used.
#[doc(hidden)]
pub use {schemars, serde};
