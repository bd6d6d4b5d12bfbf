//! `cargo xtask binaries`: how big each function is, and how long it takes from its start to its first request.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use crate::build::{self, Profile};
use crate::console::say;
use crate::instance::Instance;
use crate::postgres::{self, Data};
use crate::program::{self, Leader, Program};
use crate::supervise::supervise;
use crate::{functions, migrate};

const SCHEMA: &str = "backtalk";

/// What a function's binary may have, in millions of bytes, built for release: a little more than it has. Raise it for a reason,
/// and lower it when a binary has become smaller.
const CEILING: f64 = 9.5;
/// The same of those that ask a model, or show it images.
const CEILING_WITH_MODELS: f64 = 10.5;
const WITH_MODELS: [&str; 3] = ["regenerate-reply", "send-message", "worker"];

/// Measure each function's size and start.
#[derive(Debug, Args)]
pub(crate) struct Binaries {
    /// How often each is started; the median is told.
    #[arg(long, default_value_t = 11)]
    times: usize,
    /// Folders to compare, each with the same functions, built in different ways [default: all functions, built for release].
    folders: Vec<PathBuf>,
}

impl Binaries {
    pub(crate) async fn run(self) -> Result<()> {
        let mut instance = Instance::take("binaries")?;
        supervise(&mut instance, true, async |instance, supervisor| -> Result<()> {
            let url = postgres::start(instance, supervisor, Data::Fresh).await?;
            migrate::apply_without_build(&url, SCHEMA).await?;
            if self.folders.is_empty() {
                let built = build::functions(Profile::Release).await?;
                table(
                    std::slice::from_ref(&built.directory),
                    &built.functions,
                    &url,
                    self.times,
                )
                .await?;
                return keep_to_ceilings(&built.directory, &built.functions);
            }
            let functions = functions_in(&self.folders[0])?;
            table(&self.folders, &functions, &url, self.times).await
        })
        .await
    }
}

/// Here, and not in `cargo xtask test`: that builds nothing for release, which takes ten minutes. What makes a binary heavy is
/// refused there by `deny.toml`.
fn keep_to_ceilings(folder: &Path, functions: &[String]) -> Result<()> {
    let mut sizes = BTreeMap::new();
    for function in functions {
        sizes.insert(function.as_str(), fs::metadata(folder.join(function))?.len());
    }
    let heavy = too_heavy(&sizes);
    ensure!(heavy.is_empty(), "too heavy: {}", heavy.join(", "));
    Ok(())
}

fn too_heavy(sizes: &BTreeMap<&str, u64>) -> Vec<String> {
    let ceiling = |function| {
        if WITH_MODELS.contains(&function) {
            CEILING_WITH_MODELS
        } else {
            CEILING
        }
    };
    let all = sizes.iter().map(|(function, bytes)| (*function, megabytes(*bytes)));
    all.filter(|(function, size)| *size > ceiling(function))
        .map(|(function, size)| format!("{function} has {size:.1} MB, more than {}", ceiling(function)))
        .collect()
}

fn functions_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut functions = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    functions.sort();
    Ok(functions)
}

/// Prints all functions of all folders. `url`: of a migrated database. One round starts each once, so that a moment in which
/// the machine is busy falls on all.
pub(crate) async fn table(folders: &[PathBuf], functions: &[String], url: &str, times: usize) -> Result<()> {
    let settings = settings(url);
    let mut starts = BTreeMap::<(&str, &Path), Vec<Duration>>::new();
    for _ in 0..times {
        for function in functions {
            for folder in folders {
                let start = start_of(folder, function, &settings).await?;
                starts.entry((function, folder)).or_default().push(start);
            }
        }
    }
    say(format_args!(
        "\n{:<20}{:>10}{:>10}{:>16}",
        "function", "size", "zipped", "start to /next"
    ));
    for function in functions {
        for folder in folders {
            let path = folder.join(function);
            let starts = starts.get_mut(&(function.as_str(), folder.as_path()));
            say(format_args!(
                "{function:<20}{:>7.1} MB{:>7.1} MB{:>13.1} ms{}",
                megabytes(fs::metadata(&path)?.len()),
                megabytes(zipped(&path).await?),
                starts.map_or(f64::NAN, |starts| median(starts).as_secs_f64() * 1000.0),
                if folders.len() > 1 {
                    format!("  {}", folder.display())
                } else {
                    String::new()
                },
            ));
        }
    }
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How many bytes of it go to Lambda: gzip packs as zip does.
async fn zipped(path: &Path) -> Result<u64> {
    let mut count = Command::new("sh");
    count.args(["-c", "gzip --stdout \"$0\" | wc -c"]).arg(path);
    Ok(program::output(count).await?.trim().parse()?)
}

/// From the start of the process to its first request for work, asked of us in Lambda's place.
async fn start_of(folder: &Path, function: &str, settings: &BTreeMap<String, String>) -> Result<Duration> {
    let lambda = TcpListener::bind("127.0.0.1:0").await?;
    let program = Program {
        path: folder.join(function),
        environment: functions::with_runtime(settings, lambda.local_addr()?.to_string(), function),
        ..Program::default()
    };
    let mut command = program.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let _process = Leader::start(command)?;
    let (mut connection, _) = timeout(Duration::from_secs(30), lambda.accept())
        .await
        .with_context(|| format!("{function} asks for no work"))??;
    let mut request = [0; 1024];
    let length = connection.read(&mut request).await?;
    let took = started.elapsed();
    ensure!(
        request[..length].starts_with(b"GET /2018-06-01/runtime/invocation/next "),
        "{function} does not ask for work but says {}",
        String::from_utf8_lossy(&request[..length])
    );
    // The answer does not matter: the process is ended here.
    let _closed = connection
        .write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
        .await;
    Ok(took)
}

/// Enough for a function to start; only the database is there.
fn settings(url: &str) -> BTreeMap<String, String> {
    [
        ("DATABASE_URL", url),
        ("SQS_QUEUE_URL", "http://127.0.0.1:9/000000000000/backtalk-jobs"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET", "a secret of thirty-two bytes or more"),
        ("JWT_ISSUER", "backtalk-local"),
        ("JWT_AUDIENCE", "backtalk"),
        ("MODEL_PROVIDER", "scripted"),
        ("ATTACHMENTS_BUCKET", "backtalk-attachments"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_over_its_ceiling_is_named() {
        let bytes = |ceiling: f64, more: f64| ((ceiling + more) * 1_000_000.0) as u64;
        let sizes = BTreeMap::from([
            ("get-chat", bytes(CEILING, 0.2)),
            ("list-unread", bytes(CEILING, -0.2)),
            ("worker", bytes(CEILING_WITH_MODELS, -0.2)),
        ]);
        let heavy = too_heavy(&sizes);
        assert_eq!(heavy.len(), 1, "{heavy:?}");
        assert!(heavy[0].starts_with("get-chat has "), "{heavy:?}");
    }
}
