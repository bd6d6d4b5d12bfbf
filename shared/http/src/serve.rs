//! The loop around a handler.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use lambda_http::http::{HeaderName, HeaderValue, Method, StatusCode};
use lambda_http::{Error as LambdaError, RequestExt, service_fn};
use lambda_runtime::LambdaEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{error, field, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::response::problem;
use super::streaming;
use super::{Request, Response, Result, no_content};
use crate::error::Error;
use domain::budget::Exhausted;
use domain::rate::{RateClass, Spent};
use telemetry::RequestLog;
use telemetry::log_request;

/// What browsers of other origins may send and read.
const ALLOWED_HEADERS: &str =
    "authorization, content-type, last-event-id, if-none-match, accept, x-vercel-ai-ui-message-stream";
const ALLOWED_METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const EXPOSED_HEADERS: &str = "etag, retry-after, ratelimit, ratelimit-policy";

/// Longer than a refusal of the database is remembered.
const TRY_AGAIN_AFTER_SECONDS: u64 = 2;

/// What a handler is given: made once a process, cheap to clone, and told of each invocation.
pub trait Context: Clone + Send + Sync + 'static {
    /// The same for an invocation that begins now and that Lambda ends at `deadline`, in milliseconds since 1970.
    #[must_use]
    fn invoked(&self, deadline: u64) -> Self;

    /// The origins that browsers may call from; `*` is all.
    fn cors_origins(&self) -> &[String];

    /// Of a request's body.
    fn most_body_bytes(&self) -> usize;

    /// As what the route's requests are counted; none: nobody counts them.
    fn class(&self) -> Option<RateClass>;
}

/// What a handler's work is.
pub type Work<T> = BoxFuture<'static, Result<T>>;

/// Serves one route whose answers are whole. `start` makes what its handler is given.
#[tokio::main]
pub async fn serve<C: Context, E: Display>(
    start: impl AsyncFnOnce() -> std::result::Result<C, E>,
    handler: impl Fn(C, Request) -> Work<Response> + Copy + Send + Sync + 'static,
) -> std::result::Result<(), LambdaError> {
    let context = started(start).await?;
    lambda_http::run(service_fn(|request| answer(context.clone(), handler, request))).await
}

/// Serves one route whose answers may be streams.
#[tokio::main]
pub async fn serve_streaming<C: Context, E: Display>(
    start: impl AsyncFnOnce() -> std::result::Result<C, E>,
    handler: impl Fn(C, Request) -> Work<Response> + Copy + Send + Sync + 'static,
) -> std::result::Result<(), LambdaError> {
    let context = started(start).await?;
    streaming::run(move |request| answer(context.clone(), handler, request)).await
}

/// Serves events that no person sent: queue batches and the schedule.
#[tokio::main]
pub async fn serve_batches<C: Context, E: Display, Batch: DeserializeOwned, Done: Serialize>(
    start: impl AsyncFnOnce() -> std::result::Result<C, E>,
    handler: impl Fn(C, Batch) -> Work<Done>,
) -> std::result::Result<(), LambdaError> {
    let context = started(start).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Batch>| {
        let work = handler(context.invoked(event.context.deadline), event.payload);
        async move { work.await.map_err(|error| LambdaError::from(error.to_string())) }
    }))
    .await
}

async fn started<C, E: Display>(
    start: impl AsyncFnOnce() -> std::result::Result<C, E>,
) -> std::result::Result<C, LambdaError> {
    log_to_stdout();
    start().await.map_err(|error| {
        error!(%error, "this function cannot start");
        LambdaError::from(error.to_string())
    })
}

/// JSON lines on AWS, where a query reads them; plain lines where a person does.
pub fn log_to_stdout() {
    let filter = filter(&std::env::var("LOG").unwrap_or_default());
    let lines = fmt::layer().with_target(false).with_ansi(false);
    let listening = tracing_subscriber::registry().with(telemetry::statements());
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "text") {
        listening.with(lines.without_time().with_filter(filter)).init();
    } else {
        listening
            .with(lines.json().flatten_event(true).with_filter(filter))
            .init();
    }
}

/// What `LOG` lets through: a level, levels of modules (`info,sqlx=debug`), or both. Where it names no level for all, or
/// cannot be read, that is `info`: a slip must not silence the log.
fn filter(text: &str) -> Targets {
    let said = Some(text.trim()).filter(|text| !text.is_empty());
    let filter: Targets = said.and_then(|text| text.parse().ok()).unwrap_or_default();
    match filter.default_level() {
        Some(_) => filter,
        None => filter.with_default(LevelFilter::INFO),
    }
}

async fn answer<C: Context>(
    context: C,
    handler: impl Fn(C, Request) -> Work<Response> + Send + Sync,
    request: lambda_http::Request,
) -> std::result::Result<Response, LambdaError> {
    let started = Instant::now();
    let context = context.invoked(request.lambda_context_ref().map_or(0, |lambda| lambda.deadline));
    let origin = allowed_origin(context.cors_origins(), request.headers().get(ORIGIN));
    let is_preflight = request.method() == Method::OPTIONS;
    let request = Request::new(request, context.most_body_bytes(), context.class());
    let id = request.id().to_owned();
    let method = request.method().clone();
    let route = request.route();
    let chat = request.chat_id().ok();
    let spent = request.spent();
    let request_trace = request.trace();
    let mut request_log = Arc::<RequestLog>::default();
    let mut response = if is_preflight {
        no_content()
    } else {
        // A panic in a handler is a bug of ours, but one request's bug: the process goes on.
        let answering = AssertUnwindSafe(handler(context, request)).catch_unwind();
        let (outcome, observed) = telemetry::with_request_log(request_trace, answering).await;
        request_log = observed;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::Internal(anyhow::anyhow!("the handler panicked"))));
        outcome.unwrap_or_else(|error| refuse(&error, &id))
    };
    // A refusal for want of budget, or by a further class, speaks of that alone.
    if let Some(spent) = spent.get()
        && !response.headers().contains_key("ratelimit")
    {
        add_rate(&mut response, spent);
    }
    add_caching(&mut response);
    add_cors(&mut response, origin);
    log_request!(
        request_log,
        started,
        request = id,
        %method,
        route,
        chat = chat.map(field::display),
        status = response.status().as_u16(),
        "answered"
    );
    Ok(response)
}

fn refuse(error: &Error, request_id: &str) -> Response {
    if let Error::Internal(cause) | Error::Unavailable(cause) = error {
        error!(request = request_id, error = format!("{cause:#}"), "a request failed");
    }
    // A forged token has an unknown key, too: it is no fault.
    if let Error::KeysUnavailable { cause, .. } = error {
        warn!(
            request = request_id,
            error = format!("{cause:#}"),
            "a token could not be checked"
        );
    }
    let mut response = problem(&error.problem(request_id));
    if let Error::QuotaExceeded(exhausted) = error {
        add_budget(&mut response, exhausted);
    }
    if let Error::RateLimited(spent) = error {
        add_rate(&mut response, spent);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = match error {
            Error::KeysUnavailable {
                retry_after_seconds, ..
            } => *retry_after_seconds,
            _ => TRY_AGAIN_AFTER_SECONDS,
        };
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// How many tokens are left, and in how many seconds the budget begins anew.
fn add_budget(response: &mut Response, exhausted: &Exhausted) {
    let left = (exhausted.limit - exhausted.used - exhausted.reserved).max(0);
    let resets_after = (exhausted.resets_at - Utc::now()).num_seconds().max(1);
    let name = format!("{}-tokens", exhausted.subject);
    add_limit(
        response,
        &name,
        exhausted.limit,
        exhausted.period.seconds(),
        left,
        resets_after,
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(resets_after));
}

/// How many requests of a kind are left, and in how many seconds there are more.
fn add_rate(response: &mut Response, spent: &Spent) {
    let limit = spent.limit;
    let seconds = if spent.is_allowed {
        spent.reset_after_seconds
    } else {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(spent.retry_after_seconds));
        spent.retry_after_seconds
    };
    add_limit(
        response,
        spent.class.word(),
        limit.quota,
        limit.seconds,
        spent.remaining,
        seconds,
    );
}

/// As draft-ietf-httpapi-ratelimit-headers has it.
fn add_limit(
    response: &mut Response,
    name: &str,
    quota: impl Display,
    window: impl Display,
    left: impl Display,
    seconds: impl Display,
) {
    for (header, value) in [
        ("ratelimit-policy", format!(r#""{name}";q={quota};w={window}"#)),
        ("ratelimit", format!(r#""{name}";r={left};t={seconds}"#)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(header), value);
        }
    }
}

/// Whoever keeps an answer, errors included, keeps it for the one who asked, and for the page that asked: without a word a
/// browser may keep what it likes for as long as it likes. What is public is the same for everybody.
fn add_caching(response: &mut Response) {
    let headers = response.headers_mut();
    let kept = headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-store"));
    let is_public = kept.as_bytes().starts_with(b"public");
    let varies = if is_public { "Origin" } else { "Authorization, Origin" };
    headers.append(VARY, HeaderValue::from_static(varies));
}

fn allowed_origin(origins: &[String], origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    origin
        .filter(|origin| origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()))
        .cloned()
}

fn add_cors(response: &mut Response, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        ("access-control-allow-headers", ALLOWED_HEADERS),
        ("access-control-allow-methods", ALLOWED_METHODS),
        ("access-control-expose-headers", EXPOSED_HEADERS),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::http::header::ETAG;

    use tracing::Level;

    use super::super::response::{created, found, not_modified, ok, tagged};
    use super::*;

    fn kept(mut response: Response) -> (String, String) {
        add_caching(&mut response);
        add_cors(&mut response, Some(HeaderValue::from_static("https://app.example.com")));
        let all = |name| {
            let values = response.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
                .join(", ")
        };
        (all(CACHE_CONTROL), all(VARY))
    }

    #[test]
    fn the_log_is_filtered_by_level_and_module() {
        for (text, ours, sqlx) in [
            ("", Level::INFO, Level::INFO),
            (" ", Level::INFO, Level::INFO),
            ("warn", Level::WARN, Level::WARN),
            ("info,sqlx=debug", Level::INFO, Level::DEBUG),
            ("sqlx=error,trace", Level::TRACE, Level::ERROR),
            ("sqlx=debug", Level::INFO, Level::DEBUG),
            ("functions[send]=debug", Level::INFO, Level::INFO),
            ("loud", Level::INFO, Level::INFO),
            ("info=info=info", Level::INFO, Level::INFO),
        ] {
            let filter = filter(text);
            for (module, most) in [("functions::worker", ours), ("sqlx::query", sqlx)] {
                for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                    assert_eq!(
                        filter.would_enable(module, &level),
                        level <= most,
                        "{text:?}: {module} {level}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_answer_of_one_person_is_kept_for_another_or_another_page() {
        let answer = || ok(&"a").unwrap();
        for (what, response, control) in [
            ("JSON", answer(), "private, no-store"),
            ("what is new", created(&"a").unwrap(), "private, no-store"),
            ("nothing", no_content(), "private, no-store"),
            ("a refusal", refuse(&Error::NotFound("chat"), "id"), "private, no-store"),
            ("a tag", tagged(answer(), "\"1\""), "private, no-cache"),
            ("not modified", not_modified("\"1\""), "private, no-cache"),
            ("a redirect", found("https://host/a").unwrap(), "no-store"),
        ] {
            assert_eq!(
                kept(response),
                (control.to_owned(), "Authorization, Origin".to_owned()),
                "{what}"
            );
        }
        let mut public = tagged(answer(), "\"1\"");
        public
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        assert!(public.headers().contains_key(ETAG));
        assert_eq!(kept(public), ("public, max-age=300".to_owned(), "Origin".to_owned()));
    }

    #[test]
    fn an_answer_that_no_page_may_read_varies_all_the_same() {
        let mut response = ok(&"a").unwrap();
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        add_caching(&mut response);
        add_cors(&mut response, None);
        let varies: Vec<_> = response.headers().get_all(VARY).iter().collect();
        assert_eq!(varies, ["Accept", "Authorization, Origin"]);
    }
}
