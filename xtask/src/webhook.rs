//! `cargo xtask webhook`: which servers of an organisation's own are told what, and the events that were given up.

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::console::say;
use crate::instance;
use crate::migrate::database_url;
use crate::overrides::Overrides;

/// Manage outgoing webhooks in DATABASE_URL, or else in the running stack's database.
#[derive(Debug, Args)]
pub(crate) struct Webhook {
    /// Which stack's database.
    #[arg(long, default_value = instance::DEFAULT)]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell an address of an organisation's events.
    Add {
        organisation: String,
        url: String,
        /// Where the worker finds the secret that signs: env:NAME or ssm:/path.
        #[arg(long)]
        secret: String,
        /// Which events; all by default.
        #[arg(long, value_delimiter = ',')]
        events: Vec<Event>,
    },
    /// All webhooks, and how many events wait or were given up.
    List,
    /// Remove one, with all that waits for it.
    Remove { id: String },
    /// Events that were given up, oldest first.
    Dead {
        #[arg(long, default_value_t = 100)]
        limit: i64,
    },
    /// Try events again that were given up: those of one webhook, or all.
    Redrive { id: Option<String> },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Event {
    #[value(name = "message.created")]
    MessageCreated,
    #[value(name = "clarification.answered")]
    ClarificationAnswered,
    #[value(name = "reply.ended")]
    ReplyEnded,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::MessageCreated => "message.created",
            Self::ClarificationAnswered => "clarification.answered",
            Self::ReplyEnded => "reply.ended",
        }
    }
}

impl Webhook {
    pub(crate) async fn run(&self) -> Result<()> {
        let mut database = self.database().await?;
        match &self.command {
            Command::Add {
                organisation,
                url,
                secret,
                events,
            } => add(&mut database, organisation, url, secret, events).await?,
            Command::List => list(&mut database).await?,
            Command::Remove { id } => {
                let removed = sqlx::query("delete from webhooks where id::text = $1")
                    .bind(id)
                    .execute(&mut database)
                    .await?;
                ensure!(removed.rows_affected() == 1, "there is no webhook {id}");
                say("removed");
            }
            Command::Dead { limit } => dead(&mut database, *limit).await?,
            Command::Redrive { id } => {
                let again = sqlx::query(
                    "update jobs set state = 'waiting', attempts = 0, run_at = now() - interval '1 minute'
                     where kind = 'webhook' and state = 'dead' and ($1::text is null or webhook_id::text = $1)",
                )
                .bind(id)
                .execute(&mut database)
                .await?;
                say(format_args!(
                    "{} events wait again; the sweeper wakes them within a minute",
                    again.rows_affected()
                ));
            }
        }
        database.close().await?;
        Ok(())
    }

    async fn database(&self) -> Result<PgConnection> {
        let overrides = Overrides::of_process();
        let url = database_url(&self.name)?;
        let schema = overrides.get("DATABASE_SCHEMA").unwrap_or("backtalk");
        ensure!(
            schema
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            "DATABASE_SCHEMA is not a plain name"
        );
        let mut database = PgConnection::connect(&url).await?;
        database
            .execute(AssertSqlSafe(format!("set search_path = {schema}")))
            .await?;
        Ok(database)
    }
}

async fn add(database: &mut PgConnection, organisation: &str, url: &str, secret: &str, events: &[Event]) -> Result<()> {
    let address = reqwest::Url::parse(url).context("that is no address")?;
    ensure!(
        ["https", "http"].contains(&address.scheme()) && address.has_host(),
        "an address begins with https://, or with http:// where WEBHOOK_TARGETS is any"
    );
    ensure!(
        secret.starts_with("env:") || secret.starts_with("ssm:/"),
        "--secret names where the secret is, as env:NAME or ssm:/path; it is not the secret itself"
    );
    let all = Event::value_variants();
    let events: Vec<_> = if events.is_empty() { all } else { events }
        .iter()
        .map(|event| event.word())
        .collect();
    let id: String = sqlx::query_scalar(
        "insert into webhooks (id, org_id, url, secret, events) values (gen_random_uuid(), $1, $2, $3, $4)
         returning id::text",
    )
    .bind(organisation)
    .bind(url)
    .bind(secret)
    .bind(&events)
    .fetch_one(database)
    .await?;
    say(id);
    Ok(())
}

async fn list(database: &mut PgConnection) -> Result<()> {
    let lines: Vec<String> = sqlx::query_scalar(
        "select concat_ws(
             '  ', w.id, w.org_id, w.url, w.secret, array_to_string(w.events, ','),
             count(j.id) filter (where j.state = 'waiting') || ' waiting, '
                 || count(j.id) filter (where j.state = 'dead') || ' given up'
         )
         from webhooks w
         left join jobs j on j.webhook_id = w.id
         group by w.id
         order by w.org_id, w.created_at",
    )
    .fetch_all(database)
    .await?;
    lines.into_iter().for_each(say);
    Ok(())
}

async fn dead(database: &mut PgConnection, limit: i64) -> Result<()> {
    let lines: Vec<String> = sqlx::query_scalar(
        "select concat_ws('  ', id, webhook_id, payload ->> 'type', created_at, last_error)
         from jobs
         where kind = 'webhook' and state = 'dead'
         order by place
         limit $1",
    )
    .bind(limit)
    .fetch_all(database)
    .await?;
    lines.into_iter().for_each(say);
    Ok(())
}
