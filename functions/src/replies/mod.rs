//! Replies: how an answer is written ([`write`]), how a reader watches one that somebody else writes ([`follow`]), and
//! how a response streams whichever it is ([`stream`]).

pub mod follow;
mod prompt;
pub mod stream;
pub mod write;
