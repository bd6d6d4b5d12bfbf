//! Messages of a chat: `/api/chat/{chatId}/messages`.

mod attachments;
mod change;
pub mod delete;
pub mod edit;
pub mod list;
mod mentions;
mod moderated;
pub mod react;
pub mod send;
mod ui_message;
pub mod versions;
