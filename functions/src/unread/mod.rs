//! The polling fallback: `/api/chat-messages`.

pub mod list;
pub mod mark_read;
