//! What a model thinks in an attempt: counted always, told and stored as far as `MODEL_REASONING` says.

use std::time::Duration;

use domain::characters::is_refused;
use domain::event::{Event, ReplyReasoning};
use domain::reply::{Claim, Reasoning};
use store::thoughts::Thought;
use tokio::time::Instant;

/// As much is shown of an attempt's thoughts; what follows is only counted.
const MOST_SHOWN: usize = 64 * 1024;
/// How often is stored how much was thought where no text is.
const COUNT_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Thoughts {
    reasoning: Reasoning,
    has_begun: bool,
    /// What people are shown.
    text: String,
    /// All that was thought.
    bytes: usize,
    stored: Stored,
    stored_at: Instant,
}

/// How much of it the store has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    has_begun: bool,
    shown: usize,
    bytes: usize,
}

impl Thoughts {
    pub(super) fn new(reasoning: Reasoning) -> Self {
        Self {
            reasoning,
            has_begun: false,
            text: String::new(),
            bytes: 0,
            stored: Stored::default(),
            stored_at: Instant::now(),
        }
    }

    /// What people are shown so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a thought. What the reader is told of it, and whether that is the first that is told of any.
    pub(super) fn hear(&mut self, claim: &Claim, thought: &str) -> Option<(Event, bool)> {
        let is_first = !self.has_begun;
        self.has_begun = true;
        self.bytes += thought.len();
        let offset = self.text.len();
        if self.reasoning == Reasoning::Text && offset < MOST_SHOWN {
            self.text.extend(thought.chars().filter(|c| !is_refused(*c)));
        }
        let is_told = match self.reasoning {
            Reasoning::Off => false,
            Reasoning::Status => is_first,
            Reasoning::Text => is_first || self.text.len() > offset,
        };
        is_told.then(|| (reasoning(claim, offset, &self.text[offset..]), is_first))
    }

    /// What is to be stored next, and what the store has once it is.
    pub(super) fn unstored(&mut self) -> Option<(Thought, Stored)> {
        let is_told = self.reasoning != Reasoning::Off && self.has_begun;
        let is_new = !self.stored.has_begun || self.text.len() > self.stored.shown;
        let is_due = self.text.is_empty() && self.bytes > self.stored.bytes && self.stored_at.elapsed() >= COUNT_EVERY;
        if !is_told || !(is_new || is_due) {
            return None;
        }
        self.stored_at = Instant::now();
        let thought = Thought {
            offset: self.stored.shown,
            text: self.text[self.stored.shown..].to_owned(),
            // Without a text it is one part, which is written again.
            bytes: self.bytes - if self.text.is_empty() { 0 } else { self.stored.bytes },
        };
        let then = Stored {
            has_begun: true,
            shown: self.text.len(),
            bytes: self.bytes,
        };
        Some((thought, then))
    }

    pub(super) fn stored(&self) -> Stored {
        self.stored
    }

    pub(super) fn settle(&mut self, stored: Stored) {
        self.stored = stored;
    }

    /// What is kept with the answer.
    pub(super) fn into_kept(self) -> Option<String> {
        Some(self.text).filter(|text| !text.trim().is_empty())
    }
}

/// That a model thinks, or more of what, after so many bytes.
pub(super) fn reasoning(claim: &Claim, offset: usize, text: &str) -> Event {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let reasoning = ReplyReasoning {
        message_id: claim.reply_id,
        attempt: claim.attempt,
        offset: text.is_some().then_some(offset),
        text,
    };
    Event::reply_reasoning(claim.chat_id, &reasoning)
}
