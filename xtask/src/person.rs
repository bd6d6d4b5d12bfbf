//! `cargo xtask person`: the running stack's function `person`, invoked as on AWS.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::console::say;
use crate::instance;

/// A page of a long export takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Export or erase one person.
#[derive(Debug, Args)]
pub(crate) struct Person {
    #[command(subcommand)]
    action: Action,
    /// Of which stack.
    #[arg(long, default_value = instance::DEFAULT, global = true)]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write everything of theirs, a line of JSON for each thing.
    Export {
        /// The user's id: their token's `sub`.
        id: String,
        /// Where to; it appears when it is whole [default: standard output].
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Erase them. A job does it; others keep their history.
    Erase {
        /// The user's id: their token's `sub`.
        id: String,
    },
}

impl Person {
    pub(crate) async fn run(&self) -> Result<()> {
        let exported = instance::read_state(&self.name)?.exported;
        let invoke = exported
            .get("INVOKE_URL")
            .filter(|_| instance::env_file(&self.name).exists());
        let invoke = invoke.with_context(|| format!("the stack `{}` does not run; start it", self.name))?;
        let function = Function {
            url: format!("{invoke}/person/invocations"),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?,
        };
        match &self.action {
            Action::Export { id, file: None } => export(&function, id, &mut io::stdout().lock()).await,
            Action::Export { id, file: Some(path) } => {
                // What is kept of somebody is for its reader's eyes, and half of it for nobody's.
                let mut unfinished = path.clone().into_os_string();
                unfinished.push(".unfinished");
                let unfinished = PathBuf::from(unfinished);
                let mut file = BufWriter::new(private(&unfinished)?);
                export(&function, id, &mut file).await?;
                file.flush()?;
                fs::rename(&unfinished, path).with_context(|| format!("{} cannot be written", path.display()))
            }
            Action::Erase { id } => {
                let erasing = function.call(&json!({ "erase": id })).await?;
                say(format_args!(
                    "the job {} erases them",
                    erasing["erasing"].as_str().unwrap_or_default()
                ));
                Ok(())
            }
        }
    }
}

fn private(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))
}

async fn export(function: &Function, id: &str, to: &mut impl Write) -> Result<()> {
    let mut after = Value::Null;
    loop {
        let page = function.call(&json!({ "export": id, "after": after })).await?;
        let lines = page["lines"].as_array().context("the answer is no page of an export")?;
        for line in lines {
            writeln!(to, "{line}")?;
        }
        after = page["next"].clone();
        if after.is_null() {
            return Ok(());
        }
    }
}

struct Function {
    url: String,
    http: reqwest::Client,
}

impl Function {
    async fn call(&self, event: &Value) -> Result<Value> {
        let answer = self.http.post(&self.url).json(event).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await?;
        if let Some(message) = answer["errorMessage"].as_str() {
            bail!("{message}");
        }
        if !status.is_success() {
            bail!("the function answers {status}: {answer}");
        }
        Ok(answer)
    }
}
