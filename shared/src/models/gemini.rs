//! Gemini, by `streamGenerateContent`. <https://ai.google.dev/api/generate-content>

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderName;

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
}

impl Gemini {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        let url = generate(&settings.url, &settings.name)?;
        Ok(Self {
            name: settings.name.clone(),
            upstream: Upstream::new(settings, url, (KEY_HEADER, ""))?,
        })
    }
}

#[async_trait]
impl Model for Gemini {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let request = Request::new(prompt)?;
        self.upstream
            .ask(&request, GeneratedContent, prompt.shows_images())
            .await
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
