//! What servers have been seen to send, by public bug reports: each case with the text that is told, how it ends, what is
//! counted, and how often the server was asked. "Tall lighthouses shine." is the whole answer of each.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{ApiKey, Chunk, Finish, ModelError, ModelSettings, Prompt, Provider, TokenUsage, Turn, from_settings};
use fakes::{Act, Answer, Fake, LONG, response, stream_of};

mod anthropic;
mod completions;
mod gemini;

const WHOLE: &str = "Tall lighthouses shine.";
const WORDS: [&str; 3] = ["Tall ", "lighthouses ", "shine."];
const DONE: &str = "data: [DONE]\n\n";

/// What was heard of one question.
#[derive(Debug, PartialEq)]
struct Heard {
    text: String,
    thoughts: String,
    end: Result<(Finish, Option<TokenUsage>), ModelError>,
    calls: usize,
}

fn heard(text: &str, end: Result<(Finish, Option<TokenUsage>), ModelError>) -> Heard {
    Heard {
        text: text.into(),
        thoughts: String::new(),
        end,
        calls: 1,
    }
}

/// The whole answer, with the count of [`tokens`] or without one.
fn whole(is_counted: bool) -> Heard {
    heard(WHOLE, Ok((Finish::Stop, is_counted.then(|| tokens(20, 8)))))
}

fn thinking(thoughts: &str, heard: Heard) -> Heard {
    Heard {
        thoughts: thoughts.into(),
        ..heard
    }
}

fn failed(text: &str, error: ModelError) -> Heard {
    heard(text, Err(error))
}

fn tokens(input_tokens: u32, output_tokens: u32) -> TokenUsage {
    TokenUsage {
        input_tokens,
        output_tokens,
        cached_tokens: 0,
    }
}

/// What a server that answers so makes of a question.
async fn ask(provider: Provider, answer: Answer) -> Heard {
    let fake = Fake::always(answer);
    let settings = ModelSettings {
        url: fake.url(),
        key: ApiKey::new("a-key"),
        first_byte_timeout: LONG,
        silence_timeout: LONG,
        ..ModelSettings::new(provider, "m")
    };
    let prompt = Prompt {
        system: None,
        turns: vec![Turn::person("hi")],
        max_output_tokens: 1024,
        temperature: None,
    };
    let (mut text, mut thoughts) = (String::new(), String::new());
    let end = match from_settings(&settings).unwrap().stream(&prompt).await {
        Err(error) => Err(error),
        Ok(mut chunks) => loop {
            match chunks.next().await.expect("a stream has an end") {
                Ok(Chunk::Text(more)) => text.push_str(&more),
                Ok(Chunk::Thought(more)) => thoughts.push_str(&more),
                Ok(Chunk::Counted(_)) => {}
                Ok(Chunk::Done { finish, usage }) => break Ok((finish, usage)),
                Err(error) => break Err(error),
            }
        },
    };
    Heard {
        text,
        thoughts,
        end,
        calls: fake.seen().len(),
    }
}

async fn check(provider: Provider, cases: Vec<(&str, Answer, Heard)>) {
    for (name, answer, expected) in cases {
        assert_eq!(ask(provider, answer).await, expected, "{name}");
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// Events behind one another, as a stream.
fn sent<'a>(events: impl IntoIterator<Item = &'a String>) -> Answer {
    stream_of(events)
}

/// The same bytes under this header, or under none.
fn sent_as<'a>(header: &str, events: impl IntoIterator<Item = &'a String>) -> Answer {
    let body: String = events.into_iter().map(String::as_str).collect();
    let headers: Vec<_> = [header].into_iter().filter(|header| !header.is_empty()).collect();
    response("200 OK", &headers, &body)
}

fn gzipped(events: &[String]) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(events.concat().as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Act::Send(head.into_bytes()), Act::Send(body)]
}
