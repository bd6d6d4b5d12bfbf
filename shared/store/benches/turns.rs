//! What budgets cost: a turn with the assistant, which is the message that reserves tokens and the end of its answer that
//! settles them, on no limit, on limits of one's own, and where all clients share one organisation's. Two statements a
//! turn; the model takes no time here, so that clients meet at the budget as often as they can.
//!
//! `DATABASE_URL` names a server where a database may be made and dropped; `cargo xtask bench` starts one. `--quick` does
//! a tenth. Read the ratios: the times are this machine's.

mod clients;

use std::env;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::budget::BudgetPolicy;
use domain::ids::ChatId;
use domain::message::Usage;
use domain::person::Caller;
use domain::reply::Terms;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::config::DatabaseConfig;
use store::messages::SendOutcome;
use store::replies::Ending;
use store::{DbRole, Store, migrate};
use uuid::Uuid;

use clients::{TERMS, Timed, draft, milliseconds, open_chats, run};

const CLIENTS: [usize; 3] = [1, 8, 32];
const MOST_CLIENTS: u32 = 32;
/// The budgets take turns, so that what else the machine does hits all.
const ROUNDS: usize = 5;
const TURNS_A_ROUND: usize = 1_600;
const LEASE: Duration = Duration::from_secs(20);
/// Looked at, and never reached.
const LIMIT: Option<i64> = Some(i64::MAX / 2);

#[derive(Clone, Copy)]
enum Budgets {
    Unlimited,
    APersonsOwn,
    AnOrganisationOfOnesOwn,
    OneOrganisation,
}

impl Budgets {
    const ALL: [Self; 4] = [
        Self::Unlimited,
        Self::APersonsOwn,
        Self::AnOrganisationOfOnesOwn,
        Self::OneOrganisation,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Unlimited => "without a limit",
            Self::APersonsOwn => "a person's own",
            Self::AnOrganisationOfOnesOwn => "and an organisation's own",
            Self::OneOrganisation => "and one organisation's",
        }
    }

    fn terms(self) -> Terms {
        let (person_limit, organisation_limit) = match self {
            Self::Unlimited => (None, None),
            Self::APersonsOwn => (LIMIT, None),
            Self::AnOrganisationOfOnesOwn | Self::OneOrganisation => (LIMIT, LIMIT),
        };
        let budget = BudgetPolicy {
            person_limit,
            organisation_limit,
            ..TERMS.budget
        };
        Terms { budget, ..TERMS }
    }

    fn organisation(self) -> Option<String> {
        match self {
            Self::Unlimited | Self::APersonsOwn => None,
            Self::AnOrganisationOfOnesOwn => Some(Uuid::now_v7().to_string()),
            Self::OneOrganisation => Some("all".into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let turns = if env::args().any(|argument| argument == "--quick") {
        TURNS_A_ROUND / 10
    } else {
        TURNS_A_ROUND
    };
    let server = env::var("DATABASE_URL").context("DATABASE_URL must name a Postgres to measure on")?;
    let server = PgConnectOptions::from_str(&server)?;
    let name = format!("backtalk_turns_{}", std::process::id());
    let mut admin = PgConnection::connect_with(&server).await?;
    admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    let measured = measure(&server, &name, turns).await;
    admin
        .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
        .await?;
    measured
}

async fn measure(server: &PgConnectOptions, database: &str, turns: usize) -> Result<()> {
    let (user, host, port) = (server.get_username(), server.get_host(), server.get_port());
    let config = DatabaseConfig {
        connections: MOST_CLIENTS,
        ..DatabaseConfig::of(format!("postgres://{user}@{host}:{port}/{database}"))
    };
    migrate(&config).await?;
    let store = Store::connect(&config, DbRole::App)?;
    println!(
        "\n{:>7}  {:<26}  {:>9} {:>9} {:>9}  {:>6}",
        "clients", "budgets", "turn p50", "p95", "turns/s", "ratio"
    );
    for clients in CLIENTS {
        let mut times = Budgets::ALL.map(|budgets| (budgets, Timed::default()));
        for round in 0..=ROUNDS {
            for (budgets, timed) in &mut times {
                let took = take_turns(&store, *budgets, clients, turns / clients).await?;
                // The first round warms caches and prepares statements.
                if round > 0 {
                    timed.add(took);
                }
            }
        }
        let times = times.map(|(budgets, timed)| (budgets, timed.sorted()));
        let without = times[0].1.p50();
        for (budgets, timed) in times {
            println!(
                "{clients:>7}  {:<26}  {timed}  {:>5.2}x",
                budgets.name(),
                milliseconds(timed.p50()) / milliseconds(without)
            );
        }
    }
    println!("\nratio: p50 over that without a limit.");
    Ok(())
}

async fn take_turns(store: &Store, budgets: Budgets, clients: usize, each: usize) -> Result<Timed> {
    let mut chats = open_chats(store, clients).await?;
    for (person, _) in &mut chats {
        person.org_id = budgets.organisation();
    }
    let store = store.clone();
    run(&chats, each, move |person, chat| {
        let store = store.clone();
        async move { take_a_turn(&store, &person, chat, &budgets.terms()).await }
    })
    .await
}

async fn take_a_turn(store: &Store, person: &Caller, chat: ChatId, terms: &Terms) -> Result<()> {
    let sent = match store.send_message(person, chat, &draft()?, Some(LEASE), terms).await? {
        SendOutcome::Sent(sent) => sent,
        other => anyhow::bail!("not sent: {other:?}"),
    };
    let ending = Ending::Completed {
        text: "an answer of the usual length, which is longer than the question, but not by very much".into(),
        usage: Usage {
            input_tokens: 100,
            output_tokens: 30,
            cached_tokens: 0,
            model: "bench".into(),
        },
    };
    let ended = store.end_reply(&sent.claim.context("no claim")?, &ending).await?;
    ensure!(ended.is_some(), "the reply was lost");
    Ok(())
}
