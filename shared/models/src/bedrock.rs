//! The models of Amazon Bedrock, by `ConverseStream`: with the role that the function runs under, in the region of its
//! environment. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_bedrockruntime::Client;
use reqwest::Url;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::parameters::{Learned, OutputLimit};
use super::refusal::{Parameter, Refused};
use super::thoughts::TaggedThoughts;
use super::upstream::{CONNECT_TIMEOUT, endpoint};
use super::{Chunks, Model, ModelError, ModelSettings, Prompt, SettingsError};

mod answer;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

use answer::Conversation;
use refusal::refused;

pub(super) struct Bedrock {
    name: String,
    /// Of the service, where it is not its own.
    url: Option<Url>,
    first_byte_timeout: Duration,
    silence_timeout: Duration,
    think_tags: bool,
    learned: Learned,
    /// Made with the first question: where the credentials are is found out by asking.
    client: OnceCell<Client>,
}

impl fmt::Debug for Bedrock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bedrock")
            .field("name", &self.name)
            .field("host", &self.url.as_ref().and_then(Url::host_str))
            .finish_non_exhaustive()
    }
}

impl Bedrock {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        if settings.name.trim().is_empty() {
            return Err(SettingsError("the model has no name".into()));
        }
        let url = match settings.url.trim() {
            "" => None,
            url => Some(endpoint(url, "", &[])?),
        };
        Ok(Self {
            name: settings.name.trim().to_owned(),
            url,
            first_byte_timeout: settings.first_byte_timeout,
            silence_timeout: settings.silence_timeout,
            think_tags: settings.think_tags,
            learned: Learned::new(settings.parameters),
            client: OnceCell::new(),
        })
    }

    async fn client(&self) -> &Client {
        let make = || self.connect(aws_config::defaults(BehaviorVersion::latest()));
        self.client.get_or_init(make).await
    }

    async fn connect(&self, defaults: ConfigLoader) -> Client {
        // Waits and retries are ours, as for every provider.
        let mut config = defaults
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build());
        if let Some(url) = &self.url {
            config = config.endpoint_url(url.as_str());
        }
        Client::new(&config.load().await)
    }

    async fn ask(&self, prompt: &Prompt, sent: &[Parameter]) -> Result<Chunks, Refused> {
        let messages = wire::messages(prompt)?;
        let begun = Instant::now();
        let asking = async {
            let request = self
                .client()
                .await
                .converse_stream()
                .model_id(&self.name)
                .set_system(wire::system(prompt))
                .set_messages(Some(messages))
                .inference_config(wire::limits(prompt));
            request.send().await
        };
        let output = timeout(self.first_byte_timeout, asking)
            .await
            .map_err(|_| ModelError::Silent)?
            .map_err(|error| refused(&error, prompt.shows_images(), sent))?;
        let conversation = Conversation {
            output,
            shows_images: prompt.shows_images(),
            wait: self.first_byte_timeout.saturating_sub(begun.elapsed()),
            silence_timeout: self.silence_timeout,
        };
        let tagged = if self.think_tags {
            TaggedThoughts::default()
        } else {
            TaggedThoughts::none()
        };
        Ok(Answer::of(conversation, tagged))
    }
}

#[async_trait]
impl Model for Bedrock {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let mut asking = self.learned.asking();
        loop {
            let prompt = asking.parameters.applied(prompt);
            let sent = asking.parameters.sent(&prompt);
            match self.ask(&prompt, &sent).await {
                Ok(chunks) => {
                    asking.answered();
                    return Ok(chunks);
                }
                Err(refused) => asking.refused(&self.name, OutputLimit::MaxTokens, refused)?,
            }
        }
    }
}
