//! `cargo xtask migrate`, and how migrations are applied: by the function that does it on AWS, or, where no build can be
//! had yet, by sqlx itself.

use anyhow::{Context, Result, ensure};
use clap::Args;
use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection};

use crate::build::{self, Built, Profile};
use crate::console::say;
use crate::instance::{self, repository};
use crate::overrides::Overrides;
use crate::program::{self, Program};

/// Apply the migrations to DATABASE_URL, or else to the running stack's database.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Which stack's database.
    #[arg(long, default_value = instance::DEFAULT)]
    name: String,
}

impl Migrate {
    pub(crate) async fn run(&self) -> Result<()> {
        let url = database_url(&self.name)?;
        apply(&build::functions(Profile::Debug).await?, &url).await?;
        say("migrations are applied");
        Ok(())
    }
}

/// The database that is named from outside, or else that of the running stack of this name.
pub(crate) fn database_url(stack: &str) -> Result<String> {
    if let Some(url) = Overrides::of_process().get("DATABASE_URL") {
        return Ok(url.to_owned());
    }
    ensure!(
        instance::env_file(stack).exists(),
        "the stack `{stack}` does not run; start it, or set DATABASE_URL"
    );
    let exported = instance::read_state(stack)?.exported;
    Ok(exported
        .get("DATABASE_URL")
        .context("that stack has no database")?
        .clone())
}

pub(crate) async fn apply(built: &Built, url: &str) -> Result<()> {
    let migrate = Program {
        path: built.directory.join("migrate"),
        environment: [("DATABASE_URL", url), ("MIGRATE_ONCE", "1"), ("LOG_FORMAT", "text")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Program::default()
    };
    program::output(migrate.command())
        .await
        .context("the migrations cannot be applied")?;
    Ok(())
}

/// Without the function: its build needs data that is only to be had from a migrated database.
pub(crate) async fn apply_without_build(url: &str, schema: &'static str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection
        .execute(sqlx::AssertSqlSafe(format!("create schema if not exists {schema}")))
        .await?;
    connection
        .execute(sqlx::AssertSqlSafe(format!("set search_path = {schema}")))
        .await?;
    let migrations = Migrator::new(repository().join("migrations")).await?;
    migrations
        .run(&mut connection)
        .await
        .context("the migrations cannot be applied")?;
    connection.close().await?;
    Ok(())
}
