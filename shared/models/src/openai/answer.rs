//! What the events of a chat completion mean.

use serde_json::Value;

use super::refusal::Complaint;
use super::wire::{finish, usage};
use crate::ModelError;
use crate::answer::{Ending, Heard};
use crate::refusal::{Asked, Refusal, status};
use crate::served::{Dialect, Words, counted, first, is_error};

#[derive(Debug, Default)]
pub(crate) struct ChatCompletion {
    /// All text so far.
    said: String,
    /// How it came.
    manner: Manner,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Manner {
    #[default]
    Unknown,
    /// As new text, in `delta`.
    Deltas,
    /// As new text, in `message`.
    Messages,
    /// As all text so far, in `message`.
    WholeMessages,
}

impl Dialect for ChatCompletion {
    const HAS_END_MARK: bool = true;

    fn read(&mut self, name: &str, event: &Value, asked: &Asked) -> Option<Heard> {
        let mut heard = Heard {
            usage: counted(event.get("usage"), usage),
            ..Heard::default()
        };
        let choice = event.get("choices").and_then(first);
        if let Some(choice) = choice {
            self.listen(choice, &mut heard);
            let is_whole = event.get("object").and_then(Value::as_str) == Some("chat.completion");
            if is_whole && heard.end.is_none() && choice.get("message").is_some_and(Value::is_object) {
                heard.end = Some(Ok(Ending::Stop));
            }
        }
        if let Some(error) = error(name, event) {
            heard.is_last = true;
            heard.end = Some(match Complaint::new(error, event, asked).amid_an_answer() {
                ModelError::Blocked { reason, .. } => Ok(Ending::Blocked(reason)),
                error => Err(error),
            });
        }
        let is_known = event.get("choices").is_some() || heard != Heard::default();
        is_known.then_some(heard)
    }

    fn refused(refusal: &Refusal<'_>) -> ModelError {
        Complaint::read(refusal).with_status(refusal.status.as_u16(), refusal.retry_after)
    }
}

impl ChatCompletion {
    fn listen(&mut self, choice: &Value, heard: &mut Heard) {
        let (delta, message) = (choice.get("delta"), choice.get("message"));
        let mut words = delta.map(spoken).unwrap_or_default();
        if words.text.is_empty()
            && let Some(text) = choice.get("text").and_then(Value::as_str)
        {
            text.clone_into(&mut words.text);
        }
        if !words.text.is_empty() {
            self.manner = Manner::Deltas;
        } else if let Some(message) = message {
            let whole = spoken(message);
            words.text = self.news(whole.text);
            if self.said.is_empty() {
                words.thought = words.thought.or(whole.thought);
            }
        }
        self.said.push_str(&words.text);
        heard.text = words.text;
        heard.thought = words.thought;
        let reason = choice.get("finish_reason").and_then(Value::as_str);
        heard.end = reason.filter(|reason| !reason.trim().is_empty()).map(finish);
    }

    /// What of a message's text is new. Some servers send messages for deltas; some repeat the whole text in one, in each event or
    /// in the last.
    fn news(&mut self, text: String) -> String {
        if text.is_empty() || self.said.is_empty() {
            if !text.is_empty() {
                self.manner = Manner::Messages;
            }
            return text;
        }
        let repeats = text.strip_prefix(&self.said).map(str::to_owned);
        match (self.manner, repeats) {
            (Manner::Deltas | Manner::WholeMessages, Some(news)) => news,
            (Manner::Deltas, None) if self.said.contains(text.trim()) || self.said.trim() == text.trim() => {
                String::new()
            }
            (_, Some(news)) if !news.is_empty() => {
                self.manner = Manner::WholeMessages;
                news
            }
            _ => text,
        }
    }
}

/// The words of a delta or a message.
fn spoken(said: &Value) -> Words {
    let field = |name: &str| said.get(name).map(Words::of).unwrap_or_default();
    let mut words = field("content");
    if words.text.is_empty() {
        // OpenAI's words instead of an answer; they are for whoever asked.
        words.text = field("refusal").text;
    }
    // The same thoughts stand under two names at times.
    let names = ["reasoning_content", "reasoning", "thinking", "reasoning_details"];
    let mut thoughts = names.iter().filter_map(|name| {
        let told = said.get(*name).filter(|told| !told.is_null()).map(Words::of)?;
        Some(told.thought.unwrap_or(told.text))
    });
    let first = thoughts.next();
    let thought = first.map(|first| match first.as_str() {
        "" => thoughts.find(|thought| !thought.is_empty()).unwrap_or_default(),
        _ => first,
    });
    if let Some(thought) = thought {
        words.think(&thought);
    }
    words
}

/// The error that an event tells, if it tells one: under its name, or as the event itself.
fn error<'a>(name: &str, event: &'a Value) -> Option<&'a Value> {
    if let Some(error) = event.get("error").filter(|error| is_error(error)) {
        // `true` says no more than that there is one.
        return Some(if error.is_boolean() { event } else { error });
    }
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_marked = name == "error" || text("object") == "error" || text("type") == "error";
    let complains = ["message", "detail", "msg"].iter().any(|name| !text(name).is_empty())
        && ["code", "status", "status_code", "error_code"].iter().any(|name| {
            let code = event.get(*name);
            code.is_some_and(|code| status(code).is_some() || (*name == "error_code" && is_error(code)))
        });
    (event.get("choices").is_none() && (is_marked || complains)).then_some(event)
}
