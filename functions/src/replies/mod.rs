//! `/api/chat/{chatId}/stop`, `…/regenerate`, `…/messages/{messageId}/stream`, and replies themselves: how an answer is
//! written ([`write`]), how a reader watches one that somebody else writes ([`follow`]), and how a response streams
//! whichever it is ([`stream`]).

mod audience;
pub mod engine;
pub mod follow;
pub mod join;
mod post;
mod prompt;
mod question;
mod refused;
pub mod regenerate;
pub mod stop;
pub mod stream;
pub mod terms;
mod thoughts;
mod usage;
pub mod write;
