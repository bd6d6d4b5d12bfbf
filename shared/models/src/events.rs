//! How an answer is cut into events, read as they come in pieces of any size: server-sent events, and what some servers send
//! in their place, which is JSON objects one after another, in an array, or one alone. What a body is its bytes say; its
//! content type is no help.
//!
//! Of our own, and not a crate's, for what an upstream may do to us: `eventsource-stream` 0.2.3 panics on a byte order
//! mark, holds invalid UTF-8 back in silence, and has no limit to an event's size. The tests hold the two side by side.

use std::collections::VecDeque;

use values::Values;

mod values;

/// What begins as a page of the web does is no stream, and no answer of a model: another address is meant.
pub(super) const A_PAGE: &str = "it is a page";

/// The longest line or event, in bytes; a chunk of a chat completion has a few hundred.
pub(super) const MAX_EVENT_BYTES: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &str = "\u{feff}";

pub(super) const END_MARK: &str = "[DONE]";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// What stood in its `event` line.
    pub(super) name: String,
    pub(super) data: String,
    /// The stream ended before a blank line ended the event: it may be half of one.
    pub(super) may_be_cut: bool,
}

/// Bytes in by [`Events::push`], whole events out by [`Events::next`]. The standard drops an event without its blank line. But
/// some servers never send the last one, so [`Events::finish`] hands on what is left, marked.
#[derive(Debug, Default)]
pub(super) struct Events {
    ready: VecDeque<Event>,
    name: String,
    /// Of the event that is being read, each line with its line feed.
    data: String,
    line: Vec<u8>,
    past_first_line: bool,
    past_first_byte: bool,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    unreadable: Option<&'static str>,
    /// JSON that stands in no `data` line.
    values: Values,
    is_at_end: bool,
}

impl Events {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        if !self.past_first_byte {
            self.look_at_the_beginning(bytes);
        }
        while self.unreadable.is_none() && !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() + self.data.len() + self.values.len() > MAX_EVENT_BYTES {
                self.unreadable = Some("an event is larger than 1 MiB");
            }
            let Some(end) = end else { return };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
    }

    /// There are no more bytes.
    pub(super) fn finish(&mut self) {
        self.is_at_end = true;
        if self.unreadable.is_none() {
            self.end_line();
            self.end_event();
            self.end_value();
        }
    }

    /// The next whole event; an error once all events before it are taken.
    pub(super) fn next(&mut self) -> Result<Option<Event>, &'static str> {
        match (self.ready.pop_front(), self.unreadable) {
            (None, Some(why)) => Err(why),
            (event, _) => Ok(event),
        }
    }

    /// No stream begins as a page does, and a page is not waited for.
    fn look_at_the_beginning(&mut self, bytes: &[u8]) {
        let mark = BYTE_ORDER_MARK.as_bytes();
        let first = bytes
            .iter()
            .find(|byte| !byte.is_ascii_whitespace() && !mark.contains(byte));
        self.past_first_byte = first.is_some();
        if first == Some(&b'<') {
            self.unreadable = Some(A_PAGE);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // What is no UTF-8 becomes U+FFFD, as the standard says.
        let mut line = String::from_utf8_lossy(&line).into_owned();
        if !std::mem::replace(&mut self.past_first_line, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.is_empty() {
            return self.end_event();
        }
        // A comment is a line whose field has no name.
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.end_value();
                if is_whole(&self.data) && begins_another(value) {
                    self.end_event();
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "" => {}
            "event" if !value.contains('{') => value.clone_into(&mut self.name),
            "id" | "retry" if !value.contains('{') => {}
            _ => self.take_in(&line),
        }
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_some() {
            self.hand_on(name, data);
        }
    }

    /// A line that is of no server-sent event.
    fn take_in(&mut self, line: &str) {
        let trimmed = line.trim();
        if !self.values.is_open() && trimmed == END_MARK {
            return self.hand_on(String::new(), trimmed.to_owned());
        }
        if self.values.is_open() || trimmed.starts_with(['{', '[', ']', ',']) {
            for value in self.values.push(line) {
                self.hand_on(String::new(), value);
            }
        } else if line.contains('{') {
            // Its first bytes were lost.
            self.hand_on(String::new(), line.to_owned());
        }
    }

    /// A value that something else follows, or nothing, is not whole.
    fn end_value(&mut self) {
        if let Some(half) = self.values.abandon() {
            self.hand_on(String::new(), half);
        }
    }

    fn hand_on(&mut self, name: String, data: String) {
        self.ready.push_back(Event {
            name,
            data,
            may_be_cut: self.is_at_end,
        });
    }
}

/// Some servers put no blank line between events. No JSON goes on with an object where one has just ended.
fn is_whole(data: &str) -> bool {
    let data = data.trim();
    data.starts_with('{') && data.ends_with('}')
}

fn begins_another(value: &str) -> bool {
    let value = value.trim();
    value.starts_with('{') || value == END_MARK
}

#[cfg(test)]
mod tests;
