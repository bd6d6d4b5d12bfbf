//! An answer over HTTP: its bytes are taken apart into events, and a [`Dialect`] says what they mean.
//!
//! Whatever comes is a sign of life, comments and keep-alives too. A server that sends nothing else is listened to until
//! whoever asked has no more time.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use super::answer::{Heard, Source};
use super::encoding::Decoder;
use super::events::{A_PAGE, END_MARK, Event, Events};
use super::json;
use super::refusal::{Asked, Refusal};
use super::upstream::lost;
use super::{ModelError, TokenUsage};

/// What one provider means by its events and by its refusals. One is made for each answer, so it may remember.
pub(super) trait Dialect: Send + 'static {
    /// Whether its answers end with a mark of their own or with `[DONE]`.
    const HAS_END_MARK: bool;

    /// `name`: of the event, if it has one. `None` says that nothing of it is known. An error that the provider tells is
    /// [`Heard::end`], for there may be words and a count with it.
    fn read(&mut self, name: &str, event: &Value, asked: &Asked) -> Option<Heard>;

    /// Why there is no answer.
    fn refused(refusal: &Refusal<'_>) -> ModelError;
}

/// The events of a response.
pub(super) struct Served<D> {
    response: Response,
    decoder: Decoder,
    content_type: String,
    events: Events,
    dialect: D,
    asked: Asked,
    /// For the next byte.
    wait: Duration,
    silence_timeout: Duration,
    /// How the bytes ended, once they have.
    end: Option<Result<(), ModelError>>,
    ready: VecDeque<Heard>,
    events_read: u32,
    /// Whether anything was understood.
    is_known: bool,
    skipped: Skipped,
}

/// Events that could not be read.
#[derive(Default)]
struct Skipped {
    count: u32,
    /// Where the first of them stood, and where in it.
    first: Option<(u32, String)>,
}

impl<D: Dialect> Served<D> {
    /// `waits`: for the first byte, and for each later one.
    pub(super) fn new(
        response: Response,
        (decoder, content_type): (Decoder, String),
        dialect: D,
        asked: Asked,
        (wait, silence_timeout): (Duration, Duration),
    ) -> Self {
        Self {
            response,
            decoder,
            content_type,
            events: Events::default(),
            dialect,
            asked,
            wait,
            silence_timeout,
            end: None,
            ready: VecDeque::new(),
            events_read: 0,
            is_known: false,
            skipped: Skipped::default(),
        }
    }

    async fn event(&mut self) -> Result<Option<Event>, ModelError> {
        loop {
            if let Some(event) = self.events.next().map_err(|why| self.unreadable(why))? {
                return Ok(Some(event));
            }
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            self.listen().await;
        }
    }

    async fn listen(&mut self) {
        let end = match timeout(self.wait, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => match self.decoder.decode(&bytes) {
                Ok(bytes) => {
                    self.events.push(&bytes);
                    None
                }
                Err(_) => Some(Err(self.malformed("its compression cannot be undone"))),
            },
            Ok(Ok(None)) => Some(Ok(())),
            Ok(Err(error)) => {
                tracing::debug!(cause = lost(error), "model's connection lost");
                Some(Err(ModelError::Truncated))
            }
            Err(_) => Some(Err(ModelError::Silent)),
        };
        self.wait = self.silence_timeout;
        if end.is_some() {
            self.end = end;
            self.events.finish();
        }
    }

    fn take_in(&mut self, event: &Event) -> Result<(), ModelError> {
        let data = event.data.trim_start_matches('\u{feff}').trim();
        if !data.is_empty() && !event.may_be_cut {
            self.events_read += 1;
        }
        if data.eq_ignore_ascii_case(END_MARK) {
            if !self.is_known && self.events_read > 1 {
                return Err(self.malformed("no event of it can be read"));
            }
            self.ready.push_back(Heard {
                is_last: true,
                ..Heard::default()
            });
            return Ok(());
        }
        // Blanks and mere words keep a connection alive.
        let is_json = data.starts_with(['{', '[']);
        let may_be_json = data.contains('{') && json::may_hide_words(data, false);
        if !is_json && !may_be_json {
            return Ok(());
        }
        match json::value(data) {
            Ok(Value::Array(values)) => values.iter().for_each(|value| self.understand(&event.name, value)),
            Ok(value) => self.understand(&event.name, &value),
            Err(_) if event.may_be_cut => return Err(ModelError::Truncated),
            Err(wrong) if wrong.may_hide_words => {
                return Err(self.malformed(&format!(
                    "event {} may hold words and cannot be read: {}",
                    self.events_read, wrong.place
                )));
            }
            Err(wrong) => {
                self.skipped.count += 1;
                self.skipped.first.get_or_insert((self.events_read, wrong.place));
            }
        }
        Ok(())
    }

    fn understand(&mut self, name: &str, value: &Value) {
        if let Some(heard) = self.dialect.read(name, value, &self.asked) {
            self.is_known = true;
            self.ready.push_back(heard);
        }
    }

    /// At the end of the stream: nothing at all is a cut, and what nobody can read is no answer.
    fn over(&self) -> Result<Option<Heard>, ModelError> {
        let is_stream = self.content_type.starts_with("text/event-stream");
        if !self.is_known && (self.events_read > 0 || !is_stream) {
            return Err(self.malformed("no event of it can be read"));
        }
        Ok(None)
    }

    /// A page is what stands at an address that is not a model's, or before it: to ask again brings it again.
    fn unreadable(&self, why: &'static str) -> ModelError {
        if why == A_PAGE {
            return ModelError::Rejected {
                status: self.response.status().as_u16(),
                detail: "the answer is a page of the web: is MODEL_URL right?".into(),
            };
        }
        self.malformed(why)
    }

    fn malformed(&self, why: &str) -> ModelError {
        ModelError::Malformed {
            detail: format!(
                "{why}; its content type is {:?}",
                self.content_type.chars().take(100).collect::<String>()
            ),
        }
    }
}

impl<D: Dialect> Source for Served<D> {
    const HAS_END_MARK: bool = D::HAS_END_MARK;

    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        loop {
            if let Some(heard) = self.ready.pop_front() {
                return Ok(Some(heard));
            }
            match self.event().await? {
                Some(event) => self.take_in(&event)?,
                None => return self.over(),
            }
        }
    }
}

impl<D> Drop for Served<D> {
    fn drop(&mut self) {
        if let Some((event, place)) = &self.skipped.first {
            tracing::warn!(
                skipped = self.skipped.count,
                first = event,
                place,
                "events of an answer could not be read and were skipped"
            );
        }
    }
}

/// A text, or what can be told of one: numbers and truth values as they are written, parts one after another. Where parts
/// are thoughts, they are told apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) thought: Option<String>,
}

impl Words {
    pub(super) fn of(value: &Value) -> Self {
        let mut words = Self::default();
        words.take_in(value, false);
        words
    }

    fn take_in(&mut self, value: &Value, is_thought: bool) {
        match value {
            Value::Null => {}
            Value::String(text) => self.say(text, is_thought),
            Value::Number(_) | Value::Bool(_) => self.say(&value.to_string(), is_thought),
            Value::Array(parts) => parts.iter().for_each(|part| self.take_in(part, is_thought)),
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                let is_marked = part.get("thought").and_then(Value::as_bool) == Some(true);
                let is_thought = is_thought || is_marked || ["think", "reason"].iter().any(|word| kind.contains(word));
                if is_thought {
                    self.think("");
                }
                let names = ["text", "thinking", "reasoning", "summary", "content", "value"];
                let said = names
                    .iter()
                    .find_map(|name| Some((*name, part.get(*name).filter(|said| !said.is_null())?)));
                if let Some((name, said)) = said {
                    self.take_in(said, is_thought || matches!(name, "thinking" | "reasoning" | "summary"));
                }
            }
        }
    }

    fn say(&mut self, said: &str, is_thought: bool) {
        if is_thought {
            self.think(said);
        } else {
            self.text.push_str(said);
        }
    }

    pub(super) fn think(&mut self, said: &str) {
        self.thought.get_or_insert_default().push_str(said);
    }
}

/// Of several choices the first: one alone is asked for. One without a number is the only one.
pub(super) fn first(choices: &Value) -> Option<&Value> {
    let choices = match choices {
        Value::Array(choices) => choices.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut choices = choices.iter().filter(|choice| choice.is_object());
    choices.find(|choice| {
        choice
            .get("index")
            .and_then(Value::as_u64)
            .is_none_or(|index| index == 0)
    })
}

/// What a provider counts, unless nothing is said of it.
pub(super) fn counted(value: Option<&Value>, read: impl Fn(&Value) -> Option<TokenUsage>) -> Option<TokenUsage> {
    value.filter(|value| value.is_object()).and_then(read)
}

/// Whether the value of `error` says that there is one: empty ones stand in every event of some servers.
pub(super) fn is_error(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => values.iter().any(is_error),
        Value::Object(fields) => fields.values().any(is_error),
    }
}
