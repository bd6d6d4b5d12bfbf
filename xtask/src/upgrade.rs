//! The upgrade test: the functions of the version before, on a database that this version has migrated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::build::cargo;
use crate::console::say;
use crate::instance::repository;
use crate::{program, test};

/// The version that is deployed while this one's migrations run: the last that landed, until there is a release. By its commit,
/// which every clone has. Whoever moves it moves `LANDED` in `shared/store/tests/store/upgrades.rs` with it.
const BEFORE: &str = "786bb6975ebf2e51b5b7496de35a36b908f52ce9";
const FETCH_PATIENCE: Duration = Duration::from_secs(60);
/// The workspace's crates beside those in `shared/`, of this version and of the one before.
const OURS: [&str; 4] = ["functions", "shared", "tests", "xtask"];
/// What the compiler makes of a crate for those who use it.
const LENT: [&str; 4] = ["d", "rlib", "rmeta", "so"];
/// What `tests/tests/upgrade` uses of it.
const FUNCTIONS: [&str; 9] = [
    "create-chat",
    "get-me",
    "list-chats",
    "list-messages",
    "list-unread",
    "mark-chat-read",
    "migrate",
    "send-message",
    "worker",
];

pub(crate) async fn test(stack: &BTreeMap<String, String>) -> Result<()> {
    let Some(before) = functions_before().await? else {
        say(format_args!(
            "not checked: {BEFORE} is not in this clone, which is not whole, and cannot be fetched"
        ));
        return Ok(());
    };
    let mut tests = test::tests();
    tests
        .args(["--test", "upgrade"])
        .args(["--", "--ignored"])
        .envs(stack)
        .env("FUNCTIONS_BEFORE", before);
    program::run(tests).await
}

/// The folder of the binaries of the version before, built once; `None` where its source cannot be had.
async fn functions_before() -> Result<Option<PathBuf>> {
    let home = target().join("before").join(&BEFORE[..12]);
    let built = home.join("built/debug");
    let stamp = home.join("complete");
    if stamp.exists() {
        return Ok(Some(built));
    }
    if !has_before().await {
        return Ok(None);
    }
    say(format_args!(
        "building {} functions of {}",
        FUNCTIONS.len(),
        &BEFORE[..12]
    ));
    let source = home.join("source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    extract(&source).await?;
    lend_dependencies(&target().join("debug"), &built)?;
    let mut build = cargo();
    build
        .current_dir(&source)
        .args(["build", "--locked", "--package", "functions"])
        .args(FUNCTIONS.iter().flat_map(|name| ["--bin", name]))
        .env("CARGO_TARGET_DIR", home.join("built"));
    program::run(build).await?;
    fs::write(&stamp, "")?;
    Ok(Some(built))
}

/// What our own build has made of other people's crates, copied: cargo takes it where nothing about it has changed. In one folder
/// the two versions cannot build, for cargo does not tell a workspace's crates from those of another at another place.
fn lend_dependencies(from: &Path, to: &Path) -> Result<()> {
    let shared = shared_crates()?;
    for part in [".fingerprint", "build", "deps"] {
        let to = to.join(part);
        fs::create_dir_all(&to)?;
        let mut copy = Vec::new();
        for entry in fs::read_dir(from.join(part))? {
            let path = entry?.path();
            let is_built = part != "deps" || path.extension().is_some_and(|end| LENT.iter().any(|lent| end == *lent));
            if is_built && !is_ours(&path, &shared) {
                copy.push(path);
            }
        }
        // With their times, by which cargo knows that they are fresh.
        for paths in copy.chunks(500) {
            let status = std::process::Command::new("cp")
                .args(["--archive", "--target-directory"])
                .arg(&to)
                .args(paths)
                .status()?;
            ensure!(status.success(), "the dependencies could not be copied");
        }
    }
    Ok(())
}

/// Whether cargo has made this of one of the workspace's crates: it is called after the package or the library.
fn is_ours(path: &Path, shared: &[String]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_prefix("lib").unwrap_or(name);
    let crates = shared.iter().map(String::as_str).chain(OURS);
    name.starts_with("backtalk")
        || crates
            .into_iter()
            .any(|ours| name.strip_prefix(ours).is_some_and(|rest| rest.starts_with('-')))
}

/// The names of the crates in `shared/`.
fn shared_crates() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(repository().join("shared"))? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(repository());
    git
}

async fn has_before() -> bool {
    let mut look = git();
    look.args(["cat-file", "-e", BEFORE]);
    if program::output(look).await.is_ok() {
        return true;
    }
    let mut fetch = git();
    fetch
        .args(["fetch", "--quiet", "--depth", "1", "origin", BEFORE])
        .env("GIT_TERMINAL_PROMPT", "0");
    matches!(timeout(FETCH_PATIENCE, program::output(fetch)).await, Ok(Ok(_)))
}

async fn extract(source: &Path) -> Result<()> {
    let archive = source.with_extension("tar");
    let mut write = git();
    write.args(["archive", "--output"]).arg(&archive).arg(BEFORE);
    program::output(write).await?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(source);
    program::output(unpack).await?;
    fs::remove_file(&archive)?;
    Ok(())
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
