//! Chats: `/api/chat` and `/api/chat/{chatId}`.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod read;
pub mod typing;
pub mod update;
