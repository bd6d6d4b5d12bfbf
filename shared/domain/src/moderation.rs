//! What a site's own moderation says of a message.

/// Why, in words for the sender and perhaps a word for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: String,
    pub code: Option<String>,
}
