//! Watches a reply that another process writes, or will write, and tells one reader what comes. It reads what the writer
//! has stored, so it works whoever writes, through restarts and further attempts.

use std::time::Duration;

use backtalk_http::EventSink;
use capabilities::Reads;
use domain::event::{Event, ReplyDelta, ReplyEnded, ReplyReasoning};
use domain::ids::{ChatId, MessageId, UserId};
use domain::reply::{Failure, ReplyState};
use store::replies::{Had, Progress};
use tokio::time::{Instant, sleep};

/// How often is looked while text comes: as often as it is stored.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often while nothing comes.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row may fail before the reader is told.
const FAILED_LOOKS: u32 = 20;

/// What a reader has of a reply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub attempt: i32,
    /// Bytes of that attempt's text.
    pub offset: usize,
    /// Bytes of its thoughts; `None` before it was told that there are any.
    pub thoughts: Option<usize>,
}

impl Seen {
    #[must_use]
    pub fn had(&self) -> Had {
        Had {
            attempt: self.attempt,
            offset: self.offset,
            thoughts: self.thoughts.unwrap_or(0),
        }
    }

    /// What ends a reply that is not there any more, or not for the reader.
    #[must_use]
    pub fn gone(&self, chat: ChatId, reply: MessageId) -> Event {
        let ended = ReplyEnded {
            message_id: reply,
            attempt: self.attempt,
            state: ReplyState::Stopped,
            reason: None,
            retry_at: None,
        };
        Event::reply_ended(chat, &ended)
    }

    /// Tells of a running reply what the reader has not seen: that an attempt began, what it thinks, and its text. Whether
    /// there was any.
    pub fn tell(&mut self, reader: &EventSink, chat: ChatId, reply: MessageId, progress: &Progress) -> bool {
        let has_begun = progress.has_begun && progress.attempt > self.attempt;
        if has_begun {
            *self = Self {
                attempt: progress.attempt,
                ..Self::default()
            };
            reader.send(&Event::reply_started(chat, reply, progress.attempt));
        }
        let thoughts = progress.thoughts.as_ref();
        let thoughts = thoughts.filter(|thoughts| self.thoughts.is_none() || !thoughts.text.is_empty());
        if let Some(thoughts) = thoughts {
            let text = Some(thoughts.text.clone()).filter(|text| !text.is_empty());
            let reasoning = ReplyReasoning {
                message_id: reply,
                attempt: progress.attempt,
                offset: text.is_some().then_some(thoughts.offset),
                text,
            };
            reader.send(&Event::reply_reasoning(chat, &reasoning));
            self.thoughts = Some(thoughts.offset + thoughts.text.len());
        }
        let has_text = !progress.text.is_empty();
        if has_text {
            let delta = ReplyDelta {
                message_id: reply,
                attempt: progress.attempt,
                offset: progress.offset,
                text: progress.text.clone(),
            };
            reader.send(&Event::reply_delta(chat, &delta));
            self.offset = progress.offset + progress.text.len();
        }
        has_begun || thoughts.is_some() || has_text
    }
}

/// Tells `reader` of the reply from `seen` on, until it is over or nobody listens any more.
pub async fn follow(
    reads: &Reads,
    me: &UserId,
    chat: ChatId,
    reply: MessageId,
    mut seen: Seen,
    reader: &EventSink,
    request_id: &str,
) {
    // A function that has streamed for a while already has less time left than a stream may take.
    let until = reads.deadline().at().min(Instant::now() + reads.settings.stream_for);
    let mut rest = LOOK_EVERY;
    let mut failed = 0;
    while reader.is_open() {
        if Instant::now() >= until {
            reader.send_reconnect();
            return;
        }
        match reads.store.reply_progress_beyond(me, chat, reply, seen.had()).await {
            // The chat was deleted meanwhile, and its reply with it, or the reader is no member any more.
            Ok(None) => {
                reader.send(&seen.gone(chat, reply));
                return;
            }
            Ok(Some(progress)) if progress.state.is_over() => {
                // What came between the last look and the end.
                if !progress.text.is_empty() {
                    seen.tell(reader, chat, reply, &progress);
                }
                if let Some(message) = &progress.message {
                    reader.send(&Event::of_answer(message));
                }
                let failure = progress.failure.filter(|failure| match progress.state {
                    ReplyState::Failed => true,
                    // Others are of an attempt before it was stopped.
                    ReplyState::Stopped => *failure == Failure::Deadline,
                    ReplyState::Queued | ReplyState::Streaming | ReplyState::Completed => false,
                });
                let ended = ReplyEnded {
                    message_id: reply,
                    attempt: progress.attempt,
                    state: progress.state,
                    reason: failure,
                    retry_at: progress.retry_at.filter(|_| progress.state == ReplyState::Failed),
                };
                reader.send(&Event::reply_ended(chat, &ended));
                return;
            }
            Ok(Some(progress)) => {
                failed = 0;
                rest = if seen.tell(reader, chat, reply, &progress) {
                    LOOK_EVERY
                } else {
                    (rest * 3 / 2).min(LOOK_AT_LEAST_EVERY)
                };
            }
            Err(error) => {
                failed += 1;
                if failed >= FAILED_LOOKS {
                    reader.send_error(&error.into(), request_id);
                    return;
                }
            }
        }
        tokio::select! {
            () = sleep(rest) => {}
            () = reader.left() => {}
        }
    }
}
