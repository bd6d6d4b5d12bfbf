//! The models that answer, one file a provider behind one trait. Knows nothing of chats, people or the store: a prompt
//! goes in, chunks of text come out.
//!
//! A stream is either whole, and then its last item is [`Chunk::Done`], or it ends with an error. There is no third way:
//! an answer that stops without its finish reason is [`ModelError::Truncated`], however cleanly the connection closed.
//! Dropping a stream cancels its request; a stream is never picked up again, for that would be billed twice.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

mod events;
mod openai;
mod retry;
mod scripted;
mod settings;

pub use settings::{ApiKey, ModelSettings, Provider, SettingsError, from_settings};

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub system: Option<String>,
    /// Oldest first. Blank turns are allowed here and never sent.
    pub turns: Vec<Turn>,
    pub max_output_tokens: u32,
    /// Left to the provider when `None`.
    pub temperature: Option<f32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub speaker: Speaker,
    pub text: String,
    /// Shown with the text, before it.
    pub images: Vec<Image>,
}

/// A picture that goes to the model as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Such as `image/png`.
    pub mime_type: String,
    pub bytes: Bytes,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.mime_type, self.bytes.len())
    }
}

impl Turn {
    #[must_use]
    pub fn person(text: impl Into<String>) -> Self {
        Self {
            speaker: Speaker::Person,
            text: text.into(),
            images: Vec::new(),
        }
    }

    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self {
            speaker: Speaker::Assistant,
            text: text.into(),
            images: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Person,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Never empty, never with NUL, which Postgres cannot store.
    Text(String),
    /// What it has cost so far, where the provider says so on the way; a later one replaces it.
    Counted(TokenUsage),
    /// Always the last item of a good stream. A model may have said nothing at all before it.
    Done { finish: Finish, usage: Option<TokenUsage> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    /// The answer reached `max_output_tokens`.
    Length,
    /// The provider cut an answer that it had begun. One blocked before its first word is [`ModelError::Blocked`].
    Blocked,
}

/// As the provider counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// All of the prompt, cached or not.
    pub input_tokens: u32,
    /// All that was written, thoughts too.
    pub output_tokens: u32,
    /// How much of the input came from the provider's cache.
    pub cached_tokens: u32,
}

pub type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk, ModelError>> + Send>>;

#[async_trait]
pub trait Model: Send + Sync + fmt::Debug {
    /// As stored with a message's usage, e.g. `gpt-5-mini`.
    fn name(&self) -> &str;

    /// Asks once. An error may come here or as an item of the stream; the models of [`from_settings`] ask again while
    /// nothing has been said, so that all errors before the first chunk come here.
    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError>;
}

/// Why there is no answer, or no more of it. `Display` says nothing that came from upstream; [`ModelError::detail`] does,
/// cut short and without the key, for logs alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("the model's rate limit is reached")]
    RateLimited { retry_after: Option<Duration> },
    /// A day's quota, a spend limit, an unpaid bill: not over in a minute.
    #[error("the model's quota is used up")]
    QuotaExhausted,
    /// 5xx, and the few 4xx that pass: 408, 409, 425.
    #[error("the model is overloaded or broken")]
    Overloaded { retry_after: Option<Duration> },
    #[error("the model's provider refused our key")]
    Unauthorized,
    #[error("the model rejected the request (status {status})")]
    Rejected { status: u16, detail: String },
    /// Not a word was said; the prompt's tokens are owed all the same.
    #[error("the model blocked the prompt or its answer")]
    Blocked { reason: String, usage: Option<TokenUsage> },
    #[error("the model's answer ended before it was finished")]
    Truncated,
    #[error("the model stayed silent")]
    Silent,
    #[error("the model cannot be reached")]
    Unreachable { detail: String },
    #[error("the model's answer cannot be read")]
    Malformed { detail: String },
}

impl ModelError {
    /// Whether the same request may succeed a little later. Only before the first token is that of use.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Truncated
            | Self::Silent
            | Self::Unreachable { .. }
            | Self::Malformed { .. } => true,
            Self::QuotaExhausted | Self::Unauthorized | Self::Rejected { .. } | Self::Blocked { .. } => false,
        }
    }

    /// How long the provider asks us to leave it alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } => *retry_after,
            _ => None,
        }
    }

    /// What upstream said, for logs.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Rejected { detail, .. } | Self::Unreachable { detail } | Self::Malformed { detail } => Some(detail),
            Self::Blocked { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

impl Prompt {
    /// The system prompt, unless it is blank.
    fn instruction(&self) -> Option<&str> {
        self.system.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The turns that have words. None at all is an error that needs no provider to be found.
    fn spoken(&self) -> Result<Vec<&Turn>, ModelError> {
        let spoken: Vec<_> = self.turns.iter().filter(|turn| !turn.text.trim().is_empty()).collect();
        if spoken.is_empty() {
            return Err(ModelError::Rejected {
                status: 400,
                detail: "the prompt has no words".into(),
            });
        }
        Ok(spoken)
    }

    /// The same for models whose templates demand a person first and then strict turns, as many open ones do: neighbours
    /// of one speaker are merged, and an assistant who speaks first, as in a welcome, is preceded by [`OPENING`] rather
    /// than forgotten.
    fn alternating(&self) -> Result<Vec<(Speaker, Cow<'_, str>)>, ModelError> {
        let mut merged: Vec<(Speaker, Cow<'_, str>)> = Vec::new();
        for turn in self.spoken()? {
            match merged.last_mut() {
                Some((speaker, text)) if *speaker == turn.speaker => {
                    let text = text.to_mut();
                    text.push_str("\n\n");
                    text.push_str(&turn.text);
                }
                _ => merged.push((turn.speaker, Cow::Borrowed(&turn.text))),
            }
        }
        if merged
            .first()
            .is_some_and(|(speaker, _)| *speaker == Speaker::Assistant)
        {
            merged.insert(0, (Speaker::Person, Cow::Borrowed(OPENING)));
        }
        Ok(merged)
    }
}

const OPENING: &str = "(The conversation begins.)";

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(turns: &[Turn]) -> Prompt {
        Prompt {
            system: Some("  ".into()),
            turns: turns.to_vec(),
            max_output_tokens: 10,
            temperature: None,
        }
    }

    #[test]
    fn blank_turns_and_blank_systems_are_not_sent() {
        let prompt = prompt(&[Turn::person("hi"), Turn::assistant(" \n"), Turn::person("")]);
        assert_eq!(prompt.spoken().unwrap(), [&Turn::person("hi")]);
        assert_eq!(prompt.instruction(), None);
    }

    #[test]
    fn a_prompt_without_words_is_rejected_before_any_request() {
        let error = prompt(&[Turn::person(" ")]).spoken().unwrap_err();
        assert!(matches!(error, ModelError::Rejected { status: 400, .. }), "{error:?}");
        assert!(prompt(&[]).alternating().is_err());
    }

    #[test]
    fn neighbours_of_one_speaker_are_merged_also_across_a_blank_turn() {
        let turns = [
            Turn::person("a"),
            Turn::person("b"),
            Turn::assistant("c"),
            Turn::person(""),
            Turn::assistant("d"),
        ];
        let prompt = prompt(&turns);
        let merged = prompt.alternating().unwrap();
        assert_eq!(
            merged,
            [
                (Speaker::Person, "a\n\nb".into()),
                (Speaker::Assistant, "c\n\nd".into())
            ]
        );
    }

    #[test]
    fn a_welcome_is_kept_behind_an_opening() {
        let prompt = prompt(&[Turn::assistant("welcome"), Turn::person("hi")]);
        let merged = prompt.alternating().unwrap();
        assert_eq!(
            merged,
            [
                (Speaker::Person, OPENING.into()),
                (Speaker::Assistant, "welcome".into()),
                (Speaker::Person, "hi".into())
            ]
        );
    }

    #[test]
    fn only_the_detail_holds_what_upstream_said() {
        let usage = None;
        let detail = || "secret".to_owned();
        let errors = [
            ModelError::Rejected {
                status: 400,
                detail: detail(),
            },
            ModelError::Blocked {
                reason: detail(),
                usage,
            },
            ModelError::Unreachable { detail: detail() },
            ModelError::Malformed { detail: detail() },
        ];
        for error in errors {
            assert_eq!(error.detail(), Some("secret"));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
