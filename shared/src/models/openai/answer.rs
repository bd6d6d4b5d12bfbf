//! An answer, read as it comes.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Response;
use tokio::time::timeout;

use super::causes;
use super::refusal::Complaint;
use super::wire::{Event, finish, usage};
use crate::models::events::Events;
use crate::models::{ApiKey, Chunk, Chunks, Finish, ModelError, TokenUsage};

pub(super) struct Answer {
    response: Response,
    events: Events,
    key: ApiKey,
    /// For the next byte.
    wait: Duration,
    silence_timeout: Duration,
    has_spoken: bool,
    /// From here on the answer is whole: what may still come is its usage.
    finish: Option<Finish>,
    usage: Option<TokenUsage>,
}

enum Step {
    Text(String),
    /// Nothing to hand on.
    Other,
    End,
}

impl Answer {
    pub(super) fn new(response: Response, key: ApiKey, first_wait: Duration, silence_timeout: Duration) -> Self {
        Self {
            response,
            events: Events::default(),
            key,
            wait: first_wait,
            silence_timeout,
            has_spoken: false,
            finish: None,
            usage: None,
        }
    }

    pub(super) fn chunks(self) -> Chunks {
        stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            let item = answer.next().await;
            let goes_on = matches!(item, Ok(Chunk::Text(_) | Chunk::Counted(_)));
            Some((item, goes_on.then_some(answer)))
        })
        .boxed()
    }

    /// The next text, or the end, good or bad.
    async fn next(&mut self) -> Result<Chunk, ModelError> {
        loop {
            match self.step().await {
                Ok(Step::Text(text)) => return Ok(Chunk::Text(text)),
                Ok(Step::Other) => {}
                Ok(Step::End) => return self.end(),
                // No cut, silence or nonsense unmakes an answer that is whole.
                Err(_) if self.finish.is_some() => return self.end(),
                Err(error) => return Err(error),
            }
        }
    }

    fn end(&self) -> Result<Chunk, ModelError> {
        match self.finish {
            None => Err(ModelError::Truncated),
            Some(Finish::Blocked) if !self.has_spoken => Err(ModelError::Blocked {
                reason: "content_filter".into(),
                usage: self.usage,
            }),
            Some(finish) => Ok(Chunk::Done {
                finish,
                usage: self.usage,
            }),
        }
    }

    async fn step(&mut self) -> Result<Step, ModelError> {
        match self.event().await? {
            None => Ok(Step::End),
            Some(data) if data.trim() == "[DONE]" => Ok(Step::End),
            Some(data) => self.take_in(&data),
        }
    }

    async fn event(&mut self) -> Result<Option<String>, ModelError> {
        loop {
            if let Some(event) = self
                .events
                .next()
                .map_err(|why| ModelError::Malformed { detail: why.into() })?
            {
                return Ok(Some(event));
            }
            match timeout(self.wait, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.events.push(&bytes),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    tracing::debug!(cause = causes(error), "model's connection lost");
                    return Err(ModelError::Truncated);
                }
                Err(_) => return Err(ModelError::Silent),
            }
            self.wait = self.silence_timeout;
        }
    }

    fn take_in(&mut self, data: &str) -> Result<Step, ModelError> {
        // Of the error only the place is told: its text may quote the answer.
        let event: Event = serde_json::from_str(data).map_err(|error| ModelError::Malformed {
            detail: format!(
                "an event is not a chunk: {:?} error in column {}",
                error.classify(),
                error.column()
            ),
        })?;
        if let Some(usage) = event.usage.as_ref().and_then(usage) {
            self.usage = Some(usage);
        }
        if let Some(error) = event.error {
            return match Complaint::new(&error, &self.key).amid_an_answer() {
                ModelError::Blocked { .. } => {
                    self.finish.get_or_insert(Finish::Blocked);
                    Ok(Step::End)
                }
                error => Err(error),
            };
        }
        let choices = event.choices.unwrap_or_default();
        let Some(choice) = choices.into_iter().find(|choice| choice.index == 0) else {
            return Ok(Step::Other);
        };
        if self.finish.is_some() {
            return Ok(Step::Other);
        }
        self.finish = choice.finish_reason.as_deref().map(finish).transpose()?;
        let delta = choice.delta.unwrap_or_default();
        let mut text = delta.content.or(delta.refusal).unwrap_or_default();
        text.retain(|c| c != '\0');
        if text.is_empty() {
            return Ok(Step::Other);
        }
        self.has_spoken = true;
        Ok(Step::Text(text))
    }
}
