//! The handlers of Backtalk, one file a route beside its kin; `src/bin` has one binary for each, and `mains` what it runs.

pub mod attachments;
pub mod chats;
mod cursor;
pub mod events;
pub mod mains;
pub mod members;
pub mod messages;
pub mod migrate;
pub mod notices;
pub mod openapi;
pub mod people;
pub mod person;
pub mod posts;
pub mod pusher;
pub mod replies;
pub mod sweeper;
pub mod unread;
pub mod usage;
pub mod worker;
