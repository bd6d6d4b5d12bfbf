//! `GET /api/chat/stream`
//!
//! Looks at the inbox again and again, at short intervals while something happens and at longer ones while nothing does, and
//! reads it where there is something to read. Nothing is remembered between two streams: a reader that comes again names
//! the last version it has, and goes on exactly there.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{EventSink, Request, Response, Result, StreamFormat, event_stream};
use capabilities::Reads;
use domain::event::Event;
use domain::ids::{ChatId, MessageId, UserId};
use domain::rate::RateClass;
use domain::reply::RunningReply;
use domain::stream::StreamKind;
use domain::ticket::Ticket;
use schemars::JsonSchema;
use serde::Serialize;
use store::streams::OpenStream;
use store::tickets::Holder;
use tokio::time::{Instant, sleep};

use super::time_left;
use crate::openapi::{LastStreamPlace, Operation, StreamPlace, StreamedEvent};
use crate::replies::follow::Seen;

const LOOK_EVERY: Duration = Duration::from_millis(150);
/// A fifth of the quiet so far: a second after five seconds without news, this after fifteen.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(3);
const QUIET_A_LOOK: u32 = 5;
/// While the database does not answer.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
const EVENTS_A_LOOK: i64 = 100;
/// A reader that lags so far behind is waited for.
const MOST_WAITING: usize = 1024 * 1024;
/// When a browser that was cut off comes again; left alone, it waits for three to five seconds.
const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// And one whose place newer streams have taken: at once, it would only take it back.
const MAKE_ROOM_FOR: Duration = Duration::from_secs(60);
/// So many looks in a row may fail before the reader is told.
const FAILED_LOOKS: u32 = 20;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("streamEvents", "My events as they happen")
        .describe(
            "By bearer token, or by a ticket for an `EventSource`, which sends no headers. It ends with the token. A \
            person has so many open at once as the server allows; where more are opened, the oldest end with \
            `event: error` and the problem `too-many-streams`.",
        )
        .for_ticket_holders()
        .query::<ChatId>("chatId", "Only those of this chat.")
        .query::<StreamPlace>(
            "after",
            "The last `id` that you have; 0 for all that are kept. Without it, from now on.",
        )
        .header::<LastStreamPlace>(
            "Last-Event-ID",
            "The same, as browsers say it by themselves; it comes before `after`.",
        )
        .streams::<StreamedEvent>(
            "Server-sent events: `event:` is the type, `data:` an Event in one line, `id:` the place \
            in the stream. A planned end is `event: reconnect`; after `event: resync` read your chats \
            anew.",
        )
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let Holder {
        id: listener,
        token_expires_at,
    } = listener(&reads, &request).await?;
    let time_left = time_left(token_expires_at)?;
    let chat = request.query("chatId")?.map(chat_id).transpose()?;
    if let Some(chat) = chat {
        reads
            .store
            .audience(&listener, chat)
            .await?
            .ok_or(Error::NotFound("chat"))?;
    }
    let cursor = cursor(&request)?;
    let most = reads.settings.streams_per_person;
    let opened = reads.store.open_stream(&listener, StreamKind::Events, most).await?;
    let (reader, response) = event_stream(StreamFormat::Events);
    let request_id = request.id().to_owned();
    tokio::spawn(async move {
        let mut stream = Listening {
            until: reads
                .deadline()
                .at()
                .min(Instant::now() + reads.settings.stream_for.min(time_left)),
            reads,
            listener,
            open: opened.stream,
            chat,
            after: cursor.unwrap_or(StreamCursor::after(opened.inbox_version)),
            replies: HashMap::new(),
        };
        stream.run(&reader, &request_id).await;
        // Before the response ends, for then the process is frozen. If it fails, its lease ends.
        let _closed = stream.reads.store.close_stream(&stream.listener, stream.open).await;
    });
    Ok(response)
}

/// By bearer token, or by the `ticket` that one was changed for.
async fn listener(reads: &Reads, request: &Request) -> Result<Holder> {
    let Some(text) = request.query("ticket")? else {
        let caller = reads.caller(request).await?;
        return Ok(Holder {
            id: caller.id,
            token_expires_at: caller.token_expires_at,
        });
    };
    let ticket = Ticket::parse(text).ok_or(Error::Unauthenticated("is not a ticket".into()))?;
    let holder = reads.store.ticket_holder(&ticket).await?.ok_or(Error::Unauthenticated(
        "is a ticket that is unknown or has expired".into(),
    ))?;
    reads.spend(request, &holder.id, RateClass::Stream).await?;
    Ok(holder)
}

fn chat_id(text: &str) -> Result<ChatId> {
    ChatId::parse(text).ok_or_else(|| Error::Invalid(vec![FieldError::parameter("chatId", "must be a UUID")]))
}

/// Where to go on: a browser that reconnects by itself says `Last-Event-ID`, which is newer than the URL's `after`.
fn cursor(request: &Request) -> Result<Option<StreamCursor>> {
    let place = |text: &str, name, detail| {
        StreamCursor::parse(text).ok_or_else(|| Error::Invalid(vec![FieldError::parameter(name, detail)]))
    };
    let last = request.last_event_id().filter(|text| !text.trim().is_empty());
    let last = last.map(|text| place(text, "Last-Event-ID", "must be an id of this stream"));
    let after = request.query("after")?;
    let after = after.map(|text| place(text, "after", "must be an id of this stream, or 0"));
    Ok(last.transpose()?.or(after.transpose()?))
}

/// How far a reader has come. A version may be told by two events, and a connection may break between them, so a place
/// can lie within: `41.1` is all of version 41 and the first event of 42.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamCursor {
    version: i64,
    /// How many events of the next version.
    told: usize,
}

/// Where a stream stands.
#[derive(JsonSchema, Serialize)]
#[serde(rename = "StreamMark")]
#[schemars(deny_unknown_fields)]
pub(crate) struct Mark {
    /// The reader has everything up to here.
    #[schemars(range(min = 0))]
    version: i64,
}

impl StreamCursor {
    fn after(version: i64) -> Self {
        Self { version, told: 0 }
    }

    fn mark(self) -> Mark {
        Mark { version: self.version }
    }

    fn parse(text: &str) -> Option<Self> {
        let (version, told) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
        let version = version.parse().ok().filter(|version| *version >= 0)?;
        Some(Self {
            version,
            told: told.parse().ok()?,
        })
    }
}

impl fmt::Display for StreamCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.told {
            0 => write!(f, "{}", self.version),
            told => write!(f, "{}.{told}", self.version),
        }
    }
}

struct Listening {
    reads: Reads,
    listener: UserId,
    open: OpenStream,
    /// When it ends as planned.
    until: Instant,
    chat: Option<ChatId>,
    /// Up to where the reader has everything.
    after: StreamCursor,
    /// What the reader has of the replies that are being written, and where.
    replies: HashMap<MessageId, (ChatId, Seen)>,
}

/// What a look has found.
enum Look {
    Quiet,
    /// Something happened, or is about to.
    News,
    /// The one chat that is listened to is gone, or not the listener's any more.
    Over,
    /// Newer streams have taken its place.
    Crowded,
}

impl Listening {
    async fn run(&mut self, reader: &EventSink, request_id: &str) {
        let mut quiet_since = Instant::now();
        let mut failed = 0;
        reader.send_retry(COME_AGAIN_AFTER);
        // At once, so that a reader that is cut off before anything happened knows where it stood.
        reader.send_mark(self.after, "ready", &self.after.mark());
        while reader.is_open() {
            if Instant::now() >= self.until {
                reader.send_reconnect();
                return;
            }
            let rest = match self.look(reader).await {
                Ok(Look::Over) => return,
                Ok(Look::Crowded) => {
                    let limit = self.reads.settings.streams_per_person;
                    reader.send_retry(MAKE_ROOM_FOR);
                    reader.send_error(&Error::TooManyStreams { limit }, request_id);
                    return;
                }
                Ok(look) => {
                    failed = 0;
                    if matches!(look, Look::News) {
                        quiet_since = Instant::now();
                    }
                    (quiet_since.elapsed() / QUIET_A_LOOK).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY)
                }
                Err(error) => {
                    failed += 1;
                    if failed >= FAILED_LOOKS {
                        reader.send_error(&error.into(), request_id);
                        return;
                    }
                    TRY_AGAIN_AFTER
                }
            };
            let left = self.until.saturating_duration_since(Instant::now());
            tokio::select! {
                () = sleep(rest.min(left)) => {}
                () = reader.left() => {}
            }
        }
    }

    /// Looks whether there is anything new, and tells it.
    async fn look(&mut self, reader: &EventSink) -> store::Result<Look> {
        let glance = self.reads.store.glance(&self.listener, self.open, self.chat).await?;
        if !glance.is_kept {
            return Ok(Look::Crowded);
        }
        let has_news = glance.is_answered || glance.inbox_version != self.after.version;
        if !has_news || reader.waiting() >= MOST_WAITING {
            return Ok(Look::Quiet);
        }
        self.read(reader).await
    }

    async fn read(&mut self, reader: &EventSink) -> store::Result<Look> {
        let news = self
            .reads
            .store
            .news(&self.listener, self.after.version, self.chat, EVENTS_A_LOOK)
            .await?;
        if news.is_lost {
            self.after = StreamCursor::after(news.version);
            self.replies.clear();
            reader.send_mark(self.after, "resync", &self.after.mark());
            if let Some(chat) = self.chat
                && self.reads.store.audience(&self.listener, chat).await?.is_none()
            {
                return Ok(Look::Over);
            }
            return Ok(Look::News);
        }
        // First the text of replies: one that ended meanwhile is ended by its message, which is among the events.
        for (chat, running) in &news.running {
            self.tell_reply(reader, *chat, running).await?;
        }
        for (version, events) in &news.events {
            self.tell_version(reader, *version, events).await;
        }
        if news.next > self.after.version {
            self.after = StreamCursor::after(news.next);
        }
        let last = news.events.last().and_then(|(_, events)| events.last());
        if self.chat.is_some() && last.is_some_and(|event| event.ends_for(&self.listener)) {
            return Ok(Look::Over);
        }
        Ok(Look::News)
    }

    async fn tell_version(&mut self, reader: &EventSink, version: i64, events: &[Event]) {
        let known = if version == self.after.version + 1 {
            self.after.told
        } else {
            0
        };
        for event in &events[known.min(events.len())..] {
            if let Some(reply) = event.ended_reply() {
                self.tell_rest(reader, event.chat_id, reply).await;
            }
            if event.ends_for(&self.listener) {
                self.end_replies(reader, event.chat_id);
            }
        }
        for (number, event) in (1..).zip(events).skip(known) {
            let is_last = number == events.len();
            let place = if is_last {
                StreamCursor::after(version)
            } else {
                StreamCursor {
                    version: version - 1,
                    told: number,
                }
            };
            reader.send_placed(place, event);
        }
    }

    /// Tells whoever heard an answer piece by piece the last one, before its message. Where that cannot be had, the message has
    /// it.
    async fn tell_rest(&mut self, reader: &EventSink, chat: ChatId, reply: MessageId) {
        let Some((_, mut seen)) = self.replies.remove(&reply).filter(|(_, seen)| seen.attempt > 0) else {
            return;
        };
        let progress = self
            .reads
            .store
            .reply_progress_beyond(&self.listener, chat, reply, seen.had())
            .await;
        if let Ok(Some(progress)) = progress
            && progress.state.is_over()
            && !progress.text.is_empty()
        {
            seen.tell(reader, chat, reply, &progress);
        }
    }

    /// Those of a chat that is gone are over for the listener: nothing more will be heard of them.
    fn end_replies(&mut self, reader: &EventSink, chat: ChatId) {
        for (reply, (_, seen)) in self
            .replies
            .extract_if(|_, (place, seen)| *place == chat && seen.attempt > 0)
        {
            reader.send(&seen.gone(chat, reply));
        }
    }

    async fn tell_reply(&mut self, reader: &EventSink, chat: ChatId, running: &RunningReply) -> store::Result<()> {
        let (_, seen) = self
            .replies
            .entry(running.message_id)
            .or_insert((chat, Seen::default()));
        let progress = self
            .reads
            .store
            .reply_progress_beyond(&self.listener, chat, running.message_id, seen.had())
            .await?;
        let Some(progress) = progress.filter(|progress| !progress.state.is_over()) else {
            return Ok(());
        };
        seen.tell(reader, chat, running.message_id, &progress);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_nonsense_is_refused() {
        for text in ["0", "41", "41.1"] {
            assert_eq!(StreamCursor::parse(text).expect(text).to_string(), text);
        }
        for odd in ["", " ", "-1", "1.", ".1", "1.-1", "1.2.3", "x", "9223372036854775808"] {
            assert_eq!(StreamCursor::parse(odd), None, "{odd}");
        }
    }
}
