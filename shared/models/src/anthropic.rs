//! Claude, by Anthropic's messages. <https://platform.claude.com/docs/en/build-with-claude/streaming>

use async_trait::async_trait;
use reqwest::header::HeaderName;

use super::upstream::{Upstream, endpoint};
use super::{Chunks, Model, ModelError, ModelSettings, Prompt, SettingsError};

mod answer;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use answer::Message;
use wire::Request;

const DEFAULT_URL: &str = "https://api.anthropic.com";
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// What we ask and read is the same in 2026-10-21, which not all that speak this protocol know yet.
const VERSION: &str = "2023-06-01";

#[derive(Debug)]
pub(super) struct Anthropic {
    name: String,
    upstream: Upstream,
}

impl Anthropic {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        let url = endpoint(base(&settings.url), DEFAULT_URL, &["v1", "messages"])?;
        Ok(Self {
            name: settings.name.clone(),
            upstream: Upstream::new(settings, url, (KEY_HEADER, ""))?.with_header("anthropic-version", VERSION),
        })
    }
}

/// Its version is not a part of this provider's base, but is of all others'.
fn base(url: &str) -> &str {
    let url = url.trim().trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url)
}

#[async_trait]
impl Model for Anthropic {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let request = Request::new(&self.name, prompt)?;
        let (dialect, shows_images) = (Message::default(), prompt.shows_images());
        let asked = self.upstream.ask(&request, dialect, shows_images, &[]).await;
        asked.map_err(|refused| refused.error)
    }
}
