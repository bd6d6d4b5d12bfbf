//! An answer, read as it comes: what all providers have in common. What an event means is said by their dialects; this makes
//! one answer of it, whole or an error.
//!
//! A reason to finish is not the end: some servers send one with every event, or before the text. The end is an end mark, or
//! the end of the stream behind a reason.

use std::collections::VecDeque;

use futures_util::{StreamExt, stream};

use super::json::Halves;
use super::thoughts::{TaggedThoughts, Told};
use super::{Chunk, Chunks, Finish, ModelError, TokenUsage};
use domain::characters::{is_blank, is_refused};

/// What one event says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) text: String,
    /// What the model thinks; empty where only that it thinks is shown.
    pub(super) thought: Option<String>,
    /// Of the whole answer so far: it replaces what was counted before.
    pub(super) usage: Option<TokenUsage>,
    /// Why the answer has ended, if nothing follows; or why there will be no more of it.
    pub(super) end: Option<Result<Ending, ModelError>>,
    /// Nothing follows, so nothing is waited for. Without an error it is the mark of a good end.
    pub(super) is_last: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Stop,
    /// A tool is called. None is offered, so without words that is no answer, and the next one would be none either.
    ToolCall,
    Length,
    /// Prompt and answer together have filled the model's context window.
    WindowFull,
    /// With the provider's word for why.
    Blocked(String),
}

impl Ending {
    fn is_stop(&self) -> bool {
        matches!(self, Self::Stop | Self::ToolCall)
    }
}

/// Where an answer comes from.
pub(super) trait Source: Send + 'static {
    /// Whether its answers end with a mark, so that text behind the last reason needs one to be whole.
    const HAS_END_MARK: bool;

    /// What is heard next; `None` at the end of the stream.
    fn next(&mut self) -> impl Future<Output = Result<Option<Heard>, ModelError>> + Send;
}

/// What makes an answer of what is heard.
pub(super) struct Answer<S> {
    source: S,
    /// What was heard and not yet handed on.
    ready: VecDeque<Chunk>,
    halves: Halves,
    halves_of_thoughts: Halves,
    tagged: TaggedThoughts,
    has_words: bool,
    reason: Option<Reason>,
    has_end_mark: bool,
    failure: Option<ModelError>,
    is_over: bool,
    is_flushed: bool,
    usage: Option<TokenUsage>,
    /// The usage that was handed on.
    told: Option<TokenUsage>,
}

/// Why the answer has ended, as far as it has.
struct Reason {
    ending: Ending,
    came_with_text: bool,
    /// Text has followed this reason.
    is_followed: bool,
    /// Text has followed this reason or one before it: this server's reasons do not end its answers.
    is_doubtful: bool,
}

impl Reason {
    /// Whether the answer is whole even if its connection breaks now.
    fn is_certain(&self) -> bool {
        !self.came_with_text && !self.is_doubtful
    }
}

impl<S: Source> Answer<S> {
    pub(super) fn of(source: S, tagged: TaggedThoughts) -> Chunks {
        let answer = Self {
            source,
            ready: VecDeque::new(),
            halves: Halves::default(),
            halves_of_thoughts: Halves::default(),
            tagged,
            has_words: false,
            reason: None,
            has_end_mark: false,
            failure: None,
            is_over: false,
            is_flushed: false,
            usage: None,
            told: None,
        };
        stream::unfold(Some(answer), |answer| async {
            let mut answer = answer?;
            let item = answer.next().await;
            let goes_on = matches!(item, Ok(Chunk::Text(_) | Chunk::Thought(_) | Chunk::Counted(_)));
            Some((item, goes_on.then_some(answer)))
        })
        .boxed()
    }

    /// The next text, thought or count, or the end, good or bad.
    async fn next(&mut self) -> Result<Chunk, ModelError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(chunk);
            }
            if self.is_over {
                if self.flush() {
                    continue;
                }
                return self.end();
            }
            match self.source.next().await {
                Ok(Some(heard)) => self.take_in(heard),
                Ok(None) => self.is_over = true,
                Err(error) => self.fail(error),
            }
        }
    }

    /// No cut, silence or nonsense unmakes an answer that is certainly whole. A plain stop before the first word may be one of
    /// those that end nothing.
    fn fail(&mut self, error: ModelError) {
        self.is_over = true;
        let is_whole = |reason: &Reason| reason.is_certain() && (self.has_words || !reason.ending.is_stop());
        if !self.reason.as_ref().is_some_and(is_whole) {
            self.failure = Some(error);
        }
    }

    fn take_in(&mut self, heard: Heard) {
        let counted = heard.usage.filter(|usage| self.usage != Some(*usage));
        self.usage = counted.or(self.usage);
        if let Some(thought) = heard.thought {
            let thought = self.halves_of_thoughts.join(thought);
            self.think(thought);
        }
        let has_text = !heard.text.is_empty();
        if has_text && let Some(reason) = &mut self.reason {
            reason.is_followed = true;
            reason.is_doubtful = true;
        }
        let text = self.halves.join(heard.text);
        let told = self.tagged.take_in(&text);
        self.tell(told);
        match heard.end {
            Some(Ok(ending)) => self.take_reason(ending, has_text),
            Some(Err(error)) => self.fail(error),
            None => {}
        }
        // The end itself says what it has cost.
        let seems_over = self.reason.as_ref().is_some_and(|reason| !reason.is_followed);
        if self.failure.is_some() || !(seems_over || heard.is_last) {
            self.count();
        }
        if heard.is_last {
            self.is_over = true;
            self.has_end_mark = self.failure.is_none();
        }
    }

    /// Of two reasons behind the same text the one that says more counts, else the later one.
    fn take_reason(&mut self, ending: Ending, came_with_text: bool) {
        let is_doubtful = self.reason.as_ref().is_some_and(|reason| reason.is_doubtful);
        let says_more = |reason: &Reason| reason.is_followed || !ending.is_stop() || reason.ending.is_stop();
        if self.reason.as_ref().is_none_or(says_more) {
            self.reason = Some(Reason {
                ending,
                came_with_text,
                is_followed: false,
                is_doubtful,
            });
        }
    }

    fn count(&mut self) {
        if self.told != self.usage {
            self.told = self.usage;
            self.ready.extend(self.usage.map(Chunk::Counted));
        }
    }

    fn think(&mut self, mut thought: String) {
        thought.retain(|c| !is_refused(c));
        self.ready.push_back(Chunk::Thought(thought));
    }

    fn tell(&mut self, told: Told) {
        let Told { thought, mut text } = told;
        if !thought.is_empty() {
            self.think(thought);
        }
        text.retain(|c| !is_refused(c));
        if !text.is_empty() {
            self.has_words |= !is_blank(&text);
            self.ready.push_back(Chunk::Text(text));
        }
    }

    /// Hands on what was held back in case more of it came. Whether there was anything.
    fn flush(&mut self) -> bool {
        if std::mem::replace(&mut self.is_flushed, true) {
            return false;
        }
        let half: String = self.halves.rest().into_iter().collect();
        let told = self.tagged.take_in(&half);
        self.tell(told);
        let told = self.tagged.rest();
        self.tell(told);
        !self.ready.is_empty()
    }

    fn end(&mut self) -> Result<Chunk, ModelError> {
        let end = self.ending().and_then(|ending| self.finished(ending));
        let knows_its_cost = matches!(
            end,
            Ok(_) | Err(ModelError::Blocked { .. } | ModelError::NothingSaid { .. })
        );
        if !knows_its_cost && self.told != self.usage {
            self.failure = end.err();
            self.told = self.usage;
            return Ok(Chunk::Counted(self.usage.unwrap_or_default()));
        }
        end
    }

    fn ending(&mut self) -> Result<Ending, ModelError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match &self.reason {
            Some(reason) if self.has_end_mark || !reason.is_followed || !S::HAS_END_MARK => Ok(reason.ending.clone()),
            None if self.has_end_mark => Ok(Ending::Stop),
            _ => Err(ModelError::Truncated),
        }
    }

    fn finished(&self, ending: Ending) -> Result<Chunk, ModelError> {
        let usage = self.usage;
        let finish = match ending {
            Ending::Blocked(reason) if !self.has_words => return Err(ModelError::Blocked { reason, usage }),
            Ending::Length if !self.has_words => return Err(ModelError::NothingSaid { usage }),
            Ending::WindowFull if !self.has_words => {
                return Err(ModelError::TooLong {
                    detail: "the context window was full before the first word".into(),
                });
            }
            Ending::ToolCall if !self.has_words => {
                return Err(ModelError::Rejected {
                    status: 200,
                    detail: "the model called a tool instead of answering, and none was offered".into(),
                });
            }
            // It has stopped in the middle of a thought.
            Ending::Stop | Ending::ToolCall if self.tagged.is_in_a_thought() => return Err(ModelError::Truncated),
            Ending::Blocked(_) => Finish::Blocked,
            Ending::Stop | Ending::ToolCall => Finish::Stop,
            Ending::Length | Ending::WindowFull => Finish::Length,
        };
        Ok(Chunk::Done { finish, usage })
    }
}

#[cfg(test)]
mod tests;
