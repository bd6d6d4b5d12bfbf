//! What the events of generated content mean.

use super::refusal::Complaint;
use super::wire::{Event, finish, usage};
use crate::models::answer::{Dialect, Ending, Heard, event};
use crate::models::refusal::Refusal;
use crate::models::{ApiKey, ModelError};

#[derive(Debug)]
pub(in crate::models) struct GeneratedContent;

impl Dialect for GeneratedContent {
    fn read(&mut self, data: &str, key: &ApiKey) -> Result<Heard, ModelError> {
        let event: Event = event(data)?;
        let mut heard = Heard {
            usage: event.usage_metadata.as_ref().and_then(usage),
            ..Heard::default()
        };
        if let Some(error) = event.error {
            heard.end = Some(Err(Complaint::new(&error, key).amid_an_answer()));
            return Ok(heard);
        }
        if let Some(reason) = event.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            heard.end = Some(Ok(Ending::Blocked(reason)));
            return Ok(heard);
        }
        let candidates = event.candidates.unwrap_or_default();
        if let Some(candidate) = candidates.into_iter().find(|candidate| candidate.index == 0) {
            let parts = candidate.content.unwrap_or_default().parts.unwrap_or_default();
            let answer = parts.into_iter().filter(|part| part.thought != Some(true));
            heard.text = answer.filter_map(|part| part.text).collect();
            heard.end = candidate.finish_reason.as_deref().and_then(finish);
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
