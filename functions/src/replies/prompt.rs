//! What a model is shown: the system prompt and the newest messages that fit its window.

use shared::config::ReplyConfig;
use shared::domain::message::Role;
use shared::domain::tokens;
use shared::models::{Prompt, Turn};
use shared::store::replies::Context;

/// An answer that has room for fewer tokens is not worth its prompt.
const SHORTEST_ANSWER: u32 = 64;

/// The newest messages that fit beside the system prompt and the answer, within the window and within what is reserved.
/// The message to be answered is always there. `None` when what is reserved has no room for an answer.
pub(super) fn fitting(context: Context, config: &ReplyConfig) -> Option<Prompt> {
    let system = config.system_prompt(context.kind);
    let reserved = context.reserved_tokens.unwrap_or(u32::MAX);
    let mut taken = tokens::of_message(system, 0);
    let window = config
        .context_tokens
        .min(reserved)
        .saturating_sub(config.max_output_tokens);
    let mut turns = Vec::new();
    for message in context.messages.into_iter().rev() {
        let with_it = taken.saturating_add(tokens::of_message(&message.content, 0));
        if with_it > window && !turns.is_empty() {
            break;
        }
        taken = with_it;
        turns.push(match message.role {
            Role::Assistant => Turn::assistant(message.content),
            Role::User | Role::System => Turn::person(message.content),
        });
    }
    turns.reverse();
    let max_output_tokens = config.max_output_tokens.min(reserved.saturating_sub(taken));
    (max_output_tokens >= SHORTEST_ANSWER.min(config.max_output_tokens)).then(|| Prompt {
        system: Some(system.to_owned()),
        turns,
        max_output_tokens,
        temperature: config.temperature,
    })
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
    use shared::config::Config;
    use shared::config::Environment;
    use shared::domain::chat::Kind;
    use shared::store::replies::ContextMessage;

    use super::*;

    fn config(context_tokens: &str) -> ReplyConfig {
        let table = |name: &str| {
            let value = match name {
                "DATABASE_URL" => "postgres://localhost/x",
                "SQS_QUEUE_URL" => "http://localhost/q",
                "JWT_ALGORITHM" => "HS256",
                "JWT_SECRET" => "0123456789abcdef0123456789abcdef",
                "JWT_ISSUER" | "JWT_AUDIENCE" => "x",
                "MODEL_PROVIDER" => "scripted",
                "MODEL_MAX_OUTPUT_TOKENS" => "100",
                "MODEL_CONTEXT_TOKENS" => context_tokens,
                "SYSTEM_PROMPT_POST" => "Help with the post.",
                _ => return None,
            };
            Some(value.to_owned())
        };
        Config::read(&Environment(&table))
            .expect("a valid configuration")
            .replies
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
            kind: Kind::Assistant,
            organisation: None,
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
        let shown = fitting(context(messages), &config("270")).expect("there is room");
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
        let shown = fitting(context(messages), &config("400")).expect("there is room");
        assert_eq!(shown.turns, [Turn::person("hi")]);
    }

    #[test]
    fn the_question_is_shown_even_if_it_is_too_long_alone() {
        let question = "q".repeat(30_000);
        let shown = fitting(context(vec![said(Role::User, question.clone())]), &config("400")).expect("there is room");
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
            fitting(context, &config("1000"))
        };
        for reserved in [500, 300, 270, 150, 97] {
            let shown = with(reserved).expect("there is room");
            let cost = estimated_tokens(&shown) + shown.max_output_tokens;
            assert!(cost <= reserved, "{cost} of {reserved}");
            assert_eq!(shown.turns.last().expect("a turn").text, "newest");
        }
        assert_eq!(with(500).expect("there is room").turns.len(), 3);
        assert_eq!(with(97).expect("there is room").max_output_tokens, 64);
        assert_eq!(with(96), None);
    }

    #[test]
    fn a_kind_of_chat_may_have_its_own_instruction() {
        let of = |kind| {
            fitting(
                Context {
                    kind,
                    ..context(vec![said(Role::User, "hi")])
                },
                &config("400"),
            )
            .expect("there is room")
            .system
        };
        assert_eq!(of(Kind::Post).as_deref(), Some("Help with the post."));
        assert_ne!(of(Kind::Assistant), of(Kind::Post));
    }
}
