//! The protocol's shapes: what is asked, and the pieces of what is answered.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::answer::Ending;
use crate::{Base64, ModelError, Part, Prompt, Speaker, TokenUsage, count};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<SystemInstruction<'a>>,
    contents: Vec<Content<'a>>,
    generation_config: GenerationConfig,
}

#[derive(Serialize)]
struct SystemInstruction<'a> {
    parts: [ContentPart<'a>; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    role: &'static str,
    parts: Vec<ContentPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ContentPart<'a> {
    Text(Cow<'a, str>),
    InlineData(InlineData<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: Base64<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

impl<'a> Request<'a> {
    pub(super) fn new(prompt: &'a Prompt) -> Result<Self, ModelError> {
        let contents = prompt.alternating()?.into_iter().map(|said| Content {
            role: match said.speaker {
                Speaker::Person => "user",
                Speaker::Assistant => "model",
            },
            parts: said.parts.into_iter().map(ContentPart::new).collect(),
        });
        Ok(Self {
            system_instruction: prompt.instruction().map(|text| SystemInstruction {
                parts: [ContentPart::Text(text.into())],
            }),
            contents: contents.collect(),
            generation_config: GenerationConfig {
                max_output_tokens: prompt.max_output_tokens,
                temperature: prompt.temperature,
            },
        })
    }
}

impl<'a> ContentPart<'a> {
    fn new(part: Part<'a>) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Image(image) => Self::InlineData(InlineData {
                mime_type: &image.mime_type,
                data: Base64::of(image),
            }),
        }
    }
}

/// An open list: what is not known is an end like any other. Tools are never offered, so that a call of one is a mistake.
/// `None`: it goes on.
pub(super) fn finish(reason: &str) -> Option<Result<Ending, ModelError>> {
    Some(match reason {
        "FINISH_REASON_UNSPECIFIED" => return None,
        "MAX_TOKENS" | "CONTINUATION" => Ok(Ending::Length),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED"
        | "MODEL_ARMOR" => Ok(Ending::Blocked(reason.into())),
        "OTHER"
        | "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE" => Err(ModelError::Malformed {
            detail: format!("the answer was given up: {reason}"),
        }),
        _ => Ok(Ending::Stop),
    })
}

/// Odd numbers are no reason to lose an answer. What is not told is 0: an answer that has not begun has no candidates.
pub(super) fn usage(usage: &Value) -> Option<TokenUsage> {
    let number = |name: &str| count(&usage[name]).unwrap_or(0);
    Some(TokenUsage {
        input_tokens: count(&usage["promptTokenCount"])?.saturating_add(number("toolUsePromptTokenCount")),
        output_tokens: number("candidatesTokenCount").saturating_add(number("thoughtsTokenCount")),
        cached_tokens: number("cachedContentTokenCount"),
    })
}
