//! On what terms a message is answered: what may be reserved for it, and what becomes of it while another is answered.

use shared::app::App;
use shared::domain::chat::Kind;
use shared::domain::reply::{Allowance, Terms};
use shared::domain::tokens;

#[must_use]
pub fn terms(app: &App) -> Terms {
    let config = &app.config.replies;
    let of = |kind| Allowance {
        instruction: tokens::of_message(config.system_prompt(kind), 0),
        output: config.max_output_tokens,
        context: config.context_tokens,
    };
    Terms {
        when_busy: config.when_busy,
        budget: app.config.budget,
        assistant: of(Kind::Assistant),
        post: of(Kind::Post),
    }
}
