//! Messages of a chat: `/api/chat/{chatId}/messages`; and of all one's chats: `/api/chat/search`.

mod attachments;
mod change;
pub mod delete;
pub mod edit;
pub mod list;
mod mentions;
mod moderated;
pub mod react;
pub mod search;
pub mod send;
pub mod versions;
