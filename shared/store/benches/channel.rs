//! How many messages a second one chat takes: its writers come one after the other, and each message is told to every
//! member. 32 clients send to one channel of 2, 20 and 200 members.
//!
//! `DATABASE_URL` names a server where a database may be made and dropped; `cargo xtask bench` starts one. `--quick` sends
//! a tenth.

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use domain::ids::{ChatId, UserId};
use domain::person::{Caller, CallerRole};
use domain::text::Title;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::channels::Channel;
use store::config::DatabaseConfig;
use store::messages::SendOutcome;
use store::{DbRole, Store, migrate};
use tokio::task::JoinSet;
use uuid::Uuid;

#[allow(dead_code, reason = "the other benches use more of it")]
mod clients;

use clients::{TERMS, draft};

const MEMBERS: [usize; 3] = [2, 20, 200];
const CLIENTS: u32 = 32;
const SENDS: usize = 6_400;

#[tokio::main]
async fn main() -> Result<()> {
    let is_quick = env::args().any(|argument| argument == "--quick");
    let sends = if is_quick { SENDS / 10 } else { SENDS };
    let server = env::var("DATABASE_URL").context("DATABASE_URL must name a Postgres to measure on")?;
    let server = PgConnectOptions::from_str(&server)?;
    let name = format!("backtalk_channel_{}", std::process::id());
    let mut admin = PgConnection::connect_with(&server).await?;
    admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    let measured = measure(&server, &name, sends).await;
    admin
        .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
        .await?;
    measured
}

async fn measure(server: &PgConnectOptions, database: &str, sends: usize) -> Result<()> {
    let (user, host, port) = (server.get_username(), server.get_host(), server.get_port());
    let config = DatabaseConfig {
        connections: CLIENTS,
        ..DatabaseConfig::of(format!("postgres://{user}@{host}:{port}/{database}"))
    };
    migrate(&config).await?;
    let store = Store::connect(&config, DbRole::App)?;
    println!("\none channel, {CLIENTS} clients");
    println!(
        "{:>7}  {:>10} {:>13}  {:>9} {:>9}",
        "members", "messages/s", "inbox rows/s", "p50", "p95"
    );
    for members in MEMBERS {
        // The first warms caches and prepares statements; few rows are enough for that.
        run(&store, members, sends / 10).await?;
        let (all, mut each) = run(&store, members, sends).await?;
        each.sort_unstable();
        let at = |percent: usize| each[each.len() * percent / 100].as_secs_f64() * 1000.0;
        let rate = each.len() as f64 / all.as_secs_f64();
        println!(
            "{members:>7}  {rate:>10.0} {:>13.0}  {:>6.1} ms {:>6.1} ms",
            rate * members as f64,
            at(50),
            at(95)
        );
    }
    Ok(())
}

/// How long all took together, and each.
async fn run(store: &Store, members: usize, sends: usize) -> Result<(Duration, Vec<Duration>)> {
    let mut people = Vec::new();
    for _ in 0..members {
        let person = person()?;
        store.upsert_user(&person).await?;
        people.push(person);
    }
    let others: Vec<_> = people[1..].iter().map(|person| person.id.clone()).collect();
    let title = Title::parse("Bench").map_err(anyhow::Error::msg)?;
    let Channel::Opened { chat_id, .. } = store.open_channel(&people[0].id, None, &title, &others, None).await? else {
        anyhow::bail!("all are known");
    };
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS as usize {
        let (store, sender) = (store.clone(), people[client % members].clone());
        let own = sends / CLIENTS as usize;
        clients.spawn(async move {
            let mut took = Vec::with_capacity(own);
            for _ in 0..own {
                let begun = Instant::now();
                send(&store, &sender, chat_id).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut each = Vec::new();
    while let Some(took) = clients.join_next().await {
        each.extend(took??);
    }
    Ok((begun.elapsed(), each))
}

fn person() -> Result<Caller> {
    Ok(Caller {
        id: UserId::parse(&Uuid::now_v7().to_string()).context("an id")?,
        name: "Bench".into(),
        image: None,
        org_id: None,
        role: CallerRole::Person,
        token_expires_at: Utc::now(),
    })
}

async fn send(store: &Store, sender: &Caller, chat: ChatId) -> Result<()> {
    let outcome = store.send_message(sender, chat, &draft()?, None, &TERMS).await?;
    ensure!(matches!(outcome, SendOutcome::Sent(_)), "not sent: {outcome:?}");
    Ok(())
}
