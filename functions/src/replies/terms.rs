//! On what terms a message is answered: what may be reserved for it, and what becomes of it while another is answered.

use capabilities::settings::Settings;
use domain::chat::Kind;
use domain::reply::{Allowance, Terms};
use domain::tokens;
use models::assistants::ReplyPolicy;

use super::post;

#[must_use]
pub fn terms(settings: &Settings, policy: &ReplyPolicy, organisation: Option<&str>) -> Terms {
    let of = |kind| {
        let bounds = policy.bounds(kind, organisation);
        Allowance {
            instruction: tokens::bound_of_instruction(bounds.system_prompt),
            output: bounds.max_output_tokens,
            context: bounds.context_tokens,
        }
    };
    Terms {
        when_busy: settings.replies.when_busy,
        budget: settings.budget,
        assistant: of(Kind::Assistant),
        post: of(Kind::Post),
    }
}

/// What the welcome of a new post may take: the prompt at its longest, for what it looks at is known when it is written.
#[must_use]
pub fn of_welcome(policy: &ReplyPolicy, organisation: Option<&str>) -> Allowance {
    let bounds = policy.bounds(Kind::Post, organisation);
    Allowance {
        instruction: tokens::bound_of_instruction(bounds.system_prompt).saturating_add(post::LONGEST_WELCOME_PROMPT),
        output: bounds.max_output_tokens.min(post::LONGEST_WELCOME),
        context: bounds.context_tokens,
    }
}

/// What a follow-up may take, but for the post and what was said.
#[must_use]
pub fn of_follow_up(policy: &ReplyPolicy, organisation: Option<&str>) -> Allowance {
    let bounds = policy.bounds(Kind::Post, organisation);
    Allowance {
        instruction: tokens::bound_of_instruction(bounds.system_prompt)
            .saturating_add(tokens::bound_of_message(post::ASK_FOR_FOLLOW_UP, 0)),
        output: bounds.max_output_tokens,
        context: bounds.context_tokens,
    }
}
