//! On what terms a message is answered: what may be reserved for it, and what becomes of it while another is answered.

use app::App;
use domain::chat::Kind;
use domain::reply::{Allowance, Terms};
use domain::tokens;

use super::post;

#[must_use]
pub fn terms(app: &App, organisation: Option<&str>) -> Terms {
    let of = |kind| {
        let answering = app.assistants.answering(kind, organisation);
        Allowance {
            instruction: tokens::bound_of_instruction(&answering.system_prompt),
            output: answering.max_output_tokens,
            context: answering.context_tokens,
        }
    };
    Terms {
        when_busy: app.config.replies.when_busy,
        budget: app.config.budget,
        assistant: of(Kind::Assistant),
        post: of(Kind::Post),
    }
}

/// What the welcome of a new post may take: the prompt at its longest, for what it looks at is known when it is written.
#[must_use]
pub fn of_welcome(app: &App, organisation: Option<&str>) -> Allowance {
    let answering = app.assistants.answering(Kind::Post, organisation);
    Allowance {
        instruction: tokens::bound_of_instruction(&answering.system_prompt)
            .saturating_add(post::LONGEST_WELCOME_PROMPT),
        output: answering.max_output_tokens.min(post::LONGEST_WELCOME),
        context: answering.context_tokens,
    }
}

/// What a follow-up may take, but for the post and what was said.
#[must_use]
pub fn of_follow_up(app: &App, organisation: Option<&str>) -> Allowance {
    let answering = app.assistants.answering(Kind::Post, organisation);
    Allowance {
        instruction: tokens::bound_of_instruction(&answering.system_prompt)
            .saturating_add(tokens::bound_of_message(post::ASK_FOR_FOLLOW_UP, 0)),
        output: answering.max_output_tokens,
        context: answering.context_tokens,
    }
}
