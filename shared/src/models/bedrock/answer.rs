//! What the events of a conversation mean.

use std::time::Duration;

use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::{ContentBlockDelta, ConverseStreamOutput as Event};
use tokio::time::timeout;

use super::refusal::broken;
use super::wire::{finish, usage};
use crate::models::ModelError;
use crate::models::answer::{Heard, Source};

pub(super) struct Conversation {
    pub(super) output: ConverseStreamOutput,
    /// For the next event.
    pub(super) wait: Duration,
    pub(super) silence_timeout: Duration,
}

impl Source for Conversation {
    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        let event = match timeout(self.wait, self.output.stream.recv()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(ModelError::Silent),
        };
        self.wait = self.silence_timeout;
        let mut heard = Heard::default();
        match event {
            Event::ContentBlockDelta(event) => {
                // Thoughts and calls of tools are other deltas.
                if let Some(ContentBlockDelta::Text(text)) = event.delta {
                    heard.text = text;
                }
            }
            Event::MessageStop(event) => heard.end = Some(finish(event.stop_reason.as_str())),
            Event::Metadata(event) => heard.usage = event.usage.as_ref().map(usage),
            _ => {}
        }
        Ok(Some(heard))
    }
}
