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
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use serde::{Serialize, Serializer};
use serde_json::Value;

use domain::characters::is_blank;

mod answer;
mod anthropic;
pub mod assistants;
#[cfg(feature = "bedrock")]
mod bedrock;
#[cfg(test)]
mod cases;
mod encoding;
mod events;
mod gemini;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hear;
mod json;
#[cfg(test)]
mod mangled;
mod openai;
mod parameters;
#[cfg(test)]
mod peers;
mod refusal;
mod retry;
mod scripted;
mod served;
mod settings;
mod thoughts;
mod upstream;

pub use parameters::Parameters;
pub use settings::{ApiKey, ModelSettings, Provider, SettingsError, from_settings};

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub system: Option<String>,
    /// Oldest first. Turns without words and pictures are allowed here and never sent.
    pub turns: Vec<Turn>,
    pub max_output_tokens: u32,
    /// Left to the provider when `None`.
    pub temperature: Option<f32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub speaker: Speaker,
    pub text: String,
    /// Shown before the text. Only a person shows any: no provider takes an assistant's.
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

    #[must_use]
    pub fn with_images(mut self, images: impl IntoIterator<Item = Image>) -> Self {
        self.images.extend(images);
        self
    }

    fn shown(&self) -> &[Image] {
        match self.speaker {
            Speaker::Person => &self.images,
            Speaker::Assistant => &[],
        }
    }

    fn has_words(&self) -> bool {
        !is_blank(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Person,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Never empty, and without the control characters that no text of ours has.
    Text(String),
    /// More of what the model thinks before it answers, as far as its provider shows that: empty where it only shows that
    /// the model thinks. Never part of the answer.
    Thought(String),
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
    #[error("the model cannot see images")]
    NoVision,
    /// The model sees images, but cannot read one of these: it is damaged, too large, or of a type that it does not take.
    #[error("the model could not read an image of the prompt")]
    ImageRefused { detail: String },
    /// The prompt has more tokens than the model's context window, or the request more bytes than its provider takes.
    #[error("the prompt is too long for the model")]
    TooLong { detail: String },
    /// `max_output_tokens` were spent before the first word, as a rule on thoughts. They are owed.
    #[error("the model reached the limit of output tokens before its first word")]
    NothingSaid { usage: Option<TokenUsage> },
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
            Self::QuotaExhausted
            | Self::Unauthorized
            | Self::Rejected { .. }
            | Self::Blocked { .. }
            | Self::NoVision
            | Self::ImageRefused { .. }
            | Self::TooLong { .. }
            | Self::NothingSaid { .. } => false,
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
            Self::Rejected { detail, .. }
            | Self::Unreachable { detail }
            | Self::Malformed { detail }
            | Self::ImageRefused { detail }
            | Self::TooLong { detail } => Some(detail),
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

    /// The turns that have words or pictures. None at all is an error that needs no provider to be found.
    fn spoken(&self) -> Result<Vec<&Turn>, ModelError> {
        let says = |turn: &&Turn| turn.has_words() || !turn.shown().is_empty();
        let spoken: Vec<_> = self.turns.iter().filter(says).collect();
        if spoken.is_empty() {
            return Err(ModelError::Rejected {
                status: 400,
                detail: "the prompt has no words".into(),
            });
        }
        Ok(spoken)
    }

    fn shows_images(&self) -> bool {
        self.turns.iter().any(|turn| !turn.shown().is_empty())
    }

    /// The same for models whose templates demand a person first and then strict turns, as many open ones do: neighbours
    /// of one speaker are merged, and an assistant who speaks first, as in a welcome, is preceded by [`OPENING`] rather
    /// than forgotten.
    fn alternating(&self) -> Result<Vec<Utterance<'_>>, ModelError> {
        let mut merged: Vec<Utterance<'_>> = Vec::new();
        for turn in self.spoken()? {
            if merged.last().is_none_or(|last| last.speaker != turn.speaker) {
                merged.push(Utterance {
                    speaker: turn.speaker,
                    parts: Vec::new(),
                });
            }
            if let Some(last) = merged.last_mut() {
                last.take_in(turn);
            }
        }
        if merged.first().is_some_and(|first| first.speaker == Speaker::Assistant) {
            let opening = Utterance {
                speaker: Speaker::Person,
                parts: vec![Part::Text(OPENING.into())],
            };
            merged.insert(0, opening);
        }
        Ok(merged)
    }
}

/// All that one speaker says before the other does.
#[derive(Debug, PartialEq)]
struct Utterance<'a> {
    speaker: Speaker,
    parts: Vec<Part<'a>>,
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    /// Never blank, and never next to another.
    Text(Cow<'a, str>),
    Image(&'a Image),
}

impl<'a> Utterance<'a> {
    fn take_in(&mut self, turn: &'a Turn) {
        self.parts.extend(turn.shown().iter().map(Part::Image));
        if !turn.has_words() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(text)) => {
                let text = text.to_mut();
                text.push_str("\n\n");
                text.push_str(&turn.text);
            }
            _ => self.parts.push(Part::Text(Cow::Borrowed(&turn.text))),
        }
    }
}

/// An image in a request's JSON: base64 is written into it, and not held besides.
struct Base64<'a> {
    before: Cow<'static, str>,
    image: &'a Image,
}

impl<'a> Base64<'a> {
    fn of(image: &'a Image) -> Self {
        Self {
            before: "".into(),
            image,
        }
    }

    /// As a `data:` address.
    fn url_of(image: &'a Image) -> Self {
        Self {
            before: format!("data:{};base64,", image.mime_type).into(),
            image,
        }
    }
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = Base64Display::new(&self.image.bytes, &STANDARD);
        serializer.collect_str(&format_args!("{}{bytes}", self.before))
    }
}

/// A provider's number of tokens. One beyond all measure is no reason to lose an answer.
fn count(value: &Value) -> Option<u32> {
    value.as_u64().map(|count| u32::try_from(count).unwrap_or(u32::MAX))
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

    fn said(speaker: Speaker, parts: Vec<Part<'_>>) -> Utterance<'_> {
        Utterance { speaker, parts }
    }

    fn image(byte: u8) -> Image {
        Image {
            mime_type: "image/png".into(),
            bytes: Bytes::from(vec![byte; 3]),
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
                said(Speaker::Person, vec![Part::Text("a\n\nb".into())]),
                said(Speaker::Assistant, vec![Part::Text("c\n\nd".into())])
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
                said(Speaker::Person, vec![Part::Text(OPENING.into())]),
                said(Speaker::Assistant, vec![Part::Text("welcome".into())]),
                said(Speaker::Person, vec![Part::Text("hi".into())])
            ]
        );
    }

    #[test]
    fn pictures_stand_before_their_words_and_keep_their_place_among_merged_turns() {
        let [a, b, c] = [1, 2, 3].map(image);
        let turns = [
            Turn::person("one"),
            Turn::person("two").with_images([a.clone(), b.clone()]),
            Turn::person("three"),
            Turn::person(" ").with_images([c.clone()]),
        ];
        let prompt = prompt(&turns);
        let parts = vec![
            Part::Text("one".into()),
            Part::Image(&a),
            Part::Image(&b),
            Part::Text("two\n\nthree".into()),
            Part::Image(&c),
        ];
        assert!(prompt.shows_images());
        assert_eq!(prompt.alternating().unwrap(), [said(Speaker::Person, parts)]);
    }

    #[test]
    fn a_picture_without_words_is_a_turn_and_an_assistants_is_none() {
        let picture = image(7);
        let shown = prompt(&[Turn::person("").with_images([picture.clone()])]);
        assert_eq!(
            shown.alternating().unwrap(),
            [said(Speaker::Person, vec![Part::Image(&picture)])]
        );
        let turns = [Turn::person("a"), Turn::assistant("").with_images([picture])];
        let prompt = prompt(&turns);
        assert!(!prompt.shows_images());
        assert_eq!(prompt.spoken().unwrap(), [&turns[0]]);
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
            ModelError::ImageRefused { detail: detail() },
            ModelError::TooLong { detail: detail() },
        ];
        for error in errors {
            assert_eq!(error.detail(), Some("secret"));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
