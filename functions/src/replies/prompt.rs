//! What a model is shown: the system prompt and the newest messages that fit its window.

use shared::config::ReplyConfig;
use shared::domain::message::Role;
use shared::domain::tokens::estimate;
use shared::models::{Prompt, Turn};
use shared::store::replies::Context;

/// What providers add around each message, in tokens; OpenAI's cookbook counts 3 to 4.
const TOKENS_AROUND_A_MESSAGE: u32 = 4;

/// The newest messages that fit beside the system prompt and the answer. The message to be answered is always there.
pub(super) fn fitting(context: Context, config: &ReplyConfig) -> Prompt {
    let system = config.system_prompt(context.kind);
    let taken = estimate(system).saturating_add(config.max_output_tokens);
    let mut room = config.context_tokens.saturating_sub(taken);
    let mut turns = Vec::new();
    for message in context.messages.into_iter().rev() {
        let tokens = estimate(&message.content).saturating_add(TOKENS_AROUND_A_MESSAGE);
        if tokens > room && !turns.is_empty() {
            break;
        }
        room = room.saturating_sub(tokens);
        turns.push(match message.role {
            Role::Assistant => Turn::assistant(message.content),
            Role::User | Role::System => Turn::person(message.content),
        });
    }
    turns.reverse();
    Prompt {
        system: Some(system.to_owned()),
        turns,
        max_output_tokens: config.max_output_tokens,
        temperature: config.temperature,
    }
}

/// How many tokens a prompt takes, for a provider that does not say.
pub(super) fn estimated_tokens(prompt: &Prompt) -> u32 {
    let texts = prompt.system.iter().chain(prompt.turns.iter().map(|turn| &turn.text));
    texts
        .map(|text| estimate(text).saturating_add(TOKENS_AROUND_A_MESSAGE))
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
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
        }
    }

    fn context(messages: Vec<ContextMessage>) -> Context {
        Context {
            kind: Kind::Assistant,
            messages,
        }
    }

    #[test]
    fn the_newest_messages_that_fit_are_shown_in_their_order() {
        // 400 characters are 130 tokens and 4 around them; the system prompt takes 23.
        let old = "o".repeat(400);
        let messages = vec![
            said(Role::User, old),
            said(Role::Assistant, "a".repeat(400)),
            said(Role::User, "newest"),
        ];
        let shown = fitting(context(messages), &config("270"));
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
        let shown = fitting(context(messages), &config("400"));
        assert_eq!(shown.turns, [Turn::person("hi")]);
    }

    #[test]
    fn the_question_is_shown_even_if_it_is_too_long_alone() {
        let question = "q".repeat(30_000);
        let shown = fitting(context(vec![said(Role::User, question.clone())]), &config("400"));
        assert_eq!(shown.turns, [Turn::person(question)]);
    }

    #[test]
    fn a_kind_of_chat_may_have_its_own_instruction() {
        let of = |kind| {
            fitting(
                Context {
                    kind,
                    messages: vec![said(Role::User, "hi")],
                },
                &config("400"),
            )
            .system
        };
        assert_eq!(of(Kind::Post).as_deref(), Some("Help with the post."));
        assert_ne!(of(Kind::Assistant), of(Kind::Post));
    }
}
