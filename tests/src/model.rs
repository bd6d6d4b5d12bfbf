//! A model of a test's own, spoken to as OpenAI is: it keeps what it was asked, and fails or is slow on command.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How it answers from now on.
#[derive(Clone, Debug)]
pub enum Manner {
    /// With `Answer N: ` and this text, a word at a time.
    Says(String),
    /// With a status that is no success.
    Refuses(u16),
    /// With nothing, ever.
    IsSilent,
}

/// What it was asked, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub system: String,
    /// Role and text.
    pub turns: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Model {
    url: String,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    asked: Vec<Asked>,
}

impl Model {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            manner: Manner::Says("so be it".into()),
            asked: Vec::new(),
        }));
        let shared = state.clone();
        let listening = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // Whoever asked may be dead by now.
                let state = shared.clone();
                tokio::spawn(async move { answer(connection, state).await.ok() });
            }
        });
        Self { url, state, listening }
    }

    /// What a function must be told to be answered by it, once and at once.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, &str); 5] {
        [
            ("MODEL_PROVIDER", "openai"),
            ("MODEL_URL", &self.url),
            ("MODEL_KEY", "test"),
            ("MODEL_NAME", "test"),
            ("MODEL_ATTEMPTS", "1"),
        ]
    }

    pub fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// What it was asked about a post with this text.
    #[must_use]
    pub fn asked_of(&self, text: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.system.contains(text) || asked.turns.iter().any(|(_, turn)| turn.contains(text)));
        asked
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn answer(mut connection: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let body = read(&mut connection).await?;
    let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let (system, turns): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message["role"] == "system");
    let asked = Asked {
        system: system.into_iter().map(text).collect(),
        turns: turns
            .into_iter()
            .map(|turn| (turn["role"].as_str().unwrap_or_default().to_owned(), text(turn)))
            .collect(),
    };
    let (manner, number) = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked);
        (state.manner.clone(), state.asked.len())
    };
    let said = match manner {
        Manner::Says(text) => format!("Answer {number}: {text}"),
        Manner::Refuses(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            return connection.write_all(answer.as_bytes()).await;
        }
        Manner::IsSilent => {
            sleep(Duration::from_secs(600)).await;
            return Ok(());
        }
    };
    connection
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        .await?;
    for word in said.split_inclusive(' ') {
        let delta = json!({ "choices": [{ "index": 0, "delta": { "content": word }, "finish_reason": null }] });
        connection.write_all(format!("data: {delta}\n\n").as_bytes()).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60 } });
    let end = format!("data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    connection.write_all(end.as_bytes()).await?;
    connection.shutdown().await
}

/// The body of a request.
async fn read(connection: &mut TcpStream) -> std::io::Result<Value> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await? == 0 {
            return Ok(Value::Null);
        }
    };
    let headers = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    while bytes.len() < head + length {
        if connection.read_buf(&mut bytes).await? == 0 {
            return Ok(Value::Null);
        }
    }
    Ok(serde_json::from_slice(&bytes[head..head + length]).unwrap())
}
