//! `cargo xtask sam`: AWS's SAM CLI and the cargo-lambda that it builds with, of the versions that were tried.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::instance::repository;
use crate::tools;

/// Run AWS's SAM CLI, as in `cargo xtask sam build`.
#[derive(Debug, Args)]
pub(crate) struct Sam {
    /// For it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Sam {
    /// In our place, for it asks questions.
    pub(crate) async fn run(self) -> Result<()> {
        let program = tools::sam().await?.join("sam");
        // With cargo-lambda, which looks for its C compiler in the first Python.
        let mut path = vec![tools::python().await?];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let error = Command::new(program)
            .args(self.arguments)
            .current_dir(repository())
            .env("PATH", std::env::join_paths(path)?)
            // It tells Amazon nothing of whoever runs it.
            .env("SAM_CLI_TELEMETRY", "0")
            .exec();
        Err(error).context("the SAM CLI cannot be run")
    }
}
