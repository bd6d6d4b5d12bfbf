//! Chat completions, as OpenAI speaks them and many servers after it: llama.cpp, vLLM, Ollama, Groq, Mistral and more.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;

use super::parameters::{Learned, OutputLimit, Parameters};
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
    learned: Learned,
}

impl OpenAi {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, SettingsError> {
        let url = endpoint(&settings.url, DEFAULT_URL, &["chat", "completions"])?;
        Ok(Self {
            name: settings.name.clone(),
            upstream: Upstream::new(settings, url, (AUTHORIZATION, "Bearer "))?,
            learned: Learned::new(settings.parameters),
        })
    }

    /// OpenAI's newer models refuse `max_tokens`; most servers of others know nothing else.
    fn output_limit(&self, parameters: &Parameters) -> OutputLimit {
        let host = self.upstream.host();
        let is_openai = host == "api.openai.com" || host.ends_with(".api.openai.com");
        parameters.output_limit.unwrap_or(if is_openai {
            OutputLimit::MaxCompletionTokens
        } else {
            OutputLimit::MaxTokens
        })
    }
}

#[async_trait]
impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let mut asking = self.learned.asking();
        loop {
            let prompt = asking.parameters.applied(prompt);
            let limit = self.output_limit(&asking.parameters);
            let request = Request::new(&self.name, &prompt, &asking.parameters, limit)?;
            let sent = [request.sent(), asking.parameters.sent(&prompt)].concat();
            let dialect = ChatCompletion::default();
            match self.upstream.ask(&request, dialect, prompt.shows_images(), &sent).await {
                Ok(chunks) => {
                    asking.answered();
                    return Ok(chunks);
                }
                Err(refused) => asking.refused(&self.name, limit, refused)?,
            }
        }
    }
}
