//! Answers: JSON, nothing, or a stream of events.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use lambda_http::http::{self, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ui_message_stream::{self, UiMessageStream};
use crate::error::{Error, Problem};
use domain::event::Event;

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Response = http::Response<Body>;

/// Proxies close what is silent for long; a comment keeps the stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

fn full(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = http::Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer with a status of one's own.
pub fn json(status: StatusCode, value: &impl Serialize) -> super::Result<Response> {
    let body = serde_json::to_vec(value).map_err(|error| Error::Internal(error.into()))?;
    Ok(full(status, "application/json", body))
}

pub fn ok(value: &impl Serialize) -> super::Result<Response> {
    json(StatusCode::OK, value)
}

/// It will be done.
pub fn accepted(value: &impl Serialize) -> super::Result<Response> {
    json(StatusCode::ACCEPTED, value)
}

pub fn created(value: &impl Serialize) -> super::Result<Response> {
    json(StatusCode::CREATED, value)
}

/// What a client has already, by its tag.
#[must_use]
pub fn not_modified(tag: &str) -> Response {
    let mut response = no_content();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, tag)
}

/// Names a version of an answer, for `If-None-Match`.
#[must_use]
pub fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    // A browser may keep the answer, but must ask each time whether it still holds.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// What is asked for is there for a while: each time, ask here again.
pub fn found(location: &str) -> super::Result<Response> {
    let location = HeaderValue::from_str(location).map_err(|error| Error::Internal(error.into()))?;
    let mut response = no_content();
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[must_use]
pub fn no_content() -> Response {
    let mut response = http::Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_else(|_| b"{}".to_vec());
    full(status, "application/problem+json", body)
}

/// How a streamed answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// Our own events.
    Events,
    /// As Vercel's AI SDK reads it.
    UiMessageStream,
}

/// Where the events of a streamed answer go. A reader that left is no error, and a slow one holds nobody up: the work
/// goes on without it. What waits for it here is bounded by the length of one reply.
#[derive(Clone, Debug)]
pub struct EventSink {
    frames: Frames,
    /// Who translates, where the reader wants another dialect than ours.
    translator: Option<Arc<Translator>>,
}

/// Blocks of an event stream on their way to the reader.
#[derive(Clone, Debug)]
struct Frames {
    sender: mpsc::UnboundedSender<Bytes>,
    /// Bytes that the reader has not taken yet.
    waiting: Arc<AtomicUsize>,
}

impl Frames {
    fn send(&self, block: String) {
        let frame = Bytes::from(block);
        if frame.is_empty() {
            return;
        }
        self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        // An error says that the reader left.
        let _left = self.sender.send(frame);
    }
}

/// Shared by all sinks of an answer, and gone with the last of them.
#[derive(Debug)]
struct Translator {
    frames: Frames,
    stream: Mutex<UiMessageStream>,
}

impl Translator {
    fn tell(&self, block: impl FnOnce(&mut UiMessageStream) -> String) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Sent while it is held, so that blocks leave in the order in which they were made.
        self.frames.send(block(&mut stream));
    }
}

impl Drop for Translator {
    /// Its readers take an end without a word for a good one.
    fn drop(&mut self) {
        self.tell(UiMessageStream::close);
    }
}

impl EventSink {
    pub fn send(&self, event: &Event) {
        match &self.translator {
            None => self.send_frame(event.event_type.word(), event),
            Some(translator) => translator.tell(|stream| stream.event(event)),
        }
    }

    /// Says why a stream cannot go on: once it has begun there is no other way to tell its reader.
    pub fn send_error(&self, error: &Error, request_id: &str) {
        let problem = error.problem(request_id);
        match &self.translator {
            None => self.send_frame("error", &problem),
            Some(translator) => translator.tell(|stream| stream.error(&problem.detail)),
        }
    }

    /// Says that the stream ends here as planned, and that there is more to come elsewhere.
    pub fn send_reconnect(&self) {
        match &self.translator {
            None => self.send_frame("reconnect", &serde_json::json!({})),
            Some(translator) => translator.tell(UiMessageStream::reconnect),
        }
    }

    /// Says how soon a browser that loses this stream shall come again.
    pub fn send_retry(&self, after: Duration) {
        self.frames.send(format!("retry: {}\n\n", after.as_millis()));
    }

    /// An event and its place: a reader that comes again names the last one that it has in `Last-Event-ID`.
    pub fn send_placed(&self, place: impl Display, event: &Event) {
        self.send_lines(&format!("id: {place}\n"), event.event_type.word(), event);
    }

    /// Something about the stream itself, and the place where it stands.
    pub fn send_mark(&self, place: impl Display, name: &str, data: &impl Serialize) {
        self.send_lines(&format!("id: {place}\n"), name, data);
    }

    /// Whether somebody still listens.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.frames.sender.is_closed()
    }

    /// Once nobody listens any more.
    pub async fn left(&self) {
        self.frames.sender.closed().await;
    }

    /// How many bytes the reader has still to take. Whoever could send without end waits while these are many.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.frames.waiting.load(Ordering::Relaxed)
    }

    fn send_frame(&self, name: &str, data: &impl Serialize) {
        self.send_lines("", name, data);
    }

    fn send_lines(&self, id: &str, name: &str, data: &impl Serialize) {
        // serde_json escapes line breaks, so the data is one line.
        let Ok(json) = serde_json::to_string(data) else { return };
        self.frames.send(format!("{id}event: {name}\ndata: {json}\n\n"));
    }
}

/// A `text/event-stream` answer, and the sink that feeds it. The stream ends when the last sink is dropped.
#[must_use]
pub fn event_stream(stream_format: StreamFormat) -> (EventSink, Response) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let waiting = Arc::new(AtomicUsize::new(0));
    let taken = waiting.clone();
    let frames = stream::unfold((receiver, taken), |(mut receiver, taken)| async move {
        let bytes = match timeout(KEEP_ALIVE, receiver.recv()).await {
            Ok(Some(bytes)) => {
                taken.fetch_sub(bytes.len(), Ordering::Relaxed);
                bytes
            }
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b": keep-alive\n\n"),
        };
        Some((Ok::<_, Infallible>(Frame::data(bytes)), (receiver, taken)))
    });
    let mut response = http::Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let frames = Frames { sender, waiting };
    let translator = match stream_format {
        StreamFormat::Events => None,
        StreamFormat::UiMessageStream => {
            headers.insert(
                ui_message_stream::HEADER,
                HeaderValue::from_static(ui_message_stream::VERSION),
            );
            Some(Arc::new(Translator {
                frames: frames.clone(),
                stream: Mutex::default(),
            }))
        }
    };
    (EventSink { frames, translator }, response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::ReplyDelta;
    use domain::ids::{ChatId, MessageId};

    async fn read(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_falls_silent_ends_as_an_error_where_an_end_would_be_taken_for_a_good_one() {
        let (sink, response) = event_stream(StreamFormat::UiMessageStream);
        assert_eq!(response.headers()["x-vercel-ai-ui-message-stream"], "v1");
        let (chat, reply) = (ChatId::fresh(), MessageId::fresh());
        let other = sink.clone();
        sink.send(&Event::reply_started(chat, reply, 1));
        drop(sink);
        let delta = ReplyDelta {
            message_id: reply,
            attempt: 1,
            offset: 0,
            text: "Hel".into(),
        };
        other.send(&Event::reply_delta(chat, &delta));
        drop(other);
        let text = read(response).await;
        let kinds: Vec<_> = text
            .split("\n\n")
            .filter_map(|block| block.split("\"type\":\"").nth(1))
            .collect();
        assert_eq!(
            kinds,
            ["start\"}", "text-start\"}", "text-delta\"}", "text-end\"}", "error\"}"]
        );
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }

    #[tokio::test]
    async fn our_own_dialect_carries_events_as_they_are() {
        let (sink, response) = event_stream(StreamFormat::Events);
        assert!(!response.headers().contains_key("x-vercel-ai-ui-message-stream"));
        let event = Event::reply_started(ChatId::fresh(), MessageId::fresh(), 1);
        sink.send(&event);
        sink.send_reconnect();
        drop(sink);
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            read(response).await,
            format!("event: reply.started\ndata: {json}\n\nevent: reconnect\ndata: {{}}\n\n")
        );
    }
}
