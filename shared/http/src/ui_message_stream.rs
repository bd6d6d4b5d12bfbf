//! A streamed answer as Vercel's AI SDK reads it: its UI message stream protocol, version 1, as in the npm package `ai`
//! from version 5 on (`uiMessageChunkSchema` and `processUIMessageStream` in its sources).
//!
//! The protocol knows no way to take text back. So what a reader has is always the beginning of what is being said: a
//! further attempt that says the same again is left out up to there, and one that says something else is an error, after
//! which the reader loads the answer anew. A stream that ends well has said exactly what is stored.
//!
//! What the model thinks comes in reasoning parts, one for each time that it begins to. Thoughts of an attempt that failed
//! stay in a part of their own, for they are no part of the answer.

use serde_json::{Value, json};

use domain::event::{Event, EventType};
use domain::message::Role;
use domain::reply::ReplyState;

/// In the answer's headers, and in those of a request that wants it.
pub(super) const HEADER: &str = "x-vercel-ai-ui-message-stream";
pub(super) const VERSION: &str = "v1";

/// A message of ours has one text.
const TEXT: &str = "text";
const INTERRUPTED: &str = "The answer was interrupted and is being written anew. Load it again to see it.";
const ELSEWHERE: &str = "The answer takes long and goes on. Resume the stream, or load it again, to see the rest.";

#[derive(Debug, Default)]
pub(super) struct UiMessageStream {
    has_started: bool,
    is_text_open: bool,
    is_reasoning_open: bool,
    /// How many reasoning parts there are.
    reasoning_parts: u32,
    /// What the reader has of the present attempt's thoughts.
    thought: String,
    is_over: bool,
    /// What the reader has of the text.
    shown: String,
    /// What the present attempt has said.
    said: String,
    /// What the message's metadata will be.
    metadata: Value,
    /// Why there is no answer, in words for people.
    failure: Option<String>,
    out: String,
}

impl UiMessageStream {
    /// What an event means to the reader; mostly nothing but a piece of text.
    pub(super) fn event(&mut self, event: &Event) -> String {
        if !self.is_over {
            self.take(event);
        }
        std::mem::take(&mut self.out)
    }

    /// Ends with words for people.
    pub(super) fn error(&mut self, text: &str) -> String {
        self.fail(text);
        std::mem::take(&mut self.out)
    }

    /// The stream ends here as planned, and the answer goes on.
    pub(super) fn reconnect(&mut self) -> String {
        self.error(ELSEWHERE)
    }

    /// Nobody will say any more.
    pub(super) fn close(&mut self) -> String {
        self.error(INTERRUPTED)
    }

    fn take(&mut self, event: &Event) {
        let data = &event.data;
        match event.event_type {
            EventType::ReplyStarted => {
                self.start(&data["messageId"]);
                self.said.clear();
                self.thought.clear();
                self.close_reasoning();
            }
            EventType::ReplyReasoning => {
                self.start(&data["messageId"]);
                let offset = data["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
                let text = data["text"].as_str().unwrap_or_default();
                if text.is_empty() {
                    self.open_reasoning();
                } else if offset == Some(self.thought.len()) {
                    self.think(text);
                }
            }
            EventType::ReplyDelta => {
                self.start(&data["messageId"]);
                let offset = data["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
                // Where pieces are missing, the whole message will show it.
                if offset == Some(self.said.len()) {
                    self.said.push_str(data["text"].as_str().unwrap_or_default());
                    self.show();
                }
            }
            // An answer that was written again has changed its message.
            EventType::MessageCreated | EventType::MessageUpdated if data["role"] == Role::Assistant.word() => {
                self.start(&data["id"]);
                if let Some(thought) = data["reasoning"].as_str()
                    && let Some(more) = thought.strip_prefix(&*self.thought)
                    && !more.is_empty()
                {
                    self.think(more);
                }
                data["content"].as_str().unwrap_or_default().clone_into(&mut self.said);
                self.show();
                self.metadata = json!({
                    "chatId": event.chat_id, "seq": event.seq, "createdAt": data["createdAt"], "usage": data["usage"],
                });
                if self.said != self.shown {
                    self.fail(INTERRUPTED);
                }
            }
            EventType::MessageCreated if data["role"] == Role::System.word() => {
                self.failure = data["content"].as_str().map(str::to_owned);
            }
            EventType::ReplyEnded => self.end(data["state"].as_str().and_then(ReplyState::parse)),
            _ => {}
        }
    }

    fn start(&mut self, message: &Value) {
        if !self.has_started {
            self.has_started = true;
            self.chunk(&json!({"type": "start", "messageId": message}));
        }
    }

    /// Shows what the present attempt has said beyond what was shown.
    fn show(&mut self) {
        if self.shown.starts_with(&self.said) {
            return;
        }
        let Some(more) = self.said.strip_prefix(&self.shown) else {
            self.fail(INTERRUPTED);
            return;
        };
        let delta = json!({"type": "text-delta", "id": TEXT, "delta": more});
        self.close_reasoning();
        if !self.is_text_open {
            self.is_text_open = true;
            self.chunk(&json!({"type": "text-start", "id": TEXT}));
        }
        self.chunk(&delta);
        self.shown.clone_from(&self.said);
    }

    fn think(&mut self, more: &str) {
        self.open_reasoning();
        self.thought.push_str(more);
        let id = self.reasoning_id();
        self.chunk(&json!({"type": "reasoning-delta", "id": id, "delta": more}));
    }

    fn open_reasoning(&mut self) {
        if !self.is_reasoning_open {
            self.is_reasoning_open = true;
            self.reasoning_parts += 1;
            let id = self.reasoning_id();
            self.chunk(&json!({"type": "reasoning-start", "id": id}));
        }
    }

    fn close_reasoning(&mut self) {
        if self.is_reasoning_open {
            self.is_reasoning_open = false;
            let id = self.reasoning_id();
            self.chunk(&json!({"type": "reasoning-end", "id": id}));
        }
    }

    fn reasoning_id(&self) -> String {
        format!("reasoning-{}", self.reasoning_parts)
    }

    fn end(&mut self, state: Option<ReplyState>) {
        self.metadata["state"] = json!(state);
        let metadata = std::mem::take(&mut self.metadata);
        match state {
            Some(ReplyState::Completed) => {
                self.close_text();
                self.finish(&[json!({"type": "finish", "messageMetadata": metadata})]);
            }
            Some(ReplyState::Stopped) => {
                self.close_text();
                let told = json!({"type": "message-metadata", "messageMetadata": metadata});
                self.finish(&[told, json!({"type": "abort"})]);
            }
            _ => {
                let failure = self.failure.take();
                self.fail(failure.as_deref().unwrap_or(INTERRUPTED));
            }
        }
    }

    fn fail(&mut self, text: &str) {
        if !self.is_over {
            self.close_text();
            self.finish(&[json!({"type": "error", "errorText": text})]);
        }
    }

    fn close_text(&mut self) {
        self.close_reasoning();
        if self.is_text_open {
            self.is_text_open = false;
            self.chunk(&json!({"type": "text-end", "id": TEXT}));
        }
    }

    fn finish(&mut self, last: &[Value]) {
        for chunk in last {
            self.chunk(chunk);
        }
        self.out.push_str("data: [DONE]\n\n");
        self.is_over = true;
    }

    fn chunk(&mut self, chunk: &Value) {
        // JSON as serde_json writes it is one line.
        self.out.push_str(&format!("data: {chunk}\n\n"));
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use domain::event::{ReplyDelta, ReplyEnded, ReplyReasoning};
    use domain::ids::{ChatId, MessageId, Seq};

    const CHAT: &str = "0192aaaa-0000-7000-8000-000000000001";
    const REPLY: &str = "0192aaaa-0000-7000-8000-000000000002";

    fn chat() -> ChatId {
        ChatId::parse(CHAT).unwrap()
    }

    fn reply() -> MessageId {
        MessageId::parse(REPLY).unwrap()
    }

    fn started(attempt: i32) -> Event {
        Event::reply_started(chat(), reply(), attempt)
    }

    fn delta(offset: usize, text: &str) -> Event {
        let delta = ReplyDelta {
            message_id: reply(),
            attempt: 1,
            offset,
            text: text.into(),
        };
        Event::reply_delta(chat(), &delta)
    }

    fn thinks(attempt: i32, offset: usize, text: &str) -> Event {
        let text = Some(text.to_owned()).filter(|text| !text.is_empty());
        let reasoning = ReplyReasoning {
            message_id: reply(),
            attempt,
            offset: text.is_some().then_some(offset),
            text,
        };
        Event::reply_reasoning(chat(), &reasoning)
    }

    fn message(role: &str, content: &str) -> Event {
        Event {
            event_type: EventType::MessageCreated,
            chat_id: chat(),
            seq: Seq::new(2),
            at: Some(DateTime::UNIX_EPOCH),
            data: json!({"id": REPLY, "role": role, "content": content, "createdAt": "then", "usage": {"outputTokens": 2}}),
        }
    }

    fn ended(state: ReplyState) -> Event {
        let ended = ReplyEnded {
            message_id: reply(),
            attempt: 1,
            state,
            reason: None,
            retry_at: None,
        };
        Event::reply_ended(chat(), &ended)
    }

    /// What a reader gets of these events, each chunk by its type and what it says.
    fn told(events: &[Event]) -> Vec<String> {
        let mut stream = UiMessageStream::default();
        let mut blocks: Vec<_> = events.iter().map(|event| stream.event(event)).collect();
        blocks.push(stream.close());
        let blocks = blocks.concat();
        let chunks = blocks.split_terminator("\n\n").map(|block| {
            let text = block.strip_prefix("data: ").unwrap();
            if text == "[DONE]" {
                return text.to_owned();
            }
            let chunk: Value = serde_json::from_str(text).unwrap();
            let says = ["delta", "errorText", "messageId"]
                .iter()
                .find_map(|name| chunk[name].as_str());
            format!("{} {}", chunk["type"].as_str().unwrap(), says.unwrap_or_default())
        });
        chunks.map(|told| told.trim_end().to_owned()).collect()
    }

    fn started_with(rest: &[&str]) -> Vec<String> {
        let start = format!("start {REPLY}");
        [&*start].iter().chain(rest).map(|told| (*told).to_owned()).collect()
    }

    #[test]
    fn an_answer_is_started_said_and_finished() {
        let events = [
            message("user", "hi"),
            started(1),
            delta(0, "Grü"),
            delta(4, "ße"),
            message("assistant", "Grüße"),
            ended(ReplyState::Completed),
            // Nothing follows the end.
            delta(0, "more"),
        ];
        assert_eq!(
            told(&events),
            started_with(&[
                "text-start",
                "text-delta Grü",
                "text-delta ße",
                "text-end",
                "finish",
                "[DONE]"
            ])
        );
    }

    #[test]
    fn what_is_thought_is_a_part_before_the_text() {
        let events = [
            started(1),
            thinks(1, 0, "Hm"),
            thinks(1, 2, ", so"),
            // Heard twice, and with a piece missing.
            thinks(1, 2, ", so"),
            thinks(1, 9, "!"),
            delta(0, "Hi"),
            message("assistant", "Hi"),
            ended(ReplyState::Completed),
        ];
        let text = ["text-start", "text-delta Hi", "text-end", "finish", "[DONE]"];
        let thought = [
            "reasoning-start",
            "reasoning-delta Hm",
            "reasoning-delta , so",
            "reasoning-end",
        ];
        assert_eq!(told(&events), started_with(&[&thought[..], &text].concat()));
        // That it thinks, and no more.
        let silent = [&[started(1), thinks(1, 0, "")], &events[5..]].concat();
        let thought = ["reasoning-start", "reasoning-end"];
        assert_eq!(told(&silent), started_with(&[&thought[..], &text].concat()));
    }

    #[test]
    fn each_attempt_thinks_in_a_part_of_its_own() {
        let events = [
            started(1),
            thinks(1, 0, "One"),
            started(2),
            thinks(2, 0, "Two"),
            ended(ReplyState::Stopped),
        ];
        assert_eq!(
            told(&events),
            started_with(&[
                "reasoning-start",
                "reasoning-delta One",
                "reasoning-end",
                "reasoning-start",
                "reasoning-delta Two",
                "reasoning-end",
                "message-metadata",
                "abort",
                "[DONE]"
            ])
        );
        let ids = |stream: &mut UiMessageStream, event: &Event| {
            let out = stream.event(event);
            out.matches("reasoning-1").count() + 10 * out.matches("reasoning-2").count()
        };
        let mut stream = UiMessageStream::default();
        let counts: Vec<_> = events.iter().map(|event| ids(&mut stream, event)).collect();
        assert_eq!(counts, [0, 2, 1, 20, 10]);
    }

    #[test]
    fn who_comes_after_the_end_gets_what_was_thought_too() {
        let mut said = message("assistant", "all");
        said.data["reasoning"] = json!("first");
        let events = [said, ended(ReplyState::Completed)];
        assert_eq!(
            told(&events),
            started_with(&[
                "reasoning-start",
                "reasoning-delta first",
                "reasoning-end",
                "text-start",
                "text-delta all",
                "text-end",
                "finish",
                "[DONE]"
            ])
        );
    }

    #[test]
    fn the_end_says_what_is_stored() {
        let mut stream = UiMessageStream::default();
        stream.event(&message("assistant", "x"));
        let last = stream.event(&ended(ReplyState::Completed));
        let finish = last.split("\n\n").nth(1).unwrap().strip_prefix("data: ").unwrap();
        let finish: Value = serde_json::from_str(finish).unwrap();
        assert_eq!(
            finish["messageMetadata"],
            json!({"chatId": CHAT, "seq": 2, "createdAt": "then", "usage": {"outputTokens": 2}, "state": "completed"})
        );
    }

    #[test]
    fn who_comes_after_the_end_gets_the_whole_text() {
        let events = [
            message("user", "hi"),
            message("assistant", "all"),
            ended(ReplyState::Completed),
        ];
        assert_eq!(
            told(&events),
            started_with(&["text-start", "text-delta all", "text-end", "finish", "[DONE]"])
        );
    }

    #[test]
    fn a_second_attempt_that_says_the_same_goes_on_unseen() {
        let events = [
            started(1),
            delta(0, "Hel"),
            started(2),
            delta(0, "H"),
            delta(1, "ello"),
            message("assistant", "Hello"),
            ended(ReplyState::Completed),
        ];
        // As soon as it says more.
        let interrupted = format!("error {INTERRUPTED}");
        assert_eq!(
            told(&events[..5]),
            started_with(&[
                "text-start",
                "text-delta Hel",
                "text-delta lo",
                "text-end",
                &interrupted,
                "[DONE]"
            ])
        );
        assert_eq!(
            told(&events),
            started_with(&[
                "text-start",
                "text-delta Hel",
                "text-delta lo",
                "text-end",
                "finish",
                "[DONE]"
            ])
        );
    }

    #[test]
    fn a_second_attempt_that_says_something_else_ends_the_stream_as_an_error() {
        let interrupted = format!("error {INTERRUPTED}");
        let expected = started_with(&["text-start", "text-delta Hel", "text-end", &interrupted, "[DONE]"]);
        let otherwise = [
            started(1),
            delta(0, "Hel"),
            started(2),
            delta(0, "Good"),
            delta(4, " day"),
        ];
        assert_eq!(told(&otherwise), expected);
        // Also where it is shorter, and only its end shows it.
        let shorter = [
            started(1),
            delta(0, "Hel"),
            started(2),
            delta(0, "He"),
            message("assistant", "He"),
            ended(ReplyState::Completed),
        ];
        assert_eq!(told(&shorter), expected);
        // And where only the whole is heard of.
        let unheard = [
            started(1),
            delta(0, "Hel"),
            message("assistant", "Good day"),
            ended(ReplyState::Completed),
        ];
        assert_eq!(told(&unheard), expected);
        // And where nobody says any more.
        assert_eq!(told(&[started(1), delta(0, "Hel")]), expected);
    }

    #[test]
    fn an_attempt_that_failed_before_its_first_word_is_not_seen() {
        let events = [
            started(1),
            started(2),
            delta(0, "Hi"),
            message("assistant", "Hi"),
            ended(ReplyState::Completed),
        ];
        assert_eq!(
            told(&events),
            started_with(&["text-start", "text-delta Hi", "text-end", "finish", "[DONE]"])
        );
    }

    #[test]
    fn a_failure_is_an_error_in_words_for_people() {
        let events = [started(1), message("system", "Sorry."), ended(ReplyState::Failed)];
        assert_eq!(told(&events), started_with(&["error Sorry.", "[DONE]"]));
    }

    #[test]
    fn a_stopped_answer_keeps_what_was_said() {
        let events = [
            started(1),
            delta(0, "Hel"),
            message("assistant", "Hel"),
            ended(ReplyState::Stopped),
        ];
        assert_eq!(
            told(&events),
            started_with(&[
                "text-start",
                "text-delta Hel",
                "text-end",
                "message-metadata",
                "abort",
                "[DONE]"
            ])
        );
        assert_eq!(
            told(&[started(1), ended(ReplyState::Stopped)]),
            started_with(&["message-metadata", "abort", "[DONE]"])
        );
    }

    #[test]
    fn a_planned_end_and_a_fault_are_errors_too() {
        let mut stream = UiMessageStream::default();
        stream.event(&started(1));
        assert!(stream.reconnect().contains(ELSEWHERE));
        assert_eq!(stream.close(), "");
        let mut stream = UiMessageStream::default();
        assert!(
            stream
                .error("There is no such chat.")
                .contains("There is no such chat.")
        );
    }
}
