//! `cargo xtask bench`: how fast the store sends, lists and searches, what we add to a model, and what `cargo xtask binaries`
//! measures.

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile, cargo};
use crate::instance::Instance;
use crate::postgres::{self, Data};
use crate::supervise::supervise;
use crate::{binaries, migrate, program};

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
            bench.args(["bench", "--package", "backtalk-store", "--package", "functions"]);
            bench
                .args(BENCHES.iter().flat_map(|name| ["--bench", name]))
                .env("DATABASE_URL", &url);
            if self.quick {
                bench.args(["--", "--quick"]);
            }
            program::run(bench).await?;
            let times = if self.quick { 1 } else { STARTS };
            binaries::table(&[built.directory], &built.functions, &url, times).await
        })
        .await
    }
}
