//! A model without a model, for tests and for a local stack that has none. It says `You said: …`, a word at a time, or
//! does what a script in the person's last message tells it to:
//!
//! ```text
//! /script {"words": 200, "delayMs": 50, "fail": "truncate", "failAfterWords": 20, "thoughts": 3}
//! ```
//!
//! It tells what it was shown: `[2 images: image/png 68 bytes, image/jpeg 120 bytes] You said: …`. A word is a token
//! here, and an image is [`TOKENS_AN_IMAGE`]. The same prompt gets the same answer, in any process and on every attempt.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::sleep;

use super::{Chunk, Chunks, Finish, Image, Model, ModelError, ModelSettings, Prompt, Speaker, TokenUsage};
use domain::characters::is_refused;

const COMMAND: &str = "/script";

/// What Gemini counts for a small image.
const TOKENS_AN_IMAGE: usize = 258;

#[derive(Debug)]
pub(super) struct Scripted {
    name: String,
    first_byte_timeout: Duration,
    silence_timeout: Duration,
}

impl Scripted {
    pub(super) fn new(settings: &ModelSettings) -> Self {
        Self {
            name: settings.name.clone(),
            first_byte_timeout: settings.first_byte_timeout,
            silence_timeout: settings.silence_timeout,
        }
    }
}

#[async_trait]
impl Model for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    async fn stream(&self, prompt: &Prompt) -> Result<Chunks, ModelError> {
        let turns = prompt.spoken()?;
        let last = turns.iter().rfind(|turn| turn.speaker == Speaker::Person);
        let script = last.map_or_else(|| Script::of("", &[]), |turn| Script::of(&turn.text, turn.shown()));
        let texts = turns.iter().map(|turn| &*turn.text).chain(prompt.instruction());
        let words: usize = texts.map(count_words).sum();
        let images: usize = turns.iter().map(|turn| turn.shown().len()).sum();
        let input = words + images * TOKENS_AN_IMAGE;
        let speech = Speech {
            words: script.words(),
            said: 0,
            thought: 0,
            cap: prompt.max_output_tokens,
            input: u32::try_from(input).unwrap_or(u32::MAX),
            first_byte_timeout: self.first_byte_timeout,
            silence_timeout: self.silence_timeout,
            script,
        };
        Ok(stream::unfold(Some(speech), |speech| async {
            let mut speech = speech?;
            let item = speech.next().await;
            let goes_on = matches!(item, Ok(Chunk::Text(_) | Chunk::Thought(_) | Chunk::Counted(_)));
            Some((item, goes_on.then_some(speech)))
        })
        .boxed())
    }
}

/// What the answer shall be; every field may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Script {
    /// How many words to say; 20 when there is no `text` either.
    words: Option<u32>,
    /// What to say instead.
    text: Option<String>,
    /// How many times it thinks before its first word: `step 1 `, `step 2 ` and so on, of two tokens each.
    thoughts: u32,
    /// How many bytes it thinks besides, each time.
    thought_bytes: usize,
    /// Before each thought and each word; 20.
    delay_ms: Option<u64>,
    fail: Option<Fail>,
    /// Of a `429`: how long it asks to be left alone.
    retry_after_seconds: Option<u64>,
    /// How many words come before the failure; 0. With more than there are, there is none.
    fail_after_words: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fail {
    #[serde(rename = "429")]
    RateLimited,
    #[serde(rename = "503")]
    Overloaded,
    Truncate,
    Silent,
    Blocked,
    Unreachable,
    /// On thoughts.
    Spent,
}

impl Script {
    /// A script that cannot be read is answered with why.
    fn of(heard: &str, seen: &[Image]) -> Self {
        let saying = |text: String| Self {
            text: Some(text),
            ..Self::default()
        };
        match heard.strip_prefix(COMMAND) {
            Some(script) if script.trim().is_empty() => Self::default(),
            Some(script) if script.starts_with(char::is_whitespace) => serde_json::from_str(script)
                .map_err(|error| error.to_string())
                .and_then(|script: Self| match script {
                    Self {
                        words: Some(_),
                        text: Some(_),
                        ..
                    } => Err("it has words and a text".into()),
                    script => Ok(script),
                })
                .unwrap_or_else(|error| saying(format!("This script is not valid: {error}"))),
            _ => saying(format!("{}You said: {heard}", describe(seen))),
        }
    }

    /// Together they are the whole text, white space included.
    fn words(&self) -> Box<dyn Iterator<Item = String> + Send> {
        let Some(text) = &self.text else {
            return Box::new((1..=self.words.unwrap_or(20)).map(|number| format!("word{number} ")));
        };
        let mut words: Vec<String> = Vec::new();
        for piece in text.replace(is_refused, "").split_inclusive(char::is_whitespace) {
            match words.last_mut() {
                Some(word) if piece.trim().is_empty() => word.push_str(piece),
                _ => words.push(piece.to_owned()),
            }
        }
        Box::new(words.into_iter())
    }
}

/// An answer that is being given.
struct Speech {
    script: Script,
    words: Box<dyn Iterator<Item = String> + Send>,
    said: u32,
    thought: u32,
    cap: u32,
    input: u32,
    first_byte_timeout: Duration,
    silence_timeout: Duration,
}

impl Speech {
    async fn next(&mut self) -> Result<Chunk, ModelError> {
        if self.thought < self.script.thoughts {
            self.rest().await;
            self.thought += 1;
            let more = "hm ".repeat(self.script.thought_bytes / 3);
            return Ok(Chunk::Thought(format!("step {} {more}", self.thought)));
        }
        if let Some(fail) = self.script.fail
            && self.said == self.script.fail_after_words
        {
            return self.fail(fail).await;
        }
        let Some(word) = self.words.next() else {
            return Ok(self.done(Finish::Stop));
        };
        if self.said == self.cap {
            return Ok(self.done(Finish::Length));
        }
        self.rest().await;
        self.said += 1;
        Ok(Chunk::Text(word))
    }

    async fn rest(&mut self) {
        sleep(Duration::from_millis(self.script.delay_ms.unwrap_or(20))).await;
    }

    async fn fail(&mut self, fail: Fail) -> Result<Chunk, ModelError> {
        Err(match fail {
            Fail::RateLimited => ModelError::RateLimited {
                retry_after: self.script.retry_after_seconds.map(Duration::from_secs),
            },
            Fail::Overloaded => ModelError::Overloaded { retry_after: None },
            Fail::Truncate => ModelError::Truncated,
            Fail::Unreachable => ModelError::Unreachable {
                detail: "as the script says".into(),
            },
            Fail::Silent => {
                sleep(if self.said == 0 {
                    self.first_byte_timeout
                } else {
                    self.silence_timeout
                })
                .await;
                ModelError::Silent
            }
            Fail::Spent => ModelError::NothingSaid {
                usage: Some(self.usage()),
            },
            Fail::Blocked if self.said == 0 => ModelError::Blocked {
                reason: "as the script says".into(),
                usage: Some(self.usage()),
            },
            Fail::Blocked => return Ok(self.done(Finish::Blocked)),
        })
    }

    fn done(&self, finish: Finish) -> Chunk {
        Chunk::Done {
            finish,
            usage: Some(self.usage()),
        }
    }

    fn usage(&self) -> TokenUsage {
        TokenUsage {
            input_tokens: self.input,
            output_tokens: self.said + 2 * self.thought,
            cached_tokens: 0,
        }
    }
}

fn describe(images: &[Image]) -> String {
    if images.is_empty() {
        return String::new();
    }
    let all: Vec<_> = images
        .iter()
        .map(|image| format!("{} {} bytes", image.mime_type, image.bytes.len()))
        .collect();
    let unit = if images.len() == 1 { "image" } else { "images" };
    format!("[{} {unit}: {}] ", images.len(), all.join(", "))
}

fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests;
