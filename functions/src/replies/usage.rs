//! What an attempt has cost: as the provider counted, else as we estimate.

use domain::message::Usage;
use domain::tokens::{estimate, estimate_of};
use models::{Model, ModelError, TokenUsage};
use tracing::warn;

use super::prompt;
use super::question::Question;

/// What a model was asked, as far as its cost goes.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) model: &'a dyn Model,
    /// As we estimate.
    pub(super) input_tokens: u32,
    /// As no provider can count.
    pub(super) most_input_tokens: u32,
    pub(super) max_output_tokens: u32,
    /// What is held for prompt and answer.
    pub(super) reserved: u32,
}

impl<'a> Asked<'a> {
    pub(super) fn of(question: &Question<'a>) -> Self {
        Self {
            model: question.model,
            input_tokens: prompt::estimated_tokens(&question.prompt),
            most_input_tokens: prompt::most_tokens(&question.prompt),
            max_output_tokens: question.prompt.max_output_tokens,
            reserved: question.reserved,
        }
    }

    /// What may have been written beside a prompt of so many tokens: what was allowed, and what is left of what is held, for
    /// not all providers count thoughts as a part of the answer.
    fn most_output_tokens(self, input_tokens: u32) -> u32 {
        self.max_output_tokens.max(self.reserved.saturating_sub(input_tokens))
    }
}

/// What was heard of an answer.
#[derive(Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) text: &'a str,
    /// Bytes of thoughts before it.
    pub(super) thoughts: usize,
    /// What the provider has counted on the way.
    pub(super) so_far: Option<TokenUsage>,
}

impl Heard<'_> {
    /// Whether what was thought takes all that is held for the reply.
    pub(super) fn is_over(self, asked: Asked<'_>) -> bool {
        let counted = self.so_far.unwrap_or_default();
        let input = counted.input_tokens.max(asked.input_tokens);
        let output = counted.output_tokens.max(estimate_of(self.thoughts));
        self.thoughts > 0 && output > asked.most_output_tokens(input)
    }
}

/// What the provider has said of an attempt's cost.
pub(super) enum Count {
    Whole(TokenUsage),
    /// Nothing of the whole: the answer was not heard to its end, or it does not count.
    SoFar,
}

impl Count {
    pub(super) fn of(whole: Option<TokenUsage>) -> Self {
        whole.map_or(Self::SoFar, Self::Whole)
    }
}

/// As the provider counted, else as we estimate: never more than it was allowed to say.
pub(super) fn usage(asked: Asked<'_>, heard: Heard<'_>, count: Count) -> Usage {
    let said = estimate(heard.text).min(asked.max_output_tokens);
    let written = said.saturating_add(estimate_of(heard.thoughts));
    let counted = match (count, heard.so_far) {
        (Count::Whole(counted), _) => counted,
        (Count::SoFar, Some(so_far)) => TokenUsage {
            output_tokens: so_far
                .output_tokens
                .max(written.min(asked.most_output_tokens(so_far.input_tokens))),
            ..so_far
        },
        (Count::SoFar, None) => TokenUsage {
            input_tokens: asked.input_tokens,
            output_tokens: written.min(asked.most_output_tokens(asked.input_tokens)),
            cached_tokens: 0,
        },
    };
    let most_output_tokens = asked.most_output_tokens(counted.input_tokens);
    if counted.input_tokens > asked.most_input_tokens || counted.output_tokens > most_output_tokens {
        warn!(
            model = asked.model.name(),
            input_tokens = counted.input_tokens,
            most_input_tokens = asked.most_input_tokens,
            output_tokens = counted.output_tokens,
            most_output_tokens,
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
pub(super) fn spent(asked: Asked<'_>, heard: Heard<'_>, error: &ModelError) -> Usage {
    let has_begun = heard.so_far.is_some() || heard.thoughts > 0 || !heard.text.is_empty();
    match error {
        ModelError::Blocked { usage: counted, .. } | ModelError::NothingSaid { usage: counted } => {
            usage(asked, heard, Count::of(*counted))
        }
        ModelError::Truncated | ModelError::Silent | ModelError::Malformed { .. } => usage(asked, heard, Count::SoFar),
        _ if has_begun => usage(asked, heard, Count::SoFar),
        _ => nothing(asked.model.name()),
    }
}
