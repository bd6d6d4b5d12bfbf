//! A model's server that speaks chat completions at a given pace and notes when it said what; and a queue that takes
//! every wake-up. On threads of its own, so that its share of the processor can be told from ours.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// Every token is this one, so that its place in the text tells which it is.
pub(crate) const TOKEN: &str = " word";

/// How an answer is spoken.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) tokens: usize,
    /// From the request to the first token.
    pub(crate) first: Duration,
    /// From one token to the next; zero is as fast as they are taken.
    pub(crate) every: Duration,
}

/// One answer, and when each of its tokens was said.
pub(crate) struct Speech {
    pace: Pace,
    said: Mutex<Vec<Instant>>,
}

impl Speech {
    pub(crate) fn said(&self) -> Vec<Instant> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self) {
        let now = Instant::now();
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    }
}

#[derive(Clone)]
pub(crate) struct ModelServer {
    pub(crate) at: SocketAddr,
    /// By the question.
    speeches: Arc<Mutex<HashMap<String, Arc<Speech>>>>,
}

impl ModelServer {
    pub(crate) async fn start(threads: &Handle) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Self {
            at: listener.local_addr()?,
            speeches: Arc::default(),
        };
        // A socket belongs to the threads that made it.
        let listener = listener.into_std()?;
        let answering = server.clone();
        threads.spawn(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (connection, _) = listener.accept().await?;
                connection.set_nodelay(true)?;
                let server = answering.clone();
                let answer = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
            }
            #[allow(unreachable_code)]
            anyhow::Ok(())
        });
        Ok(server)
    }

    /// The base of the model's API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.at)
    }

    pub(crate) fn answer_to(&self, question: &str, pace: Pace) -> Arc<Speech> {
        let speech = Arc::new(Speech {
            pace,
            said: Mutex::new(Vec::with_capacity(pace.tokens)),
        });
        self.speeches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(question.to_owned(), Arc::clone(&speech));
        speech
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        if request.uri().path() != "/v1/chat/completions" {
            return whole(StatusCode::OK, r#"{"Successful":[],"Failed":[]}"#);
        }
        let asked = Instant::now();
        match self.speech(request).await {
            Ok(speech) => spoken(speech, asked),
            Err(error) => whole(
                StatusCode::BAD_REQUEST,
                &json!({"error": {"message": error.to_string()}}).to_string(),
            ),
        }
    }

    async fn speech(&self, request: Request<Incoming>) -> Result<Arc<Speech>> {
        let body = request.into_body().collect().await?.to_bytes();
        let body: Value = serde_json::from_slice(&body)?;
        let last = body["messages"].as_array().and_then(|messages| messages.last());
        let question = last
            .and_then(|message| message["content"].as_str())
            .context("no question")?;
        let mut speeches = self.speeches.lock().unwrap_or_else(PoisonError::into_inner);
        speeches.remove(question).context("an unexpected question")
    }
}

fn whole(status: StatusCode, body: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn spoken(speech: Arc<Speech>, asked: Instant) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let frames = stream::unfold(0, move |index| {
        let speech = Arc::clone(&speech);
        async move {
            let Pace { tokens, first, every } = speech.pace;
            if index < tokens && (index == 0 || !every.is_zero()) {
                let turns = u32::try_from(index).unwrap_or(u32::MAX);
                sleep_until(asked + first + every * turns).await;
            }
            let frame = match index.checked_sub(tokens) {
                None => {
                    speech.note();
                    event(
                        &json!([{"index": 0, "delta": {"content": TOKEN}, "finish_reason": null}]),
                        &Value::Null,
                    )
                }
                Some(0) => event(
                    &json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
                    &Value::Null,
                ),
                Some(1) => event(&json!([]), &json!({"prompt_tokens": 100, "completion_tokens": tokens})),
                Some(2) => "data: [DONE]\n\n".to_owned(),
                Some(_) => return None,
            };
            Some((Ok(Frame::data(Bytes::from(frame))), index + 1))
        }
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/event-stream"),
    );
    response
}

/// As wide as those of the real ones.
fn event(choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-0123456789abcdefghijklmnopqrs", "object": "chat.completion.chunk", "created": 1_760_000_000,
        "model": "bench", "system_fingerprint": "fp_0123456789", "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}
