//! How fast a message is sent: the store's one statement against the six of the usual ORM, in one run on one Postgres.
//!
//! `DATABASE_URL` names a server where a database may be made and dropped; `cargo xtask bench` starts one. `--quick` does
//! a tenth. Read the ratios: the times are this machine's. It measures twice: at the database, whose network is memory,
//! and a network away, through a relay that holds every answer back, for that is where functions are. Our one statement
//! does more than the six: it also checks every row against the policies and tells the inbox.

mod clients;

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::ids::{ChatId, JobId, MessageId, UserId};
use domain::person::Caller;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::config::DatabaseConfig;
use store::messages::SendOutcome;
use store::{DbRole, Store, migrate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use clients::{TERMS, Timed, draft, milliseconds, open_chats, run};

const CLIENTS: [usize; 3] = [1, 8, 32];
const MOST_CLIENTS: u32 = 32;
/// How long the relay holds an answer back; the timer adds up to as much again.
const NETWORK: Duration = Duration::from_millis(1);
/// The two ways take turns, so that what else the machine does hits both.
const ROUNDS: usize = 5;
const SENDS_A_ROUND: usize = 2_000;

#[tokio::main]
async fn main() -> Result<()> {
    let sends = if env::args().any(|argument| argument == "--quick") {
        SENDS_A_ROUND / 10
    } else {
        SENDS_A_ROUND
    };
    let server = env::var("DATABASE_URL").context("DATABASE_URL must name a Postgres to measure on")?;
    let server = PgConnectOptions::from_str(&server)?;
    let name = format!("backtalk_bench_{}", std::process::id());
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
    let relay = Relay::start(format!("{host}:{port}")).await?;
    let places = [
        ("at the database", host.to_owned(), port),
        ("a network away", "127.0.0.1".to_owned(), relay.port),
    ];
    for (place, host, port) in places {
        let url = format!("postgres://{user}@{host}:{port}/{database}");
        let config = DatabaseConfig {
            connections: MOST_CLIENTS,
            ..DatabaseConfig::of(&url)
        };
        migrate(&config).await?;
        let store = Store::connect(&config, DbRole::App)?;
        let orm = PgPoolOptions::new()
            .max_connections(MOST_CLIENTS)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute("set search_path = backtalk").await.map(drop) })
            })
            .connect(&url)
            .await?;
        println!(
            "\n{place}: {:.2} ms for `select 1`",
            milliseconds(round_trip(&orm).await?)
        );
        println!(
            "{:>7}  {:>9} {:>9} {:>9}  {:>9} {:>9} {:>9}  {:>6}",
            "clients", "one p50", "p95", "sends/s", "six p50", "p95", "sends/s", "ratio"
        );
        for clients in CLIENTS {
            compare(&store, &orm, clients, sends).await?;
        }
    }
    println!("\nratio: the six statements' p50 over the one's; above 1 the one is faster.");
    Ok(())
}

async fn compare(store: &Store, orm: &PgPool, clients: usize, sends: usize) -> Result<()> {
    let chats = open_chats(store, clients).await?;
    let (mut one, mut six) = (Timed::default(), Timed::default());
    for round in 0..=ROUNDS {
        let (sender, each) = (store.clone(), sends / clients);
        let ours = run(&chats, each, move |person, chat| {
            let store = sender.clone();
            async move { send_by_one_statement(&store, &person, chat).await }
        });
        let ours = ours.await?;
        let pool = orm.clone();
        let theirs = run(&chats, each, move |person, chat| {
            let orm = pool.clone();
            async move { send_as_an_orm(&orm, &person.id, chat).await }
        });
        let theirs = theirs.await?;
        // The first round warms caches and prepares statements.
        if round > 0 {
            one.add(ours);
            six.add(theirs);
        }
    }
    let (one, six) = (one.sorted(), six.sorted());
    println!(
        "{clients:>7}  {one}  {six}  {:>5.2}x",
        six.p50().as_secs_f64() / one.p50().as_secs_f64()
    );
    Ok(())
}

async fn round_trip(pool: &PgPool) -> Result<Duration> {
    let mut connection = pool.acquire().await?;
    let mut took = Timed::default();
    for _ in 0..100 {
        let begun = Instant::now();
        sqlx::query("select 1").execute(&mut *connection).await?;
        took.each.push(begun.elapsed());
    }
    Ok(took.sorted().p50())
}

/// Passes bytes on, and holds back what comes from the server, as a network does.
struct Relay {
    port: u16,
    _accepting: JoinSet<()>,
}

impl Relay {
    async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(&server).await else {
                    return;
                };
                let _unset = (client.set_nodelay(true), upstream.set_nodelay(true));
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                        sleep(NETWORK).await;
                        if to_client.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self {
            port,
            _accepting: accepting,
        })
    }
}

async fn send_by_one_statement(store: &Store, person: &Caller, chat: ChatId) -> Result<()> {
    let outcome = store.send_message(person, chat, &draft()?, None, &TERMS).await?;
    ensure!(matches!(outcome, SendOutcome::Sent(_)), "not sent: {outcome:?}");
    Ok(())
}

/// What an ORM makes of the same: a transaction with six statements between begin and commit.
async fn send_as_an_orm(pool: &PgPool, person: &UserId, chat: ChatId) -> Result<()> {
    let client_id = Uuid::now_v7().to_string();
    let mut transaction = pool.begin().await?;
    let member = sqlx::query("select role from members where chat_id = $1 and user_id = $2")
        .bind(chat.uuid())
        .bind(person.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
    ensure!(member.is_some(), "no member");
    let known = sqlx::query("select id from messages where chat_id = $1 and sender_id = $2 and client_id = $3")
        .bind(chat.uuid())
        .bind(person.as_str())
        .bind(&client_id)
        .fetch_optional(&mut *transaction)
        .await?;
    ensure!(known.is_none(), "known");
    let (seq, number): (i64, i64) = sqlx::query_as(
        "update chats set last_seq = last_seq + 1, last_number = last_number + 1, last_message_seq = last_seq + 1,
             last_message_at = now(), active_at = now()
         where id = $1
         returning last_seq, last_number",
    )
    .bind(chat.uuid())
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, client_id, content)
         values ($1, $2, $3, $4, $2, 'user', $5, $6, $7) returning *",
    )
    .bind(chat.uuid())
    .bind(seq)
    .bind(MessageId::fresh().uuid())
    .bind(number)
    .bind(person.as_str())
    .bind(&client_id)
    .bind("a message of the usual length, no more and no less")
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "update members set read_seq = $3, read_number = $4, read_at = now() where chat_id = $1 and user_id = $2",
    )
    .bind(chat.uuid())
    .bind(person.as_str())
    .bind(seq)
    .bind(number)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "with reply as (
             insert into replies (id, chat_id, asked_by, prompt_seq, state, attempt)
             values ($1, $2, $3, $4, 'queued', 0) returning id, chat_id
         )
         insert into jobs (id, kind, chat_id, reply_id, run_at) select $5, 'reply', chat_id, id, now() from reply",
    )
    .bind(MessageId::fresh().uuid())
    .bind(chat.uuid())
    .bind(person.as_str())
    .bind(seq)
    .bind(JobId::fresh().uuid())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
