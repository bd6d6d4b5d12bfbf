//! Posts and their AI chats: `/api/posts`.

pub mod create;
pub mod delete;
mod fields;
pub mod follow_up;
pub mod get;
pub mod list;
pub mod update;
