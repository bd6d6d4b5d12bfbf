//! What Pusher asks of us and tells us: `/api/pusher/auth` and `/api/pusher/webhook`.

pub mod auth;
pub mod webhook;
