//! `aimock`, of npm: answers of fixtures as Gemini and Anthropic give them, with what `llmock` cannot do: an answer that a
//! filter stops, thoughts, cuts by time. `tests/clients/aimock.mjs` starts it, and has the fixtures.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use super::Peer;
use crate::hear::{End, hear};
use crate::{ApiKey, Finish, ModelError, ModelSettings, Prompt, Provider, TokenUsage, Turn, from_settings};
use fakes::LONG;

static RUNNING: Mutex<Weak<Peer>> = Mutex::new(Weak::new());

const PROVIDERS: [(Provider, &str); 2] = [(Provider::Gemini, "/v1beta"), (Provider::Anthropic, "")];
const TEXT: &str = "Grüße, 世界! 👋🏽 Wie geht es dir heute?";

fn aimock() -> Arc<Peer> {
    Peer::shared(&RUNNING, || {
        let node = std::env::var_os("NODE_BIN").unwrap_or_else(|| "node".into());
        let clients: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../tests/clients"].iter().collect();
        assert!(
            clients.join("node_modules/@copilotkit/aimock").is_dir(),
            "aimock is not in tests/clients/node_modules: `cargo xtask test` installs it, `npm ci` there does as well"
        );
        Peer::start(Command::new(node).arg("aimock.mjs").current_dir(clients), "aimock at ")
    })
}

async fn hear_of((provider, base): (Provider, &str), fixture: &str) -> (String, End) {
    let server = aimock();
    let settings = ModelSettings {
        url: format!("{}{base}", server.address),
        key: ApiKey::new("key"),
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        attempts: 1,
        ..ModelSettings::new(provider, fixture)
    };
    let prompt = Prompt {
        system: Some("Be brief.".into()),
        turns: vec![Turn::person("hi")],
        max_output_tokens: 100,
        temperature: None,
    };
    let (texts, end) = hear(from_settings(&settings).unwrap().as_ref(), &prompt).await;
    (texts.concat(), end)
}

#[tokio::test]
async fn an_answer_is_heard_whole_and_counted() {
    let usage = TokenUsage {
        input_tokens: 9,
        output_tokens: 7,
        cached_tokens: 0,
    };
    for provider in PROVIDERS {
        assert_eq!(
            hear_of(provider, "whole").await,
            (TEXT.into(), Ok((Finish::Stop, Some(usage)))),
            "{provider:?}"
        );
    }
}

#[tokio::test]
async fn finish_reasons_are_understood() {
    for provider in PROVIDERS {
        let (text, end) = hear_of(provider, "length").await;
        assert_eq!((text.as_str(), end.unwrap().0), (TEXT, Finish::Length), "{provider:?}");
    }
    let (text, end) = hear_of(PROVIDERS[0], "safety").await;
    assert_eq!((text.as_str(), end.unwrap().0), (TEXT, Finish::Blocked));
}

#[tokio::test]
async fn thoughts_are_not_said() {
    for provider in PROVIDERS {
        let (text, end) = hear_of(provider, "thoughts").await;
        assert_eq!((text.as_str(), end.unwrap().0), (TEXT, Finish::Stop), "{provider:?}");
    }
}

#[tokio::test]
async fn a_cut_is_never_taken_for_an_answer() {
    for provider in PROVIDERS {
        for fixture in ["cut-by-pieces", "cut-by-time"] {
            let (text, end) = hear_of(provider, fixture).await;
            assert_eq!(end, Err(ModelError::Truncated), "{provider:?} {fixture}");
            assert!(TEXT.starts_with(&text) && text.len() < TEXT.len(), "{text}");
        }
        assert!(!hear_of(provider, "cut-by-pieces").await.0.is_empty());
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for provider in PROVIDERS {
        let (_, end) = hear_of(provider, "limited").await;
        assert!(
            matches!(&end, Err(ModelError::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 3),
            "{provider:?}: {end:?}"
        );
        let (_, end) = hear_of(provider, "busy").await;
        assert!(
            matches!(&end, Err(ModelError::Overloaded { .. })),
            "{provider:?}: {end:?}"
        );
    }
}
