//! What the events of a conversation mean.

use std::time::Duration;

use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ConverseStreamOutput as Event, ReasoningContentBlockDelta as Thought,
};
use tokio::time::timeout;

use super::refusal::broken;
use super::wire::{finish, usage};
use crate::ModelError;
use crate::answer::{Heard, Source};

pub(super) struct Conversation {
    pub(super) output: ConverseStreamOutput,
    /// Whether the question did.
    pub(super) shows_images: bool,
    /// For the next event.
    pub(super) wait: Duration,
    pub(super) silence_timeout: Duration,
}

impl Source for Conversation {
    const HAS_END_MARK: bool = false;

    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        let event = match timeout(self.wait, self.output.stream.recv()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(broken(&error, self.shows_images)),
            Err(_) => return Err(ModelError::Silent),
        };
        self.wait = self.silence_timeout;
        let mut heard = Heard::default();
        match event {
            Event::ContentBlockDelta(event) => match event.delta {
                Some(ContentBlockDelta::Text(text)) => heard.text = text,
                Some(ContentBlockDelta::ReasoningContent(Thought::Text(thought))) => heard.thought = Some(thought),
                // It is withheld, or a signature.
                Some(ContentBlockDelta::ReasoningContent(_)) => heard.thought = Some(String::new()),
                // Calls of tools are other deltas.
                _ => {}
            },
            Event::MessageStop(event) => heard.end = Some(finish(event.stop_reason.as_str())),
            Event::Metadata(event) => heard.usage = event.usage.as_ref().map(usage),
            _ => {}
        }
        Ok(Some(heard))
    }
}
