//! What a model is shown: the system prompt and the newest messages that fit its window.

use shared::assistants::Answering;
use shared::domain::message::Role;
use shared::domain::tokens::estimate;
use shared::models::{Prompt, Turn};
use shared::store::replies::Context;

/// What providers add around each message, in tokens; OpenAI's cookbook counts 3 to 4.
const TOKENS_AROUND_A_MESSAGE: u32 = 4;

/// The newest messages that fit beside the system prompt and the answer. The message to be answered is always there.
pub(super) fn fitting(context: Context, answering: &Answering) -> Prompt {
    let system = &answering.system_prompt;
    let taken = estimate(system).saturating_add(answering.max_output_tokens);
    let mut room = answering.context_tokens.saturating_sub(taken);
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
        system: Some(system.clone()),
        turns,
        max_output_tokens: answering.max_output_tokens,
        temperature: answering.temperature,
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
    use shared::domain::chat::Kind;
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
        }
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
        let shown = fitting(context(messages), &answering(270));
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
        let shown = fitting(context(messages), &answering(400));
        assert_eq!(shown.turns, [Turn::person("hi")]);
    }

    #[test]
    fn the_question_is_shown_even_if_it_is_too_long_alone() {
        let question = "q".repeat(30_000);
        let shown = fitting(context(vec![said(Role::User, question.clone())]), &answering(400));
        assert_eq!(shown.turns, [Turn::person(question)]);
    }

    #[test]
    fn the_model_is_asked_as_its_settings_say() {
        let shown = fitting(context(vec![said(Role::User, "hi")]), &answering(400));
        assert_eq!(shown.system, Some(answering(400).system_prompt));
        assert_eq!((shown.max_output_tokens, shown.temperature), (100, Some(0.5)));
    }
}
