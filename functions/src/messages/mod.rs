//! Messages of a chat: `/api/chat/{chatId}/messages`.

pub mod list;
pub mod send;
