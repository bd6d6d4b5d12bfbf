//! What a poll costs while nothing happens, and the list of unread messages when there are some: with ten thousand
//! messages in the table and with a million, side by side in one run. Flat is what it must be: neither reads more where
//! there is more. Then lists of 50, 500 and 5,000 chats, pages of a long history, and searches over them, among a hundred
//! thousand people and the million messages.
//!
//! `DATABASE_URL` names a server where databases may be made and dropped; `cargo xtask bench` starts one. `--quick` asks
//! a tenth as often, of a tenth of the million. Read the ratios: the times are this machine's.

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::ids::{Seq, UserId};
use domain::limits::PageSize;
use domain::text::SearchText;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::chats::ListFilter;
use store::config::DatabaseConfig;
use store::messages::Range;
use store::{DbRole, Store, migrate};

const FEW: usize = 10_000;
const MANY: usize = 1_000_000;
/// Anna has three unread messages in each of her twenty chats, among a hundred.
const CHATS: usize = 100;
const UNREAD: i64 = 60;
/// People with so many chats each, and how many messages are in each of those.
const CROWD: usize = 100_000;
const KEEPERS: [usize; 3] = [50, 500, 5_000];
const MESSAGES_A_CHAT: usize = 20;
/// So many things are spoken of, by turns.
const TOPICS: usize = 1_000;
const ROUNDS: usize = 20;
const POLLS_A_ROUND: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let is_quick = env::args().any(|argument| argument == "--quick");
    let (many, polls) = if is_quick {
        (MANY / 10, POLLS_A_ROUND / 10)
    } else {
        (MANY, POLLS_A_ROUND)
    };
    let server = env::var("DATABASE_URL").context("DATABASE_URL must name a Postgres to measure on")?;
    let server = PgConnectOptions::from_str(&server)?;
    let mut admin = PgConnection::connect_with(&server).await?;
    let names = [FEW, many].map(|messages| format!("backtalk_reads_{messages}_{}", std::process::id()));
    for name in &names {
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    }
    let measured = measure(&server, &names, [FEW, many], polls).await;
    for name in &names {
        admin
            .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
            .await?;
    }
    measured
}

async fn measure(server: &PgConnectOptions, names: &[String; 2], sizes: [usize; 2], polls: usize) -> Result<()> {
    let few = filled(server, &names[0], sizes[0]).await?;
    let many = filled(server, &names[1], sizes[1]).await?;
    println!(
        "\n{:<14}  {:>9} {:>9}  {:>9} {:>9}  {:>6}",
        "messages", sizes[0], "p95", sizes[1], "p95", "ratio"
    );
    for poll in [Poll::Idle, Poll::Unread, Poll::Chats] {
        let mut times = [Vec::new(), Vec::new()];
        // In turns, so that what else the machine does hits both. The first round warms caches and prepares.
        for round in 0..=ROUNDS {
            for (store, times) in [&few, &many].into_iter().zip(&mut times) {
                for _ in 0..polls {
                    let begun = Instant::now();
                    poll.run(store).await?;
                    if round > 0 {
                        times.push(begun.elapsed());
                    }
                }
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1000.0;
        let [few, many] = &times;
        println!(
            "{:<14}  {:>6.3} ms {:>6.3} ms  {:>6.3} ms {:>6.3} ms  {:>5.2}x",
            poll.name(),
            at(few, 50),
            at(few, 95),
            at(many, 50),
            at(many, 95),
            at(many, 50) / at(few, 50)
        );
    }
    println!("\nratio: p50 with many messages over p50 with few; 1 is flat.");
    crowd(server, &names[1]).await?;
    println!("\n{:<46}  {:>9} {:>9}", "among 100,000 people", "p50", "p95");
    for keeper in KEEPERS {
        let me = UserId::parse(&format!("keeper-{keeper}")).context("an id")?;
        let first = many.chats(&me, ListFilter::default(), None, PageSize::DEFAULT).await?;
        ensure!(first.total == i64::try_from(keeper)?, "{} chats", first.total);
        time(&format!("{keeper} chats: a page"), polls, async || {
            let page = many.chats(&me, ListFilter::default(), None, PageSize::DEFAULT).await?;
            ensure!(page.chats.len() == 50, "{} chats", page.chats.len());
            Ok(())
        })
        .await?;
        if first.next.is_some() {
            time(&format!("{keeper} chats: the next page"), polls, async || {
                let page = many
                    .chats(&me, ListFilter::default(), first.next, PageSize::DEFAULT)
                    .await?;
                ensure!(page.chats.len() == 50, "{} chats", page.chats.len());
                Ok(())
            })
            .await?;
        }
        time(&format!("{keeper} chats: the badge"), polls, async || {
            ensure!(many.me(&me).await?.is_some(), "nobody");
            Ok(())
        })
        .await?;
        time(&format!("{keeper} chats: one of them"), polls, async || {
            ensure!(many.chat(&me, first.chats[0].id).await?.is_some(), "no chat");
            Ok(())
        })
        .await?;
    }
    let anna = UserId::parse("anna").context("an id")?;
    let list = many
        .chats(&anna, ListFilter::default(), None, PageSize::DEFAULT)
        .await?;
    let (chat, end) = (list.chats[0].id, list.chats[0].last_seq.value());
    let seq = |value: i64| Seq::new(value).context("a seq");
    for (what, range) in [
        ("history: the newest page", Range::Newest),
        ("history: a page before the middle", Range::Before(seq(end / 2)?)),
        ("history: a page after the middle", Range::After(seq(end / 2)?)),
        ("history: what changed lately", Range::ChangedAfter(seq(end - 50)?)),
    ] {
        time(what, polls, async || {
            let page = many
                .messages(&anna, chat, range, PageSize::DEFAULT)
                .await?
                .context("a page")?;
            ensure!(page.messages.len() == 50, "{} messages", page.messages.len());
            Ok(())
        })
        .await?;
    }
    searches(&many, &anna, "20 chats", polls).await?;
    for keeper in KEEPERS {
        let me = UserId::parse(&format!("keeper-{keeper}")).context("an id")?;
        searches(&many, &me, &format!("{keeper} chats"), polls).await?;
    }
    Ok(())
}

/// For a word that all say, for one that few say, for two of which the one is rare, and for one that nobody says.
async fn searches(store: &Store, me: &UserId, chats: &str, times: usize) -> Result<()> {
    for (what, words, is_anywhere) in [
        ("a common word", "usual", true),
        ("a rare word", "topic7", true),
        ("a rare and a common one", "usual topic7", true),
        ("a word nobody says", "nowhere", false),
    ] {
        let text = SearchText::parse(words).map_err(anyhow::Error::msg)?;
        time(&format!("{chats}, search: {what}"), times, async || {
            let page = store
                .search(me, &text, None, None, PageSize::DEFAULT)
                .await?
                .context("a page")?;
            ensure!(page.results.is_empty() != is_anywhere, "{} found", page.results.len());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn time(what: &str, times: usize, run: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut took = Vec::with_capacity(times);
    for number in 0..times * 6 / 5 {
        let begun = Instant::now();
        run().await?;
        // The first ones warm caches and prepare.
        if number >= times / 5 {
            took.push(begun.elapsed());
        }
    }
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1000.0;
    println!("{what:<46}  {:>6.2} ms {:>6.2} ms", at(50), at(95));
    Ok(())
}

#[derive(Clone, Copy)]
enum Poll {
    /// All that a poll reads before it answers 304.
    Idle,
    /// What it reads when something has happened.
    Unread,
    Chats,
}

impl Poll {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle poll",
            Self::Unread => "unread list",
            Self::Chats => "chat list",
        }
    }

    async fn run(self, store: &Store) -> Result<()> {
        let anna = UserId::parse("anna").context("an id")?;
        match self {
            Self::Idle => ensure!(store.inbox_version(&anna).await? > 0, "no version"),
            Self::Unread => {
                let unread = store.unread_messages(&anna, PageSize::DEFAULT).await?;
                ensure!(unread.total == UNREAD && unread.messages.len() == 50, "{unread:?}");
            }
            Self::Chats => {
                let page = store
                    .chats(&anna, ListFilter::default(), None, PageSize::DEFAULT)
                    .await?;
                ensure!(page.chats.len() == 20, "{} chats", page.chats.len());
            }
        }
        Ok(())
    }
}

/// SQL: what a message says whose number is that.
fn said(number: &str) -> String {
    format!("'a message about topic' || ({number}) % {TOPICS} || ' of the usual length'")
}

/// Many people, and some with many chats: the chat of each has four members, of whom one keeps them all.
async fn crowd(server: &PgConnectOptions, database: &str) -> Result<()> {
    let mut connection = PgConnection::connect_with(&server.clone().database(database)).await?;
    let begun = Instant::now();
    let most = KEEPERS[KEEPERS.len() - 1];
    connection
        .execute(AssertSqlSafe(format!(
            "set search_path = backtalk;
             insert into people (id, name) select 'crowd-' || n, 'Crowd' from generate_series(1, {CROWD}) n;
             insert into people (id, name) select 'keeper-' || n, 'Keeper' from unnest(array{KEEPERS:?}) n;
             insert into inbox_heads (user_id) select id from people on conflict do nothing;
             create temp table kept as select n, gen_random_uuid() as id from generate_series(1, {most}) n;
             insert into chats (
                 id, kind, title, owner_id, last_seq, last_number, last_message_seq, last_message_at, active_at
             )
                 select id, 'channel', 'Channel ' || n, 'crowd-' || n, {MESSAGES_A_CHAT}, {MESSAGES_A_CHAT},
                     {MESSAGES_A_CHAT}, now() - n * interval '1 minute', now() - n * interval '1 minute'
                 from kept;
             insert into members (chat_id, user_id, role, joined_at)
                 select id, 'crowd-' || (n * i), case when i = 1 then 'owner' else 'member' end, now() - interval '1 year'
                 from kept, generate_series(1, 3) i;
             insert into members (chat_id, user_id, joined_at)
                 select id, 'keeper-' || k, now() - interval '1 year' from kept, unnest(array{KEEPERS:?}) k where n <= k;
             insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, client_id, content)
                 select id, m, gen_random_uuid(), m, m, 'user', 'crowd-' || n, m::text, {}
                 from kept, generate_series(1, {MESSAGES_A_CHAT}) m;",
            said("m + kept.n")
        )))
        .await?;
    connection.execute("vacuum analyze").await?;
    connection.close().await?;
    println!(
        "\n{CROWD} people, {most} chats more after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A store on a database with so many messages.
async fn filled(server: &PgConnectOptions, database: &str, messages: usize) -> Result<Store> {
    let (user, host, port) = (server.get_username(), server.get_host(), server.get_port());
    let config = DatabaseConfig::of(format!("postgres://{user}@{host}:{port}/{database}"));
    migrate(&config).await?;
    let mut connection = PgConnection::connect_with(&server.clone().database(database)).await?;
    let each = messages / CHATS;
    let begun = Instant::now();
    connection
        .execute(AssertSqlSafe(format!(
            "set search_path = backtalk;
             insert into people (id, name) select 'p' || n, 'P' from generate_series(1, 100) n union all select 'anna', 'Anna';
             insert into inbox_heads (user_id, version) select id, {each} from people;
             insert into chats (id, kind, owner_id, last_seq, last_number, last_message_seq, last_message_at)
                 select gen_random_uuid(), 'channel', 'p' || n, {each}, {each}, {each}, now() from generate_series(1, {CHATS}) n;
             insert into members (chat_id, user_id, role) select id, owner_id, 'owner' from chats;
             insert into members (chat_id, user_id) select id, 'anna' from chats order by id limit 20;
             update members set read_seq = {each} - 3, read_number = {each} - 3 where user_id = 'anna';
             insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, client_id, content)
                 select c.id, n, gen_random_uuid(), n, n, 'user', c.owner_id, n::text, {}
                 from chats c, generate_series(1, {each}) n;
             insert into inbox (user_id, version, chat_id, seq, event)
                 select p.id, n, c.id, n, 'message.created'
                 from people p
                 cross join (select id from chats limit 1) c
                 cross join generate_series(greatest(1, {each} - 1000), {each}) n
                 where p.id in ('anna', 'p1', 'p2', 'p3', 'p4');",
            said("n")
        )))
        .await?;
    connection.execute("vacuum analyze").await?;
    connection.close().await?;
    println!("{messages} messages after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(Store::connect(&config, DbRole::App)?)
}
