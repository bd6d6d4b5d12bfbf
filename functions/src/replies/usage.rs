//! What an attempt has cost: as the provider counted, else as we estimate.

use shared::domain::message::Usage;
use shared::domain::tokens::estimate;
use shared::models::{Model, ModelError, TokenUsage};
use tracing::warn;

/// What a model was asked, as far as its cost goes.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) model: &'a dyn Model,
    /// As we estimate.
    pub(super) input_tokens: u32,
    /// As no provider can count.
    pub(super) most_input_tokens: u32,
    pub(super) max_output_tokens: u32,
}

/// What the provider has said of an attempt's cost.
pub(super) enum Count {
    Whole(TokenUsage),
    /// Of an answer that was not heard to its end.
    SoFar(Option<TokenUsage>),
}

impl Count {
    pub(super) fn of(whole: Option<TokenUsage>, so_far: Option<TokenUsage>) -> Self {
        whole.map_or(Self::SoFar(so_far), Self::Whole)
    }
}

/// As the provider counted, else as we estimate: never more than it was allowed to say.
pub(super) fn usage(asked: Asked<'_>, text: &str, count: Count) -> Usage {
    let said = estimate(text).min(asked.max_output_tokens);
    let counted = match count {
        Count::Whole(counted) => counted,
        Count::SoFar(Some(so_far)) => TokenUsage {
            output_tokens: so_far.output_tokens.max(said),
            ..so_far
        },
        Count::SoFar(None) => TokenUsage {
            input_tokens: asked.input_tokens,
            output_tokens: said,
            cached_tokens: 0,
        },
    };
    if counted.input_tokens > asked.most_input_tokens || counted.output_tokens > asked.max_output_tokens {
        warn!(
            model = asked.model.name(),
            input_tokens = counted.input_tokens,
            most_input_tokens = asked.most_input_tokens,
            output_tokens = counted.output_tokens,
            max_output_tokens = asked.max_output_tokens,
            "a provider counted more than there could be; it is paid"
        );
    }
    Usage {
        input_tokens: counted.input_tokens,
        output_tokens: counted.output_tokens,
        cached_tokens: counted.cached_tokens,
        model: asked.model.name().to_owned(),
    }
}

pub(super) fn nothing(model: &str) -> Usage {
    Usage {
        input_tokens: 0,
        output_tokens: 0,
        cached_tokens: 0,
        model: model.to_owned(),
    }
}

/// What an attempt cost that failed. A request that was refused, or never arrived, costs nothing; once the model has
/// begun to think, the prompt is owed whatever came of it.
pub(super) fn spent(asked: Asked<'_>, text: &str, so_far: Option<TokenUsage>, error: &ModelError) -> Usage {
    let has_begun = so_far.is_some() || !text.is_empty();
    match error {
        ModelError::Blocked { usage: counted, .. } | ModelError::NothingSaid { usage: counted } => {
            usage(asked, text, Count::of(*counted, so_far))
        }
        ModelError::Truncated | ModelError::Silent | ModelError::Malformed { .. } => {
            usage(asked, text, Count::SoFar(so_far))
        }
        _ if has_begun => usage(asked, text, Count::SoFar(so_far)),
        _ => nothing(asked.model.name()),
    }
}
