//! What the events of a message mean.

use serde_json::Value;

use super::refusal::Complaint;
use super::wire::{ContentBlock, ContentDelta, Counts, Event, finish};
use crate::models::answer::{Dialect, Ending, Heard, event};
use crate::models::refusal::Refusal;
use crate::models::{ApiKey, ModelError, TokenUsage};

#[derive(Debug, Default)]
pub(in crate::models) struct Message {
    counts: Counts,
}

impl Dialect for Message {
    fn read(&mut self, data: &str, key: &ApiKey) -> Result<Heard, ModelError> {
        let mut heard = Heard::default();
        match event(data)? {
            Event::MessageStart { message } => heard.usage = self.count(message.usage.as_ref()),
            Event::ContentBlockStart {
                content_block: ContentBlock::Text { text },
            }
            | Event::ContentBlockDelta {
                delta: ContentDelta::TextDelta { text },
            } => heard.text = text,
            Event::MessageDelta { delta, usage } => {
                heard.usage = self.count(usage.as_ref());
                heard.end = delta.stop_reason.as_deref().map(finish).map(Ok);
            }
            Event::MessageStop => {
                heard.end = Some(Ok(Ending::Stop));
                heard.is_last = true;
            }
            Event::Error { error } => heard.end = Some(Err(Complaint::new(&error, key).amid_an_answer())),
            Event::ContentBlockStart { .. } | Event::ContentBlockDelta { .. } | Event::Other => {}
        }
        Ok(heard)
    }

    fn refused(refusal: &Refusal<'_>) -> Option<ModelError> {
        let complaint = Complaint::read(refusal);
        if refusal.status.is_success() {
            return complaint.among_answers();
        }
        Some(complaint.with_status(refusal.status.as_u16(), refusal.retry_after))
    }
}

impl Message {
    fn count(&mut self, usage: Option<&Value>) -> Option<TokenUsage> {
        self.counts.take_in(usage?)
    }
}
