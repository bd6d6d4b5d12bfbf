//! `cargo xtask prepare`: the data that lets a build check its SQL without a database. sqlx's macros write one file a
//! query while they compile against a database that has our migrations.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::checking;
use crate::console::say;
use crate::instance::{Instance, repository};
use crate::postgres::{self, Data};
use crate::supervise::supervise;
use crate::{migrate, program};

const SCHEMA: &str = "backtalk";

/// Write the data that lets a build check its SQL without a database.
#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// Write nothing; fail when the committed data is not what it should be.
    #[arg(long)]
    pub(crate) check: bool,
}

impl Prepare {
    pub(crate) async fn run(&self) -> Result<()> {
        let committed = repository().join(".sqlx");
        let fresh = repository().join("target/prepared");
        let mut instance = Instance::take("prepare")?;
        supervise(&mut instance, true, async |instance, supervisor| -> Result<()> {
            let url = postgres::start(instance, supervisor, Data::Fresh).await?;
            instance.save()?;
            migrate::apply_without_build(&url, SCHEMA).await?;
            expand(&url, &fresh).await
        })
        .await?;
        let (old, new) = (read(&committed)?, read(&fresh)?);
        if old == new {
            say(format_args!("the data of all {} queries is as it should be", new.len()));
        } else if self.check {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            let differing = names.filter(|name| old.get(*name) != new.get(*name)).count();
            bail!("the data of {differing} queries in .sqlx is out of date: run `cargo xtask prepare` and commit it");
        } else {
            replace(&committed, &new)?;
            say(format_args!("wrote the data of {} queries to .sqlx", new.len()));
        }
        Ok(())
    }
}

/// Checks whatever has queries. Ours are forgotten first: sqlx's macros write only when they are compiled anew.
async fn expand(url: &str, into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;
    let mut clean = checking();
    clean.args(["clean", "--quiet"]);
    clean.args(
        ["backtalk-store", "functions", "tests"]
            .iter()
            .flat_map(|package| ["--package", package]),
    );
    program::output(clean).await?;
    let mut check = checking();
    check.args(["check", "--workspace", "--all-targets"]);
    check
        .env("DATABASE_URL", format!("{url}?options=-csearch_path%3D{SCHEMA}"))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", into);
    program::run(check).await
}

/// The files of a folder by name; none when there is no such folder.
fn read(directory: &Path) -> Result<BTreeMap<String, String>> {
    if !directory.exists() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        files.insert(
            path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            text,
        );
    }
    Ok(files)
}

fn replace(directory: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}
