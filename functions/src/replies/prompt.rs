//! What a model is shown: the system prompt and the newest messages that fit its window.

use serde_json::Value;
use shared::assistants::Answering;
use shared::attachments::Attachments;
use shared::domain::message::Role;
use shared::domain::tokens;
use shared::models::{Prompt, Turn};
use shared::store::posts::PostInView;
use shared::store::replies::Context;

use super::post;

/// An answer that has room for fewer tokens is not worth its prompt.
pub(super) const SHORTEST_ANSWER: u32 = 64;

/// The newest images of a conversation are shown, so many; those before are mentioned.
const MOST_IMAGES: usize = 10;
const AN_IMAGE: &str = "[an image]";

/// A prompt without its images, and where they belong: the turn, and the attachments of its message.
#[derive(Debug, PartialEq)]
pub(super) struct Fitting {
    pub(super) prompt: Prompt,
    attached: Vec<(usize, Value)>,
}

/// The newest messages that fit beside the system prompt and the answer, within the window and within what is reserved.
/// The message to be answered is always there; then comes the post that the chat is about, cut where it is too long, and
/// then what was said before. `None` when what is reserved has no room for an answer.
pub(super) fn fitting(context: Context, answering: &Answering, about: Option<&PostInView>) -> Option<Fitting> {
    let reserved = context.reserved_tokens.unwrap_or(u32::MAX);
    let window = answering
        .context_tokens
        .min(reserved)
        .saturating_sub(answering.max_output_tokens);
    let mut system = answering.system_prompt.clone();
    if let Some(about) = about {
        let question = context.messages.last().map_or(0, |last| {
            let images = last.attachments.as_array().map_or(0, Vec::len).min(MOST_IMAGES);
            tokens::of_message(&last.content, images)
        });
        let room = window
            .saturating_sub(tokens::of_message(&system, 0))
            .saturating_sub(question);
        system.push_str(&post::in_view(about, room));
    }
    let mut taken = tokens::of_message(&system, 0);
    let mut turns = Vec::new();
    let mut attached = Vec::new();
    let mut images_left = MOST_IMAGES;
    for message in context.messages.into_iter().rev() {
        let images = message.attachments.as_array().map_or(0, Vec::len).min(images_left);
        let with_it = taken.saturating_add(tokens::of_message(&message.content, images));
        if with_it > window && !turns.is_empty() {
            break;
        }
        taken = with_it;
        if message.attachments.as_array().is_some_and(|all| !all.is_empty()) {
            images_left -= images;
            attached.push((turns.len(), message.attachments));
        }
        turns.push(match message.role {
            Role::Assistant => Turn::assistant(message.content),
            Role::User | Role::System => Turn::person(message.content),
        });
    }
    turns.reverse();
    for (turn, _) in &mut attached {
        *turn = turns.len() - 1 - *turn;
    }
    let max_output_tokens = answering.max_output_tokens.min(reserved.saturating_sub(taken));
    (max_output_tokens >= SHORTEST_ANSWER.min(answering.max_output_tokens)).then(|| Fitting {
        prompt: Prompt {
            system: Some(system),
            turns,
            max_output_tokens,
            temperature: answering.temperature,
        },
        attached,
    })
}

impl Fitting {
    /// Without images.
    pub(super) fn of(prompt: Prompt) -> Self {
        Self {
            prompt,
            attached: Vec::new(),
        }
    }

    /// The prompt with its images. What cannot be shown is mentioned in the turn's text. A model that sees none is still
    /// shown those of the question, so that it says so; earlier ones must not silence it for ever.
    pub(super) async fn with_images(self, attachments: &Attachments, answering: &Answering) -> Prompt {
        let mut prompt = self.prompt;
        let question = prompt.turns.len().saturating_sub(1);
        let mut left = MOST_IMAGES;
        for (place, attached) in self.attached {
            let turn = &mut prompt.turns[place];
            if left == 0 || (!answering.sees_images && place != question) {
                note(&mut turn.text, AN_IMAGE);
                continue;
            }
            let (mut images, notes) = attachments.for_model(&attached).await;
            images.truncate(left);
            left -= images.len();
            turn.images = images;
            for said in notes {
                note(&mut turn.text, &said);
            }
        }
        prompt
    }
}

/// Says it below the words, if there are any.
fn note(text: &mut String, said: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(said);
}

/// How many tokens a prompt takes, for a provider that does not say.
pub(super) fn estimated_tokens(prompt: &Prompt) -> u32 {
    let system = prompt.system.iter().map(|text| tokens::of_message(text, 0));
    let turns = prompt
        .turns
        .iter()
        .map(|turn| tokens::of_message(&turn.text, turn.images.len()));
    system.chain(turns).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::models::{ModelSettings, Provider, from_settings};
    use shared::store::replies::ContextMessage;

    use super::*;

    fn answering(context_tokens: u32) -> Answering {
        Answering {
            model: from_settings(&ModelSettings::new(Provider::Scripted, "scripted")).expect("valid settings"),
            system_prompt: "You are a helpful assistant in a chat. Answer briefly and to the point.".into(),
            max_output_tokens: 100,
            context_tokens,
            temperature: Some(0.5),
            sees_images: true,
        }
    }

    fn said(role: Role, content: impl Into<String>) -> ContextMessage {
        ContextMessage {
            role,
            content: content.into(),
            attachments: json!([]),
        }
    }

    fn context(messages: Vec<ContextMessage>) -> Context {
        Context {
            reserved_tokens: None,
            messages,
        }
    }

    #[test]
    fn the_newest_messages_that_fit_are_shown_in_their_order() {
        // 400 characters are 130 tokens and 4 around them; the system prompt takes 27.
        let old = "o".repeat(400);
        let messages = vec![
            said(Role::User, old),
            said(Role::Assistant, "a".repeat(400)),
            said(Role::User, "newest"),
        ];
        let shown = fitting(context(messages), &answering(270), None)
            .expect("there is room")
            .prompt;
        let texts: Vec<_> = shown
            .turns
            .iter()
            .map(|turn| turn.text.chars().next().expect("a letter"))
            .collect();
        assert_eq!(texts, ['a', 'n']);
        assert!(estimated_tokens(&shown) + 100 <= 270);
    }

    #[test]
    fn a_gap_is_never_left_in_the_middle() {
        let messages = vec![
            said(Role::User, "small"),
            said(Role::Assistant, "x".repeat(4000)),
            said(Role::User, "hi"),
        ];
        let shown = fitting(context(messages), &answering(400), None)
            .expect("there is room")
            .prompt;
        assert_eq!(shown.turns, [Turn::person("hi")]);
    }

    #[test]
    fn the_question_is_shown_even_if_it_is_too_long_alone() {
        let question = "q".repeat(30_000);
        let shown = fitting(context(vec![said(Role::User, question.clone())]), &answering(400), None)
            .expect("there is room")
            .prompt;
        assert_eq!(shown.turns, [Turn::person(question)]);
    }

    #[test]
    fn no_more_is_shown_and_said_than_is_reserved() {
        let messages = || {
            vec![
                said(Role::User, "o".repeat(400)),
                said(Role::Assistant, "a".repeat(400)),
                said(Role::User, "newest"),
            ]
        };
        let with = |reserved| {
            let context = Context {
                reserved_tokens: Some(reserved),
                ..context(messages())
            };
            fitting(context, &answering(1000), None)
        };
        let least = estimated_tokens(
            &fitting(context(messages()), &answering(101), None)
                .expect("there is room")
                .prompt,
        ) + 64;
        for reserved in [500, 300, 270, 150, least] {
            let shown = with(reserved).expect("there is room").prompt;
            let cost = estimated_tokens(&shown) + shown.max_output_tokens;
            assert!(cost <= reserved, "{cost} of {reserved}");
            assert_eq!(shown.turns.last().expect("a turn").text, "newest");
        }
        assert_eq!(with(500).expect("there is room").prompt.turns.len(), 3);
        assert_eq!(with(least).expect("there is room").prompt.max_output_tokens, 64);
        assert!(with(least - 1).is_none());
    }

    #[test]
    fn the_newest_ten_images_are_to_be_shown_and_counted() {
        let with_images = |content: &str, images: usize| ContextMessage {
            attachments: vec![json!({"url": "s3://b/k"}); images].into(),
            ..said(Role::User, content)
        };
        let messages = || {
            vec![
                with_images("first", 6),
                said(Role::Assistant, "nice"),
                with_images("second", 6),
            ]
        };
        let shown = fitting(context(messages()), &answering(100_000), None).expect("there is room");
        let places: Vec<_> = shown.attached.iter().map(|(turn, _)| *turn).collect();
        assert_eq!(places, [2, 0]);
        // Ten images take 16,000 tokens: a window with room for six of them ends before the first message.
        let shown = fitting(context(messages()), &answering(12_000), None).expect("there is room");
        assert_eq!(shown.prompt.turns.len(), 2);
        assert_eq!(shown.attached.len(), 1);
        assert_eq!(shown.attached[0].0, 1);
    }

    #[test]
    fn the_model_is_asked_as_its_settings_say() {
        let shown = fitting(context(vec![said(Role::User, "hi")]), &answering(400), None)
            .expect("there is room")
            .prompt;
        assert_eq!(shown.system, Some(answering(400).system_prompt));
        assert_eq!((shown.max_output_tokens, shown.temperature), (100, Some(0.5)));
    }
}
