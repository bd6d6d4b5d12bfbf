//! Clients in Node, as frontends use them: `tests/clients/*.mjs`, driven and heard by lines of JSON.

use std::collections::VecDeque;
use std::env;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tests::contract::hold_event;
use tests::person::text;
use tests::{PATIENCE, Person};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

pub(crate) struct Client {
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What nobody has asked for yet.
    heard: VecDeque<Value>,
    _process: Child,
}

impl Client {
    /// `NODE_BIN` is the Node that `cargo xtask test` has found or installed.
    pub(crate) fn start(script: &str, settings: &[(&str, &str)]) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        assert!(
            clients.join("node_modules").exists(),
            "run `cargo xtask test`, or `npm ci` in {}",
            clients.display()
        );
        let node = env::var("NODE_BIN").unwrap_or_else(|_| "node".into());
        let mut process = Command::new(node)
            .arg(clients.join(script))
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            commands: process.stdin.take().unwrap(),
            lines: BufReader::new(process.stdout.take().unwrap()).lines(),
            heard: VecDeque::new(),
            _process: process,
        }
    }

    /// A person's pusher-js, connected.
    pub(crate) async fn pusher(person: &Person) -> Self {
        Self::pusher_with(person, &person.token).await
    }

    pub(crate) async fn pusher_with(person: &Person, token: &str) -> Self {
        let mut client = Self::start("pusher.mjs", &[("API_URL", &person.stack.api), ("TOKEN", token)]);
        client.hears("a connection", |line| line["on"] == "connected").await;
        client
    }

    pub(crate) async fn tell(&mut self, command: &Value) {
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    /// Subscribes and waits until that has succeeded or was refused.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        self.tell(&json!({ "subscribe": channel })).await;
        self.hears("the answer to a subscription", |line| {
            line["channel"] == channel && (line["on"] == "subscribed" || line["on"] == "refused")
        })
        .await
    }

    /// The first line like this that was not asked for before; others are kept.
    pub(crate) async fn hears(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.heard.iter().position(&is_it) {
            return self.heard.remove(place).unwrap();
        }
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("in vain: {what}; heard {:?}", self.heard));
            let line = line
                .unwrap()
                .unwrap_or_else(|| panic!("the client ended before {what}"));
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if line["on"] == "event" {
                let is_pointer = !line["data"]["data"]["fetch"].is_null();
                let name = if is_pointer {
                    "pointer"
                } else {
                    line["name"].as_str().unwrap()
                };
                hold_event(name, &line["data"]);
            }
            if is_it(&line) {
                return line;
            }
            self.heard.push_back(line);
        }
    }

    /// The envelope of the next event of this name.
    pub(crate) async fn hears_event(&mut self, name: &str) -> Value {
        self.hears(name, |line| line["on"] == "event" && line["name"] == name)
            .await["data"]
            .clone()
    }

    /// The envelope of the next event of this name in a chat.
    pub(crate) async fn hears_in(&mut self, chat: &str, name: &str) -> Value {
        let is_it = |line: &Value| line["on"] == "event" && line["name"] == name && line["data"]["chatId"] == chat;
        self.hears(name, is_it).await["data"].clone()
    }

    /// Events that were heard and not asked for.
    pub(crate) fn others(&self) -> Vec<String> {
        let events = self.heard.iter().filter(|line| line["on"] == "event");
        events.map(|line| text(&line["name"])).collect()
    }
}
