//! `cargo xtask rehearse`: template.yaml deployed into a ministack of its own, and what it makes put to use. What is done
//! there is told in `deploy/rehearsal`.

use std::fs;

use anyhow::{Context, Result};
use clap::Args;
use reqwest::Url;
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;

use crate::build::{self, Built, Profile};
use crate::instance::{Instance, repository};
use crate::postgres::{self, Data};
use crate::supervise::{Supervisor, supervise};
use crate::{ministack, program, tools, up};

const DATABASE: &str = "rehearsal";

/// Deploy template.yaml on this machine, and use what it makes.
#[derive(Debug, Args)]
pub(crate) struct Rehearse {}

impl Rehearse {
    pub(crate) async fn run(self) -> Result<()> {
        let mut instance = Instance::take("rehearsal")?;
        supervise(&mut instance, true, async |instance, supervisor| -> Result<()> {
            let server = postgres::start(instance, supervisor, Data::Fresh).await?;
            let built = build::functions(Profile::Debug).await?;
            rehearse(instance, supervisor, &built, &server).await
        })
        .await
    }
}

/// `server`: the URL of any database beside which another may be made.
pub(crate) async fn rehearse(
    instance: &mut Instance,
    supervisor: &Supervisor,
    built: &Built,
    server: &str,
) -> Result<()> {
    let database = empty_database(server).await?;
    let python = tools::gate().await?.join("python");
    let code = instance.directory.join("rehearsed");
    if code.exists() {
        fs::remove_dir_all(&code)?;
    }
    fs::create_dir_all(&code)?;
    let endpoint = ministack::start(instance, supervisor, &up::http()?, "rehearsal", Some(&code)).await?;
    let mut rehearsal = Command::new(python);
    rehearsal
        .arg(repository().join("deploy/rehearsal/rehearse.py"))
        .args([&endpoint, &database])
        .arg(&built.directory)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let outcome = program::run(rehearsal).await;
    fs::remove_dir_all(&code)?;
    outcome.with_context(|| format!("see also {}", supervisor.log_path("rehearsal").display()))
}

async fn empty_database(server: &str) -> Result<String> {
    let mut connection = PgConnection::connect(server).await?;
    for statement in ["drop database if exists", "create database"] {
        let statement = format!("{statement} {DATABASE}");
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    connection.close().await?;
    let mut url = Url::parse(server)?;
    url.set_path(DATABASE);
    Ok(url.into())
}
