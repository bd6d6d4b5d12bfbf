//! Server-sent events, read as they come in pieces of any size. Only `data` matters to the protocols spoken here.
//!
//! Of our own, and not a crate's, for what an upstream may do to us: `eventsource-stream` 0.2.3 panics on a byte order
//! mark, holds invalid UTF-8 back in silence, and has no limit to an event's size. The tests hold the two side by side.

use std::collections::VecDeque;

/// The longest line or event, in bytes; a chunk of a chat completion has a few hundred.
pub(super) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// How much of the lines that are of no event is kept.
const MAX_STRAY_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Bytes in by [`Events::push`], whole events out by [`Events::next`]. An event without its blank line is none, as the
/// standard says: what a cut leaves half is never read.
#[derive(Debug, Default)]
pub(super) struct Events {
    ready: VecDeque<String>,
    /// Of the event that is being read, each line with its line feed.
    data: String,
    line: Vec<u8>,
    past_first_line: bool,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    unreadable: Option<&'static str>,
    /// Lines that are of no event: what a server wrote into the stream that had lost its tongue.
    stray: String,
}

impl Events {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while self.unreadable.is_none() && !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                self.unreadable = Some("an event is larger than 1 MiB");
            }
            let Some(end) = end else { return };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
    }

    /// The next whole event's data; an error once all events before it are taken.
    pub(super) fn next(&mut self) -> Result<Option<String>, &'static str> {
        match (self.ready.pop_front(), self.unreadable) {
            (None, Some(why)) => Err(why),
            (event, _) => Ok(event),
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let marked = (!std::mem::replace(&mut self.past_first_line, true)).then(|| line.strip_prefix(BYTE_ORDER_MARK));
        let Ok(line) = str::from_utf8(marked.flatten().unwrap_or(&line)) else {
            self.unreadable = Some("an event is not UTF-8");
            return;
        };
        if line.is_empty() {
            let mut data = std::mem::take(&mut self.data);
            if data.pop().is_some() {
                self.ready.push_back(data);
            }
            return;
        }
        // A comment is a line whose field has no name.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match field {
            "data" => {
                self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
                self.data.push('\n');
            }
            "" | "event" | "id" | "retry" => {}
            _ if self.stray.len() + line.len() < MAX_STRAY_BYTES => {
                self.stray.push_str(line);
                self.stray.push('\n');
            }
            _ => {}
        }
    }

    pub(super) fn stray(&self) -> &str {
        &self.stray
    }
}

#[cfg(test)]
mod tests;
