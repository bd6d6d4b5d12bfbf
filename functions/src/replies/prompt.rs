//! What a model is shown: the system prompt and the newest messages that fit its window.

use domain::ids::Seq;
use domain::message::Role;
use domain::reply::Omitted;
use domain::tokens;
use models::assistants::Answering;
use models::{Prompt, Turn};
use serde_json::Value;
use store::posts::PostInView;
use store::replies::{Context, ContextMessage};
use uploads::{AN_IMAGE, Attachments, Pictures, Shown, UNREADABLE};

use super::post;
use super::question::{Lighter, Question};

/// An answer that has room for fewer tokens is not worth its prompt.
pub(super) const SHORTEST_ANSWER: u32 = 64;

/// The newest images of a conversation are shown, so many; those before are mentioned.
const MOST_IMAGES: usize = 10;

/// What stands in a request around each message, and around all of them, at most.
const BYTES_AROUND_A_MESSAGE: u32 = 128;
const BYTES_AROUND_A_PROMPT: u32 = 1024;

/// A prompt without its images, and where they belong.
#[derive(Debug, PartialEq)]
pub(super) struct Fitting {
    pub(super) prompt: Prompt,
    attached: Vec<Attached>,
    /// For the prompt and its answer.
    reserved: u32,
    /// What is left of the request for images, in bytes.
    bytes_left: u32,
    /// For the prompt alone, as we estimate, and whether the model has refused a longer one.
    window: u32,
    is_narrowed: bool,
}

/// The attachments of a message, and its turn.
#[derive(Debug, PartialEq)]
struct Attached {
    turn: usize,
    seq: Option<Seq>,
    images: Value,
    /// Whether the model has refused them before.
    are_refused: bool,
}

/// The newest messages that fit beside the system prompt and the answer, within the window and within what is reserved.
/// The message to be answered is always there; then comes the post that the chat is about, cut where it is too long, and
/// then what was said before. `None` when what is reserved has no room for an answer.
///
/// The window is filled by what prose takes; of what is reserved no text takes more than was.
pub(super) fn fitting(
    context: Context,
    answering: &Answering,
    about: Option<&PostInView>,
    lighter: &Lighter,
) -> Option<Fitting> {
    let reserved = context.reserved_tokens.unwrap_or(u32::MAX);
    let window = answering.context_tokens.saturating_sub(answering.max_output_tokens);
    let window = window.min(context.window.unwrap_or(u32::MAX));
    let request = answering.request_bytes.saturating_sub(BYTES_AROUND_A_PROMPT);
    // Those of the question come before what was said before.
    let own_images = context.messages.last().map_or(0, announced_bytes);
    let room = Size {
        usual: window.min(lighter.window.unwrap_or(u32::MAX)),
        most: reserved.saturating_sub(answering.max_output_tokens),
        bytes: request.saturating_sub(own_images),
    };
    let mut system = answering.system_prompt.clone();
    if let Some(about) = about {
        let question = context.messages.last().map(|last| {
            let images = last.attachments.as_array().map_or(0, Vec::len).min(MOST_IMAGES);
            Size::of_message(&last.content, images)
        });
        let left = room
            .less(Size::of_instruction(&system))
            .less(question.unwrap_or_default());
        system.push_str(&post::in_view(about, tokens::bytes_of(left.usual).min(left.most)));
    }
    let mut taken = Size::of_instruction(&system);
    let mut turns = Vec::new();
    let mut attached = Vec::new();
    let mut images_left = MOST_IMAGES;
    for message in context.messages.into_iter().rev() {
        let images = message.attachments.as_array().map_or(0, Vec::len).min(images_left);
        let with_it = taken.and(Size::of_message(&message.content, images));
        if !with_it.is_within(room) && !turns.is_empty() {
            break;
        }
        taken = with_it;
        if message.attachments.as_array().is_some_and(|all| !all.is_empty()) {
            images_left -= images;
            attached.push(Attached {
                turn: turns.len(),
                seq: message.seq,
                images: message.attachments,
                are_refused: message.are_images_refused,
            });
        }
        turns.push(match message.role {
            Role::Assistant => Turn::assistant(message.content),
            Role::User | Role::System => Turn::person(message.content),
        });
    }
    turns.reverse();
    for Attached { turn, .. } in &mut attached {
        *turn = turns.len() - 1 - *turn;
    }
    Fitting {
        prompt: Prompt {
            system: Some(system),
            turns,
            max_output_tokens: answering.max_output_tokens,
            temperature: answering.temperature,
        },
        attached,
        reserved,
        bytes_left: request.saturating_sub(taken.bytes),
        window,
        is_narrowed: context.window.is_some(),
    }
    .with_room_for(taken.most)
}

/// How much of a prompt something takes, in tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// As prose does.
    usual: u32,
    /// As no text exceeds.
    most: u32,
    /// What it takes of the request, in bytes, without images.
    bytes: u32,
}

impl Size {
    fn of_message(text: &str, images: usize) -> Self {
        Self {
            usual: tokens::of_message(text, images),
            most: tokens::bound_of_message(text, images),
            bytes: bytes_in_json(text).saturating_add(BYTES_AROUND_A_MESSAGE),
        }
    }

    fn of_instruction(text: &str) -> Self {
        Self {
            usual: tokens::of_message(text, 0),
            most: tokens::bound_of_instruction(text),
            bytes: bytes_in_json(text),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            usual: self.usual.saturating_add(other.usual),
            most: self.most.saturating_add(other.most),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            usual: self.usual.saturating_sub(other.usual),
            most: self.most.saturating_sub(other.most),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn is_within(self, room: Self) -> bool {
        self.usual <= room.usual && self.most <= room.most && self.bytes <= room.bytes
    }
}

impl Fitting {
    /// Without images and without a history.
    pub(super) fn of(prompt: Prompt, reserved: u32) -> Self {
        Self {
            prompt,
            attached: Vec::new(),
            reserved,
            bytes_left: 0,
            window: 0,
            is_narrowed: false,
        }
    }

    /// With an answer as long as is left beside a prompt of so many tokens, if it is worth it.
    fn with_room_for(mut self, taken: u32) -> Option<Self> {
        let longest = self.prompt.max_output_tokens;
        self.prompt.max_output_tokens = longest.min(self.reserved.saturating_sub(taken));
        (self.prompt.max_output_tokens >= SHORTEST_ANSWER.min(longest)).then_some(self)
    }

    /// What is asked: the prompt with its images. What cannot be shown is mentioned in the turn's text. A model that sees none is
    /// still shown those of the question, so that it says so; earlier ones must not silence it for ever, nor those that it has
    /// refused. `None` when what is reserved has no room for an answer beside that.
    pub(super) async fn with_images<'a>(
        mut self,
        attachments: &Attachments,
        answering: &'a Answering,
        lighter: &Lighter,
    ) -> Option<Question<'a>> {
        let prompt = &mut self.prompt;
        let question = prompt.turns.len().saturating_sub(1);
        let mut omitted = Vec::new();
        // The newest message's first.
        let (mut places, mut asked_for) = (Vec::new(), Vec::new());
        for attached in &self.attached {
            let is_question = attached.turn == question;
            let is_refused = attached.are_refused || lighter.without_images;
            for attachment in attached.images.as_array().into_iter().flatten() {
                if is_refused {
                    // Of earlier ones this answer is told only if it was to be shown them.
                    if omitted.is_empty() && (is_question || lighter.without_images) {
                        omitted.push(Omitted::Images);
                    }
                    let note = if is_question { UNREADABLE } else { AN_IMAGE };
                    mention(&mut prompt.turns[attached.turn], note);
                } else if asked_for.len() < MOST_IMAGES && (answering.sees_images || is_question) {
                    places.push((attached.turn, attached.seq));
                    asked_for.push(attachment);
                } else {
                    mention(&mut prompt.turns[attached.turn], AN_IMAGE);
                }
            }
        }
        if lighter.window.is_some() {
            omitted.push(Omitted::History);
        }
        // Base64 is longer by a third.
        let most = usize::try_from(self.bytes_left / 4 * 3).unwrap_or(usize::MAX);
        let Pictures { shown, room } = attachments.pictures(&asked_for, most).await;
        let mut images_of: Vec<Seq> = Vec::new();
        for ((place, seq), shown) in places.into_iter().zip(shown) {
            let turn = &mut prompt.turns[place];
            match shown {
                Shown::Image(image) => {
                    turn.images.push(image);
                    images_of.extend(seq.filter(|seq| !images_of.contains(seq)));
                }
                Shown::Note(note) => mention(turn, &note),
            }
        }
        let shows_own_images = prompt.turns.last().is_some_and(|turn| !turn.images.is_empty());
        let taken = most_tokens(&self.prompt);
        let (window, is_narrowed, reserved) = (self.window, self.is_narrowed, self.reserved);
        self.with_room_for(taken).map(|fitting| Question {
            model: answering.model.as_ref(),
            prompt: fitting.prompt,
            _room: room,
            reserved,
            images_of,
            shows_own_images,
            omitted,
            window,
            is_narrowed,
            sees_images: answering.sees_images,
            reasoning: answering.reasoning,
        })
    }
}

/// Says it below the words, if there are any.
fn mention(turn: &mut Turn, note: &str) {
    if !turn.text.is_empty() {
        turn.text.push_str(
            "

",
        );
    }
    turn.text.push_str(note);
}

/// What a text takes of a request.
fn bytes_in_json(text: &str) -> u32 {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    });
    bytes.fold(0, u32::saturating_add)
}

/// What the images of a message will take of a request, as far as their sizes were announced.
fn announced_bytes(message: &ContextMessage) -> u32 {
    if message.are_images_refused {
        return 0;
    }
    let images = message.attachments.as_array().into_iter().flatten().take(MOST_IMAGES);
    let bytes = images.map(|image| image["size"].as_u64().unwrap_or(0).saturating_mul(4).div_ceil(3));
    u32::try_from(bytes.fold(0, u64::saturating_add)).unwrap_or(u32::MAX)
}

/// How many tokens a prompt takes, for a provider that does not say.
pub(super) fn estimated_tokens(prompt: &Prompt) -> u32 {
    let images: usize = prompt.turns.iter().map(|turn| turn.images.len()).sum();
    let images = u32::try_from(images)
        .unwrap_or(u32::MAX)
        .saturating_mul(tokens::OF_AN_IMAGE);
    estimated_tokens_of_text(prompt).saturating_add(images)
}

/// The same, without its images.
pub(super) fn estimated_tokens_of_text(prompt: &Prompt) -> u32 {
    let system = prompt.system.iter().map(|text| tokens::of_message(text, 0));
    let turns = prompt.turns.iter().map(|turn| tokens::of_message(&turn.text, 0));
    system.chain(turns).fold(0, u32::saturating_add)
}

/// How many tokens a prompt takes at most, whatever the provider.
pub(super) fn most_tokens(prompt: &Prompt) -> u32 {
    let system = tokens::bound_of_instruction(prompt.system.as_deref().unwrap_or_default());
    let turns = prompt
        .turns
        .iter()
        .map(|turn| tokens::bound_of_message(&turn.text, turn.images.len()));
    turns.fold(system, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use domain::reply::Reasoning;
    use models::{ModelSettings, Provider, from_settings};
    use serde_json::json;

    use super::*;

    fn answering(context_tokens: u32) -> Answering {
        Answering {
            model: from_settings(&ModelSettings::new(Provider::Scripted, "scripted")).expect("valid settings"),
            system_prompt: "You are a helpful assistant in a chat. Answer briefly and to the point.".into(),
            max_output_tokens: 100,
            context_tokens,
            temperature: Some(0.5),
            sees_images: true,
            request_bytes: 20_000_000,
            reasoning: Reasoning::Status,
        }
    }

    fn message(role: Role, content: impl Into<String>) -> ContextMessage {
        ContextMessage {
            seq: None,
            role,
            content: content.into(),
            attachments: json!([]),
            are_images_refused: false,
        }
    }

    fn context(messages: Vec<ContextMessage>) -> Context {
        Context {
            reserved_tokens: None,
            window: None,
            messages,
        }
    }

    #[test]
    fn the_newest_messages_that_fit_are_shown_in_their_order() {
        // 400 characters are 130 tokens and 4 around them; the system prompt takes 27.
        let old = "o".repeat(400);
        let messages = vec![
            message(Role::User, old),
            message(Role::Assistant, "a".repeat(400)),
            message(Role::User, "newest"),
        ];
        let shown = fitting(context(messages), &answering(270), None, &Lighter::default())
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
            message(Role::User, "small"),
            message(Role::Assistant, "x".repeat(4000)),
            message(Role::User, "hi"),
        ];
        let shown = fitting(context(messages), &answering(400), None, &Lighter::default())
            .expect("there is room")
            .prompt;
        assert_eq!(shown.turns, [Turn::person("hi")]);
    }

    #[test]
    fn the_question_is_shown_even_if_it_is_too_long_alone() {
        let question = "q".repeat(30_000);
        let shown = fitting(
            context(vec![message(Role::User, question.clone())]),
            &answering(400),
            None,
            &Lighter::default(),
        )
        .expect("there is room")
        .prompt;
        assert_eq!(shown.turns, [Turn::person(question)]);
    }

    #[test]
    fn no_more_is_shown_and_said_than_is_reserved() {
        let messages = || {
            vec![
                message(Role::User, "o".repeat(400)),
                message(Role::Assistant, "a".repeat(400)),
                message(Role::User, "newest"),
            ]
        };
        let with = |reserved| {
            let context = Context {
                reserved_tokens: Some(reserved),
                ..context(messages())
            };
            fitting(context, &answering(1000), None, &Lighter::default())
        };
        let alone = fitting(
            context(vec![messages().remove(2)]),
            &answering(1000),
            None,
            &Lighter::default(),
        )
        .expect("there is room");
        let least = most_tokens(&alone.prompt) + 64;
        for reserved in [1500, 900, 700, 300, least] {
            let shown = with(reserved).expect("there is room").prompt;
            let cost = most_tokens(&shown) + shown.max_output_tokens;
            assert!(cost <= reserved, "{cost} of {reserved}");
            assert_eq!(shown.turns.last().expect("a turn").text, "newest");
        }
        assert_eq!(with(1500).expect("there is room").prompt.turns.len(), 3);
        assert_eq!(with(700).expect("there is room").prompt.turns.len(), 2);
        assert_eq!(with(least).expect("there is room").prompt.max_output_tokens, 64);
        assert!(with(least - 1).is_none());
    }

    #[test]
    fn the_newest_ten_images_are_to_be_shown_and_counted() {
        let with_images = |content: &str, images: usize| ContextMessage {
            attachments: vec![json!({"url": "s3://b/k"}); images].into(),
            ..message(Role::User, content)
        };
        let messages = || {
            vec![
                with_images("first", 6),
                message(Role::Assistant, "nice"),
                with_images("second", 6),
            ]
        };
        let shown =
            fitting(context(messages()), &answering(100_000), None, &Lighter::default()).expect("there is room");
        let places: Vec<_> = shown.attached.iter().map(|attached| attached.turn).collect();
        assert_eq!(places, [2, 0]);
        // Ten images take 16,000 tokens: a window with room for six of them ends before the first message.
        let shown = fitting(context(messages()), &answering(12_000), None, &Lighter::default()).expect("there is room");
        assert_eq!(shown.prompt.turns.len(), 2);
        assert_eq!(shown.attached.len(), 1);
        assert_eq!(shown.attached[0].turn, 1);
    }

    #[test]
    fn the_model_is_asked_as_its_settings_say() {
        let shown = fitting(
            context(vec![message(Role::User, "hi")]),
            &answering(400),
            None,
            &Lighter::default(),
        )
        .expect("there is room")
        .prompt;
        assert_eq!(shown.system, Some(answering(400).system_prompt));
        assert_eq!((shown.max_output_tokens, shown.temperature), (100, Some(0.5)));
    }
}
