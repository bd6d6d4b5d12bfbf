//! The way to a provider over HTTP: one address, one key, and a patience for each step.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::encoding::Decoder;
use super::refusal::{Asked, Parameter, Refusal, Refused, refused_parameter, retry_after};
use super::served::{Dialect, Served};
use super::thoughts::TaggedThoughts;
use super::{ApiKey, Chunks, ModelError, ModelSettings, SettingsError};
use foundation::causes;

/// To a provider at the other end of the world a handshake takes half a second.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
    think_tags: bool,
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
        let client = tls::client()
            .map_err(|error| SettingsError(error.to_string()))?
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
            think_tags: settings.think_tags,
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

    /// Asks once. `shows_images`: whether the request does. `sent`: the parameters in it that a server may refuse.
    pub(super) async fn ask<D: Dialect>(
        &self,
        request: &impl Serialize,
        dialect: D,
        shows_images: bool,
        sent: &[Parameter],
    ) -> Result<Chunks, Refused> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .json(request);
        let begun = Instant::now();
        let response = timeout(self.first_byte_timeout, request.send())
            .await
            .map_err(|_| ModelError::Silent)?
            .map_err(|error| ModelError::Unreachable { detail: lost(error) })?;
        let asked = Asked {
            key: self.key.clone(),
            shows_images,
        };
        if !response.status().is_success() {
            return Err(self.refused::<D>(response, &asked, sent).await);
        }
        let encoding = header(&response, CONTENT_ENCODING);
        let decoder = Decoder::of(&encoding).ok_or_else(|| ModelError::Malformed {
            detail: format!(
                "it is compressed by {:?}",
                encoding.chars().take(100).collect::<String>()
            ),
        })?;
        let form = (decoder, header(&response, CONTENT_TYPE));
        let first_wait = self.first_byte_timeout.saturating_sub(begun.elapsed());
        let served = Served::new(response, form, dialect, asked, (first_wait, self.silence_timeout));
        Ok(Answer::of(served, self.tagged()))
    }

    /// Whether thoughts between tags are told apart from the answer.
    fn tagged(&self) -> TaggedThoughts {
        if self.think_tags {
            TaggedThoughts::default()
        } else {
            TaggedThoughts::none()
        }
    }

    async fn refused<D: Dialect>(&self, response: Response, asked: &Asked, sent: &[Parameter]) -> Refused {
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let decoder = Decoder::of(&header(&response, CONTENT_ENCODING));
        let body = beginning(response, REFUSAL_TIMEOUT.min(self.silence_timeout)).await;
        let decoded = decoder.and_then(|mut decoder| decoder.decode(&body).ok());
        let refusal = Refusal {
            status,
            retry_after,
            body: decoded.as_deref().unwrap_or(&body),
            asked,
        };
        let error = D::refused(&refusal);
        let may_be_a_parameter = matches!(
            error,
            ModelError::Rejected { .. } | ModelError::Overloaded { .. } | ModelError::ImageRefused { .. }
        );
        let parameter = may_be_a_parameter
            .then(|| refused_parameter(status.as_u16(), &refusal.said(), sent))
            .flatten();
        Refused { error, parameter }
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

/// In small letters; empty if there is none.
fn header(response: &Response, name: HeaderName) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Without the URL, whose query may hold a key.
pub(super) fn lost(error: reqwest::Error) -> String {
    causes(&error.without_url())
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
