//! A `text/event-stream` answer, read as it comes.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::{Answer, PATIENCE, contract};

/// An answer that comes in pieces.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    buffer: Vec<u8>,
    reads: usize,
    /// How many comments there were, which keep a silent stream open.
    pub comments: usize,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Where a reader that lost the connection goes on.
    pub id: Option<String>,
    pub event: String,
    pub data: Value,
    /// Which read from the network brought its end: events of different reads came apart.
    pub read: usize,
}

impl Stream {
    pub fn of(response: Response) -> Self {
        Self {
            response,
            buffer: Vec::new(),
            reads: 0,
            comments: 0,
        }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// For a refusal, which is no stream.
    pub async fn answer(self) -> Answer {
        Answer::of(self.response).await
    }

    /// The next event; none at the end, be it a good one or not.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                match self.frame(std::str::from_utf8(&block).unwrap()) {
                    Some(frame) => {
                        contract::hold_event(&frame.event, &frame.data);
                        return Some(frame);
                    }
                    None => self.comments += 1,
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk())
                .await
                .expect("the stream has fallen silent");
            // A cut connection is an end, too.
            let chunk = chunk.ok().flatten()?;
            self.reads += 1;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Everything up to the end.
    pub async fn all(mut self) -> Vec<Frame> {
        assert_eq!(self.response.headers()[CONTENT_TYPE], "text/event-stream");
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Reads until there were so many pieces of the answer; answers them all.
    pub async fn until_deltas(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while deltas(&frames).count() < count {
            frames.push(self.next().await.expect("more of the answer"));
        }
        frames
    }

    /// None for a comment.
    fn frame(&self, block: &str) -> Option<Frame> {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim_start)
        };
        Some(Frame {
            id: field("id:").map(str::to_owned),
            event: field("event:")?.to_owned(),
            data: serde_json::from_str(field("data:")?).unwrap(),
            read: self.reads,
        })
    }
}

/// The pieces of an answer among other events.
pub fn deltas(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames.iter().filter(|frame| frame.event == "reply.delta")
}

/// The names of events, with runs of deltas as one.
#[must_use]
pub fn outline(frames: &[Frame]) -> Vec<&str> {
    let mut names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    names.dedup_by(|next, last| next == last && *next == "reply.delta");
    names
}

/// The text that a reader puts together from the pieces, who must find each where the last one ended.
#[must_use]
#[track_caller]
pub fn text_of(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        match frame.event.as_str() {
            // Another attempt starts anew.
            "reply.started" => text.clear(),
            "reply.delta" => {
                let offset = usize::try_from(frame.data["data"]["offset"].as_u64().unwrap()).unwrap();
                assert_eq!(offset, text.len(), "a hole or an overlap before {frame:?}");
                text.push_str(frame.data["data"]["text"].as_str().unwrap());
            }
            _ => {}
        }
    }
    text
}

/// What the last event says, which must be the end of a reply.
#[must_use]
#[track_caller]
pub fn ending(frames: &[Frame]) -> &Value {
    let last = frames.last().expect("an event");
    assert_eq!(last.event, "reply.ended", "{}", last.data);
    &last.data["data"]
}

/// The last word on an answer: the message that its end brought, if there was one.
#[must_use]
pub fn answer_in(frames: &[Frame]) -> Option<&Value> {
    let is_answer = |frame: &&Frame| frame.event.starts_with("message.") && frame.data["data"]["role"] != "user";
    frames.iter().rev().find(is_answer).map(|frame| &frame.data["data"])
}
