//! The second lock: whatever a query forgets, functions that act for a person see and change that person's rows alone.

use std::collections::BTreeMap;

use domain::chat::{History, Kind, MemberRole};
use domain::ids::ChatId;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::world::{World, opened};

/// Postgres' "insufficient privilege": no grant, or a policy that says no.
const REFUSED: &str = "42501";

/// Anna has at least one row in every table; Ben is known, and no more.
async fn furnished(pool: PgPool) -> (World, ChatId) {
    let world = World::on(pool).await;
    let (anna, _) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "secret").await;
    world
        .people
        .append_to_reply(&sent.claim.unwrap(), 0, "half")
        .await
        .unwrap();
    world.chat(Kind::Post, &[&anna]).await;
    for sql in [
        "insert into reactions (message_id, emoji, user_id) select id, '👍', 'anna' from messages",
        "insert into attachments (id, owner_id, object_key, mime_type, size)
         values (gen_random_uuid(), 'anna', 'key', 'image/png', 1)",
        "insert into blocks (blocker, blocked) values ('anna', 'ben')",
        "insert into message_versions (message_id, version, role, content, reason, created_at)
         select id, 1, role, 'what it said before', 'edited', now() from messages",
        "insert into mentions (chat_id, user_id, seq) select chat_id, 'anna', seq from messages",
        "insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes) select id, 1, 0, 'hm', 2 from replies",
        "insert into refused_images (chat_id, seq, model) select chat_id, seq, 'm' from messages",
        "insert into prompt_windows (chat_id, model, tokens) select id, 'm', 100 from chats",
        "insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
         select chat_id, 'anna', 'r-1', id, false from replies",
        "insert into chat_keys (owner_id, client_id, chat_id, request_hash)
         select 'anna', 'c-1', id, sha256('') from chats where kind = 'assistant'",
        "insert into budget_limits (subject, subject_id, tokens) values ('person', 'anna', 1)",
        "insert into presences (user_id, channel) values ('anna', 'presence-1')",
        "insert into stream_tickets (hash, user_id, expires_at) values (sha256('ticket'), 'anna', now() + interval '1 h')",
        "select spend_rate('anna', 'send', 1, interval '1 h')",
        "select open_stream('anna', 'events', 1, interval '1 h')",
        "insert into webhooks (id, org_id, url, secret, events)
         values (gen_random_uuid(), 'acme', 'https://hook/', 'env:S', '{message.created}')",
        "insert into retention (org_id, kind, days) values ('acme', 'task', 30)",
        "insert into sweeps (name, place) values ('retention', gen_random_uuid())",
        "insert into erased_uploads (id, expires_at) values (gen_random_uuid(), now())",
    ] {
        sqlx::query(sql).execute(&world.rows).await.unwrap();
    }
    (world, chat)
}

/// A transaction as a function's, for whoever acts, if anybody.
async fn acting(world: &World, person: Option<&str>) -> Transaction<'static, Postgres> {
    let mut transaction = world.restricted.begin().await.unwrap();
    if let Some(person) = person {
        sqlx::query("select acting_as($1)")
            .bind(person)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction
}

/// How many rows a statement touches in every table; none where it is refused. Nothing of it lasts.
async fn rows_touched(
    world: &World,
    person: Option<&str>,
    statement: impl Fn(&str, &str) -> String,
) -> BTreeMap<String, u64> {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns
         where table_schema = current_schema() and ordinal_position = 1 and table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&world.rows)
    .await
    .unwrap();
    let mut touched = BTreeMap::new();
    for (table, column) in tables {
        assert!(
            world.number(&format!("select count(*) from {table}")).await > 0,
            "{table} is new here: give Anna a row of it, and say who may see it"
        );
        let mut transaction = acting(world, person).await;
        let sql = AssertSqlSafe(statement(&table, &column));
        let rows = match sqlx::query(sql).execute(&mut *transaction).await {
            Ok(done) => done.rows_affected(),
            Err(error) => {
                assert_eq!(code_of(&error).as_deref(), Some(REFUSED), "{table}: {error}");
                0
            }
        };
        touched.insert(table, rows);
    }
    touched
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .map(|code| code.into_owned())
}

fn reading(table: &str, _: &str) -> String {
    format!("select * from {table}")
}

fn writing(table: &str, column: &str) -> String {
    // A membership's chat and person cannot be written at all.
    let column = if table == "members" { "muted" } else { column };
    format!("update {table} set {column} = {column}")
}

fn deleting(table: &str, _: &str) -> String {
    format!("delete from {table}")
}

fn except(touched: &BTreeMap<String, u64>, tables: &[&str]) -> Vec<String> {
    let others = touched
        .iter()
        .filter(|(table, rows)| **rows > 0 && !tables.contains(&&***table));
    others.map(|(table, rows)| format!("{rows} of {table}")).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn without_a_caller_nothing_is_there(pool: PgPool) {
    let (world, _) = furnished(pool).await;
    // Names and pictures are known to all.
    let seen = rows_touched(&world, None, reading).await;
    assert_eq!(except(&seen, &["people"]), [""; 0]);
    assert_eq!(except(&rows_touched(&world, None, writing).await, &[]), [""; 0]);
    assert_eq!(except(&rows_touched(&world, None, deleting).await, &[]), [""; 0]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn another_person_sees_and_changes_nothing(pool: PgPool) {
    let (world, _) = furnished(pool).await;
    let own = ["people", "inbox_heads"];
    let seen = rows_touched(&world, Some("ben"), reading).await;
    assert_eq!(except(&seen, &own), [""; 0]);
    assert_eq!((seen["people"], seen["inbox_heads"]), (2, 1));
    let written = rows_touched(&world, Some("ben"), writing).await;
    assert_eq!(except(&written, &own), [""; 0]);
    assert_eq!((written["people"], written["inbox_heads"]), (1, 1));
    assert_eq!(except(&rows_touched(&world, Some("ben"), deleting).await, &[]), [""; 0]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn ones_own_rows_are_within_reach(pool: PgPool) {
    let (world, _) = furnished(pool).await;
    let untouched = |touched: BTreeMap<String, u64>| -> Vec<String> {
        touched
            .into_iter()
            .filter(|(_, rows)| *rows == 0)
            .map(|(table, _)| table)
            .collect()
    };
    let unread = untouched(rows_touched(&world, Some("anna"), reading).await);
    // What people may use, how long it is kept and whom organisations tell is for the system to know.
    assert_eq!(
        unread,
        [
            "budget_limits",
            "budgets",
            "erased_uploads",
            "open_streams",
            "rate_limits",
            "retention",
            "sweeps",
            "webhooks"
        ]
    );
    let unwritten = untouched(rows_touched(&world, Some("anna"), writing).await);
    // Inboxes are written by `tell` alone, uploads are counted by triggers, rates by `spend_rate` and streams by
    // `open_stream`; blocks, mentions, keys, tickets, what was said once and the id of a post never change.
    assert_eq!(
        unwritten,
        [
            "attachments",
            "blocks",
            "budget_limits",
            "budgets",
            "chat_keys",
            "erased_uploads",
            "holds",
            "inbox",
            "mentions",
            "message_versions",
            "open_streams",
            "posts",
            "rate_limits",
            "refused_images",
            "regenerations",
            "retention",
            "stream_tickets",
            "sweeps",
            "webhooks"
        ]
    );
}

/// A channel in which Anna has said something before Ben came, Ben is a member, Cleo was removed, and Dora never was.
async fn shared_channel(pool: PgPool) -> World {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    world.person("dora").await;
    let channel = world.channel(&anna, &[&cleo]).await;
    world.send(&anna, channel, "before").await;
    let newcomers = std::slice::from_ref(&ben.id);
    let joined = world
        .people
        .add_members(&anna.id, channel, newcomers, MemberRole::Member, 10, History::SinceJoin);
    joined.await.unwrap();
    let message = world.send(&anna, channel, "after").await.message.id;
    world.send(&cleo, channel, "cleo's").await;
    world.remove(&anna, channel, &cleo).await;
    world.chat(Kind::Post, &[&anna]).await;
    let (reply, job) = (Uuid::now_v7(), Uuid::now_v7());
    for sql in [
        "insert into reactions (message_id, emoji, user_id) select id, '👍', 'anna' from messages".to_owned(),
        format!(
            "insert into replies (id, chat_id, asked_by, prompt_seq, state)
             select '{reply}', chat_id, 'anna', seq, 'queued' from messages where id = '{message}'"
        ),
        format!("insert into reply_parts (reply_id, attempt, byte_offset, text) values ('{reply}', 1, 0, 'half')"),
        format!(
            "insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes) values ('{reply}', 1, 0, 'hm', 2)"
        ),
        format!(
            "insert into refused_images (chat_id, seq, model) select chat_id, seq, 'm' from messages where id = '{message}'"
        ),
        format!("insert into prompt_windows (chat_id, model, tokens) values ('{channel}', 'm', 100)"),
        format!("insert into jobs (id, kind, chat_id, reply_id) values ('{job}', 'reply', '{channel}', '{reply}')"),
        r#"insert into jobs (id, kind, payload) values (gen_random_uuid(), 'erase', '{"userId": "ben"}')"#.to_owned(),
        format!("insert into holds (reply_id, person_id, period_start, tokens) values ('{reply}', 'anna', now(), 1)"),
        "insert into attachments (id, owner_id, object_key, mime_type, size)
         values (gen_random_uuid(), 'anna', 'key', 'image/png', 1)"
            .to_owned(),
        "insert into blocks (blocker, blocked) values ('anna', 'ben'), ('anna', 'cleo')".to_owned(),
        "insert into message_versions (message_id, version, role, content, reason, created_at)
         select id, 1, role, 'what it said before', 'edited', now() from messages"
            .to_owned(),
        "insert into mentions (chat_id, user_id, seq) select chat_id, 'anna', seq from messages".to_owned(),
        format!(
            "insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
             values ('{channel}', 'anna', 'r-1', '{reply}', false)"
        ),
        format!(
            "insert into chat_keys (owner_id, client_id, chat_id, request_hash)
             values ('anna', 'c-1', '{channel}', sha256(''))"
        ),
        "insert into budgets (subject, subject_id, period_start) values ('person', 'anna', 'epoch')".to_owned(),
        "insert into budget_limits (subject, subject_id, tokens) values ('person', 'anna', 1)".to_owned(),
        "insert into presences (user_id, channel) values ('anna', 'presence-1')".to_owned(),
        "insert into stream_tickets (hash, user_id, expires_at)
         values (sha256('ticket'), 'anna', now() + interval '1 h')"
            .to_owned(),
        "select spend_rate('anna', 'send', 1, interval '1 h')".to_owned(),
        "select open_stream('anna', 'events', 1, interval '1 h')".to_owned(),
        "insert into webhooks (id, org_id, url, secret, events)
         values (gen_random_uuid(), 'acme', 'https://hook/', 'env:S', '{message.created}')"
            .to_owned(),
        "insert into retention (org_id, kind, days) values ('acme', 'task', 30)".to_owned(),
        "insert into sweeps (name, place) values ('retention', gen_random_uuid())".to_owned(),
        "insert into erased_uploads (id, expires_at) values (gen_random_uuid(), now())".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&world.rows).await.unwrap();
    }
    world
}

/// Table by table: what the policies alone leave to a fellow member, to one who was removed, and to a stranger. Whoever
/// changes a line of it says more rows can be reached by a statement that forgets its conditions, or fewer.
#[sqlx::test(migrations = "../../migrations")]
async fn what_each_may_reach_is_written_down(pool: PgPool) {
    let world = shared_channel(pool).await;
    let mut reached = Vec::new();
    for person in ["ben", "cleo", "dora"] {
        let read = rows_touched(&world, Some(person), reading).await;
        let written = rows_touched(&world, Some(person), writing).await;
        let deleted = rows_touched(&world, Some(person), deleting).await;
        let matrix: Vec<_> = read
            .into_iter()
            .map(|(table, read)| (written[&table], deleted[&table], table, read))
            .filter(|(written, deleted, _, read)| read + written + deleted > 0)
            .map(|(written, deleted, table, read)| format!("{table}: {read} {written} {deleted}"))
            .collect();
        reached.push(matrix);
    }
    assert_eq!(reached, [FELLOW_MEMBER, REMOVED, STRANGER]);
}

/// Rows that are read, written, deleted, of what `shared_channel` has; of other tables none.
const FELLOW_MEMBER: &[&str] = &[
    "chats: 1 1 0",
    "inbox: 4 0 0",
    "inbox_heads: 1 1 0",
    "jobs: 1 1 1",
    // Anna's and one's own; one leaves, and removes nobody.
    "members: 2 2 1",
    // What was said since one came.
    "messages: 2 2 0",
    "people: 4 1 0",
    "prompt_windows: 1 1 0",
    "reactions: 2 0 0",
    "refused_images: 1 0 0",
    "replies: 1 1 0",
    "reply_parts: 1 1 1",
    "reply_thoughts: 1 1 1",
];
/// What they were told while they were in it is theirs.
const REMOVED: &[&str] = &["inbox: 6 0 0", "inbox_heads: 1 1 0", "people: 4 1 0"];
const STRANGER: &[&str] = &["inbox_heads: 1 1 0", "people: 4 1 0"];

/// Functions that act as the owner of the tables are holes in the second lock. Whoever adds one says here what it is.
#[sqlx::test(migrations = "../../migrations")]
async fn each_function_that_passes_the_policies_is_known(pool: PgPool) {
    let world = World::on(pool).await;
    // Its name, whether functions that act for people may call it, whether everybody may, and whether it asks who calls.
    let found: Vec<(String, bool, bool, bool)> = sqlx::query_as(
        "select oid::regprocedure::text, has_function_privilege($1, oid, 'execute'),
             exists (
                 select 1 from aclexplode(coalesce(proacl, acldefault('f', proowner)))
                 where grantee = 0 and privilege_type = 'EXECUTE'
             ),
             prosrc like '%caller()%'
         from pg_proc
         where pronamespace = current_schema()::regnamespace and prosecdef
         order by oid::regprocedure::text collate \"C\"",
    )
    .bind(&world.role)
    .fetch_all(&world.rows)
    .await
    .unwrap();
    let of = |is_it: fn(bool, bool) -> bool| -> Vec<&str> {
        let functions = found.iter().filter(|(_, app, _, asks)| is_it(*app, *asks));
        functions.map(|(name, ..)| name.as_str()).collect()
    };
    assert_eq!(of(|app, asks| app && asks), ASK_WHO_CALLS);
    assert_eq!(of(|app, asks| app && !asks), ARE_TOLD_WHOM);
    assert_eq!(of(|app, _| !app), FOR_THE_SYSTEM);
    // What is kept from our own role must not be for everybody else.
    let public = found.iter().filter(|(_, app, public, _)| *public && !*app);
    assert_eq!(public.count(), 0);
    // Whoever acts with another's rights must not be led to other tables.
    let astray: Vec<String> = sqlx::query_scalar(
        "select oid::regprocedure::text from pg_proc
         where pronamespace = current_schema()::regnamespace and prosecdef
             and not exists (select 1 from unnest(proconfig) setting where setting like 'search_path=%')",
    )
    .fetch_all(&world.rows)
    .await
    .unwrap();
    assert_eq!(astray, [""; 0]);
}

/// They do for the caller what is the caller's, and nothing for nobody.
const ASK_WHO_CALLS: &[&str] = &[
    "admit_reply(uuid,text,text,uuid,text,text,bigint,bigint,bigint,bigint,text)",
    "admit_reply_within(uuid,text,text,uuid,text,text,bigint,bigint,bigint,bigint,bigint,text)",
    "caller_is_member(uuid)",
    "caller_manages(uuid)",
    "caller_may_add_members(uuid)",
    "dissolve_chat(uuid,uuid)",
    "message_json(messages)",
    "named_to_caller(messages)",
    "pay_for_attempt(uuid,bigint)",
    "search_messages(tsquery,uuid,timestamp with time zone,uuid,integer)",
    "settle_reply(uuid,bigint)",
    "usage_of_caller(text,bigint,bigint,text)",
];

/// They do what the statement says that calls them: it must have asked first. Triggers among them have no caller to ask.
const ARE_TOLD_WHOM: &[&str] = &[
    "admit_answer(uuid,text,text,uuid,text,text,bigint,bigint,bigint,bigint,bigint,bigint,bigint,text)",
    "answer_clarification(uuid,bigint,uuid,uuid)",
    "attachments_are_gone()",
    "attachments_are_shown()",
    "attachments_are_withdrawn()",
    "beyond_organisation(text,text,text)",
    "blocked_between(text,text)",
    "blocked_with(text)",
    "close_stream(text,text,bigint)",
    "cost_of_lost_attempt(uuid,integer)",
    "estimated_context(uuid,bigint,bigint,bigint)",
    "forget_inbox()",
    "hold_inboxes(uuid[])",
    "introduce(text[])",
    "is_in_now(uuid,text)",
    "keep_stream(text,text,bigint,interval)",
    "meets_blocked(uuid,text)",
    "members_now(uuid)",
    "open_stream(text,text,integer,interval)",
    // For agents, who are in no chat.
    "send_notice(text,text,text,uuid,uuid,text,text,jsonb,smallint,text,boolean)",
    "send_notice_once(text,text,text,uuid,uuid,text,text,jsonb,smallint,text,boolean,bytea)",
    "spend_rate(text,text,integer,interval,timestamp with time zone)",
    "tell(uuid,bigint,text,uuid,jsonb,text[])",
    "tell_only(text,uuid,text,jsonb)",
    "ticket_holder(bytea)",
    "ticket_holding(bytea)",
    "withheld(uuid,bigint)",
];

/// Steps of the above.
const FOR_THE_SYSTEM: &[&str] = &[
    "announce(uuid,text,uuid,jsonb)",
    "bounded_messages(uuid,bigint,bigint)",
    "bounded_post(uuid,text)",
    "count_uses(text[],jsonb[],integer)",
    "estimated_messages(uuid,bigint,bigint)",
    "estimated_post(uuid,text)",
    "refused_by_budget(text,text,timestamp with time zone,bigint,timestamp with time zone)",
    "reserve_tokens(text,text,timestamp with time zone,bigint,bigint)",
    "reserve_up_to(text,text,timestamp with time zone,bigint,bigint,bigint)",
];

#[sqlx::test(migrations = "../../migrations")]
async fn every_table_has_row_level_security(pool: PgPool) {
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = current_schema()::regnamespace and relkind = 'r' and not relrowsecurity
         and relname <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(open, [""; 0]);
}

/// The policies alone decide here: these statements know the ids and ask for no membership.
#[sqlx::test(migrations = "../../migrations")]
async fn another_person_adds_nothing_to_a_foreign_chat(pool: PgPool) {
    let (world, chat) = furnished(pool).await;
    let ids = |sql: &'static str| sqlx::query_scalar::<_, Uuid>(sql).fetch_one(&world.rows);
    let message = ids("select id from messages").await.unwrap();
    let reply = ids("select id from replies").await.unwrap();
    let id = Uuid::now_v7();
    for sql in [
        format!("insert into members (chat_id, user_id) values ('{chat}', 'ben')"),
        format!(
            "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
             values ('{chat}', 99, '{id}', 99, 99, 'user', 'ben', 'x')"
        ),
        format!(
            "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
             values ('{chat}', 99, '{id}', 99, 99, 'user', 'anna', 'forged')"
        ),
        format!("insert into reactions (message_id, emoji, user_id) values ('{message}', 'x', 'ben')"),
        format!("insert into reactions (message_id, emoji, user_id) values ('{message}', 'x', 'anna')"),
        format!(
            "insert into replies (id, chat_id, asked_by, prompt_seq, state)
             values ('{id}', '{chat}', 'ben', 1, 'queued')"
        ),
        format!("insert into reply_parts (reply_id, attempt, byte_offset, text) values ('{reply}', 1, 99, 'x')"),
        format!(
            "insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes) values ('{reply}', 1, 99, 'x', 1)"
        ),
        format!("insert into refused_images (chat_id, seq, model) values ('{chat}', 1, 'other')"),
        format!("insert into prompt_windows (chat_id, model, tokens) values ('{chat}', 'other', 1)"),
        format!(
            "insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
             values ('{chat}', 'anna', 'k', '{reply}', true)"
        ),
        format!(
            "insert into chat_keys (owner_id, client_id, chat_id, request_hash) values ('anna', 'k', '{chat}', 'x')"
        ),
        format!("insert into jobs (id, kind, chat_id) values ('{id}', 'reply', '{chat}')"),
        format!("insert into jobs (id, kind) values ('{id}', 'erase')"),
        format!("insert into chats (id, kind, owner_id) values ('{id}', 'channel', 'anna')"),
        format!("insert into posts (id, owner_id, content) values ('{id}', 'anna', 'x')"),
        format!(
            "insert into attachments (id, owner_id, object_key, mime_type, size)
             values ('{id}', 'anna', 'k', 'image/png', 1)"
        ),
        format!("insert into inbox (user_id, version, chat_id, event) values ('anna', 99, '{chat}', 'x')"),
        format!("insert into inbox (user_id, version, chat_id, event) values ('ben', 99, '{chat}', 'x')"),
        format!(
            "insert into message_versions (message_id, version, role, content, reason, created_at)
             values ('{message}', 2, 'user', 'forged', 'edited', now())"
        ),
        format!("insert into mentions (chat_id, user_id, seq) values ('{chat}', 'ben', 1)"),
        "insert into blocks (blocker, blocked) values ('anna', 'ben')".to_owned(),
        "insert into people (id, name) values ('zoe', 'Zoe')".to_owned(),
        "insert into inbox_heads (user_id) values ('zoe')".to_owned(),
        "insert into rate_limits (user_id, class, tat, touched_on) values ('ben', 'read', now(), now())".to_owned(),
        "insert into presences (user_id, channel) values ('anna', 'presence-2')".to_owned(),
        "insert into stream_tickets (hash, user_id, expires_at) values (sha256('x'), 'anna', now())".to_owned(),
        "insert into open_streams (user_id, kind, expires_at) values ('ben', 'events', now())".to_owned(),
    ] {
        for person in [None, Some("ben")] {
            let mut transaction = acting(&world, person).await;
            let outcome = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *transaction).await;
            let error = outcome.expect_err(&sql);
            let code = error
                .as_database_error()
                .and_then(|error| error.code())
                .map(|code| code.into_owned());
            assert_eq!(code.as_deref(), Some(REFUSED), "{sql}: {error}");
        }
    }
}

/// Where both are members, each still speaks for themselves alone.
#[sqlx::test(migrations = "../../migrations")]
async fn nobody_speaks_in_anothers_name(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let cleos = world.chat(Kind::Channel, &[&cleo]).await;
    let id = Uuid::now_v7();
    for (sql, is_refused) in [
        (
            format!(
                "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
                 values ('{channel}', 99, '{id}', 99, 99, 'user', 'anna', 'forged')"
            ),
            true,
        ),
        (
            format!(
                "insert into replies (id, chat_id, asked_by, prompt_seq, state)
                 values ('{id}', '{channel}', 'anna', 1, 'queued')"
            ),
            true,
        ),
        // A membership cannot be carried into another chat, or handed to another person.
        (
            format!("update members set chat_id = '{cleos}' where user_id = 'ben'"),
            true,
        ),
        (
            "update members set user_id = 'cleo' where user_id = 'ben'".to_owned(),
            true,
        ),
        (
            format!("insert into members (chat_id, user_id) values ('{channel}', 'cleo')"),
            true,
        ),
        (
            "update members set muted = true where user_id = 'ben'".to_owned(),
            false,
        ),
    ] {
        let mut transaction = acting(&world, Some("ben")).await;
        let outcome = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *transaction).await;
        let code = outcome.as_ref().err().and_then(code_of);
        assert_eq!(code.as_deref(), is_refused.then_some(REFUSED), "{sql}: {outcome:?}");
    }
}

/// Where history begins with the join, it does for whatever a query forgets.
#[sqlx::test(migrations = "../../migrations")]
async fn what_was_said_before_one_joined_is_out_of_reach(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let channel = world.channel(&anna, &[]).await;
    world.send(&anna, channel, "before").await;
    let (role, history) = (MemberRole::Member, History::SinceJoin);
    let newcomers = std::slice::from_ref(&ben.id);
    world
        .people
        .add_members(&anna.id, channel, newcomers, role, 10, history)
        .await
        .unwrap();
    world.send(&anna, channel, "after").await;
    for sql in [
        "select content from messages",
        "update messages set metadata = metadata returning content",
    ] {
        let mut transaction = acting(&world, Some("ben")).await;
        let seen: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *transaction).await.unwrap();
        assert_eq!(seen, ["after"], "{sql}");
    }
}

/// The policies alone decide here, too.
#[sqlx::test(migrations = "../../migrations")]
async fn members_remove_nobody_but_themselves(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    world.channel(&anna, &[&ben, &cleo]).await;
    for (person, gone) in [("anna", 3), ("ben", 1), ("stranger", 0)] {
        let mut transaction = acting(&world, Some(person)).await;
        let deleted = sqlx::query("delete from members")
            .execute(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(deleted.rows_affected(), gone, "{person}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_caller_is_named_in_the_statement_itself_and_forgotten_after_it(pool: PgPool) {
    let (world, _) = furnished(pool).await;
    let ben = domain::ids::UserId::parse("ben").unwrap();
    let bens = opened(
        world
            .people
            .open_assistant_chat(&ben, None, None, 5, None)
            .await
            .unwrap(),
    )
    .unwrap();

    // On one connection, so that nothing could be left behind unseen.
    let mut connection = world.restricted.acquire().await.unwrap();
    for (person, chats) in [("anna", 2_i64), ("ben", 1), ("nobody", 0)] {
        let seen: i64 = sqlx::query_scalar("select count(*) from chats where (select acting_as($1))")
            .bind(person)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(seen, chats, "{person}");
        let left: Option<String> = sqlx::query_scalar("select caller()")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(left, None);
        let seen: i64 = sqlx::query_scalar("select count(*) from chats")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(seen, 0);
    }
    assert_eq!(
        world
            .number(&format!("select count(*) from members where chat_id = '{bens}'"))
            .await,
        1
    );
}
