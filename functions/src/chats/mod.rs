//! Chats: `/api/chat` and `/api/chat/{chatId}`.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod typing;
