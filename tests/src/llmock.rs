//! llmock: somebody else's idea of the providers' protocols, with faults on command.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::function::{end, tool};
use crate::{Stack, eventually};

#[derive(Debug)]
pub struct Llmock {
    address: String,
    process: Child,
    http: reqwest::Client,
}

impl Llmock {
    pub async fn start(stack: &Stack) -> Self {
        let program = tool("llmock");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(&program)
            .args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--log-level",
                "warning",
            ])
            .args(["--stream-chunk-delay-ms", "20", "--response-style", "echo"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let llmock = Self {
            address: format!("http://127.0.0.1:{port}"),
            process,
            http: stack.http.clone(),
        };
        let health = format!("{}/health", llmock.address);
        eventually("llmock's health", async || {
            llmock
                .http
                .get(&health)
                .send()
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
        })
        .await;
        llmock
    }

    /// What a function must be told to be answered by it.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("MODEL_PROVIDER", "openai".into()),
            ("MODEL_URL", self.url_of("openai")),
            ("MODEL_KEY", "mock-key".into()),
            ("MODEL_NAME", "gpt-4o-mini".into()),
        ]
    }

    /// Where it speaks as this provider does.
    #[must_use]
    pub fn url_of(&self, provider: &str) -> String {
        let base = match provider {
            "gemini" => "/gemini/v1beta",
            "anthropic" => "/anthropic",
            _ => "/v1",
        };
        format!("{}{base}", self.address)
    }

    /// What the next requests meet; what was planned before is forgotten.
    pub async fn plan(&self, behaviors: Value) {
        let url = format!("{}/_llmock/scenario", self.address);
        self.http.delete(&url).send().await.unwrap().error_for_status().unwrap();
        if behaviors.as_array().is_some_and(|behaviors| !behaviors.is_empty()) {
            let plan = json!({ "behaviors": behaviors });
            let answer = self.http.post(&url).json(&plan).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
    }

    /// How many requests it had so far.
    pub async fn requests(&self) -> u64 {
        let url = format!("{}/_llmock/requests", self.address);
        let body: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        body["count"].as_u64().unwrap()
    }
}

impl Drop for Llmock {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}
