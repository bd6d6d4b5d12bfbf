//! Parameters that a server does not take. Which one it is, servers say in words, in a field or in a path; so their names are
//! looked for in all that is said.

use std::fmt;

use serde_json::Value;

/// What may be left out of a request, or said in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// `max_tokens` or `max_completion_tokens`, whichever was sent.
    OutputLimit,
    StreamOptions,
    Stream,
    Temperature,
    /// A system prompt of its own.
    System,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutputLimit => "limit of output tokens by this name",
            Self::StreamOptions => "stream_options",
            Self::Stream => "stream",
            Self::Temperature => "temperature",
            Self::System => "system role",
        })
    }
}

impl Parameter {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::OutputLimit => &["max_tokens", "max_completion_tokens"],
            Self::StreamOptions => &["stream_options", "include_usage", "streamoptions"],
            Self::Stream => &["stream"],
            Self::Temperature => &["temperature"],
            Self::System => &[
                "system role",
                "role 'system'",
                "role \"system\"",
                "role: system",
                "support 'system'",
                "support system",
                "system message",
                "system instruction",
                "system prompt",
                "developer instruction",
                "roles must alternate",
            ],
        }
    }
}

const REFUSING: [&str; 26] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "isn't supported",
    "only supports",
    "only the default",
    "not permitted",
    "not allowed",
    "not enabled",
    "not implemented",
    "not available",
    "not accept",
    "extra_forbidden",
    "extra fields",
    "extra inputs",
    "additional properties",
    "unknown",
    "unrecognized",
    "unexpected",
    "deprecated",
    "no longer",
    "instead",
    "cannot be specified",
    "must alternate",
    "invalid parameter",
];

/// Which of the parameters that were sent is refused with this status. `said`: all that was said, in small letters.
pub(crate) fn refused_parameter(status: u16, said: &str, sent: &[Parameter]) -> Option<Parameter> {
    // With 500 speak servers whose template failed.
    let may_be = |parameter: Parameter| match status {
        400 | 422 | 501 => true,
        500 => parameter == Parameter::System,
        _ => false,
    };
    if !REFUSING.iter().any(|word| said.contains(word)) {
        return None;
    }
    // Where a field names it, other names in the text are of what is taken.
    let field = field(said);
    let of = |text: &str| {
        let place = |parameter: &Parameter| parameter.names().iter().filter_map(|name| find_word(text, name)).min();
        let named = sent.iter().filter(|parameter| may_be(**parameter));
        named
            .filter_map(|parameter| Some((place(parameter)?, *parameter)))
            .min_by_key(|(at, _)| *at)
    };
    let found = field.as_deref().and_then(of).or_else(|| of(said));
    found.map(|(_, parameter)| parameter)
}

/// `error.param`, as OpenAI and its kin fill it.
fn field(said: &str) -> Option<String> {
    let body: Value = serde_json::from_str(said).ok()?;
    let param = body.pointer("/error/param").or_else(|| body.get("param"))?;
    param.as_str().map(str::to_owned)
}

/// Where the name stands as a word of its own: `stream` is no part of `stream_options`.
fn find_word(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let (before, after) = (&text[..*at], &text[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}
