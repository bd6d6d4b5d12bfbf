//! What we add to a model: time before its first token and on each, what Postgres writes, and how many replies at once
//! this machine carries. In one run, by turns: the model's server asked directly, and through `send-message`'s handler
//! with all that hangs on it: the token, the send statement, the queue, the model's client, the stored parts, the end.
//!
//! `DATABASE_URL` names a server on this machine where a database may be made and dropped, and where 220 may connect;
//! `cargo xtask bench` starts one. `--quick` does a few seconds of everything. Read the ratios: the times are this
//! machine's, and the model's server, the readers and Postgres share it. Lambda's own part is not in them.

mod ask;
mod cost;
mod model;

use std::env;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::config::DatabaseConfig;
use store::migrate;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use ask::{Asker, Direct, Heard, Person, Place};
use cost::{Processor, Share, Written, postmaster};
use model::{ModelServer, Pace};

/// How the threads of the model's server are called.
const MODEL_THREADS: &str = "model";

/// Of one reply, as models of today speak.
const EVERY: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// From the request to the first token. Short beside real ones, which changes nothing about what is added.
const FIRST: Duration = Duration::from_millis(50);
/// A chat is left for a new one after so many turns.
const TURNS_A_CHAT: usize = 10;
const STREAMS: usize = 200;
/// Over which the streams begin one after the other.
const RAMP: Duration = Duration::from_secs(4);

struct Size {
    turns: usize,
    fast_rounds: usize,
    fast_tokens: usize,
    paced_rounds: usize,
    paced_tokens: usize,
    writers: usize,
    written_tokens: usize,
    crowd_tokens: usize,
}

const FULL: Size = Size {
    turns: 300,
    fast_rounds: 10,
    fast_tokens: 5_000,
    paced_rounds: 4,
    paced_tokens: 300,
    writers: 10,
    written_tokens: 1_000,
    crowd_tokens: 900,
};
const QUICK: Size = Size {
    turns: 20,
    fast_rounds: 2,
    fast_tokens: 500,
    paced_rounds: 1,
    paced_tokens: 60,
    writers: 4,
    written_tokens: 90,
    crowd_tokens: 210,
};

fn main() -> Result<()> {
    let size = if env::args().any(|argument| argument == "--quick") {
        QUICK
    } else {
        FULL
    };
    let model = runtime(MODEL_THREADS)?;
    runtime("ours")?.block_on(async {
        let server = env::var("DATABASE_URL").context("DATABASE_URL must name a Postgres to measure on")?;
        let server = PgConnectOptions::from_str(&server)?;
        let name = format!("backtalk_replies_{}", std::process::id());
        let mut admin = PgConnection::connect_with(&server).await?;
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        let model = ModelServer::start(model.handle()).await?;
        let measured = measure(&server, &name, model, &size).await;
        admin
            .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
            .await?;
        measured
    })
}

fn runtime(name: &str) -> Result<Runtime> {
    Ok(Builder::new_multi_thread().thread_name(name).enable_all().build()?)
}

async fn measure(server: &PgConnectOptions, database: &str, model: ModelServer, size: &Size) -> Result<()> {
    let (user, host, port) = (server.get_username(), server.get_host(), server.get_port());
    let place = Place {
        database_url: format!("postgres://{user}@{host}:{port}/{database}"),
        model,
    };
    let config = DatabaseConfig::of(&place.database_url);
    migrate(&config).await?;
    let mut watch = PgConnection::connect_with(&server.clone().database(database)).await?;
    first_token(&place, size).await?;
    each_token(&place, size).await?;
    written(&place, size, &mut watch).await?;
    crowd(&place, size, &mut watch).await
}

/// One reply after the other: how long until something is read.
async fn first_token(place: &Place, size: &Size) -> Result<()> {
    let pace = Pace {
        tokens: 3,
        first: FIRST,
        every: EVERY,
    };
    let direct = Asker::Directly(Direct::new(&place.model));
    let app = place.app().await?;
    let (mut directly, mut through_us, mut stored) = (Times::default(), Times::default(), Times::default());
    let mut person = Asker::ThroughUs(Box::new(place.person(&app).await?));
    for turn in 0..size.turns + TURNS_A_CHAT {
        if turn % TURNS_A_CHAT == 0 {
            person = Asker::ThroughUs(Box::new(place.person(&app).await?));
        }
        let theirs = direct.ask(pace).await?;
        let ours = person.ask(pace).await?;
        // The first chat warms caches, connections and prepared statements.
        if turn >= TURNS_A_CHAT {
            directly.add(theirs.first());
            through_us.add(ours.first());
            stored.add(ours.stored.context("no message of our own")? - ours.begun);
        }
    }
    println!(
        "\nfirst token, of a model that takes {} ms ({})",
        FIRST.as_millis(),
        load()?
    );
    println!("{:<26}{:>12}{:>12}", "", "p50", "p95");
    println!("{:<26}{}", "asked directly", directly.columns([50, 95]));
    println!("{:<26}{}", "through us", through_us.columns([50, 95]));
    let added = |percent| through_us.at(percent).saturating_sub(directly.at(percent));
    println!("{:<26}{}{}", "added", column(added(50)), column(added(95)));
    println!("{:<26}{}", "of that until it is stored", stored.columns([50, 95]));
    Ok(())
}

/// One reply after the other: what each token costs, and how late it comes.
async fn each_token(place: &Place, size: &Size) -> Result<()> {
    let app = place.app().await?;
    let direct = Asker::Directly(Direct::new(&place.model));
    let fast = Pace {
        tokens: size.fast_tokens,
        first: FIRST,
        every: Duration::ZERO,
    };
    let paced = Pace {
        tokens: size.paced_tokens,
        every: EVERY,
        ..fast
    };
    let (mut directly, mut through_us) = (Times::default(), Times::default());
    let (mut lag_directly, mut lag_through_us) = (Times::default(), Times::default());
    for round in 0..=size.fast_rounds {
        let person = Asker::ThroughUs(Box::new(place.person(&app).await?));
        for (asker, times) in [(&direct, &mut directly), (&person, &mut through_us)] {
            let heard = asker.ask(fast).await?;
            if round > 0 {
                times.add(heard.speaking() / u32::try_from(fast.tokens - 1)?);
            }
        }
    }
    for _ in 0..size.paced_rounds {
        let person = Asker::ThroughUs(Box::new(place.person(&app).await?));
        for (asker, lags) in [(&direct, &mut lag_directly), (&person, &mut lag_through_us)] {
            asker.ask(paced).await?.lags().for_each(|lag| lags.add(lag));
        }
    }
    println!("\neach token ({})", load()?);
    println!(
        "{:<26}{:>14}{:>12}{:>16}{:>12}",
        "", "as fast as", "", "late, at 30/s,", ""
    );
    println!(
        "{:<26}{:>14}{:>12}{:>16}{:>12}",
        "", "may be, p50", "tokens/s", "p50", "p95"
    );
    for (way, each, lags) in [
        ("asked directly", &directly, &lag_directly),
        ("through us", &through_us, &lag_through_us),
    ] {
        let micros = each.at(50).as_secs_f64() * 1e6;
        println!(
            "{way:<26}{micros:>11.1} µs{:>12.0}    {}",
            1e6 / micros,
            lags.columns([50, 95])
        );
    }
    let micros = |times: &Times, percent| times.at(percent).as_secs_f64() * 1e6;
    println!(
        "{:<26}{:>11.1} µs{:>12}{:>13.0} µs{:>9.0} µs",
        "added",
        micros(&through_us, 50) - micros(&directly, 50),
        "",
        micros(&lag_through_us, 50) - micros(&lag_directly, 50),
        micros(&lag_through_us, 95) - micros(&lag_directly, 95)
    );
    Ok(())
}

/// A few replies at once: what Postgres writes for a turn, from the message to the end of its answer.
async fn written(place: &Place, size: &Size, watch: &mut PgConnection) -> Result<()> {
    let pace = Pace {
        tokens: size.written_tokens,
        first: FIRST,
        every: EVERY,
    };
    let people = people(place, size.writers).await?;
    let before = Written::now(watch).await?;
    let mut asking = JoinSet::new();
    for person in people {
        let asker = Asker::ThroughUs(Box::new(person));
        asking.spawn(async move { asker.ask(pace).await });
    }
    while let Some(heard) = asking.join_next().await {
        heard??;
    }
    let written = Written::now(watch).await?.since(&before);
    let a_turn = |number: i64| number as f64 / size.writers as f64;
    println!(
        "\nwritten for a turn whose answer has {} tokens, at 30 tokens/s",
        pace.tokens
    );
    println!("{:<26}{:>12}{:>12}{:>12}", "rows", "inserted", "updated", "deleted");
    for (table, rows) in &written.rows {
        println!(
            "{table:<26}{:>12.1}{:>12.1}{:>12.1}",
            a_turn(rows.inserted),
            a_turn(rows.updated),
            a_turn(rows.deleted)
        );
    }
    let rows = written.rows.values().map(|rows| rows.all()).sum();
    println!(
        "{:<26}{:>12.1}{:>21.1} KiB of log",
        "all",
        a_turn(rows),
        a_turn(written.log_bytes) / 1024.0
    );
    Ok(())
}

/// Very many replies at once, each in a process of its own: a connection, a queue's client and a model's client.
async fn crowd(place: &Place, size: &Size, watch: &mut PgConnection) -> Result<()> {
    let pace = Pace {
        tokens: size.crowd_tokens,
        first: FIRST,
        every: EVERY,
    };
    let warming = Pace { tokens: 3, ..pace };
    let direct = (0..STREAMS)
        .map(|_| Asker::Directly(Direct::new(&place.model)))
        .collect();
    let mut ours = Vec::new();
    for person in people(place, STREAMS).await? {
        ours.push(Asker::ThroughUs(Box::new(person)));
    }
    let postmaster = postmaster(watch).await?;
    println!("\n{STREAMS} streams at once, at 30 tokens/s each ({})", load()?);
    println!(
        "{:<26}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "first p50", "p95", "late p50", "p95", "tokens/s", "slowest"
    );
    let mut shares = Vec::new();
    for (way, askers) in [("asked directly", direct), ("through us", ours)] {
        // Not all at once: beginnings are measured below.
        let warm = stream::iter(&askers).map(|asker: &Asker| asker.ask(warming));
        warm.buffer_unordered(8).try_collect::<Vec<_>>().await?;
        let (heard, share) = at_once(askers, pace, postmaster).await?;
        let (mut first, mut lags, mut rates) = (Times::default(), Times::default(), Vec::new());
        for heard in &heard {
            first.add(heard.first());
            heard.lags().for_each(|lag| lags.add(lag));
            rates.push((pace.tokens - 1) as f64 / heard.speaking().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{way:<26}{}{}{:>12.2}{:>12.2}",
            first.columns([50, 95]),
            lags.columns([50, 95]),
            rates[rates.len() / 2],
            rates[0]
        );
        shares.push((way, share));
    }
    println!(
        "\n{:<26}{:>12}{:>12}{:>12}{:>12}",
        "of one processor", "Postgres", "ours", "the model", "others"
    );
    for (way, share) in shares {
        println!(
            "{way:<26}{:>10.0} %{:>10.0} %{:>10.0} %{:>10.0} %",
            share.postgres * 100.0,
            share.ours * 100.0,
            share.model * 100.0,
            share.others * 100.0
        );
    }
    println!(
        "\nours: with what reads the streams; others: what the machine did beside this. {}",
        load()?
    );
    Ok(())
}

/// All ask, one soon after the other; who uses the processor is measured while all are answered.
async fn at_once(askers: Vec<Asker>, pace: Pace, postmaster: u32) -> Result<(Vec<Heard>, Share)> {
    let begun = Instant::now();
    let apart = RAMP / u32::try_from(askers.len())?;
    let mut asking = JoinSet::new();
    for (turn, asker) in (0..).zip(askers) {
        asking.spawn(async move {
            sleep_until(begun + apart * turn).await;
            asker.ask(pace).await
        });
    }
    sleep_until(begun + RAMP + Duration::from_secs(1)).await;
    let before = Processor::now(postmaster)?;
    sleep_until(begun + FIRST + EVERY * u32::try_from(pace.tokens)?).await;
    let share = Processor::now(postmaster)?.since(&before);
    let mut all = Vec::new();
    while let Some(heard) = asking.join_next().await {
        all.push(heard??);
    }
    Ok((all, share))
}

/// So many people, each with a process of their own that is still to connect.
async fn people(place: &Place, number: usize) -> Result<Vec<Person>> {
    let app = place.app().await?;
    let mut people = Vec::new();
    for _ in 0..number {
        people.push(place.person(&app).await?.in_process(place.app().await?));
    }
    Ok(people)
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() * percent / 100]
    }

    fn columns(&self, percents: [usize; 2]) -> String {
        percents.map(|percent| column(self.at(percent))).concat()
    }
}

fn column(time: Duration) -> String {
    format!("{:>9.2} ms", time.as_secs_f64() * 1000.0)
}

/// What else the machine does.
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let now = text.split(' ').next().context("no load")?;
    Ok(format!("load {now}"))
}
