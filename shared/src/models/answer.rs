//! An answer, read as it comes: what all providers that stream server-sent events have in common. What an event means is
//! their [`Dialect`].

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Response;
use tokio::time::timeout;

use super::events::Events;
use super::refusal::Refusal;
use super::upstream::lost;
use super::{ApiKey, Chunk, Chunks, Finish, ModelError, TokenUsage};
use crate::domain::characters::is_refused;

/// What one provider means by its events and by its refusals. One is made for each answer, so it may remember.
pub(super) trait Dialect: Send + 'static {
    /// One event's data. An error is for what cannot be read at all; an error that the provider tells is
    /// [`Heard::end`], for there may be words and a count with it.
    fn read(&mut self, data: &str, key: &ApiKey) -> Result<Heard, ModelError>;

    /// Why there is no stream. `None`, after a status of success only: the body is no error either.
    fn refused(refusal: &Refusal<'_>) -> Option<ModelError>;
}

/// What one event says.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) text: String,
    /// Of the whole answer so far: it replaces what was counted before.
    pub(super) usage: Option<TokenUsage>,
    /// From here on the answer is whole, and what may still come is its usage; or there will be no more of it.
    pub(super) end: Option<Result<Ending, ModelError>>,
    /// Nothing follows, so nothing is waited for.
    pub(super) is_last: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Stop,
    Length,
    /// With the provider's word for why.
    Blocked(String),
}

/// Where an answer comes from.
pub(super) trait Source: Send + 'static {
    /// What is heard next; `None` at the end of the stream.
    fn next(&mut self) -> impl Future<Output = Result<Option<Heard>, ModelError>> + Send;
}

/// What makes an answer of what is heard: whole, or an error.
pub(super) struct Answer<S> {
    source: S,
    /// What was heard and not yet handed on.
    ready: VecDeque<Chunk>,
    has_spoken: bool,
    ending: Option<Ending>,
    failure: Option<ModelError>,
    is_over: bool,
    usage: Option<TokenUsage>,
}

impl<S: Source> Answer<S> {
    pub(super) fn of(source: S) -> Chunks {
        let answer = Self {
            source,
            ready: VecDeque::new(),
            has_spoken: false,
            ending: None,
            failure: None,
            is_over: false,
            usage: None,
        };
        stream::unfold(Some(answer), |answer| async {
            let mut answer = answer?;
            let item = answer.next().await;
            let goes_on = matches!(item, Ok(Chunk::Text(_) | Chunk::Thought(_) | Chunk::Counted(_)));
            Some((item, goes_on.then_some(answer)))
        })
        .boxed()
    }

    /// The next text or count, or the end, good or bad.
    async fn next(&mut self) -> Result<Chunk, ModelError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(chunk);
            }
            if self.is_over {
                return self.end();
            }
            match self.source.next().await {
                Ok(Some(heard)) => self.take_in(heard),
                Ok(None) => self.is_over = true,
                // No cut, silence or nonsense unmakes an answer that is whole.
                Err(_) if self.ending.is_some() => self.is_over = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn end(&mut self) -> Result<Chunk, ModelError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let finish = match self.ending.take() {
            None => return Err(ModelError::Truncated),
            Some(Ending::Blocked(reason)) if !self.has_spoken => {
                return Err(ModelError::Blocked {
                    reason,
                    usage: self.usage,
                });
            }
            Some(Ending::Blocked(_)) => Finish::Blocked,
            Some(Ending::Stop) => Finish::Stop,
            Some(Ending::Length) => Finish::Length,
        };
        Ok(Chunk::Done {
            finish,
            usage: self.usage,
        })
    }

    fn take_in(&mut self, heard: Heard) {
        let counted = heard.usage.filter(|usage| self.usage != Some(*usage));
        self.usage = counted.or(self.usage);
        self.is_over |= heard.is_last;
        if self.ending.is_some() {
            self.is_over |= matches!(heard.end, Some(Err(_)));
            return;
        }
        let mut text = heard.text;
        text.retain(|c| !is_refused(c));
        if !text.is_empty() {
            self.has_spoken = true;
            self.ready.push_back(Chunk::Text(text));
        }
        match heard.end {
            // The end itself says what it has cost.
            Some(Ok(ending)) => {
                self.ending = Some(ending);
                return;
            }
            Some(Err(error)) => {
                self.failure = Some(error);
                self.is_over = true;
            }
            None => {}
        }
        self.ready.extend(counted.map(Chunk::Counted));
    }
}

/// The server-sent events of a response.
pub(super) struct ServerSent<D> {
    pub(super) response: Response,
    pub(super) events: Events,
    pub(super) dialect: D,
    pub(super) key: ApiKey,
    /// For the next byte.
    pub(super) wait: Duration,
    pub(super) silence_timeout: Duration,
}

impl<D: Dialect> Source for ServerSent<D> {
    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        let data = match self.event().await {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(self.last_words()),
            Err(error) => return self.last_words().map_or(Err(error), |heard| Ok(Some(heard))),
        };
        self.dialect.read(&data, &self.key).map(Some)
    }
}

impl<D: Dialect> ServerSent<D> {
    async fn event(&mut self) -> Result<Option<String>, ModelError> {
        loop {
            if let Some(data) = self
                .events
                .next()
                .map_err(|why| ModelError::Malformed { detail: why.into() })?
            {
                return Ok(Some(data));
            }
            match timeout(self.wait, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.events.push(&bytes),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    tracing::debug!(cause = lost(error), "model's connection lost");
                    return Err(ModelError::Truncated);
                }
                Err(_) => return Err(ModelError::Silent),
            }
            self.wait = self.silence_timeout;
        }
    }

    /// The error that Google may write into a stream as no event, in an array of one at times.
    fn last_words(&mut self) -> Option<Heard> {
        let stray = self.events.stray().trim();
        let stray = stray.strip_prefix('[').unwrap_or(stray);
        let stray = stray.strip_suffix(']').unwrap_or(stray);
        let heard = self.dialect.read(stray, &self.key).ok()?;
        matches!(heard.end, Some(Err(_))).then_some(heard)
    }
}

/// Of an event that cannot be read only the place is told: its text may quote the answer.
pub(super) fn event<'a, T: serde::Deserialize<'a>>(data: &'a str) -> Result<T, ModelError> {
    serde_json::from_str(data).map_err(|error| ModelError::Malformed {
        detail: format!(
            "an event is not a chunk: {:?} error in column {}",
            error.classify(),
            error.column()
        ),
    })
}

#[cfg(test)]
mod tests;
