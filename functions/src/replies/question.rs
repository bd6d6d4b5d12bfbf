//! What a model is to be asked for a reply, read and made.

use shared::app::App;
use shared::attachments::Room;
use shared::domain::chat::Kind;
use shared::domain::reply::{Claim, Purpose};
use shared::models::{Model, Prompt};
use shared::store;

use super::{post, prompt};

/// What is needed to ask a model.
pub(super) enum Prepared<'a> {
    Question(Box<Question<'a>>),
    /// Nothing is left to answer, or somebody else has the reply.
    Unanswered,
    /// The post that the chat is about is gone, and the chat with it.
    Gone,
    /// What is reserved has no room for an answer.
    Unaffordable(&'a dyn Model),
}

pub(super) struct Question<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) prompt: Prompt,
    /// What its images take.
    pub(super) room: Room,
}

/// Reads what a model is to be asked, with its images.
pub(super) async fn prepared<'a>(app: &'a App, claim: &Claim) -> store::Result<Prepared<'a>> {
    let Some(context) = app.store.reply_context(claim).await? else {
        return Ok(Prepared::Unanswered);
    };
    let answering = app.assistants.answering(claim.kind, claim.organisation.as_deref());
    let model = answering.model.as_ref();
    let about = match claim.kind {
        Kind::Post => match app.store.post_in_view(claim).await? {
            Some(about) => Some(about),
            None => return Ok(Prepared::Gone),
        },
        Kind::Assistant | Kind::Direct | Kind::Channel | Kind::Task => None,
    };
    let fitting = match (claim.purpose, &about) {
        (Purpose::Welcome, Some(about)) => post::welcome(about, context.reserved_tokens, answering),
        (Purpose::FollowUp, _) => prompt::fitting(post::with_follow_up(context), answering, about.as_ref()),
        (Purpose::Answer | Purpose::Welcome, _) => prompt::fitting(context, answering, about.as_ref()),
    };
    let Some(fitting) = fitting else {
        return Ok(Prepared::Unaffordable(model));
    };
    Ok(match fitting.with_images(&app.attachments, answering).await {
        Some((prompt, room)) => Prepared::Question(Box::new(Question { model, prompt, room })),
        None => Prepared::Unaffordable(model),
    })
}
