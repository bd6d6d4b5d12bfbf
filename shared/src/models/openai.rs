//! Chat completions, as OpenAI speaks them and many servers after it: llama.cpp, vLLM, Ollama, Groq, Mistral and more.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout};

use super::{ApiKey, Chunks, Model, ModelError, ModelSettings, Prompt, SettingsError};

mod answer;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

use answer::Answer;
use refusal::{Complaint, retry_after};
use wire::Request;

const DEFAULT_URL: &str = "https://api.openai.com/v1";

/// To a provider at the other end of the world a handshake takes half a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a refusal's body is read, and for how long: its status alone says what matters.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct OpenAi {
    name: String,
    url: Url,
    key: ApiKey,
    headers: HeaderMap,
    client: Client,
    first_byte_timeout: Duration,
    silence_timeout: Duration,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a key.
        f.debug_struct("OpenAi")
            .field("name", &self.name)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl OpenAi {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        if settings.name.trim().is_empty() {
            return Err(SettingsError("the model has no name".into()));
        }
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
        if !settings.key.expose().is_empty() {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", settings.key.expose()))
                .map_err(|_| SettingsError("the model's key has characters that no header may have".into()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The key is for this host alone.
            .redirect(Policy::none())
            .build()
            .map_err(|error| SettingsError(format!("the model's HTTP client cannot be made: {error}")))?;
        Ok(Self {
            name: settings.name.clone(),
            url: endpoint(&settings.url)?,
            key: settings.key.clone(),
            headers,
            client,
            first_byte_timeout: settings.first_byte_timeout,
            silence_timeout: settings.silence_timeout,
        })
    }

    /// OpenAI's newer models refuse `max_tokens`; most servers of others know nothing else.
    fn caps_completion_tokens(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        host == "api.openai.com" || host.ends_with(".api.openai.com")
    }

    async fn refused(&self, response: Response) -> ModelError {
        let (status, after) = (response.status(), retry_after(response.headers()));
        let content_type = content_type(&response);
        let body = beginning(response, REFUSAL_TIMEOUT.min(self.silence_timeout)).await;
        let complaint = Complaint::read(&body, &self.key);
        if !status.is_success() {
            return complaint.with_status(status.as_u16(), after);
        }
        // Some say 200 and then that they are sorry.
        complaint.among_answers().unwrap_or_else(|| ModelError::Malformed {
            detail: format!(
                "the content type is {:?}",
                content_type.chars().take(100).collect::<String>()
            ),
        })
    }
}

#[async_trait]
impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let request = Request::new(&self.name, prompt, self.caps_completion_tokens())?;
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .json(&request);
        let asked = Instant::now();
        let response = timeout(self.first_byte_timeout, request.send())
            .await
            .map_err(|_| ModelError::Silent)?
            .map_err(|error| ModelError::Unreachable { detail: causes(error) })?;
        if !response.status().is_success() || !content_type(&response).starts_with("text/event-stream") {
            return Err(self.refused(response).await);
        }
        let first_wait = self.first_byte_timeout.saturating_sub(asked.elapsed());
        Ok(Answer::new(response, self.key.clone(), first_wait, self.silence_timeout).chunks())
    }
}

/// `{base}/chat/completions`, with the base's query.
fn endpoint(base: &str) -> Result<Url, SettingsError> {
    let base = if base.trim().is_empty() {
        DEFAULT_URL
    } else {
        base.trim()
    };
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
        .extend(["chat", "completions"]);
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
fn causes(error: reqwest::Error) -> String {
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
