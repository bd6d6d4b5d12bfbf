use std::sync::Arc;

use tokio::time::Instant;

use super::*;
use crate::{Provider, Turn, from_settings};

const FIRST_BYTE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(7);

fn settings() -> ModelSettings {
    ModelSettings {
        silence_timeout: SILENCE,
        attempts: 1,
        ..ModelSettings::new(Provider::Scripted, "scripted")
    }
}

fn prompt(turns: &[Turn]) -> Prompt {
    Prompt {
        system: Some("Be brief.".into()),
        turns: turns.to_vec(),
        max_output_tokens: 1000,
        temperature: None,
    }
}

/// All that is said to a prompt, and when.
async fn hear_all(prompt: &Prompt) -> Vec<(Duration, Result<Chunk, ModelError>)> {
    let begun = Instant::now();
    let model = Scripted::new(&settings());
    let chunks = model.stream(prompt).await.unwrap();
    chunks.map(|chunk| (begun.elapsed(), chunk)).collect().await
}

/// The text that is said to a message, and how it ends.
async fn hear(message: &str) -> (String, Result<Chunk, ModelError>) {
    ending(hear_all(&prompt(&[Turn::person(message)])).await)
}

fn ending(mut heard: Vec<(Duration, Result<Chunk, ModelError>)>) -> (String, Result<Chunk, ModelError>) {
    let (_, end) = heard.pop().expect("a stream has an end");
    let texts = heard.into_iter().map(|(_, chunk)| match chunk {
        Ok(Chunk::Text(text)) => text,
        other => panic!("{other:?} before the end"),
    });
    (texts.collect(), end)
}

fn done(finish: Finish, input_tokens: u32, output_tokens: u32) -> Result<Chunk, ModelError> {
    let usage = TokenUsage {
        input_tokens,
        output_tokens,
        cached_tokens: 0,
    };
    Ok(Chunk::Done {
        finish,
        usage: Some(usage),
    })
}

#[tokio::test(start_paused = true)]
async fn it_thinks_before_its_first_word_and_counts_that() {
    let script = r#"/script {"text": "Yes.", "thoughts": 2, "thoughtBytes": 6}"#;
    let mut heard = hear_all(&prompt(&[Turn::person(script)]))
        .await
        .into_iter()
        .map(|(_, chunk)| chunk);
    for thought in ["step 1 hm hm ", "step 2 hm hm "] {
        assert_eq!(heard.next(), Some(Ok(Chunk::Thought(thought.into()))));
    }
    assert_eq!(heard.next(), Some(Ok(Chunk::Text("Yes.".into()))));
    assert!(matches!(heard.next(), Some(Ok(Chunk::Done { usage: Some(usage), .. })) if usage.output_tokens == 5));
    let (_, end) = hear(r#"/script {"fail": "spent"}"#).await;
    assert!(
        matches!(end, Err(ModelError::NothingSaid { usage: Some(_) })),
        "{end:?}"
    );
    let (_, end) = hear(r#"/script {"fail": "429", "retryAfterSeconds": 90}"#).await;
    let rest = Some(Duration::from_secs(90));
    assert_eq!(end, Err(ModelError::RateLimited { retry_after: rest }));
}

#[tokio::test(start_paused = true)]
async fn the_last_message_is_repeated_a_word_at_a_time() {
    let turns = [
        Turn::person("one"),
        Turn::assistant("two"),
        Turn::person("Grüße,  世界\n👋"),
    ];
    let heard = hear_all(&prompt(&turns)).await;
    let expected = ["You ", "said: ", "Grüße,  ", "世界\n", "👋"];
    let words: Vec<_> = heard
        .iter()
        .filter_map(|(at, chunk)| match chunk {
            Ok(Chunk::Text(word)) => Some((at.as_millis(), word.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        words,
        [20, 40, 60, 80, 100].into_iter().zip(expected).collect::<Vec<_>>()
    );
    assert_eq!(ending(heard).1, done(Finish::Stop, 7, 5));
}

fn image(mime_type: &str, bytes: usize) -> Image {
    Image {
        mime_type: mime_type.into(),
        bytes: vec![0; bytes].into(),
    }
}

#[tokio::test(start_paused = true)]
async fn images_are_seen_and_counted() {
    let shown = [image("image/png", 68), image("image/jpeg", 120)];
    let turns = [
        Turn::person("old").with_images([image("image/gif", 1)]),
        Turn::assistant("no").with_images([image("image/gif", 2)]),
        Turn::person("what is it?").with_images(shown),
    ];
    let (text, end) = ending(hear_all(&prompt(&turns)).await);
    assert_eq!(
        text,
        "[2 images: image/png 68 bytes, image/jpeg 120 bytes] You said: what is it?"
    );
    assert_eq!(end, done(Finish::Stop, 2 + 1 + 1 + 3 + 3 * 258, 13));

    let (text, _) = ending(hear_all(&prompt(&[Turn::person("").with_images([image("image/png", 5)])])).await);
    assert_eq!(text, "[1 image: image/png 5 bytes] You said: ");

    let script = Turn::person("/script {\"text\": \"yes\"}").with_images([image("image/png", 5)]);
    let (text, end) = ending(hear_all(&prompt(&[script])).await);
    assert_eq!((text.as_str(), end), ("yes", done(Finish::Stop, 5 + 258, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_eyes_is_not_asked_about_images() {
    let mut settings = settings();
    settings.vision = false;
    let model = from_settings(&settings).unwrap();
    let asked = |turns: &[Turn]| {
        let (model, prompt) = (Arc::clone(&model), prompt(turns));
        async move { model.stream(&prompt).await.err() }
    };
    let older = [
        Turn::person("see").with_images([image("image/png", 5)]),
        Turn::person("well?"),
    ];
    assert_eq!(asked(&older).await, Some(ModelError::NoVision));
    assert_eq!(asked(&[Turn::person("well?")]).await, None);
    assert!(!ModelError::NoVision.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn an_assistant_that_spoke_last_does_not_change_what_was_heard() {
    let turns = [
        Turn::person("/script {\"text\": \"yes\"}"),
        Turn::assistant("no"),
        Turn::person(" "),
    ];
    assert_eq!(ending(hear_all(&prompt(&turns)).await).0, "yes");
}

#[tokio::test(start_paused = true)]
async fn a_script_says_how_many_words_at_what_pace() {
    let heard = hear_all(&prompt(&[Turn::person("/script {\"words\": 3, \"delayMs\": 500}")])).await;
    let times: Vec<_> = heard.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [500, 1000, 1500, 1500]);
    assert_eq!(ending(heard), ("word1 word2 word3 ".into(), done(Finish::Stop, 7, 3)));
}

#[tokio::test(start_paused = true)]
async fn a_script_says_what_to_say() {
    let (text, end) = hear(r#"/script {"text": "  a\u0000b  ✓ "}"#).await;
    assert_eq!(text, "  ab  ✓ ");
    assert!(
        matches!(
            end,
            Ok(Chunk::Done {
                finish: Finish::Stop,
                ..
            })
        ),
        "{end:?}"
    );
    assert_eq!(
        hear(r#"/script {"text": ""}"#).await,
        (String::new(), done(Finish::Stop, 5, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_blank_script_says_twenty_words() {
    for script in ["/script", "/script  ", "/script {}", "/script\n{}"] {
        let (text, end) = hear(script).await;
        assert_eq!(count_words(&text), 20);
        assert!(matches!(end, Ok(Chunk::Done { .. })), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_script_is_only_repeated() {
    for text in ["/scripted {\"words\": 3}", "see /script {\"words\": 3}", "/Script {}"] {
        assert_eq!(hear(text).await.0, format!("You said: {text}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_that_is_not_valid_is_answered_with_why() {
    for (script, why) in [
        ("{", "EOF"),
        ("3", "invalid type"),
        ("{\"wrods\": 3}", "wrods"),
        ("{\"words\": -1}", "-1"),
        ("{\"words\": 1, \"text\": \"a\"}", "words and a text"),
        ("{\"fail\": \"418\"}", "418"),
        ("{} trailing", "trailing"),
    ] {
        let (text, end) = hear(&format!("/script {script}")).await;
        assert!(text.starts_with("This script is not valid: "), "{script}: {text}");
        assert!(text.contains(why), "{script}: {text}");
        assert!(matches!(end, Ok(Chunk::Done { .. })), "{script}: {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_comes_at_once_or_after_its_words() {
    let detail = || "as the script says".to_owned();
    let usage = Some(TokenUsage {
        input_tokens: 5,
        output_tokens: 0,
        cached_tokens: 0,
    });
    for (fail, error) in [
        ("429", ModelError::RateLimited { retry_after: None }),
        ("503", ModelError::Overloaded { retry_after: None }),
        ("truncate", ModelError::Truncated),
        ("silent", ModelError::Silent),
        ("unreachable", ModelError::Unreachable { detail: detail() }),
        (
            "blocked",
            ModelError::Blocked {
                reason: detail(),
                usage,
            },
        ),
    ] {
        assert_eq!(
            hear(&format!("/script {{\"fail\": \"{fail}\"}}")).await,
            (String::new(), Err(error.clone()))
        );
        let after = hear(&format!("/script {{\"fail\": \"{fail}\", \"failAfterWords\": 2}}")).await;
        // A provider that has begun does not take its words back, it stops.
        let end = if fail == "blocked" {
            done(Finish::Blocked, 7, 2)
        } else {
            Err(error)
        };
        assert_eq!(after, ("word1 word2 ".into(), end));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_behind_the_last_word_comes_and_one_further_on_does_not() {
    let script = |after: u32| format!("/script {{\"words\": 3, \"fail\": \"truncate\", \"failAfterWords\": {after}}}");
    assert_eq!(hear(&script(3)).await.1, Err(ModelError::Truncated));
    assert_eq!(hear(&script(4)).await.1, done(Finish::Stop, 9, 3));
}

#[tokio::test(start_paused = true)]
async fn silence_is_waited_for_as_the_settings_say() {
    let ends_at = async |script: &str| {
        let heard = hear_all(&prompt(&[Turn::person(script)])).await;
        heard.last().map(|(at, _)| *at)
    };
    assert_eq!(ends_at("/script {\"fail\": \"silent\"}").await, Some(FIRST_BYTE));
    let after_a_word = "/script {\"fail\": \"silent\", \"failAfterWords\": 1, \"delayMs\": 0}";
    // A timer of no time still waits for the clock's next millisecond.
    assert!(
        ends_at(after_a_word)
            .await
            .is_some_and(|at| at - SILENCE <= Duration::from_millis(1))
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_answer_is_kept_to() {
    let mut prompt = prompt(&[Turn::person("/script {\"words\": 5}")]);
    prompt.max_output_tokens = 3;
    assert_eq!(
        ending(hear_all(&prompt).await),
        ("word1 word2 word3 ".into(), done(Finish::Length, 5, 3))
    );
    prompt.max_output_tokens = 5;
    assert_eq!(ending(hear_all(&prompt).await).1, done(Finish::Stop, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_without_words_is_rejected() {
    let asked = Scripted::new(&settings()).stream(&prompt(&[])).await;
    assert!(matches!(asked.err(), Some(ModelError::Rejected { status: 400, .. })));
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_again_as_any_model() {
    let mut settings = settings();
    settings.attempts = 3;
    let model = from_settings(&settings).unwrap();
    let begun = Instant::now();
    let asked = model
        .stream(&prompt(&[Turn::person("/script {\"fail\": \"503\"}")]))
        .await;
    assert_eq!(asked.err(), Some(ModelError::Overloaded { retry_after: None }));
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "two waits in {:?}",
        begun.elapsed()
    );
    let asked = model
        .stream(&prompt(&[Turn::person("/script {\"fail\": \"silent\"}")]))
        .await;
    assert_eq!(asked.err(), Some(ModelError::Silent));
}
