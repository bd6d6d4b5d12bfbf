//! What stands for API Gateway and Lambda's runtime: `cargo lambda watch`, which routes by the root manifest's
//! `workspace.metadata.lambda.watch.router` and hands requests to the function processes that we start ourselves. What it
//! cannot take is made fit for it by [`front`].

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::instance::{DEFAULT, Instance, repository};
use crate::program::Program;
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{console, front, ports, tools};

/// Where the default stack listens when nobody else does.
const USUAL_PORT: u16 = 9100;

#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    port: u16,
    /// Where `cargo lambda watch` itself listens.
    behind: u16,
}

impl Gateway {
    /// Finds its port, before other parts are told of it.
    pub(crate) fn choose(instance: &mut Instance, wanted: Option<u16>) -> Result<Self> {
        if let Some(port) = wanted {
            if !ports::is_free(port) {
                bail!("port {port} is taken{}", by_whom(port));
            }
            instance.state.ports.insert("gateway".into(), port);
            return Self::on(instance, port);
        }
        let is_default = instance.name == DEFAULT;
        if is_default && !ports::is_free(USUAL_PORT) {
            console::say(format_args!(
                "port {USUAL_PORT} is taken{}; using another",
                by_whom(USUAL_PORT)
            ));
        } else if is_default {
            // Back to where people look for it.
            instance.state.ports.insert("gateway".into(), USUAL_PORT);
        }
        let port = ports::choose(&mut instance.state.ports, "gateway", None)?;
        Self::on(instance, port)
    }

    fn on(instance: &mut Instance, port: u16) -> Result<Self> {
        let behind = ports::choose(&mut instance.state.ports, "gateway-behind", None)?;
        Ok(Self { port, behind })
    }

    pub(crate) async fn start(&self, supervisor: &Supervisor, http: &reqwest::Client) -> Result<()> {
        supervisor.start(Part {
            name: "gateway".into(),
            program: Program {
                path: tools::python().await?.join("cargo-lambda"),
                arguments: [
                    "lambda",
                    "watch",
                    "--only-lambda-apis",
                    "-A",
                    "127.0.0.1",
                    "-P",
                    &self.behind.to_string(),
                ]
                .map(str::to_owned)
                .into(),
                directory: Some(repository()),
                ..Program::default()
            },
            ending: Ending::EndsTheStack,
        })?;
        front::listen(self.port, self.behind).await?;
        tokio::spawn(self.clone().answer_unknown_routes(http.clone()));
        let nowhere = format!("{}/", self.url());
        until("the gateway does not answer", Duration::from_secs(60), async || {
            http.get(&nowhere)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == reqwest::StatusCode::NOT_FOUND)
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where Lambda's own API invokes a function: this, its name and `/invocations`.
    pub(crate) fn invoke_url(&self) -> String {
        format!("{}/2015-03-31/functions", self.url())
    }

    /// What a function's process takes for Lambda.
    pub(crate) fn runtime_api(&self, function: &str) -> String {
        format!("http://127.0.0.1:{}/.rt/{function}", self.behind)
    }

    /// `cargo lambda watch` keeps a request that no route matches for a function without a name, and its client waits
    /// for ever. So we are that function.
    async fn answer_unknown_routes(self, http: reqwest::Client) {
        let invocations = format!("{}2018-06-01/runtime/invocation", self.runtime_api(""));
        let problem = json!({ "type": "about:blank", "title": "Not Found", "status": 404, "detail": "No such route." });
        let answer = json!({
            "statusCode": 404,
            "headers": { "content-type": "application/problem+json" },
            "multiValueHeaders": {},
            "cookies": [],
            "body": problem.to_string(),
        });
        loop {
            if let Err(_not_there) = answer_next(&http, &invocations, &answer).await {
                // It starts, or ends with the stack.
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }
}

async fn answer_next(http: &reqwest::Client, invocations: &str, answer: &serde_json::Value) -> Result<()> {
    // Answered when there is a request, be it in an hour.
    let next = http
        .get(format!("{invocations}/next"))
        .timeout(Duration::MAX)
        .send()
        .await?;
    let Some(id) = next
        .headers()
        .get("lambda-runtime-aws-request-id")
        .and_then(|id| id.to_str().ok())
    else {
        bail!("an invocation without its id");
    };
    http.post(format!("{invocations}/{id}/response"))
        .json(answer)
        .send()
        .await?;
    Ok(())
}

fn by_whom(port: u16) -> String {
    ports::holder(port)
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}
