//! On what terms a message is answered: what may be reserved for it, and what becomes of it while another is answered.

use shared::app::App;
use shared::domain::chat::Kind;
use shared::domain::reply::{Allowance, Terms};
use shared::domain::tokens;

#[must_use]
pub fn terms(app: &App, organisation: Option<&str>) -> Terms {
    let of = |kind| {
        let answering = app.assistants.answering(kind, organisation);
        Allowance {
            instruction: tokens::of_message(&answering.system_prompt, 0),
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
