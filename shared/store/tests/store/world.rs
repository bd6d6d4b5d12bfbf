//! What every store test starts from: a database of its own, its people and its chats.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::budget::{BudgetPolicy, Period};
use domain::chat::Kind;
use domain::event::ReplyEnded;
use domain::ids::{ChatId, JobId, MessageId, Seq, UserId};
use domain::limits::PageSize;
use domain::message::{Draft, Edit, Usage};
use domain::person::{Caller, CallerRole};
use domain::reply::{Allowance, Claim, Failure, ReplyState, Terms, WhenBusy};
use domain::text::{ClientId, Content, Metadata};
use futures_util::future::join_all;
use serde_json::{Map, Value};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor, Row};
use store::chats::AssistantChat;
use store::messages::{SendOutcome, Sent};
use store::replies::{ClaimOutcome, Ended, Ending};
use store::unread::Repaired;
use store::{Store, role};
use tokio::sync::Barrier;
use uuid::Uuid;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const ATTEMPTS: i32 = 3;
/// Where `#[sqlx::test]` puts its tables.
pub(crate) const SCHEMA: &str = "public";
/// More than a race needs to be one, fewer than a server has.
const CONNECTIONS: u32 = 16;

/// Nothing is scarce, and all is answered in order.
pub(crate) const FREE: Terms = Terms {
    when_busy: WhenBusy::Queue,
    budget: BudgetPolicy {
        period: Period::Month,
        person_limit: None,
        organisation_limit: None,
    },
    assistant: ALLOWANCE,
    post: ALLOWANCE,
};
pub(crate) const ALLOWANCE: Allowance = Allowance {
    instruction: 20,
    output: 100,
    context: 1000,
};

pub(crate) struct World {
    /// As functions that act for people speak to Postgres.
    pub(crate) people: Store,
    /// As the worker and the sweeper do.
    pub(crate) system: Store,
    /// The connections of `people`, for statements that no function makes.
    pub(crate) restricted: PgPool,
    owner: PgPool,
    /// Whom functions that act for people change to.
    pub(crate) role: String,
    /// The owner's, for what a test puts in place or looks up behind the store's back.
    pub(crate) rows: PgPool,
}

impl World {
    pub(crate) async fn on(rows: PgPool) -> Self {
        let database = (*rows.connect_options()).clone();
        // The files alone were applied; `migrate` sees to the role as well.
        let role = role::ready(&mut rows.acquire().await.unwrap(), SCHEMA).await.unwrap();
        let connections = || PgPoolOptions::new().max_connections(CONNECTIONS);
        let restricted = connections()
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(AssertSqlSafe(role::change(SCHEMA))).await.map(drop) })
            })
            .connect_lazy_with(database.clone());
        let owner = connections().connect_lazy_with(database);
        Self {
            people: Store::on(restricted.clone()),
            system: Store::on(owner.clone()),
            restricted,
            owner,
            role,
            rows,
        }
    }

    /// With all connections open: a race in which each must connect first is a queue.
    pub(crate) async fn racing(rows: PgPool) -> Self {
        let world = Self::on(rows).await;
        for pool in [&world.restricted, &world.owner] {
            let open = join_all((0..CONNECTIONS).map(|_| pool.acquire())).await;
            assert!(open.iter().all(Result::is_ok), "{open:?}");
        }
        world
    }

    /// Somebody who has signed in.
    pub(crate) async fn person(&self, name: &str) -> Caller {
        let caller = caller(name);
        self.people.upsert_user(&caller).await.unwrap();
        caller
    }

    pub(crate) async fn assistant_chat(&self, owner: &Caller) -> ChatId {
        opened(
            self.people
                .open_assistant_chat(&owner.id, None, None, i32::MAX, None)
                .await
                .unwrap(),
        )
        .unwrap()
    }

    /// A chat of a kind that no route opens yet. The first of its people owns it.
    pub(crate) async fn chat(&self, kind: Kind, people: &[&Caller]) -> ChatId {
        let id = ChatId::fresh();
        let is_direct = kind == Kind::Direct;
        let mut pair = [people[0].id.as_str(), people.last().unwrap().id.as_str()];
        pair.sort_unstable();
        let post = match kind {
            Kind::Post => {
                let post = Uuid::now_v7();
                self.run(
                    "insert into posts (id, owner_id, content) values ($1, $2, 'text')",
                    post,
                    people[0].id.as_str(),
                )
                .await;
                Some(post)
            }
            _ => None,
        };
        sqlx::query(
            "insert into chats (id, kind, owner_id, direct_low, direct_high, post_id, task_id)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.uuid())
        .bind(kind.word())
        .bind((!is_direct).then_some(people[0].id.as_str()))
        .bind(is_direct.then_some(pair[0]))
        .bind(is_direct.then_some(pair[1]))
        .bind(post)
        .bind((kind == Kind::Task).then(|| format!("task-{id}")))
        .execute(&self.rows)
        .await
        .unwrap();
        for (index, person) in people.iter().enumerate() {
            sqlx::query("insert into members (chat_id, user_id, role) values ($1, $2, $3)")
                .bind(id.uuid())
                .bind(person.id.as_str())
                .bind(if index == 0 && !is_direct { "owner" } else { "member" })
                .execute(&self.rows)
                .await
                .unwrap();
        }
        id
    }

    async fn run(&self, sql: &'static str, id: Uuid, text: &str) {
        sqlx::query(sql).bind(id).bind(text).execute(&self.rows).await.unwrap();
    }

    /// Sends a message that is not answered in this process.
    pub(crate) async fn send(&self, sender: &Caller, chat: ChatId, content: &str) -> Sent {
        self.send_as(sender, chat, &draft(&Uuid::now_v7().to_string(), content), None)
            .await
    }

    /// Sends a message and claims its reply, as a streaming response does.
    pub(crate) async fn ask(&self, sender: &Caller, chat: ChatId, content: &str) -> Sent {
        self.send_as(sender, chat, &draft(&Uuid::now_v7().to_string(), content), Some(LEASE))
            .await
    }

    pub(crate) async fn send_as(
        &self,
        sender: &Caller,
        chat: ChatId,
        draft: &Draft,
        claim_for: Option<Duration>,
    ) -> Sent {
        match self
            .people
            .send_message(sender, chat, draft, claim_for, &FREE)
            .await
            .unwrap()
        {
            SendOutcome::Sent(sent) => *sent,
            other => panic!("not sent: {other:?}"),
        }
    }

    /// A worker's reach for a job.
    pub(crate) async fn reach(&self, job: JobId) -> ClaimOutcome {
        self.system.try_claim_reply(job, LEASE, ATTEMPTS).await.unwrap()
    }

    /// A worker's reach that must succeed.
    pub(crate) async fn claim(&self, job: JobId) -> Claim {
        match self.reach(job).await {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("not claimed: {other:?}"),
        }
    }

    pub(crate) async fn complete(&self, claim: &Claim, text: &str) -> Ended {
        self.system.end_reply(claim, &completed(text)).await.unwrap().unwrap()
    }

    /// What the sweeper repairs of unread counts.
    pub(crate) async fn repair(&self, lately: Duration) -> Vec<Repaired> {
        let mut repaired = Vec::new();
        for chat in self.system.busy_chats(lately, 200).await.unwrap() {
            repaired.extend(self.system.repair_unread(chat, 1_000).await.unwrap());
        }
        repaired
    }

    /// As if so many messages had been sent by their senders in turn, which nobody has read.
    pub(crate) async fn fill(&self, chat: ChatId, messages: i32, senders: &[&Caller]) {
        let sql = "with taken as (
                       update chats set last_seq = last_seq + $2, last_number = last_number + $2,
                           last_message_seq = last_seq + $2, last_message_at = now()
                       where id = $1
                       returning id, last_seq - $2 as seq, last_number - $2 as number
                   )
                   insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
                   select
                       id, seq + n, gen_random_uuid(), number + n, seq + n, 'user',
                       $3[1 + n % cardinality($3)], 'one of many'
                   from taken cross join generate_series(1, $2) as n";
        let senders: Vec<_> = senders.iter().map(|sender| sender.id.as_str()).collect();
        sqlx::query(sql)
            .bind(chat.uuid())
            .bind(messages)
            .bind(senders)
            .execute(&self.rows)
            .await
            .unwrap();
    }

    /// Until a statement with these words in it waits for a lock.
    pub(crate) async fn until_one_waits(&self, words: &str) {
        let sql = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock' and position($1 in query) > 0";
        loop {
            let waiting: i64 = sqlx::query_scalar(sql).bind(words).fetch_one(&self.rows).await.unwrap();
            if waiting > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// As if the writer of a reply had been silent for longer than its lease.
    pub(crate) async fn let_the_lease_run_out(&self, reply: MessageId) {
        let sql = "with reply as (
                       update replies set lease_until = now() - interval '1 second' where id = $1 returning id
                   )
                   update jobs set run_at = now() - interval '1 second' from reply where reply_id = reply.id";
        sqlx::query(sql).bind(reply.uuid()).execute(&self.rows).await.unwrap();
    }

    /// What a query of one number answers, asked as the owner.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.rows)
            .await
            .unwrap()
    }

    /// Every row of a table as JSON text, in an order of its own: for comparing before and after.
    pub(crate) async fn dump(&self, table: &str) -> Vec<String> {
        let sql = format!("select to_jsonb(t)::text as row from {table} t order by 1");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.rows).await.unwrap();
        rows.iter().map(|row| row.get("row")).collect()
    }

    /// Everyone's inbox must be 1, 2, 3 without a hole up to its head.
    pub(crate) async fn assert_inboxes_are_contiguous(&self) {
        let broken = self
            .number(
                "select count(*) from inbox_heads h
                 left join lateral (
                     select count(*) as events, min(version) as first, max(version) as last
                     from inbox i where i.user_id = h.user_id
                 ) as held on true
                 where h.version <> held.events or (held.events > 0 and (held.first <> 1 or held.last <> h.version))",
            )
            .await;
        assert_eq!(broken, 0, "people whose inbox has a hole");
    }

    /// A chat's messages must be numbered 1, 2, 3 without a hole, by both of their numbers, where nothing but messages
    /// has taken a seq.
    pub(crate) async fn assert_seqs_are_contiguous(&self, chat: ChatId, messages: i64) {
        let numbered: Vec<(i64, i64)> =
            sqlx::query_as("select seq, number from messages where chat_id = $1 order by seq")
                .bind(chat.uuid())
                .fetch_all(&self.rows)
                .await
                .unwrap();
        assert_eq!(numbered, (1..=messages).map(|n| (n, n)).collect::<Vec<_>>());
        let last: (i64, i64, Option<i64>) =
            sqlx::query_as("select last_seq, last_number, last_message_seq from chats where id = $1")
                .bind(chat.uuid())
                .fetch_one(&self.rows)
                .await
                .unwrap();
        assert_eq!(last, (messages, messages, (messages > 0).then_some(messages)));
    }
}

/// Somebody who has a token and was never seen.
pub(crate) fn caller(name: &str) -> Caller {
    Caller {
        id: UserId::parse(name).unwrap(),
        name: name.to_uppercase(),
        image: None,
        org_id: None,
        role: CallerRole::Person,
        token_expires_at: Utc::now() + TimeDelta::hours(1),
    }
}

/// The chat, unless there was no place for it.
pub(crate) fn opened(outcome: AssistantChat) -> Option<ChatId> {
    match outcome {
        AssistantChat::Opened(chat) => Some(chat),
        AssistantChat::TooManyActive => None,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn draft(client_id: &str, content: &str) -> Draft {
    Draft {
        client_id: ClientId::parse(client_id).unwrap(),
        content: Content::or_none(content, usize::MAX).unwrap(),
        attachments: Vec::new(),
        mentions: Vec::new(),
        reply_to: None,
        metadata: Metadata::default(),
    }
}

pub(crate) fn edit(content: &str) -> Edit {
    Edit {
        content: Content::or_none(content, usize::MAX).unwrap(),
        mentions: None,
    }
}

pub(crate) fn metadata(value: Value) -> Metadata {
    let object: Map<String, Value> = serde_json::from_value(value).unwrap();
    Metadata::parse(object, usize::MAX).unwrap()
}

pub(crate) fn usage() -> Usage {
    Usage {
        input_tokens: 11,
        output_tokens: 7,
        cached_tokens: 3,
        model: "test".into(),
    }
}

/// The end of a reply that waited.
pub(crate) fn stopped(reply: MessageId, attempt: i32) -> ReplyEnded {
    ReplyEnded {
        retry_at: None,
        message_id: reply,
        attempt,
        state: ReplyState::Stopped,
        reason: None,
    }
}

pub(crate) fn completed(text: &str) -> Ending {
    Ending::Completed {
        text: text.into(),
        usage: usage(),
    }
}

pub(crate) fn failed(failure: Failure) -> Ending {
    Ending::Failed {
        failure,
        usage: usage(),
    }
}

pub(crate) fn seq(value: i64) -> Seq {
    Seq::new(value).unwrap()
}

pub(crate) fn page(size: i64) -> PageSize {
    PageSize::new(size).unwrap()
}

/// Runs tasks that all wait for one another before they do what they are for.
pub(crate) async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks = (0..count).map(|index| {
        let (barrier, task) = (barrier.clone(), task(index));
        tokio::spawn(async move {
            barrier.wait().await;
            task.await
        })
    });
    join_all(tasks).await.into_iter().map(|task| task.unwrap()).collect()
}

/// The same numbers in every run: SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
