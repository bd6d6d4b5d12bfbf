//! The protocol's shapes, as the SDK has them.

use aws_sdk_bedrockruntime::error::BuildError;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ImageBlock, ImageFormat, ImageSource, InferenceConfiguration, Message,
    SystemContentBlock, TokenUsage as Counted,
};

use crate::answer::Ending;
use crate::{ModelError, Part, Prompt, Speaker, TokenUsage};

pub(super) fn messages(prompt: &Prompt) -> Result<Vec<Message>, ModelError> {
    let messages = prompt.alternating()?.into_iter().map(|said| {
        let role = match said.speaker {
            Speaker::Person => ConversationRole::User,
            Speaker::Assistant => ConversationRole::Assistant,
        };
        let content = said.parts.into_iter().map(block).collect::<Result<_, _>>()?;
        Message::builder().role(role).set_content(Some(content)).build()
    });
    messages
        .collect::<Result<_, BuildError>>()
        .map_err(|error| ModelError::Rejected {
            status: 400,
            detail: error.to_string(),
        })
}

fn block(part: Part<'_>) -> Result<ContentBlock, BuildError> {
    Ok(match part {
        Part::Text(text) => ContentBlock::Text(text.into_owned()),
        Part::Image(image) => ContentBlock::Image(
            ImageBlock::builder()
                .format(format(&image.mime_type))
                .source(ImageSource::Bytes(Blob::new(image.bytes.as_ref())))
                .build()?,
        ),
    })
}

fn format(mime_type: &str) -> ImageFormat {
    match mime_type.strip_prefix("image/").unwrap_or(mime_type) {
        "jpg" => ImageFormat::Jpeg,
        format => ImageFormat::from(format),
    }
}

pub(super) fn system(prompt: &Prompt) -> Option<Vec<SystemContentBlock>> {
    let text = prompt.instruction()?;
    Some(vec![SystemContentBlock::Text(text.to_owned())])
}

pub(super) fn limits(prompt: &Prompt) -> InferenceConfiguration {
    InferenceConfiguration::builder()
        .max_tokens(i32::try_from(prompt.max_output_tokens).unwrap_or(i32::MAX))
        .set_temperature(prompt.temperature)
        .build()
}

/// An open list: what is not known is an end like any other.
pub(super) fn finish(reason: &str) -> Result<Ending, ModelError> {
    match reason {
        "max_tokens" => Ok(Ending::Length),
        "model_context_window_exceeded" => Ok(Ending::WindowFull),
        "content_filtered" | "guardrail_intervened" => Ok(Ending::Blocked(reason.into())),
        "malformed_model_output" | "malformed_tool_use" => Err(ModelError::Malformed {
            detail: format!("the answer was given up: {reason}"),
        }),
        "tool_use" => Ok(Ending::ToolCall),
        _ => Ok(Ending::Stop),
    }
}

pub(super) fn usage(counted: &Counted) -> TokenUsage {
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let cached = count(counted.cache_read_input_tokens.unwrap_or(0));
    let written = count(counted.cache_write_input_tokens.unwrap_or(0));
    TokenUsage {
        input_tokens: count(counted.input_tokens)
            .saturating_add(written)
            .saturating_add(cached),
        output_tokens: count(counted.output_tokens),
        cached_tokens: cached,
    }
}
