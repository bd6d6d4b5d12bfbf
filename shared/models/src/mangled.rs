//! Streams that are mangled as networks and servers mangle them. Whatever is done to one, what is told as whole is whole.

use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::anthropic::Message;
use super::gemini::GeneratedContent;
use super::golden::answer_of;
use super::openai::ChatCompletion;
use super::served::Dialect;
use super::{Chunk, Finish, ModelError};

const WHOLE: &str = "Tall lighthouses 👩‍🚀 shine.";
const WORDS: [&str; 4] = ["Tall ", "lighthouses ", "👩‍🚀 ", "shine."];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Completions,
    Gemini,
    Anthropic,
}

impl Protocol {
    fn says(self, text: &str, reason: &Value) -> String {
        match self {
            Self::Completions => {
                json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})
            }
            Self::Gemini => {
                json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason, "index": 0}]})
            }
            Self::Anthropic => json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}),
        }
        .to_string()
    }

    fn stops(self) -> String {
        match self {
            Self::Anthropic => json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}).to_string(),
            Self::Completions | Self::Gemini => self.says("", &self.reason()),
        }
    }

    fn reason(self) -> Value {
        json!(if self == Self::Gemini { "STOP" } else { "stop" })
    }

    fn mark(self) -> Option<&'static str> {
        match self {
            Self::Completions => Some("[DONE]"),
            Self::Gemini => None,
            Self::Anthropic => Some("{\"type\":\"message_stop\"}"),
        }
    }
}

/// What was done to a stream.
#[derive(Debug, Default)]
struct Mangled {
    bytes: Vec<u8>,
    /// A reason stands before the last words.
    is_early: bool,
}

/// Nothing of this hides a word.
fn harmless(random: &mut StdRng) -> &'static str {
    const ODD: [&str; 10] = [
        "data: \n\n",
        "data:\n\n",
        "event: ping\ndata:\n\n",
        ": OPENROUTER PROCESSING\n\n",
        "data: keepalive\n\n",
        "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        "data: {}\n\n",
        "data: {\n\n",
        "\n\n\n",
        "retry: 3000\nid: 7\n\n",
    ];
    ODD.choose(random).unwrap()
}

fn mangled(protocol: Protocol, random: &mut StdRng) -> Mangled {
    let mut mangled = Mangled::default();
    let mut events = Vec::new();
    let empty = [Value::Null, json!(""), json!(0), json!(false)];
    if random.random_bool(0.3) {
        mangled.is_early = true;
        events.push(protocol.stops());
    }
    let on_every = protocol == Protocol::Gemini && random.random_bool(0.2);
    mangled.is_early |= on_every;
    for word in WORDS {
        let reason = if on_every {
            protocol.reason()
        } else {
            empty.choose(random).unwrap().clone()
        };
        events.push(protocol.says(word, &reason));
    }
    events.push(protocol.stops());
    events.extend(protocol.mark().map(str::to_owned));
    let in_lines = random.random_bool(0.1);
    let mut text = String::new();
    if random.random_bool(0.2) {
        text.push('\u{feff}');
    }
    for event in &events {
        if in_lines {
            text += &format!("{event}\n");
            continue;
        }
        if random.random_bool(0.3) {
            text += harmless(random);
        }
        let data = if random.random_bool(0.2) { "data:" } else { "data: " };
        text += &format!("{data}{event}\n\n");
    }
    if random.random_bool(0.3) {
        text.truncate(text.trim_end().len());
    }
    if random.random_bool(0.2) {
        text = text.replace('\n', "\r\n");
    } else if random.random_bool(0.1) {
        text = text.replace('\n', "\r");
    }
    mangled.bytes = text.into_bytes();
    mangled
}

/// The text and the end of these bytes, in pieces of any size; `breaks`: the connection does, behind them.
async fn heard(
    protocol: Protocol,
    bytes: &[u8],
    breaks: bool,
    random: &mut StdRng,
) -> (String, Result<Finish, ModelError>) {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (first, others) = rest.split_at(random.random_range(1..=rest.len().min(60)));
        pieces.push(Ok(first.to_vec()));
        rest = others;
    }
    if breaks {
        pieces.push(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
    }
    let body = reqwest::Body::wrap_stream(stream::iter(pieces));
    match protocol {
        Protocol::Completions => told(body, ChatCompletion::default()).await,
        Protocol::Gemini => told(body, GeneratedContent).await,
        Protocol::Anthropic => told(body, Message::default()).await,
    }
}

async fn told(body: reqwest::Body, dialect: impl Dialect) -> (String, Result<Finish, ModelError>) {
    let (mut text, mut chunks) = (String::new(), answer_of(body, "text/event-stream", dialect));
    loop {
        match chunks.next().await.expect("a stream has an end") {
            Ok(Chunk::Text(more)) => text.push_str(&more),
            Ok(Chunk::Thought(_) | Chunk::Counted(_)) => {}
            Ok(Chunk::Done { finish, .. }) => return (text, Ok(finish)),
            Err(error) => return (text, Err(error)),
        }
    }
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Completions, Protocol::Gemini, Protocol::Anthropic];

#[tokio::test]
async fn what_hides_no_word_loses_none() {
    for protocol in PROTOCOLS {
        for seed in 0..600 {
            let mut random = StdRng::seed_from_u64(seed);
            let mangled = mangled(protocol, &mut random);
            let heard = heard(protocol, &mangled.bytes, false, &mut random).await;
            let shown = String::from_utf8_lossy(&mangled.bytes);
            assert_eq!(heard, (WHOLE.into(), Ok(Finish::Stop)), "{protocol:?} {seed}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_cut_answer_is_never_told_as_whole() {
    for protocol in PROTOCOLS {
        let (mut whole, mut cut_short) = (0, 0);
        for seed in 0..60 {
            let mut random = StdRng::seed_from_u64(seed);
            let mangled = mangled(protocol, &mut random);
            for length in 0..mangled.bytes.len() {
                let breaks: bool = random.random();
                // Where reasons come before the words and no mark behind them, an end between two events is no sign of a cut.
                if protocol == Protocol::Gemini && mangled.is_early && !breaks {
                    continue;
                }
                let (text, end) = heard(protocol, &mangled.bytes[..length], breaks, &mut random).await;
                assert!(WHOLE.starts_with(&text), "{protocol:?} {seed} cut at {length}: {text}");
                if end.is_ok() {
                    let place = format!("{protocol:?} {seed} cut at {length}, breaks: {breaks}");
                    assert!(
                        text == WHOLE || (text.is_empty() && !breaks),
                        "{place}: {text:?} is told as whole"
                    );
                    whole += 1;
                } else {
                    cut_short += 1;
                }
            }
        }
        assert!(
            whole > 20 && cut_short > 50,
            "{protocol:?}: {whole} whole, {cut_short} cut"
        );
    }
}

#[tokio::test]
async fn an_event_that_is_cut_amid_others_is_a_failure() {
    for protocol in PROTOCOLS {
        let mut failures = 0;
        for seed in 0..1500 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut mangled = mangled(protocol, &mut random);
            let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let from = random.random_range(0..mangled.bytes.len());
            let begin = mangled.bytes[..from].iter().rposition(is_break).map_or(0, |at| at + 1);
            let length = mangled.bytes[from..].iter().position(is_break);
            let left = &mangled.bytes[begin..from];
            // Of an event cut before its first name nothing is left that tells it from a keep-alive.
            let Some(length) = length.filter(|length| *length > 0 && left.contains(&b'"')) else {
                continue;
            };
            mangled.bytes.drain(from..from + length);
            let (text, end) = heard(protocol, &mangled.bytes, false, &mut random).await;
            let shown = String::from_utf8_lossy(&mangled.bytes);
            assert!(WHOLE.starts_with(&text), "{protocol:?} {seed}: {text:?} of {shown}");
            assert!(
                end.is_err() || text == WHOLE,
                "{protocol:?} {seed}: {text:?} of {shown}"
            );
            failures += usize::from(end.is_err());
        }
        assert!(failures > 300, "{protocol:?}: {failures}");
    }
}
