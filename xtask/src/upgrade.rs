//! The upgrade test: the functions of the version before, on a database that this version has migrated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::build::cargo;
use crate::console::say;
use crate::instance::repository;
use crate::{program, test};

/// The version that is deployed while this one's migrations run: the last that landed, until there is a release. By its commit,
/// which every clone has. Whoever moves it moves `LANDED` in `shared/tests/store/upgrades.rs` with it.
const BEFORE: &str = "786bb6975ebf2e51b5b7496de35a36b908f52ce9";
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
    let before = functions_before().await?;
    let mut tests = test::tests();
    tests
        .args(["--test", "upgrade"])
        .args(["--", "--ignored"])
        .envs(stack)
        .env("FUNCTIONS_BEFORE", before);
    program::run(tests).await
}

/// The folder of the binaries of the version before, built once.
async fn functions_before() -> Result<PathBuf> {
    let home = target().join("before").join(&BEFORE[..12]);
    let built = home.join("built/debug");
    let stamp = home.join("complete");
    if stamp.exists() {
        return Ok(built);
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
    let mut build = cargo();
    build
        .current_dir(&source)
        .args(["build", "--locked", "--package", "functions"])
        .args(FUNCTIONS.iter().flat_map(|name| ["--bin", name]))
        // Dependencies are those of our own build, where they did not change; older cargos do not know the variable, and take longer.
        .env("CARGO_BUILD_BUILD_DIR", target())
        .env("CARGO_TARGET_DIR", home.join("built"));
    program::run(build).await?;
    fs::write(&stamp, "")?;
    Ok(built)
}

async fn extract(source: &Path) -> Result<()> {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(repository());
        git
    };
    let mut look = git();
    look.args(["cat-file", "-e", BEFORE]);
    if program::output(look).await.is_err() {
        // A clone that is not whole.
        let mut fetch = git();
        fetch.args(["fetch", "--quiet", "--depth", "1", "origin", BEFORE]);
        program::output(fetch)
            .await
            .with_context(|| format!("the version before ({BEFORE}) is not in this clone, and cannot be fetched"))?;
    }
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
