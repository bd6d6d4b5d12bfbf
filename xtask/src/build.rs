//! Builds the functions, and knows where their binaries are.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::process::Command;

use crate::instance::repository;
use crate::program;

/// The functions' binaries.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) directory: PathBuf,
    /// `create-chat`, `delete-chat`, …
    pub(crate) functions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

pub(crate) async fn functions(profile: Profile) -> Result<Built> {
    let mut build = cargo();
    build.args(["build", "--package", "functions", "--bins"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    program::run(build).await?;
    built(profile).await
}

async fn built(profile: Profile) -> Result<Built> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&program::output(metadata).await?)?;
    let package = metadata
        .packages
        .into_iter()
        .find(|package| package.name == "functions");
    let targets = package
        .context("the workspace has no package `functions`")?
        .targets
        .into_iter();
    let binaries = targets.filter(|target| target.kind.iter().any(|kind| kind == "bin"));
    let directory = metadata.target_directory.join(match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    });
    Ok(Built {
        directory,
        functions: binaries.map(|target| target.name).collect(),
    })
}

/// Cargo at the repository's root, the same that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    // Cargo sets these for us; a build that sees them would take itself for changed.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Cargo for what compiles no code. It has a target folder of its own, so that checks share their work with one another
/// and compiling our packages anew, as `prepare` must, costs the builds nothing.
pub(crate) fn checking() -> Command {
    let targets = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let mut cargo = cargo();
    cargo.env("CARGO_TARGET_DIR", targets.join("check"));
    cargo
}
