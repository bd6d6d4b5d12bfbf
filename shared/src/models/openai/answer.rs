//! What the events of a chat completion mean.

use super::refusal::Complaint;
use super::wire::{Event, finish, usage};
use crate::models::answer::{Dialect, Ending, Heard, event};
use crate::models::refusal::Refusal;
use crate::models::{ApiKey, ModelError};

#[derive(Debug)]
pub(in crate::models) struct ChatCompletion;

impl Dialect for ChatCompletion {
    fn read(&mut self, data: &str, key: &ApiKey) -> Result<Heard, ModelError> {
        if data.trim() == "[DONE]" {
            return Ok(Heard {
                is_last: true,
                ..Heard::default()
            });
        }
        let event: Event = event(data)?;
        let mut heard = Heard {
            usage: event.usage.as_ref().and_then(usage),
            ..Heard::default()
        };
        if let Some(error) = event.error {
            heard.is_last = true;
            heard.end = Some(match Complaint::new(&error, key).amid_an_answer() {
                ModelError::Blocked { reason, .. } => Ok(Ending::Blocked(reason)),
                error => Err(error),
            });
            return Ok(heard);
        }
        let choices = event.choices.unwrap_or_default();
        if let Some(choice) = choices.into_iter().find(|choice| choice.index == 0) {
            let delta = choice.delta.unwrap_or_default();
            heard.text = delta.content.or(delta.refusal).unwrap_or_default();
            heard.end = choice.finish_reason.as_deref().map(finish);
        }
        Ok(heard)
    }

    fn refused(refusal: &Refusal<'_>) -> Option<ModelError> {
        let complaint = Complaint::read(refusal);
        if refusal.status.is_success() {
            // Some say 200 and then that they are sorry.
            return complaint.among_answers();
        }
        Some(complaint.with_status(refusal.status.as_u16(), refusal.retry_after))
    }
}
