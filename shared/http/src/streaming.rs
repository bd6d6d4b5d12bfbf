//! Streamed responses, posted to Lambda's runtime API by a client of our own.
//!
//! `lambda_runtime` has one client for all requests to that API, made without `TCP_NODELAY`. A streamed response is many
//! small writes, and without it each waits until the peer has acknowledged the one before, which Linux puts off for 40 ms.
//! The runtime lets nobody change its client. So it goes on polling for invocations, and this module does what is left: it
//! calls the handler and posts the response.

use std::any::Any;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::{Future, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::client::legacy::connect::HttpConnector;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{HeaderName, HeaderValue, Request, request};
use lambda_http::request::LambdaRequest;
use lambda_http::{Error, StreamAdapter};
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::{Layer, Service};
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, StreamResponse, service_fn};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, PooledClientBuilder, build_request};
use serde_json::Value;
use tracing::error;

use super::Response;

/// Between the prelude, which is the status and the headers as JSON, and the body.
const END_OF_PRELUDE: [u8; 8] = [0; 8];
/// Lambda names an invocation by it, beside the request's id, and wants it back.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");

/// Serves invocations until the process ends.
pub(super) async fn run<H, F>(handler: H) -> Result<(), Error>
where
    H: Fn(lambda_http::Request) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response, Error>> + Send + 'static,
{
    // The layer replaces this service.
    let runtime = Runtime::new(service_fn(|_: LambdaEvent<Value>| ready(Ok::<_, Error>(Value::Null))));
    let posting = Posting {
        adapter: StreamAdapter::from(service_fn(handler)),
        client: Arc::new(client().build()),
    };
    runtime.layer(posting).layer(TracingLayer::new()).run().await
}

fn client() -> PooledClientBuilder {
    PooledClient::builder().with_connector(connector())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

/// Answers invocations by `adapter`, and posts what it answers by `client`.
#[derive(Clone)]
struct Posting<A> {
    adapter: A,
    client: Arc<PooledClient>,
}

impl<Replaced, A: Clone> Layer<Replaced> for Posting<A> {
    type Service = Self;

    fn layer(&self, _: Replaced) -> Self {
        self.clone()
    }
}

impl<A, S> Service<LambdaInvocation> for Posting<A>
where
    A: Service<LambdaEvent<LambdaRequest>, Response = StreamResponse<S>, Error = Error>,
    A::Future: Send + 'static,
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.adapter.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let LambdaInvocation { parts, body, context } = invocation;
        let to = Destination {
            request_id: context.request_id.clone(),
            invocation_id: parts.headers.get(&INVOCATION_ID).cloned(),
        };
        let event = serde_json::from_slice(&body);
        let answering = event.map(|event| self.adapter.call(LambdaEvent::new(event, context)));
        let client = Arc::clone(&self.client);
        async move {
            let request = match outcome(answering).await {
                Ok(response) => streamed(to.request("response"), response)?,
                Err(failure) => failed(to.request("error"), &failure)?,
            };
            post(&client, request).await
        }
        .boxed()
    }
}

/// Which invocation is answered.
struct Destination {
    request_id: String,
    invocation_id: Option<HeaderValue>,
}

impl Destination {
    fn request(self, what: &str) -> request::Builder {
        let request = build_request()
            .method("POST")
            .uri(format!("/2018-06-01/runtime/invocation/{}/{what}", self.request_id));
        match self.invocation_id {
            Some(id) => request.header(INVOCATION_ID, id),
            None => request,
        }
    }
}

async fn outcome<T>(answering: serde_json::Result<impl Future<Output = Result<T, Error>>>) -> Result<T, Diagnostic> {
    let answering = answering.map_err(|error| diagnostic("InvalidEvent", format_args!("no HTTP request: {error}")))?;
    AssertUnwindSafe(answering)
        .catch_unwind()
        .await
        .map_err(|panic| diagnostic("Panic", text(&*panic)))?
        .map_err(Diagnostic::from)
}

fn diagnostic(kind: &str, message: impl Display) -> Diagnostic {
    Diagnostic {
        error_type: kind.into(),
        error_message: message.to_string(),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default()
}

fn streamed<S>(to: request::Builder, response: StreamResponse<S>) -> Result<Request<Body>, Error>
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    let mut prelude = response.metadata_prelude;
    prelude
        .headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/octet-stream"));
    let prelude = Bytes::from(serde_json::to_vec(&prelude)?);
    // Chunks of their own, though written together: `cargo lambda watch` looks for the mark where a chunk begins.
    let beginning = [prelude, Bytes::from_static(&END_OF_PRELUDE)];
    let pieces = stream::iter(beginning.map(Ok)).chain(response.stream);
    let request = to
        .header("lambda-runtime-function-response-mode", "streaming")
        .header("transfer-encoding", "chunked")
        .header(CONTENT_TYPE, "application/vnd.awslambda.http-integration-response")
        .body(Body::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data)))))?;
    Ok(request)
}

fn failed(to: request::Builder, failure: &Diagnostic) -> Result<Request<Body>, Error> {
    error!(
        kind = failure.error_type,
        error = failure.error_message,
        "an invocation failed"
    );
    let request = to
        .header("lambda-runtime-function-error-type", "unhandled")
        .body(Body::from(serde_json::to_vec(failure)?))?;
    Ok(request)
}

/// A refusal is logged and no more: for Lambda the invocation is over.
async fn post(client: &PooledClient, request: Request<Body>) -> Result<(), Error> {
    let answer = client.call(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        error!(%status, body = %String::from_utf8_lossy(&body), "Lambda refused a response");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
