//! Chat completions, as OpenAI speaks them and many servers after it: llama.cpp, vLLM, Ollama, Groq, Mistral and more.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;

use super::upstream::{Upstream, endpoint};
use super::{Chunks, Model, ModelError, ModelSettings, Prompt, SettingsError};

mod answer;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use answer::ChatCompletion;
use wire::Request;

const DEFAULT_URL: &str = "https://api.openai.com/v1";

#[derive(Debug)]
pub(super) struct OpenAi {
    name: String,
    upstream: Upstream,
}

impl OpenAi {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        let url = endpoint(&settings.url, DEFAULT_URL, &["chat", "completions"])?;
        Ok(Self {
            name: settings.name.clone(),
            upstream: Upstream::new(settings, url, (AUTHORIZATION, "Bearer "))?,
        })
    }

    /// OpenAI's newer models refuse `max_tokens`; most servers of others know nothing else.
    fn caps_completion_tokens(&self) -> bool {
        let host = self.upstream.host();
        host == "api.openai.com" || host.ends_with(".api.openai.com")
    }
}

#[async_trait]
impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let request = Request::new(&self.name, prompt, self.caps_completion_tokens())?;
        self.upstream.ask(&request, ChatCompletion, prompt.shows_images()).await
    }
}
