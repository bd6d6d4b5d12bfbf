//! How long what is said is kept.

use super::chat::Kind;

/// By kind of chat, in days; a kind that is not named is kept for ever. An organisation may have rules of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention(pub Vec<(Kind, i32)>);
