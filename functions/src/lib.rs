//! The handlers of Backtalk, one file a route beside its kin; [`routes`] is the table of all, and `src/bin` has one binary for each function.

pub mod attachments;
pub mod chats;
mod cursor;
pub mod events;

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
pub mod routes;
pub mod sweeper;
pub mod unread;
pub mod usage;
pub mod worker;
