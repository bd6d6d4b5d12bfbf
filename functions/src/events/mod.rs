//! What happens, as it happens, without Pusher: `/api/chat/stream` and its tickets.

pub mod asyncapi;
pub mod stream;
pub mod ticket;
