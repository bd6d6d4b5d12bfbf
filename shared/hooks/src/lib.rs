//! Servers of others that are told or asked, each request signed: moderation before a message is accepted, and webhooks after.

pub mod moderation;
pub mod signing;
pub mod webhooks;
