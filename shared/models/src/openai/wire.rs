//! The protocol's shapes: what is asked, and the chunks of what is answered.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::answer::Ending;
use crate::parameters::{OutputLimit, Parameters};
use crate::refusal::Parameter;
use crate::{Base64, ModelError, Part, Prompt, Speaker, TokenUsage, count};

#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// Words alone are sent as words: not every server knows parts.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Base64<'a>,
}

impl<'a> Content<'a> {
    fn new(mut parts: Vec<Part<'a>>) -> Self {
        if let [Part::Text(text)] = parts.as_mut_slice() {
            return Self::Text(std::mem::take(text));
        }
        Self::Parts(parts.into_iter().map(ContentPart::new).collect())
    }
}

impl<'a> ContentPart<'a> {
    fn new(part: Part<'a>) -> Self {
        match part {
            Part::Text(text) => Self::Text { text },
            Part::Image(image) => Self::ImageUrl {
                image_url: ImageUrl {
                    url: Base64::url_of(image),
                },
            },
        }
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(
        model: &'a str,
        prompt: &'a Prompt,
        parameters: &Parameters,
        limit: OutputLimit,
    ) -> Result<Self, ModelError> {
        let system = prompt.instruction().map(|text| Message {
            role: "system",
            content: Content::Text(text.into()),
        });
        let turns = prompt.alternating()?.into_iter().map(|said| Message {
            role: match said.speaker {
                Speaker::Person => "user",
                Speaker::Assistant => "assistant",
            },
            content: Content::new(said.parts),
        });
        let cap = Some(prompt.max_output_tokens);
        Ok(Self {
            model,
            messages: system.into_iter().chain(turns).collect(),
            max_tokens: cap.filter(|_| limit == OutputLimit::MaxTokens),
            max_completion_tokens: cap.filter(|_| limit == OutputLimit::MaxCompletionTokens),
            temperature: prompt.temperature,
            stream: parameters.stream.then_some(true),
            stream_options: parameters
                .stream_options
                .then_some(StreamOptions { include_usage: true }),
        })
    }

    /// What of it a server may not know.
    pub(super) fn sent(&self) -> Vec<Parameter> {
        let stream = self.stream.map(|_| Parameter::Stream);
        let options = self.stream_options.as_ref().map(|_| Parameter::StreamOptions);
        [Some(Parameter::OutputLimit), options, stream]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// An open list: what is not known is an end like any other.
pub(super) fn finish(reason: &str) -> Result<Ending, ModelError> {
    match reason {
        // Mistral's is `model_length`.
        "length" | "model_length" => Ok(Ending::Length),
        "content_filter" => Ok(Ending::Blocked(reason.into())),
        // OpenRouter's, vLLM's and DeepSeek's words for an answer that was given up.
        "error" | "abort" | "insufficient_system_resource" => Err(ModelError::Overloaded { retry_after: None }),
        "tool_calls" | "function_call" => Ok(Ending::ToolCall),
        _ => Ok(Ending::Stop),
    }
}

/// Odd numbers are no reason to lose an answer.
pub(super) fn usage(usage: &Value) -> Option<TokenUsage> {
    Some(TokenUsage {
        input_tokens: count(&usage["prompt_tokens"])?,
        output_tokens: count(&usage["completion_tokens"])?,
        cached_tokens: count(&usage["prompt_tokens_details"]["cached_tokens"]).unwrap_or(0),
    })
}
