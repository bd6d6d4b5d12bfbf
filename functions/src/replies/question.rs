//! What a model is to be asked for a reply, read and made.

use domain::chat::Kind;
use domain::ids::Seq;
use domain::reply::{Claim, Omitted, Purpose, Reasoning};
use models::{Model, Prompt};
use uploads::Room;

use super::engine::Engine;
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
    /// What its images take; kept as long as they are.
    pub(super) _room: Room,
    /// For the prompt and its answer, in tokens.
    pub(super) reserved: u32,
    /// Whose images are shown; the newest first.
    pub(super) images_of: Vec<Seq>,
    /// Whether the message that is to be answered has some of them.
    pub(super) shows_own_images: bool,
    /// What the model is not shown, because it refused it.
    pub(super) omitted: Vec<Omitted>,
    /// How long a prompt may be, as we estimate, and whether that is so because the model refused a longer one before.
    pub(super) window: u32,
    pub(super) is_narrowed: bool,
    /// Whether the model is said to see images.
    pub(super) sees_images: bool,
    pub(super) reasoning: Reasoning,
}

/// How much less a model is to be shown than it might be, for it has refused more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lighter {
    pub(super) without_images: bool,
    /// How long the prompt may be, as we estimate. The message to be answered is always shown.
    pub(super) window: Option<u32>,
}

/// What makes one prompt lighter than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    turns: usize,
    images: usize,
    instruction: usize,
}

impl Question<'_> {
    pub(super) fn outline(&self) -> Outline {
        Outline {
            turns: self.prompt.turns.len(),
            images: self.prompt.turns.iter().map(|turn| turn.images.len()).sum(),
            instruction: self.prompt.system.as_deref().map_or(0, str::len),
        }
    }

    /// What its images take of the request, whose base64 is longer by a third.
    pub(super) fn image_bytes(&self) -> usize {
        let images = self.prompt.turns.iter().flat_map(|turn| &turn.images);
        images.map(|image| image.bytes.len().div_ceil(3) * 4).sum()
    }

    pub(super) fn text_bytes(&self) -> usize {
        let turns = self.prompt.turns.iter().map(|turn| turn.text.len());
        turns.chain(self.prompt.system.iter().map(String::len)).sum()
    }
}

/// Engine what a model is to be asked, with its images.
pub(super) async fn prepared<'a>(engine: &'a Engine, claim: &Claim, lighter: &Lighter) -> store::Result<Prepared<'a>> {
    let answering = engine.models.answering(claim.kind, claim.organisation.as_deref());
    let model = answering.model.as_ref();
    let Some(context) = engine.store.reply_context(claim, model.name()).await? else {
        return Ok(Prepared::Unanswered);
    };
    let about = match claim.kind {
        Kind::Post => match engine.store.post_in_view(claim).await? {
            Some(about) => Some(about),
            None => return Ok(Prepared::Gone),
        },
        Kind::Assistant | Kind::Direct | Kind::Channel | Kind::Task => None,
    };
    let fitting = match (claim.purpose, &about) {
        (Purpose::Welcome, Some(about)) => post::welcome(about, context.reserved_tokens, answering),
        (Purpose::FollowUp, _) => prompt::fitting(post::with_follow_up(context), answering, about.as_ref(), lighter),
        (Purpose::Answer | Purpose::Welcome, _) => prompt::fitting(context, answering, about.as_ref(), lighter),
    };
    let Some(fitting) = fitting else {
        return Ok(Prepared::Unaffordable(model));
    };
    let with_images = Box::pin(fitting.with_images(&engine.uploads, answering, lighter));
    Ok(match with_images.await {
        Some(question) => Prepared::Question(Box::new(question)),
        None => Prepared::Unaffordable(model),
    })
}
