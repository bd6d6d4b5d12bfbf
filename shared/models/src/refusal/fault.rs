//! What is wrong with a prompt, in the words that servers have for it. Few of them have a code for it.

use crate::ModelError;

/// Of OpenAI and its kin, vLLM, llama.cpp, Groq, Mistral, DeepSeek, xAI, Qwen, Anthropic, Gemini, Bedrock.
const TOO_MANY_TOKENS: [&str; 33] = [
    "context_length_exceeded",
    "context length",
    "context_length",
    "context window",
    "context_window",
    "context size",
    "exceed_context_size",
    "exceed context limit",
    "context limit",
    "model length of",
    "maximum model length",
    "maximum prompt length",
    "maximum input length",
    "prompt is too long",
    "prompt too long",
    "prompt_too_long",
    "input is too long",
    "input too long",
    "input_too_long",
    "input token count",
    "too many input tokens",
    "too many tokens in",
    "too many total tokens",
    "number of input tokens",
    "tokens in the prompt exceeds",
    "prompt contains too many tokens",
    "tokens_limit_reached",
    "prompt_tokens_exceeded",
    "range of input length",
    "reduce the length of the messages",
    "reduce the length of the prompt",
    "reduce your prompt",
    "request too large for model",
];

/// A limit of tokens a minute that this prompt alone exceeds.
const NEVER_WITHIN_THE_RATE: [&str; 3] = [
    "request too large for",
    "output tokens must be reduced",
    "input tokens must be reduced",
];

const TOO_MANY_BYTES: [&str; 10] = [
    "request_too_large",
    "request too large",
    "request entity too large",
    "payload too large",
    "payload size exceeds",
    "content too large",
    "body too large",
    "exceeds the maximum size",
    "string_above_max_length",
    "too many total text bytes",
];

/// The model has no eyes: llama.cpp, OpenAI, OpenRouter and Mistral, Ollama, vLLM, Gemini, Bedrock.
const BLIND: [&str; 8] = [
    "image input is not supported",
    "image_url is only supported by certain models",
    "support image input",
    "not support images",
    "is not a multimodal model",
    "image input modality is not enabled",
    "support the image content block",
    "does not support vision",
];

const ABOUT_AN_IMAGE: [&str; 8] = [
    "image",
    "picture",
    "inline_data",
    "inlinedata",
    "mime type",
    "mime_type",
    "media type",
    "media_type",
];

/// What of the prompt was refused with this status. `said` is all that was said, in small letters; `detail` goes to the log.
/// `None`: it was something else.
pub(crate) fn fault(status: u16, said: &str, shows_images: bool, detail: &str) -> Option<ModelError> {
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let too_long = || ModelError::TooLong {
        detail: detail.to_owned(),
    };
    match status {
        429 => says(&NEVER_WITHIN_THE_RATE).then(too_long),
        // With 500 speak servers whose template or image reader failed.
        400 | 404 | 406 | 411..=422 | 500 => {
            if shows_images && says(&BLIND) {
                Some(ModelError::NoVision)
            } else if status != 404 && says(&TOO_MANY_TOKENS) {
                Some(too_long())
            } else if status != 404 && shows_images && says(&ABOUT_AN_IMAGE) {
                Some(ModelError::ImageRefused {
                    detail: detail.to_owned(),
                })
            } else if status == 413 || (status != 404 && says(&TOO_MANY_BYTES)) {
                Some(too_long())
            } else {
                None
            }
        }
        _ => None,
    }
}
