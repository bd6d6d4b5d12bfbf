//! What is shown with messages: `/api/attachments`, `/api/chat/{chatId}/messages/{messageId}/attachments/{index}`.

pub mod create;
pub mod get;
