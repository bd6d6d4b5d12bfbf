//! Where a model refuses what it is asked to read, it is asked once more with less, and what it refused is remembered. A
//! damaged image, or a history that is too long, would otherwise stand before every later question of its chat.

use domain::ids::Seq;
use domain::reply::Claim;
use models::{Model, ModelError};
use tracing::warn;

use super::engine::Engine;
use super::prompt;
use super::question::{Lighter, Question};

/// From here on the images of a request may be what is too long about it, and not its text.
const BIG: usize = 1024 * 1024;

/// What is to be done about a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remedy {
    /// How to ask once more; `None` where that would be in vain.
    pub(super) again: Option<Lighter>,
    /// What to remember.
    pub(super) lesson: Lesson,
    /// Whether the lesson is learnt only if the model takes what is lighter: it did not say what it refused.
    pub(super) is_a_guess: bool,
}

/// What a model does not read of a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lesson {
    /// The messages whose images may be meant.
    images_of: Vec<Seq>,
    /// How long a prompt may be, as we estimate, in tokens.
    window: Option<u32>,
}

impl Remedy {
    /// For what a model says to a question, which is the first of its attempt or not.
    pub(super) fn of(error: &ModelError, question: &Question<'_>, is_first: bool) -> Self {
        let mut remedy = match error {
            ModelError::ImageRefused { .. } => Self::without_images(question),
            // An answer that sees nothing of what is asked about is none: whoever asked is told.
            ModelError::NoVision if question.shows_own_images => Self {
                again: None,
                ..Self::without_images(question)
            },
            ModelError::NoVision => Self::without_images(question),
            ModelError::TooLong { .. } => Self::shorter(question),
            // Few providers name an image that they cannot read, and some say no more than that the request is wrong.
            ModelError::Rejected {
                status: 400 | 413 | 415 | 422,
                ..
            } => Self {
                is_a_guess: true,
                ..Self::without_images(question)
            },
            _ => Self::default(),
        };
        if !is_first {
            remedy.again = None;
        }
        remedy
    }

    fn without_images(question: &Question<'_>) -> Self {
        // One that is known to see none is not shown any later.
        if question.images_of.is_empty() || !question.sees_images {
            return Self::default();
        }
        Self {
            again: Some(Lighter {
                without_images: true,
                window: None,
            }),
            lesson: Lesson {
                images_of: question.images_of.clone(),
                window: None,
            },
            is_a_guess: false,
        }
    }

    fn shorter(question: &Question<'_>) -> Self {
        let images = question.image_bytes();
        if images > BIG && images > question.text_bytes() {
            let mut remedy = Self::without_images(question);
            let text = prompt::estimated_tokens_of_text(&question.prompt);
            // A text that fills the window may be what is too long all the same, and there is no third try.
            if text > question.window / 2 {
                remedy.narrow(text / 2, text / 2);
            }
            return remedy;
        }
        let size = prompt::estimated_tokens(&question.prompt);
        let mut remedy = Self::default();
        if question.is_narrowed {
            // Half was too much before: with the question alone, and a quarter from now on.
            remedy.narrow(0, size / 4);
        } else {
            remedy.narrow(size / 2, size / 2);
        }
        remedy
    }

    fn narrow(&mut self, now: u32, later: u32) {
        self.again.get_or_insert_default().window = Some(now);
        self.lesson.window = Some(later);
    }
}

/// Remembers it. Where that fails it is learnt anew the next time.
pub(super) async fn remember(engine: &Engine, claim: &Claim, model: &dyn Model, lesson: &Lesson) {
    let remembering = async {
        if !lesson.images_of.is_empty() {
            engine
                .store
                .refuse_images(claim, model.name(), &lesson.images_of)
                .await?;
        }
        if let Some(tokens) = lesson.window {
            engine.store.narrow_window(claim, model.name(), tokens).await?;
        }
        Ok::<_, store::Error>(())
    };
    if let Err(error) = remembering.await {
        warn!(reply = %claim.reply_id, %error, "what a model refused is not remembered");
    }
}
