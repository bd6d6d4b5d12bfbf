//! `cargo xtask bench`: how fast the store sends, lists and searches, what we add to a model, how big each function is, and
//! how long it takes from its start to its first request.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::build::{self, Built, Profile, cargo};
use crate::console::say;
use crate::instance::Instance;
use crate::postgres::{self, Data};
use crate::program::{self, Leader, Program};
use crate::supervise::supervise;
use crate::{functions, migrate};

const STARTS: usize = 5;
/// By name, for a package's programs would be taken for benches too.
const BENCHES: [&str; 5] = ["send", "turns", "channel", "reads", "replies"];

/// Measure the store, replies against the model alone, and each function's size and start.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Fewer rounds: shows that it works, not how fast it is.
    #[arg(long)]
    quick: bool,
}

impl Bench {
    pub(crate) async fn run(self) -> Result<()> {
        let mut instance = Instance::take("bench")?;
        supervise(&mut instance, true, async |instance, supervisor| -> Result<()> {
            let url = postgres::start(instance, supervisor, Data::FreshAndSafe).await?;
            instance.save()?;
            let built = build::functions(Profile::Release).await?;
            migrate::apply(&built, &url).await?;
            let mut bench = cargo();
            bench.args(["bench", "--package", "shared", "--package", "functions"]);
            bench
                .args(BENCHES.iter().flat_map(|name| ["--bench", name]))
                .env("DATABASE_URL", &url);
            if self.quick {
                bench.args(["--", "--quick"]);
            }
            program::run(bench).await?;
            table_of_starts(&built, &settings(&url), if self.quick { 1 } else { STARTS }).await
        })
        .await
    }
}

async fn table_of_starts(built: &Built, settings: &BTreeMap<String, String>, times: usize) -> Result<()> {
    say(format_args!(
        "\n{:<22}{:>9}{:>18}",
        "function", "size", "start to /next"
    ));
    for function in &built.functions {
        let size = fs::metadata(built.directory.join(function))?.len();
        let start = match function.as_str() {
            // As a command it has no first request.
            "migrate" => "-".to_owned(),
            _ => {
                let mut starts = Vec::new();
                for _ in 0..times {
                    starts.push(start_of(built, function, settings).await?);
                }
                starts.sort();
                format!("{:.1} ms", starts[starts.len() / 2].as_secs_f64() * 1000.0)
            }
        };
        say(format_args!(
            "{function:<22}{:>6.1} MB{start:>18}",
            size as f64 / 1_000_000.0
        ));
    }
    Ok(())
}

/// From the start of the process to its first request for work, asked of us in Lambda's place.
async fn start_of(built: &Built, function: &str, settings: &BTreeMap<String, String>) -> Result<Duration> {
    let lambda = TcpListener::bind("127.0.0.1:0").await?;
    let program = Program {
        path: built.directory.join(function),
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
