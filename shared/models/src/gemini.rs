//! Gemini, by `streamGenerateContent`. <https://ai.google.dev/api/generate-content>

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderName;

use super::parameters::{Learned, OutputLimit};
use super::upstream::{Upstream, endpoint};
use super::{Chunks, Model, ModelError, ModelSettings, Prompt, SettingsError};

mod answer;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use answer::GeneratedContent;
use wire::Request;

const DEFAULT_URL: &str = "https://generativelanguage.googleapis.com/v1beta";
/// The key could be a parameter of the URL as well, and would then stand in every log of a proxy.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");

#[derive(Debug)]
pub(super) struct Gemini {
    name: String,
    upstream: Upstream,
    learned: Learned,
}

impl Gemini {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        let url = generate(&settings.url, &settings.name)?;
        Ok(Self {
            name: settings.name.clone(),
            upstream: Upstream::new(settings, url, (KEY_HEADER, ""))?,
            learned: Learned::new(settings.parameters),
        })
    }
}

#[async_trait]
impl Model for Gemini {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let mut asking = self.learned.asking();
        loop {
            let prompt = asking.parameters.applied(prompt);
            let request = Request::new(&prompt)?;
            let sent = asking.parameters.sent(&prompt);
            let dialect = GeneratedContent;
            match self.upstream.ask(&request, dialect, prompt.shows_images(), &sent).await {
                Ok(chunks) => {
                    asking.answered();
                    return Ok(chunks);
                }
                Err(refused) => asking.refused(&self.name, OutputLimit::MaxTokens, refused)?,
            }
        }
    }
}

/// Models are named with or without their collection, as in `tunedModels/mine`.
fn generate(base: &str, model: &str) -> Result<Url, SettingsError> {
    let (collection, name) = model.trim().split_once('/').unwrap_or(("models", model.trim()));
    let method = format!("{name}:streamGenerateContent");
    let mut url = endpoint(base, DEFAULT_URL, &[collection, &method])?;
    url.query_pairs_mut().append_pair("alt", "sse");
    Ok(url)
}
