//! `cargo xtask test`: all that CI checks, in the order in which it is cheapest to fail.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::process::Command;
use tokio::time::timeout;

use crate::build::{self, Profile, cargo, checking};
use crate::console::{say, seconds};
use crate::functions::Counts;
use crate::instance::{Instance, repository};
use crate::postgres::{self, Data};
use crate::prepare::Prepare;
use crate::rehearse::rehearse;
use crate::supervise::{Supervisor, supervise};
use crate::{program, tools, up, upgrade, web};

/// The advisories come from a git repository, which may be out of reach.
const FETCH_PATIENCE: Duration = Duration::from_secs(60);

/// One person of a test is as fast as hundreds. Uploads are limited as always, for the test of limits.
const RATE_LIMITS: [&str; 5] = [
    "RATE_LIMIT_SEND",
    "RATE_LIMIT_WRITE",
    "RATE_LIMIT_STREAM",
    "RATE_LIMIT_READ",
    "RATE_LIMIT_SEARCH",
];
const UNHURRIED: &str = "1000000/60s";

/// Amazon's SDK is no part of the usual build.
const WITH_BEDROCK: [&str; 2] = ["--features", "backtalk-capabilities/bedrock"];

/// Tests of the store whose outcome may hang on Postgres' version: rights and roles, policies, plans, migrations, and one each of
/// sending and searching; and replies as functions write them, from a request to its end. All of the store's take four minutes of
/// two cores.
const DIFFERS_BY_VERSION: [&str; 9] = [
    "connecting::",
    "heard::",
    "owners::",
    "plans::",
    "row_level_security::",
    "search::",
    "sending::",
    "strangers::",
    "upgrades::",
];

/// Check and test everything, as CI does.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// How many processes of a function, as in `send-message=2,worker=1`.
    #[arg(long, env = "BACKTALK_PROCESSES", default_value = "", hide_default_value = true)]
    processes: Counts,
    /// All of the store's tests on every version of Postgres; else those whose outcome may hang on it.
    #[arg(long)]
    every_postgres: bool,
    /// Only the tests: no formatting, lints, licences or query data.
    #[arg(long)]
    only_tests: bool,
    /// For the test runner: a filter, for example.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What was run, how long it took, and what failed: one fault keeps no other from being seen.
#[derive(Debug, Default)]
struct Report {
    steps: Vec<(String, Duration)>,
    failed: Vec<String>,
}

impl Report {
    async fn step(&mut self, name: &str, step: impl Future<Output = Result<()>>) {
        say(format_args!("==> {name}"));
        let started = Instant::now();
        if let Err(error) = step.await {
            say(format_args!("{name} failed: {error:#}"));
            self.failed.push(name.to_owned());
        }
        self.steps.push((name.to_owned(), started.elapsed()));
    }

    fn tell(&self) -> Result<()> {
        say("");
        for (name, took) in &self.steps {
            let outcome = if self.failed.contains(name) { "  FAILED" } else { "" };
            say(format_args!("{:>9}  {name}{outcome}", seconds(*took)));
        }
        ensure!(self.failed.is_empty(), "failed: {}", self.failed.join(", "));
        Ok(())
    }
}

impl Test {
    pub(crate) async fn run(self) -> Result<()> {
        let mut report = Report::default();
        let outcome = self.steps(&mut report).await;
        outcome.and(report.tell())
    }

    async fn steps(self, report: &mut Report) -> Result<()> {
        if !self.only_tests {
            report.step("formatting", formatting()).await;
            report.step("lints", lint()).await;
            report
                .step(
                    "licences, duplicates and sources",
                    deny(&["licenses", "bans", "sources"]),
                )
                .await;
            report.step("advisories", advisories()).await;
            report.step("query data", Prepare { check: true }.run()).await;
            report.step("the template, and its gate", gate()).await;
            report.step("the documentation", documentation(None)).await;
        }
        report
            .step("golden answers against the providers' SDKs", golden_answers())
            .await;
        // A filter is for the tests in Rust.
        let is_whole = self.arguments.is_empty();
        if is_whole {
            report.step("web packages", web::check()).await;
        }
        let started = Instant::now();
        let mut instance = Instance::take("test")?;
        let outcome = supervise(&mut instance, true, async |instance, supervisor| -> Result<()> {
            let counts = self.processes;
            let plan = up::Plan {
                data: Data::Fresh,
                model: false,
                pusher: true,
                web: is_whole,
                port: None,
                counts,
                settings: RATE_LIMITS.map(|name| (name.to_owned(), UNHURRIED.to_owned())).into(),
            };
            say("==> the stack");
            let exports = up::start(instance, supervisor, plan).await?;
            report.steps.push(("the stack".into(), started.elapsed()));
            let node = tools::node().await?;
            let mut tests = tests();
            tests
                .args(&self.arguments)
                .envs(&exports)
                .env("NODE_BIN", node)
                .env("SOCKUDO_BIN", tools::sockudo().await?)
                .env("LLMOCK_BIN", tools::python().await?.join("llmock"));
            report.step("tests", program::run(tests)).await;
            if is_whole {
                report
                    .step("the version before on this schema", upgrade::test(&exports))
                    .await;
                let own = postgres::version().await?;
                for version in tools::POSTGRES_VERSIONS.into_iter().filter(|version| *version != own) {
                    let store = the_store_on(version, self.every_postgres, instance, supervisor);
                    report.step(&format!("the store on Postgres {version}"), store).await;
                }
                report.step("the contract, by schemathesis", contract(&exports)).await;
                report
                    .step("the documentation's commands", documentation(Some(&exports)))
                    .await;
                let built = build::functions(Profile::Debug).await?;
                let rehearsal = rehearse(instance, supervisor, &built, &exports["DATABASE_URL"]);
                report.step("the template, deployed", rehearsal).await;
                report.step("the web page in Chromium", web::drive(&exports)).await;
            }
            Ok(())
        })
        .await;
        instance.remove_env()?;
        outcome
    }
}

/// Tests of the whole workspace, all of them or some: what is built for one run is not built again for another.
pub(crate) fn tests() -> Command {
    let runner: &[&str] = if program::found("cargo-nextest") {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    let mut tests = cargo();
    tests
        .args(runner)
        .args(["--workspace", "--no-fail-fast"])
        .args(WITH_BEDROCK);
    tests
}

/// The store's tests, and functions, on a version that the stack does not run on.
async fn the_store_on(version: u32, is_whole: bool, instance: &mut Instance, supervisor: &Supervisor) -> Result<()> {
    let url = postgres::start_version(instance, supervisor, Data::Fresh, version).await?;
    let mut tests = tests();
    tests
        .args(["--test", "store", "--test", "writing"])
        .env("DATABASE_URL", url);
    if !is_whole {
        tests.arg("--").args(DIFFERS_BY_VERSION);
    }
    program::run(tests).await
}

async fn formatting() -> Result<()> {
    let mut fmt = cargo();
    fmt.args(["fmt", "--all", "--check"]);
    program::run(fmt).await
}

async fn lint() -> Result<()> {
    let mut clippy = checking();
    clippy
        .args(["clippy", "--workspace", "--all-targets"])
        .args(WITH_BEDROCK)
        .args(["--", "--deny", "warnings"]);
    program::run(clippy).await
}

async fn deny(checks: &[&str]) -> Result<()> {
    let mut deny = Command::new(tools::cargo_deny().await?);
    deny.current_dir(repository())
        .args(["check", "--hide-inclusion-graph"])
        .args(checks);
    program::run(deny).await
}

/// The files that our tests take for providers, played to what the providers themselves publish.
async fn golden_answers() -> Result<()> {
    let mut prove = Command::new(tools::python().await?.join("python"));
    prove
        .current_dir(repository())
        .arg("shared/models/src/golden/prove.py")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    program::run(prove).await
}

/// Whether the template can be deployed, and whether it would be told if it could not.
async fn gate() -> Result<()> {
    let python = tools::gate().await?.join("python");
    for arguments in [
        &["gate.py"][..],
        &["-m", "unittest", "--quiet", "test_gate", "test_crates"],
    ] {
        let mut gate = Command::new(&python);
        gate.current_dir(repository().join("deploy/gate"))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        program::run(gate).await?;
    }
    Ok(())
}

/// Whether every operation answers as docs/openapi.json says.
async fn contract(stack: &BTreeMap<String, String>) -> Result<()> {
    let mut run = Command::new(tools::contract().await?.join("python"));
    run.arg(repository().join("tests/contract/run.py"))
        .envs(stack)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    program::run(run).await
}

/// Whether the links and blocks of the documentation are right, and whether it would be told if they were not; with a stack, whether
/// its commands do what they say.
async fn documentation(stack: Option<&BTreeMap<String, String>>) -> Result<()> {
    let python = tools::contract().await?.join("python");
    let runs: &[&[&str]] = match stack {
        None => &[&["check.py"], &["-m", "unittest", "--quiet", "test_check"]],
        Some(_) => &[&["check.py", "--stack"]],
    };
    for arguments in runs {
        let mut check = Command::new(&python);
        check
            .current_dir(repository().join("tests/docs"))
            .args(*arguments)
            .envs(stack.into_iter().flatten())
            .env("XTASK", std::env::current_exe()?)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        program::run(check).await?;
    }
    Ok(())
}

async fn advisories() -> Result<()> {
    let mut fetch = Command::new(tools::cargo_deny().await?);
    fetch.current_dir(repository()).args(["fetch", "db"]);
    if !timeout(FETCH_PATIENCE, program::output(fetch))
        .await
        .is_ok_and(|fetched| fetched.is_ok())
    {
        say("not checked: the database of advisories cannot be had from here");
        return Ok(());
    }
    deny(&["advisories"]).await
}
