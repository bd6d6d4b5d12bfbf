//! Messages of a chat: `/api/chat/{chatId}/messages`.

mod attachments;
mod change;
pub mod delete;
pub mod edit;
pub mod list;
pub mod send;
mod ui_message;
