//! What the events of a message mean.

use serde_json::Value;

use super::refusal::Complaint;
use super::wire::{Counts, finish};
use crate::answer::{Ending, Heard};
use crate::refusal::{Asked, Refusal};
use crate::served::{Dialect, Words, is_error};
use crate::{ModelError, TokenUsage};

#[derive(Debug, Default)]
pub(crate) struct Message {
    counts: Counts,
}

impl Dialect for Message {
    const HAS_END_MARK: bool = true;

    fn read(&mut self, name: &str, event: &Value, asked: &Asked) -> Option<Heard> {
        let mut heard = Heard::default();
        let field = |name: &str| event.get(name).unwrap_or(&Value::Null);
        let kind = field("type").as_str().unwrap_or(name);
        match kind {
            "message_start" => heard.usage = self.count(&field("message")["usage"]),
            "content_block_start" => say(block(field("content_block")), &mut heard),
            "content_block_delta" => say(delta(field("delta")), &mut heard),
            "message_delta" => {
                heard.usage = self.count(field("usage"));
                heard.end = reason(&field("delta")["stop_reason"]).map(Ok);
            }
            "message_stop" => heard.is_last = true,
            // Not streamed, though we asked for it.
            "message" => {
                heard.usage = self.count(field("usage"));
                for content in field("content").as_array().into_iter().flatten() {
                    say(block(content), &mut heard);
                }
                heard.end = Some(Ok(reason(field("stop_reason")).unwrap_or(Ending::Stop)));
                heard.is_last = true;
            }
            _ if kind == "error" || is_error(field("error")) => {
                let error = Some(field("error")).filter(|error| is_error(error)).unwrap_or(event);
                heard.end = Some(Err(Complaint::new(error, event, asked).amid_an_answer()));
            }
            "content_block_stop" => {}
            // New kinds of events are to be passed over.
            _ => return None,
        }
        Some(heard)
    }

    fn refused(refusal: &Refusal<'_>) -> ModelError {
        Complaint::read(refusal).with_status(refusal.status.as_u16(), refusal.retry_after)
    }
}

impl Message {
    fn count(&mut self, usage: &Value) -> Option<TokenUsage> {
        self.counts.take_in(Some(usage).filter(|usage| usage.is_object())?)
    }
}

fn say(words: Words, heard: &mut Heard) {
    heard.text.push_str(&words.text);
    if let Some(thought) = words.thought {
        heard.thought.get_or_insert_default().push_str(&thought);
    }
}

/// Mostly empty; what is there comes before the deltas.
fn block(block: &Value) -> Words {
    match block["type"].as_str() {
        Some("text") | None => text(&block["text"]),
        Some("thinking") => thought(&block["thinking"]),
        Some("redacted_thinking") => thought(&Value::Null),
        // Tools, and what is new.
        Some(_) => Words::default(),
    }
}

fn delta(delta: &Value) -> Words {
    match delta["type"].as_str() {
        Some("text_delta" | "text") | None => text(&delta["text"]),
        Some("thinking_delta" | "thinking") => thought(&delta["thinking"]),
        // The signatures of thoughts, citations, and what is new.
        Some(_) => Words::default(),
    }
}

fn text(said: &Value) -> Words {
    Words {
        text: Words::of(said).text,
        thought: None,
    }
}

fn thought(said: &Value) -> Words {
    Words {
        text: String::new(),
        thought: Some(Words::of(said).text),
    }
}

fn reason(value: &Value) -> Option<Ending> {
    value.as_str().filter(|reason| !reason.trim().is_empty()).map(finish)
}
