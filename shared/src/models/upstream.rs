//! The way to a provider over HTTP: one address, one key, and a patience for each step.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Dialect};
use super::refusal::{Refusal, retry_after};
use super::{ApiKey, Chunks, ModelError, ModelSettings, SettingsError};

/// To a provider at the other end of the world a handshake takes half a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a refusal's body is read, and for how long: its status alone says what matters.
pub(super) const MAX_REFUSAL_BYTES: usize = 64 * 1024;
pub(super) const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Upstream {
    url: Url,
    key: ApiKey,
    headers: HeaderMap,
    client: Client,
    first_byte_timeout: Duration,
    silence_timeout: Duration,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a key.
        f.debug_struct("Upstream")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// `key_header` and what stands before the key in it.
    pub(super) fn new(
        settings: &ModelSettings,
        url: Url,
        (key_header, scheme): (HeaderName, &str),
    ) -> Result<Self, SettingsError> {
        if settings.name.trim().is_empty() {
            return Err(SettingsError("the model has no name".into()));
        }
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
        if !settings.key.expose().is_empty() {
            let mut key = HeaderValue::try_from(format!("{scheme}{}", settings.key.expose()))
                .map_err(|_| SettingsError("the model's key has characters that no header may have".into()))?;
            key.set_sensitive(true);
            headers.insert(key_header, key);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The key is for this host alone.
            .redirect(Policy::none())
            .build()
            .map_err(|error| SettingsError(format!("the model's HTTP client cannot be made: {error}")))?;
        Ok(Self {
            url,
            key: settings.key.clone(),
            headers,
            client,
            first_byte_timeout: settings.first_byte_timeout,
            silence_timeout: settings.silence_timeout,
        })
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Asks once. `shows_images`: whether the request does.
    pub(super) async fn ask<D: Dialect>(
        &self,
        request: &impl Serialize,
        dialect: D,
        shows_images: bool,
    ) -> Result<Chunks, ModelError> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .json(request);
        let asked = Instant::now();
        let response = timeout(self.first_byte_timeout, request.send())
            .await
            .map_err(|_| ModelError::Silent)?
            .map_err(|error| ModelError::Unreachable { detail: causes(error) })?;
        if !response.status().is_success() || !content_type(&response).starts_with("text/event-stream") {
            return Err(self.refused::<D>(response, shows_images).await);
        }
        let first_wait = self.first_byte_timeout.saturating_sub(asked.elapsed());
        Ok(Answer::new(response, dialect, self.key.clone(), first_wait, self.silence_timeout).chunks())
    }

    async fn refused<D: Dialect>(&self, response: Response, shows_images: bool) -> ModelError {
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let content_type = content_type(&response);
        let body = beginning(response, REFUSAL_TIMEOUT.min(self.silence_timeout)).await;
        let refusal = Refusal {
            status,
            retry_after,
            body: &body,
            key: &self.key,
        };
        if shows_images && !status.is_success() && refusal.is_blind() {
            return ModelError::NoVision;
        }
        D::refused(&refusal).unwrap_or_else(|| ModelError::Malformed {
            detail: format!(
                "the content type is {:?}",
                content_type.chars().take(100).collect::<String>()
            ),
        })
    }
}

/// `{base}/{path}`, with the base's query.
pub(super) fn endpoint(base: &str, default: &str, path: &[&str]) -> Result<Url, SettingsError> {
    let base = if base.trim().is_empty() { default } else { base.trim() };
    // The text itself is not shown: it may hold a password.
    let mut url =
        Url::parse(base).map_err(|error| SettingsError(format!("the model's URL cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SettingsError(format!(
            "the model's URL is for {}: use https or http",
            url.scheme()
        )));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(SettingsError(
            "the model's URL has a user or a password: use the key".into(),
        ));
    }
    url.path_segments_mut()
        .expect("a URL of HTTP has a path")
        .pop_if_empty()
        .extend(path);
    Ok(url)
}

fn content_type(response: &Response) -> String {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

/// An error and what caused it, without the URL, whose query may hold a key.
pub(super) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a refusal's body says, as far as it comes.
async fn beginning(mut response: Response, patience: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while body.len() < MAX_REFUSAL_BYTES
            && let Ok(Some(bytes)) = response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
    };
    // What has come by then is enough.
    let _ = timeout(patience, reading).await;
    body
}
