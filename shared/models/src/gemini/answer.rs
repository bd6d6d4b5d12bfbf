//! What the events of generated content mean.

use serde_json::Value;

use super::refusal::Complaint;
use super::wire::{finish, usage};
use crate::answer::{Ending, Heard};
use crate::refusal::{Asked, Refusal};
use crate::served::{Dialect, Words, counted, first, is_error};

#[derive(Debug)]
pub(crate) struct GeneratedContent;

impl Dialect for GeneratedContent {
    /// Its last reason may come with the first of its words.
    const HAS_END_MARK: bool = false;

    fn read(&mut self, name: &str, event: &Value, asked: &Asked) -> Option<Heard> {
        let mut heard = Heard {
            usage: counted(field(event, "usageMetadata", "usage_metadata"), usage),
            ..Heard::default()
        };
        let candidates = event.get("candidates");
        if let Some(candidate) = candidates.and_then(first) {
            let content = candidate.get("content").unwrap_or(&Value::Null);
            let words = content.get("parts").map(Words::of).unwrap_or_default();
            heard.text = words.text;
            heard.thought = words.thought;
            let reason = field(candidate, "finishReason", "finish_reason").and_then(Value::as_str);
            heard.end = reason.filter(|reason| !reason.trim().is_empty()).and_then(finish);
        }
        let feedback = field(event, "promptFeedback", "prompt_feedback");
        let block = feedback.and_then(|feedback| field(feedback, "blockReason", "block_reason")?.as_str());
        if let Some(reason) = block.filter(|reason| !matches!(*reason, "" | "BLOCK_REASON_UNSPECIFIED")) {
            heard.end = Some(Ok(Ending::Blocked(reason.to_owned())));
        }
        let error = event.get("error").filter(|error| is_error(error));
        if let Some(error) = error.or((name == "error").then_some(event)) {
            heard.end = Some(Err(Complaint::new(error, event, asked).amid_an_answer()));
        }
        let is_known = candidates.is_some() || heard != Heard::default();
        is_known.then_some(heard)
    }

    fn refused(refusal: &Refusal<'_>) -> crate::ModelError {
        Complaint::read(refusal).with_status(refusal.status.as_u16(), refusal.retry_after)
    }
}

/// Gateways write the names of fields in their own way.
fn field<'a>(value: &'a Value, name: &str, other: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| value.get(other))
}
