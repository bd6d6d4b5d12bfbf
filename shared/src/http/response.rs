//! Answers: JSON, nothing, or a stream of events.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

use crate::domain::event::Event;
use crate::error::{Error, Problem};

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

/// Where the events of a streamed answer go. A reader that left is no error, and a slow one holds nobody up: the work
/// goes on without it. What waits for it here is bounded by the length of one reply.
#[derive(Clone, Debug)]
pub struct EventSink {
    frames: mpsc::UnboundedSender<Bytes>,
    /// Bytes that the reader has not taken yet.
    waiting: Arc<AtomicUsize>,
}

impl EventSink {
    pub fn send(&self, event: &Event) {
        self.send_frame(event.event_type.word(), event);
    }

    /// Says why a stream cannot go on: once it has begun there is no other way to tell its reader.
    pub fn send_error(&self, error: &Error, request_id: &str) {
        self.send_frame("error", &error.problem(request_id));
    }

    /// Says that the stream ends here as planned, and that there is more to come elsewhere.
    pub fn send_reconnect(&self) {
        self.send_frame("reconnect", &serde_json::json!({}));
    }

    /// Says how soon a browser that loses this stream shall come again.
    pub fn send_retry(&self, after: Duration) {
        self.send_bytes(format!("retry: {}\n\n", after.as_millis()));
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
        !self.frames.is_closed()
    }

    /// How many bytes the reader has still to take. Whoever could send without end waits while these are many.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn send_frame(&self, name: &str, data: &impl Serialize) {
        self.send_lines("", name, data);
    }

    fn send_lines(&self, id: &str, name: &str, data: &impl Serialize) {
        // serde_json escapes line breaks, so the data is one line.
        let Ok(json) = serde_json::to_string(data) else { return };
        self.send_bytes(format!("{id}event: {name}\ndata: {json}\n\n"));
    }

    fn send_bytes(&self, block: String) {
        let frame = Bytes::from(block);
        self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        // An error says that the reader left.
        let _left = self.frames.send(frame);
    }
}

/// A `text/event-stream` answer, and the sink that feeds it. The stream ends when the last sink is dropped.
#[must_use]
pub fn event_stream() -> (EventSink, Response) {
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
    let sink = EventSink {
        frames: sender,
        waiting,
    };
    (sink, response)
}
