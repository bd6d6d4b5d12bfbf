//! Which model answers, and how long it is waited for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::anthropic::Anthropic;
#[cfg(feature = "bedrock")]
use super::bedrock::Bedrock;
use super::gemini::Gemini;
use super::openai::OpenAi;
use super::retry::{RetryPolicy, Retrying};
use super::scripted::Scripted;
use super::{Chunks, Model, ModelError, Parameters, Prompt};

/// Which protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Gemini,
    Anthropic,
    /// With the function's role instead of a key. Part of the build with the feature `bedrock` only.
    Bedrock,
    /// OpenAI itself or any of the many servers that speak its chat completions.
    OpenAi,
    /// No network and no model: it repeats what it hears, or obeys a `/script` in the last message. For tests and for a
    /// local stack without a model.
    Scripted,
}

impl Provider {
    pub const NAMES: &str = "gemini, anthropic, bedrock, openai or scripted";

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemini => "gemini",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::OpenAi => "openai",
            Self::Scripted => "scripted",
        }
    }

    /// Whether a temperature is sent: Anthropic refuses every one since its version 2026-10-21.
    #[must_use]
    pub fn takes_temperature(self) -> bool {
        self != Self::Anthropic
    }
}

impl FromStr for Provider {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "gemini" => Ok(Self::Gemini),
            "anthropic" => Ok(Self::Anthropic),
            "bedrock" => Ok(Self::Bedrock),
            "openai" => Ok(Self::OpenAi),
            "scripted" => Ok(Self::Scripted),
            other => Err(SettingsError(format!(
                "the model's provider is {other:?}: use {}",
                Self::NAMES
            ))),
        }
    }
}

/// A provider's key: `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// White space around it, as files and consoles add it, is not part of a key.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().trim().to_owned())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    pub provider: Provider,
    /// The base that the provider's paths are put behind, version included (`https://host/v1`). Empty: the provider's own. A
    /// query (`?api-version=…`) is kept.
    pub url: String,
    /// Empty: no key is sent, as local servers need none.
    pub key: ApiKey,
    /// The model's name as the provider knows it.
    pub name: String,
    /// From the request to the first byte of the answer's body.
    pub first_byte_timeout: Duration,
    /// Between any two bytes; comments and pings count as life.
    pub silence_timeout: Duration,
    /// In all, before the first token; 1 never retries.
    pub attempts: u32,
    /// Whether the model sees images. One that does not is never asked about any.
    pub vision: bool,
    /// Which parameters it is asked with; what it refuses of them is found out.
    pub parameters: Parameters,
    /// Whether thoughts between tags, where they open an answer, are told apart from it.
    pub think_tags: bool,
}

impl ModelSettings {
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
    pub const DEFAULT_ATTEMPTS: u32 = 3;

    /// With the defaults for all that has one.
    #[must_use]
    pub fn new(provider: Provider, name: impl Into<String>) -> Self {
        Self {
            provider,
            url: String::new(),
            key: ApiKey::default(),
            name: name.into(),
            first_byte_timeout: Self::DEFAULT_TIMEOUT,
            silence_timeout: Self::DEFAULT_TIMEOUT,
            attempts: Self::DEFAULT_ATTEMPTS,
            vision: true,
            parameters: Parameters::default(),
            think_tags: true,
        }
    }
}

/// One clause for whoever deploys; never the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(super) String);

/// The model that the settings describe, with retries around it. Makes no request.
pub fn from_settings(settings: &ModelSettings) -> Result<Arc<dyn Model>, SettingsError> {
    let model: Arc<dyn Model> = match settings.provider {
        Provider::Gemini => Arc::new(Gemini::new(settings)?),
        Provider::Anthropic => Arc::new(Anthropic::new(settings)?),
        #[cfg(feature = "bedrock")]
        Provider::Bedrock => Arc::new(Bedrock::new(settings)?),
        #[cfg(not(feature = "bedrock"))]
        Provider::Bedrock => {
            return Err(SettingsError(
                "the model's provider is bedrock, which is no part of this build: build with --features bedrock".into(),
            ));
        }
        Provider::OpenAi => Arc::new(OpenAi::new(settings)?),
        Provider::Scripted => Arc::new(Scripted::new(settings)),
    };
    let policy = RetryPolicy {
        attempts: settings.attempts,
        // So that one silent attempt leaves time for another.
        patience: settings.first_byte_timeout.saturating_mul(2),
        ..RetryPolicy::default()
    };
    let model: Arc<dyn Model> = Arc::new(Retrying::new(model, policy));
    Ok(if settings.vision { model } else { Arc::new(Blind(model)) })
}

/// A model without eyes: a prompt with images is refused before any request.
#[derive(Debug)]
struct Blind(Arc<dyn Model>);

#[async_trait]
impl Model for Blind {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        if prompt.shows_images() {
            return Err(ModelError::NoVision);
        }
        self.0.stream(prompt).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_models_never_print_the_key() {
        for provider in [
            Provider::Gemini,
            Provider::Anthropic,
            Provider::OpenAi,
            Provider::Scripted,
        ] {
            let mut settings = ModelSettings::new(provider, "m");
            settings.key = ApiKey::new(" sk-very-secret\n");
            let model = from_settings(&settings).unwrap();
            for shown in [format!("{settings:?}"), format!("{model:?}"), format!("{model:#?}")] {
                assert!(!shown.contains("very-secret"), "{shown}");
            }
            assert_eq!(model.name(), "m");
        }
    }

    #[test]
    fn odd_settings_are_named_and_secrets_are_not() {
        let good = || {
            let mut settings = ModelSettings::new(Provider::OpenAi, "m");
            settings.key = ApiKey::new("sk-secret");
            settings
        };
        let wrong = |change: fn(&mut ModelSettings)| {
            let mut settings = good();
            change(&mut settings);
            let said = from_settings(&settings).unwrap_err().to_string();
            assert!(!said.contains("secret") && !said.contains("hunter2"), "{said}");
            said
        };
        assert!(from_settings(&good()).is_ok());
        assert!(wrong(|s| s.url = "not a url".into()).contains("URL"));
        assert!(wrong(|s| s.url = "http://me:hunter2@:x/".into()).contains("URL"));
        assert!(wrong(|s| s.url = "ftp://host/v1".into()).contains("ftp"));
        assert!(wrong(|s| s.url = "https://me:hunter2@host/v1".into()).contains("password"));
        assert!(wrong(|s| s.url = "https://hunter2@host/v1".into()).contains("password"));
        assert!(wrong(|s| s.name = " ".into()).contains("name"));
        assert!(wrong(|s| s.key = ApiKey::new("sk-\u{7}secret")).contains("key"));
    }

    #[test]
    fn timeouts_without_end_are_no_panic() {
        let mut settings = ModelSettings::new(Provider::OpenAi, "m");
        settings.first_byte_timeout = Duration::MAX;
        settings.silence_timeout = Duration::MAX;
        assert!(from_settings(&settings).is_ok());
    }

    #[test]
    fn bedrock_is_no_part_of_a_build_without_it() {
        let made = from_settings(&ModelSettings::new(Provider::Bedrock, "amazon.nova-lite-v1:0"));
        assert_eq!(made.is_ok(), cfg!(feature = "bedrock"));
        if let Err(error) = made {
            assert!(error.to_string().contains("--features bedrock"), "{error}");
        }
    }

    #[test]
    fn providers_are_known_by_name() {
        assert_eq!("gemini".parse(), Ok(Provider::Gemini));
        assert_eq!("anthropic".parse(), Ok(Provider::Anthropic));
        assert_eq!("bedrock".parse(), Ok(Provider::Bedrock));
        assert_eq!("openai".parse(), Ok(Provider::OpenAi));
        assert_eq!("scripted".parse(), Ok(Provider::Scripted));
        assert!("bard".parse::<Provider>().unwrap_err().to_string().contains("bard"));
    }
}
