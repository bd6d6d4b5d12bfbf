//! What it costs: rows and bytes that Postgres writes, and who uses the processor.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::PgConnection;
use tokio::time::sleep;

/// Linux counts processor time in these for whoever asks, whatever its own timer.
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Default, sqlx::FromRow)]
pub(crate) struct Rows {
    pub(crate) inserted: i64,
    pub(crate) updated: i64,
    pub(crate) deleted: i64,
}

impl Rows {
    pub(crate) fn all(self) -> i64 {
        self.inserted + self.updated + self.deleted
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            inserted: self.inserted - earlier.inserted,
            updated: self.updated - earlier.updated,
            deleted: self.deleted - earlier.deleted,
        }
    }
}

/// All that was ever written in our schema, and the whole server's log of it.
pub(crate) struct Written {
    pub(crate) rows: BTreeMap<String, Rows>,
    pub(crate) log_bytes: i64,
}

impl Written {
    /// Once those who wrote are gone: a connection tells of its rows when it ends.
    pub(crate) async fn now(connection: &mut PgConnection) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where application_name = 'backtalk' and datname = current_database()",
            )
            .fetch_one(&mut *connection)
            .await?;
            if left == 0 {
                break;
            }
            ensure!(Instant::now() < deadline, "{left} connections stay");
            sleep(Duration::from_millis(50)).await;
        }
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "select relname::text, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables where schemaname = 'backtalk'",
        )
        .fetch_all(&mut *connection)
        .await?;
        let log_bytes = sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
            .fetch_one(&mut *connection)
            .await?;
        let rows = rows.into_iter().map(|(table, inserted, updated, deleted)| {
            let rows = Rows {
                inserted,
                updated,
                deleted,
            };
            (table, rows)
        });
        Ok(Self {
            rows: rows.collect(),
            log_bytes,
        })
    }

    pub(crate) fn since(self, earlier: &Self) -> Self {
        let rows = self.rows.into_iter().map(|(table, rows)| {
            let before = earlier.rows.get(&table).copied().unwrap_or_default();
            (table, rows.since(before))
        });
        Self {
            rows: rows.filter(|(_, rows)| rows.all() > 0).collect(),
            log_bytes: self.log_bytes - earlier.log_bytes,
        }
    }
}

/// Seconds of processor time so far.
pub(crate) struct Processor {
    at: Instant,
    postgres: f64,
    ours: f64,
    model: f64,
    all: f64,
}

/// How many processors each used.
pub(crate) struct Share {
    pub(crate) postgres: f64,
    /// Ours and the readers'.
    pub(crate) ours: f64,
    pub(crate) model: f64,
    /// Whatever else this machine does meanwhile.
    pub(crate) others: f64,
}

impl Processor {
    pub(crate) fn now(postmaster: u32) -> Result<Self> {
        let mut ours = 0.0;
        let mut model = 0.0;
        for thread in fs::read_dir("/proc/self/task")? {
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
                continue;
            };
            let stat = Stat::read(&stat)?;
            if stat.name == crate::MODEL_THREADS {
                model += stat.own;
            } else {
                ours += stat.own;
            }
        }
        let mut postgres = 0.0;
        for process in fs::read_dir("/proc")? {
            let Ok(text) = fs::read_to_string(process?.path().join("stat")) else {
                continue;
            };
            let stat = Stat::read(&text)?;
            if stat.pid == postmaster {
                postgres += stat.own + stat.ended_children;
            } else if stat.parent == postmaster {
                postgres += stat.own;
            }
        }
        Ok(Self {
            at: Instant::now(),
            postgres,
            ours,
            model,
            all: busy()?,
        })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Share {
        let seconds = (self.at - earlier.at).as_secs_f64();
        let (postgres, ours, model) = (
            (self.postgres - earlier.postgres) / seconds,
            (self.ours - earlier.ours) / seconds,
            (self.model - earlier.model) / seconds,
        );
        Share {
            postgres,
            ours,
            model,
            others: ((self.all - earlier.all) / seconds - postgres - ours - model).max(0.0),
        }
    }
}

/// What all processors of this machine have done together.
fn busy() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("no processors")?;
    let times: Vec<f64> = line
        .split_ascii_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let is_busy = |at: &usize| !matches!(at, 3 | 4);
    let ticks: f64 = (0..times.len().min(8)).filter(is_busy).map(|at| times[at]).sum();
    Ok(ticks / TICKS_A_SECOND)
}

/// The process whose children serve connections. It must run on this machine.
pub(crate) async fn postmaster(connection: &mut PgConnection) -> Result<u32> {
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    let stat = fs::read_to_string(format!("/proc/{backend}/stat")).context("Postgres runs on another machine")?;
    let stat = Stat::read(&stat)?;
    ensure!(stat.name == "postgres", "the server's process is {}", stat.name);
    Ok(stat.parent)
}

/// What proc(5) says of a process or a thread.
struct Stat<'a> {
    pid: u32,
    name: &'a str,
    parent: u32,
    /// In seconds, as is the next.
    own: f64,
    ended_children: f64,
}

impl<'a> Stat<'a> {
    fn read(text: &'a str) -> Result<Self> {
        let (pid, rest) = text.split_once(" (").context("no name")?;
        // A name may have parentheses of its own.
        let (name, rest) = rest.rsplit_once(") ").context("no end of the name")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("too few fields")?.parse()?) };
        Ok(Self {
            pid: pid.parse()?,
            name,
            parent: fields.get(1).context("no parent")?.parse()?,
            own: (ticks(11)? + ticks(12)?) / TICKS_A_SECOND,
            ended_children: (ticks(13)? + ticks(14)?) / TICKS_A_SECOND,
        })
    }
}
