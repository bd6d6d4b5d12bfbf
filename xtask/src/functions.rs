//! The function processes behind the gateway: as many of each as Lambda would start under a developer's load.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::build::Built;
use crate::gateway::Gateway;
use crate::program::Program;
use crate::supervise::{Ending, Part, Supervisor};

/// A process answers one request at a time, as on Lambda, and a streamed answer takes long.
const USUAL_COUNTS: &[(&str, usize)] = &[
    ("send-message", 6),
    ("join-reply", 4),
    ("stream-events", 8),
    ("sweeper", 1),
    ("person", 1),
];
const USUAL_COUNT: usize = 2;
/// It runs when it is called for, by `cargo xtask migrate`.
const NOT_SERVED: &str = "migrate";
/// Long for a process to start, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many processes of which function: `send-message=2,worker=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, usize>);

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| {
            let (name, count) = pair.split_once('=')?;
            Some((name.trim().to_owned(), count.trim().parse().ok()?))
        };
        text.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| pair(part).ok_or_else(|| format!("{part:?} is not like `send-message=2`")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Counts {
    pub(crate) fn of(&self, function: &str) -> usize {
        let usual = USUAL_COUNTS
            .iter()
            .find(|(name, _)| *name == function)
            .map_or(USUAL_COUNT, |(_, count)| *count);
        self.0.get(function).copied().unwrap_or(usual)
    }
}

/// Starts all processes of all functions and waits until each function answers.
pub(crate) async fn start(
    supervisor: &Supervisor,
    http: &reqwest::Client,
    gateway: &Gateway,
    built: &Built,
    counts: &Counts,
    environment: &BTreeMap<String, String>,
    without: &[String],
) -> Result<()> {
    if let Some(unknown) = counts.0.keys().find(|name| !built.functions.contains(name)) {
        bail!("there is no function {unknown}");
    }
    let served: Vec<&String> = built
        .functions
        .iter()
        .filter(|function| *function != NOT_SERVED)
        .collect();
    for function in &served {
        for number in 1..=counts.of(function) {
            supervisor.start(Part {
                name: format!("{function}.{number}"),
                program: Program {
                    path: built.directory.join(function),
                    environment: with_runtime(environment, gateway.runtime_api(function), function),
                    without: without.to_vec(),
                    ..Program::default()
                },
                ending: Ending::IsRestarted,
            })?;
        }
    }
    for function in served.into_iter().filter(|function| counts.of(function) > 0) {
        answers(http, gateway, function).await.with_context(|| {
            format!(
                "{function} does not answer; see {}",
                supervisor.log_path(function).display()
            )
        })?;
    }
    Ok(())
}

/// What Lambda tells a function's process.
pub(crate) fn with_runtime(
    environment: &BTreeMap<String, String>,
    runtime_api: String,
    function: &str,
) -> BTreeMap<String, String> {
    let mut environment = environment.clone();
    for (name, value) in [
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", function),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "local"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", function),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

/// A function that can start refuses a stranger, or does the nothing that it is given.
async fn answers(http: &reqwest::Client, gateway: &Gateway, function: &str) -> Result<()> {
    let event = match function {
        "worker" => json!({ "Records": [] }),
        "sweeper" | "person" => json!({}),
        _ => request_of_a_stranger(),
    };
    let url = format!("{}/{function}/invocations", gateway.invoke_url());
    let answer = http.post(url).timeout(PATIENCE).json(&event).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    // A streaming function shows its refusal as the status.
    ensure!(
        !status.is_server_error() && !text.contains("\"errorType\""),
        "{status}: {text}"
    );
    Ok(())
}

/// Without a token, so that it goes no further than the first line of a handler.
fn request_of_a_stranger() -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {},
        "requestContext": {
            "requestId": "start",
            "stage": "$default",
            "timeEpoch": 0,
            "http": { "method": "GET", "path": "/", "protocol": "http", "sourceIp": "127.0.0.1", "userAgent": "xtask" },
        },
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_differ_from_the_usual_where_they_say_so() {
        let counts: Counts = "send-message=2, worker=0".parse().unwrap();
        assert_eq!(counts.of("send-message"), 2);
        assert_eq!(counts.of("worker"), 0);
        assert_eq!(counts.of("get-me"), USUAL_COUNT);
        assert!("worker".parse::<Counts>().is_err());
        assert!("worker=many".parse::<Counts>().is_err());
    }
}
