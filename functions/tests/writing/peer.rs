//! All that functions speak to beside Postgres, behind one address: SQS, S3, Pusher, and a model that speaks as OpenAI does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the bucket does.
#[derive(Clone, Copy)]
pub(crate) enum Bucket {
    /// It takes requests and answers none.
    Hangs,
    /// All its objects are PNGs of so many bytes.
    Holds(usize),
}

/// What the model does.
#[derive(Clone, Copy)]
pub(crate) enum Model {
    /// It answers with as many tokens as it may, and counts as the worst tokenizer would: a token a byte.
    CountsBytes,
    /// It reads what it is asked without keeping it, and says a word after so long.
    Waits(Duration),
    /// It says a word this often, without end.
    GoesOn(Duration),
    /// It refuses every request with an image, in these words, and answers all others.
    RefusesImages(&'static str),
    /// It reads so many tokens, prompt and answer together, and refuses more.
    Window(usize),
    /// It takes requests of so many bytes.
    Takes(usize),
    /// It asks to be left alone for so many seconds.
    AsksForRest(u64),
}

#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) at: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    bucket: Bucket,
    model: Model,
    /// What Pusher was told, in the order in which it came.
    told: Vec<Value>,
    /// How often the model was asked.
    asked: usize,
    /// What it was asked last.
    last: Value,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            at: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(State {
                bucket: Bucket::Hangs,
                model: Model::CountsBytes,
                told: Vec::new(),
                asked: 0,
                last: Value::Null,
            })),
        };
        let serving = peer.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let peer = serving.clone();
                let answer = service_fn(move |request| {
                    let peer = peer.clone();
                    async move { Ok::<_, Infallible>(peer.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
            }
        });
        peer
    }

    pub(crate) fn behave(&self, bucket: Bucket, model: Model) {
        let mut state = self.state.lock().unwrap();
        (state.bucket, state.model) = (bucket, model);
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// What the model was asked last, by one that reads it.
    pub(crate) fn last(&self) -> Value {
        self.state.lock().unwrap().last.clone()
    }

    /// The events that Pusher was told of somebody.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.state.lock().unwrap().told.clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let (bucket, model) = {
            let state = self.state.lock().unwrap();
            (state.bucket, state.model)
        };
        if path.starts_with("/bucket/") {
            return match bucket {
                Bucket::Hangs => std::future::pending().await,
                Bucket::Holds(size) => {
                    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
                    png.resize(size, 7);
                    whole("image/png", png)
                }
            };
        }
        if path.starts_with("/apps/") {
            let body: Value = serde_json::from_slice(&read(request).await).unwrap();
            let events = body["batch"].as_array().cloned().unwrap_or_else(|| vec![body]);
            let told = events
                .iter()
                .map(|event| serde_json::from_str(event["data"].as_str().unwrap()).unwrap());
            self.state.lock().unwrap().told.extend::<Vec<Value>>(told.collect());
            return whole("application/json", b"{}".to_vec());
        }
        if path != "/v1/chat/completions" {
            return whole("application/json", br#"{"Successful":[],"Failed":[]}"#.to_vec());
        }
        self.state.lock().unwrap().asked += 1;
        match model {
            Model::CountsBytes => {
                let asked: Value = serde_json::from_slice(&read(request).await).unwrap();
                counted(&asked)
            }
            Model::RefusesImages(words) => {
                let asked = self.read_question(request).await;
                if asked.to_string().contains("image_url") {
                    refused(
                        400,
                        json!({"message": words, "type": "invalid_request_error", "code": null}),
                    )
                } else {
                    fine()
                }
            }
            Model::Window(tokens) => {
                let asked = self.read_question(request).await;
                let prompt = asked["messages"].to_string().len() * 10 / 22;
                if prompt + usize::try_from(asked["max_tokens"].as_u64().unwrap()).unwrap() > tokens {
                    let words =
                        format!("This model's maximum context length is {tokens} tokens. However, you requested more.");
                    let error = json!({
                        "message": words, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"
                    });
                    refused(400, error)
                } else {
                    fine()
                }
            }
            Model::Takes(bytes) => {
                let asked = self.read_question(request).await;
                if asked.to_string().len() > bytes {
                    let words = "Request exceeds the maximum size";
                    refused(413, json!({"type": "request_too_large", "message": words}))
                } else {
                    fine()
                }
            }
            Model::AsksForRest(seconds) => {
                let words = "Monthly usage limit reached.";
                let mut response = refused(429, json!({"message": words, "type": "tokens", "code": "usage_limit"}));
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                response
            }
            Model::Waits(time) => {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                sleep(time).await;
                whole(
                    "text/event-stream",
                    [said("seen"), finish("stop", 1, 1)].concat().into_bytes(),
                )
            }
            Model::GoesOn(every) => {
                let words = stream::unfold((), move |()| async move {
                    sleep(every).await;
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from(said("word ")))), ()))
                });
                response("text/event-stream", StreamBody::new(words).boxed_unsync())
            }
        }
    }
}

impl Peer {
    async fn read_question(&self, request: Request<Incoming>) -> Value {
        let asked: Value = serde_json::from_slice(&read(request).await).unwrap();
        self.state.lock().unwrap().last = asked.clone();
        asked
    }
}

fn fine() -> Response<Body> {
    let body = [said("Tall lighthouses shine."), finish("stop", 20, 8)].concat();
    whole("text/event-stream", body.into_bytes())
}

fn refused(status: u16, error: Value) -> Response<Body> {
    let mut response = whole("application/json", json!({ "error": error }).to_string().into_bytes());
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// Two tokens a byte would be a lie; one is the worst that there is. What frames each message takes three more.
fn counted(asked: &Value) -> Response<Body> {
    let messages = asked["messages"].as_array().unwrap();
    let input: usize = messages
        .iter()
        .map(|message| message["content"].as_str().unwrap().len() + 3)
        .sum();
    let longest = asked["max_tokens"].as_u64().unwrap();
    let text = "7".repeat(usize::try_from(longest).unwrap());
    let body = [said(&text), finish("length", input as u64, longest)].concat();
    whole("text/event-stream", body.into_bytes())
}

fn said(text: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

fn finish(reason: &str, input: u64, output: u64) -> String {
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}});
    format!("data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

async fn read(request: Request<Incoming>) -> Bytes {
    request.into_body().collect().await.unwrap().to_bytes()
}

fn whole(content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    response(content_type, Full::new(Bytes::from(body)).boxed_unsync())
}

fn response(content_type: &'static str, body: Body) -> Response<Body> {
    Response::builder()
        .header(CONTENT_TYPE, content_type)
        .body(body)
        .unwrap()
}
