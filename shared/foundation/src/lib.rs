//! What all crates of Backtalk build on: errors told in one line, secrets that no log shows, settings of the environment, and time in
//! a process that is frozen between requests. It knows nothing of chats, and reaches nothing outside the process.

pub mod deadline;
pub mod environment;
pub mod faults;
pub mod moment;
pub mod secret;

/// A part that we need, such as the database or the bucket of uploads, did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// This deployment does without it.
    #[error("not configured: {0}")]
    NotConfigured(&'static str),
    /// It cannot be reached or does not serve: the same may succeed in a moment.
    #[error("{0:#}")]
    Unavailable(#[source] anyhow::Error),
    /// A fault of ours, or of what is stored.
    #[error("{0:#}")]
    Broken(#[source] anyhow::Error),
}

impl PartError {
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// An error and what caused it, in one line for the log.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
