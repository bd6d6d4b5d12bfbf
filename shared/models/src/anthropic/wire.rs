//! The protocol's shapes: what is asked, and the events of what is answered.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::answer::Ending;
use crate::{Base64, ModelError, Part, Prompt, Speaker, TokenUsage, count};

/// Without a temperature: from its version 2026-10-21 on the provider refuses one, whatever it is.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    messages: Vec<Turn<'a>>,
    stream: bool,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: Cow<'a, str> },
    Image { source: Source<'a> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: Base64<'a> },
}

impl<'a> Request<'a> {
    pub(super) fn new(model: &'a str, prompt: &'a Prompt) -> Result<Self, ModelError> {
        let messages = prompt.alternating()?.into_iter().map(|said| Turn {
            role: match said.speaker {
                Speaker::Person => "user",
                Speaker::Assistant => "assistant",
            },
            content: said.parts.into_iter().map(Block::new).collect(),
        });
        Ok(Self {
            model,
            max_tokens: prompt.max_output_tokens,
            system: prompt.instruction(),
            messages: messages.collect(),
            stream: true,
        })
    }
}

impl<'a> Block<'a> {
    fn new(part: Part<'a>) -> Self {
        match part {
            Part::Text(text) => Self::Text { text },
            Part::Image(image) => Self::Image {
                source: Source::Base64 {
                    media_type: &image.mime_type,
                    data: Base64::of(image),
                },
            },
        }
    }
}

/// An open list: what is not known is an end like any other.
pub(super) fn finish(reason: &str) -> Ending {
    match reason {
        "max_tokens" => Ending::Length,
        "model_context_window_exceeded" => Ending::WindowFull,
        "refusal" => Ending::Blocked(reason.into()),
        "tool_use" => Ending::ToolCall,
        _ => Ending::Stop,
    }
}

/// The counts of a message so far. Each is of the whole message, and not all are told each time.
#[derive(Debug, Default)]
pub(super) struct Counts {
    input: Option<u32>,
    written_to_cache: u32,
    read_from_cache: u32,
    output: u32,
}

impl Counts {
    /// Odd numbers are no reason to lose an answer.
    pub(super) fn take_in(&mut self, usage: &Value) -> Option<TokenUsage> {
        let replace = |number: &mut u32, name: &str| *number = count(&usage[name]).unwrap_or(*number);
        self.input = count(&usage["input_tokens"]).or(self.input);
        replace(&mut self.written_to_cache, "cache_creation_input_tokens");
        replace(&mut self.read_from_cache, "cache_read_input_tokens");
        replace(&mut self.output, "output_tokens");
        let cached = self.read_from_cache;
        Some(TokenUsage {
            input_tokens: self.input?.saturating_add(self.written_to_cache).saturating_add(cached),
            output_tokens: self.output,
            cached_tokens: cached,
        })
    }
}
