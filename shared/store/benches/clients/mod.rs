//! Clients that measure: who they are, what they send, and how long it takes them.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use domain::budget::{BudgetPolicy, Period};
use domain::ids::{ChatId, UserId};
use domain::message::Draft;
use domain::person::{Caller, CallerRole};
use domain::reply::{Allowance, Terms, WhenBusy};
use domain::text::{ClientId, Content, Metadata};
use store::Store;
use store::chats::AssistantChat;
use tokio::task::JoinSet;
use uuid::Uuid;

/// As configured by default, but for the limit, which a benchmark would reach.
pub(crate) const TERMS: Terms = {
    let allowance = Allowance {
        instruction: 30,
        output: 1024,
        context: 8192,
    };
    Terms {
        when_busy: WhenBusy::Queue,
        budget: BudgetPolicy {
            period: Period::Month,
            person_limit: Some(i64::MAX / 2),
            organisation_limit: None,
        },
        assistant: allowance,
        post: allowance,
    }
};

/// How long sends took, each and together.
#[derive(Default)]
pub(crate) struct Timed {
    pub(crate) each: Vec<Duration>,
    pub(crate) all: Duration,
}

impl Timed {
    pub(crate) fn add(&mut self, other: Self) {
        self.each.extend(other.each);
        self.all += other.all;
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.each.sort_unstable();
        self
    }

    pub(crate) fn p50(&self) -> Duration {
        self.each[self.each.len() / 2]
    }

    pub(crate) fn p95(&self) -> Duration {
        self.each[self.each.len() * 95 / 100]
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p95) = (milliseconds(self.p50()), milliseconds(self.p95()));
        write!(
            f,
            "{p50:>6.2} ms {p95:>6.2} ms {:>9.0}",
            self.each.len() as f64 / self.all.as_secs_f64()
        )
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// One person with one assistant chat for each client.
pub(crate) async fn open_chats(store: &Store, clients: usize) -> Result<Vec<(Caller, ChatId)>> {
    let mut chats = Vec::new();
    for _ in 0..clients {
        let person = person()?;
        store.upsert_user(&person).await?;
        let opened = store.open_assistant_chat(&person.id, None, None, 5, None).await?;
        let AssistantChat::Opened(chat) = opened else {
            bail!("no chat: {opened:?}")
        };
        chats.push((person, chat));
    }
    Ok(chats)
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

/// Every client in turn does so many, all clients side by side.
pub(crate) async fn run<F, Fut>(chats: &[(Caller, ChatId)], sends: usize, send: F) -> Result<Timed>
where
    F: Fn(Caller, ChatId) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for (person, chat) in chats {
        let (person, chat, send) = (person.clone(), *chat, send.clone());
        clients.spawn(async move {
            let mut took = Vec::with_capacity(sends);
            for _ in 0..sends {
                let begun = Instant::now();
                send(person.clone(), chat).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut each = Vec::new();
    while let Some(took) = clients.join_next().await {
        each.extend(took??);
    }
    Ok(Timed {
        each,
        all: started.elapsed(),
    })
}

pub(crate) fn draft() -> Result<Draft> {
    Ok(Draft {
        client_id: ClientId::parse(&Uuid::now_v7().to_string()).map_err(anyhow::Error::msg)?,
        content: Content::or_none("a message of the usual length, no more and no less", 100)
            .map_err(anyhow::Error::msg)?,
        attachments: Vec::new(),
        mentions: Vec::new(),
        reply_to: None,
        metadata: Metadata::default(),
    })
}
