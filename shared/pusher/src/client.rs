//! Our own small client of Pusher's HTTP API, and of every server that speaks it. It may fail, never raise: delivery is
//! best effort, after the commit, and its outcome is a value.

mod calls;
mod channel;
mod pointer;
mod sign;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Request, Response, StatusCode, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use self::calls::Call;
pub use self::channel::{ChannelName, SocketId, chat_presence_channel, user_channel};
pub use self::pointer::{POINTER_ABOVE, fit};
use self::sign::Signer;
pub use self::webhook::{Webhook, WebhookError, WebhookEvent};
use crate::PusherSettings;

/// How long [`Pusher::trigger`] takes at most, whatever the network does.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes of data that Pusher takes in one event; one more is answered by 413.
pub const MAX_DATA: usize = 10_240;

/// A success is an object of a few bytes; more of an answer than this is not read.
const MAX_ANSWER: usize = 4 * 1024;

/// One event for any number of channels.
#[derive(Clone, PartialEq, Eq)]
pub struct Trigger {
    pub channels: Vec<ChannelName>,
    pub event: String,
    /// The envelope as JSON, at most [`MAX_DATA`] bytes: see [`fit`].
    pub data: String,
    /// The connection that need not hear of it, for it is where the event came from.
    pub socket_id: Option<SocketId>,
}

impl fmt::Debug for Trigger {
    /// Says how much data there is, not what: it holds message texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger")
            .field("channels", &self.channels)
            .field("event", &self.event)
            .field("bytes", &self.data.len())
            .field("socket_id", &self.socket_id)
            .finish_non_exhaustive()
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// Pusher accepted every event for every channel.
    Sent,
    /// At least one event was not accepted; others may have been. Clients see the gap and fetch it.
    Failed(PushFailure),
}

/// Why a push failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushFailure {
    #[error("an event holds more than {MAX_DATA} bytes")]
    TooLarge,
    #[error("the host or port is not one that a URL can hold")]
    Misconfigured,
    #[error("no connection, or it broke")]
    Unreachable,
    #[error("no answer within a second")]
    TimedOut,
    /// 401 is a wrong key or secret, or a clock that is ten minutes off; 403 a closed or exhausted application.
    #[error("refused with status {0}")]
    Refused(u16),
    #[error("redirected, so it was not Pusher that answered")]
    Redirected,
    #[error("answered success without a JSON object, so it was not Pusher that answered")]
    Unintelligible,
}

/// A client of one application. Cloning it is cheap; clones share their connections.
#[derive(Clone)]
pub struct Pusher {
    settings: PusherSettings,
    signer: Signer,
    http: Client,
    now: fn() -> SystemTime,
}

impl Pusher {
    /// `http` should follow no redirects: a signed request is nobody else's business. One that does follow is found out
    /// and reported as [`PushFailure::Redirected`], but by then the events have travelled.
    #[must_use]
    pub fn new(settings: PusherSettings, http: Client) -> Self {
        let signer = Signer::new(&settings.key, &settings.secret);
        Self {
            settings,
            signer,
            http,
            now: SystemTime::now,
        }
    }

    /// Takes the time from elsewhere, so that a test can hold it still.
    #[must_use]
    pub fn with_clock(self, now: fn() -> SystemTime) -> Self {
        Self { now, ..self }
    }

    /// Publishes everything in as few calls as Pusher allows, side by side.
    ///
    /// Takes at most [`PUSH_TIMEOUT`]; a refusal is [`Pushed::Failed`], never an error. Events of one push may overtake
    /// each other on the way: their `seq` and `offset` say how they belong together.
    pub async fn trigger(&self, triggers: &[Trigger]) -> Pushed {
        let deadline = Instant::now() + PUSH_TIMEOUT;
        let (fitting, too_large): (Vec<_>, Vec<_>) =
            triggers.iter().partition(|trigger| trigger.data.len() <= MAX_DATA);
        for trigger in &too_large {
            warn!(
                event = trigger.event,
                bytes = trigger.data.len(),
                "event too large to push"
            );
        }

        let calls = calls::fewest(&fitting);
        let outcomes = join_all(calls.iter().map(|call| self.send_by(deadline, call))).await;

        let refused_here = too_large.iter().map(|_| PushFailure::TooLarge);
        match refused_here.chain(outcomes.into_iter().filter_map(Result::err)).next() {
            None => Pushed::Sent,
            Some(failure) => Pushed::Failed(failure),
        }
    }

    async fn send_by(&self, deadline: Instant, call: &Call) -> Result<(), PushFailure> {
        let outcome = timeout_at(deadline, self.send(call))
            .await
            .unwrap_or(Err(PushFailure::TimedOut));
        if let Err(failure) = outcome {
            warn!(%failure, host = self.settings.host, endpoint = call.endpoint, events = call.events, "push failed");
        }
        outcome
    }

    async fn send(&self, call: &Call) -> Result<(), PushFailure> {
        let request = self.request(call).ok_or(PushFailure::Misconfigured)?;
        let asked = request.url().clone();
        let response = self.answer(request).await?;

        // A client that follows redirects ends elsewhere, one that does not shows their status.
        if response.url() != &asked || response.status().is_redirection() {
            return Err(PushFailure::Redirected);
        }
        match response.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Err(PushFailure::TooLarge),
            status if status.is_success() => understand(response).await,
            status => Err(PushFailure::Refused(status.as_u16())),
        }
    }

    /// Sends once more where a connection broke before the answer. That is how a kept connection ends which Pusher closed
    /// while Lambda had us frozen; should the first have arrived all the same, clients drop what they have seen.
    async fn answer(&self, request: Request) -> Result<Response, PushFailure> {
        let again = request.try_clone();
        let failed = match self.http.execute(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        match again {
            Some(request) if failed.is_request() && !failed.is_connect() && !failed.is_timeout() => self
                .http
                .execute(request)
                .await
                .map_err(|error| PushFailure::of(&error)),
            _ => Err(PushFailure::of(&failed)),
        }
    }

    fn request(&self, call: &Call) -> Option<Request> {
        let PusherSettings {
            app_id,
            host,
            port,
            tls,
            ..
        } = &self.settings;
        let scheme = if *tls { "https" } else { "http" };
        let mut url = Url::parse(&format!("{scheme}://{host}:{port}/apps/{app_id}/{}", call.endpoint)).ok()?;
        let parameters = self.signer.request(url.path(), self.seconds(), call.body.as_bytes());
        url.query_pairs_mut().extend_pairs(parameters);

        let mut request = Request::new(reqwest::Method::POST, url);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(call.body.clone().into());
        Some(request)
    }

    fn seconds(&self) -> u64 {
        (self.now)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// The `auth` that lets this connection subscribe to a private channel. Whether it may is the caller's to decide.
    #[must_use]
    pub fn authorize_private(&self, socket: &SocketId, channel: &ChannelName) -> String {
        self.signer.token(&format!("{socket}:{channel}"))
    }

    /// The `auth` for a presence channel. `channel_data` is `{"user_id": "…", "user_info": …}` as JSON and must be sent
    /// along as exactly this text, for it is signed as text.
    #[must_use]
    pub fn authorize_presence(&self, socket: &SocketId, channel: &ChannelName, channel_data: &str) -> String {
        self.signer.token(&format!("{socket}:{channel}:{channel_data}"))
    }

    /// Reads a webhook after checking that the body, byte for byte, is signed by this application: `key` and `signature`
    /// are the headers `X-Pusher-Key` and `X-Pusher-Signature`. A genuine one may be replayed: a reader must not let
    /// [`Webhook::at`] turn time back.
    pub fn verify_webhook(&self, body: &[u8], key: &str, signature: &str) -> Result<Webhook, WebhookError> {
        // The key is public and only says which secret is meant; the signature is what must not leak by its timing.
        if key != self.settings.key || !self.signer.has_signed(body, signature) {
            return Err(WebhookError::Forged);
        }
        Webhook::read(body)
    }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl PushFailure {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_redirect() {
            Self::Redirected
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Unreachable
        }
    }
}

/// A captive portal or a misdirected proxy answers 200 as well; only Pusher answers with a small JSON object.
async fn understand(mut response: Response) -> Result<(), PushFailure> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| PushFailure::of(&error))? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(PushFailure::Unintelligible);
        }
        answer.extend_from_slice(&chunk);
    }
    match serde_json::from_slice(&answer) {
        Ok(Value::Object(_)) => Ok(()),
        _ => Err(PushFailure::Unintelligible),
    }
}
