//! Watches a reply that another process writes, or will write, and tells one reader what comes. It reads what the writer
//! has stored, so it works whoever writes, through restarts and further attempts.

use std::time::Duration;

use shared::app::App;
use shared::domain::event::{Event, ReplyDelta, ReplyEnded};
use shared::domain::ids::{ChatId, MessageId, UserId};
use shared::domain::reply::ReplyState;
use shared::error::Error;
use shared::http::EventSink;
use shared::store::replies::Progress;
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
}

impl Seen {
    /// Tells of a running reply what the reader has not seen: that an attempt began, and its text. Whether there was any.
    pub fn tell(&mut self, reader: &EventSink, chat: ChatId, reply: MessageId, progress: &Progress) -> bool {
        let has_begun = progress.has_begun && progress.attempt > self.attempt;
        if has_begun {
            *self = Self {
                attempt: progress.attempt,
                offset: 0,
            };
            reader.send(&Event::reply_started(chat, reply, progress.attempt));
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
        has_begun || has_text
    }
}

/// Tells `reader` of the reply from `seen` on, until it is over or nobody listens any more.
pub async fn follow(
    app: &App,
    me: &UserId,
    chat: ChatId,
    reply: MessageId,
    mut seen: Seen,
    reader: &EventSink,
    request_id: &str,
) {
    let until = Instant::now() + app.config.stream_for;
    let mut rest = LOOK_EVERY;
    let mut failed = 0;
    while reader.is_open() {
        if Instant::now() >= until {
            reader.send_reconnect();
            return;
        }
        match app
            .store
            .reply_progress(me, chat, reply, seen.attempt, seen.offset)
            .await
        {
            // The chat was deleted meanwhile.
            Ok(None) => {
                reader.send_error(&Error::NotFound("chat"), request_id);
                return;
            }
            Ok(Some(progress)) if progress.state.is_over() => {
                if let Some(message) = &progress.message {
                    reader.send(&Event::of_answer(message));
                }
                let failure = progress.failure.filter(|_| progress.state == ReplyState::Failed);
                let ended = ReplyEnded {
                    message_id: reply,
                    attempt: progress.attempt,
                    state: progress.state,
                    reason: failure,
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
