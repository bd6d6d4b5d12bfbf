//! How the store's own statements are answered when there is much of everything: by indexes, and unread by arithmetic.
//! Postgres' own counters say so, of the statements as they are sent; each runs often enough to be planned generically.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ids::{AttachmentId, ChatId, MessageId};
use domain::limits::PageSize;
use domain::message::{Attachment, AttachmentType, Draft, MessageType};
use domain::person::Caller;
use domain::person::{Organisations, UnknownPeople};
use domain::post::{PostChange, PostDraft};
use domain::rate::{RateClass, RateLimit};
use domain::text::{AttachmentUrl, ClientId, PostText, SearchText, TaskId, Trigger};
use domain::unread::ReadMark;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool, Row};
use store::chats::ListFilter;
use store::messages::{Range, SendOutcome};
use store::posts::{FollowUp, PostUpdated};
use store::{Store, role};

use crate::world::{ALLOWANCE, ATTEMPTS, FREE, LEASE, SCHEMA, World, completed, draft, page, seq};

/// How often each is asked.
const RUNS: i64 = 7;

/// 20,000 people and 2,000 chats, 60,000 messages and 20,000 replies; Anna is in forty chats.
const MUCH: &str = "
    insert into people (id, name) select 'p' || n, 'P' from generate_series(1, 20000) n;
    insert into inbox_heads (user_id, version) select id, 10 from people on conflict do nothing;
    insert into chats (id, kind, owner_id, last_seq, last_number, last_message_seq, last_message_at)
        select gen_random_uuid(), 'channel', 'p' || n, 30, 30, 30, now() from generate_series(1, 2000) n;
    insert into members (chat_id, user_id, role) select id, owner_id, 'owner' from chats where kind = 'channel';
    insert into members (chat_id, user_id) select id, 'anna' from chats where kind = 'channel' order by id limit 40;
    insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
        select c.id, n, gen_random_uuid(), n, n, 'user', c.owner_id, 'text'
        from chats c, generate_series(1, 30) n where c.kind = 'channel';
    insert into replies (id, chat_id, asked_by, prompt_seq, state)
        select gen_random_uuid(), c.id, c.owner_id, n, 'completed'
        from chats c, generate_series(1, 10) n where c.kind = 'channel';
    insert into jobs (id, kind, chat_id, run_at)
        select gen_random_uuid(), 'notice', id, now() + interval '1 day' from chats where kind = 'channel';
    insert into inbox (user_id, version, chat_id, seq, event)
        select c.owner_id, n, c.id, n, 'message.created' from chats c, generate_series(1, 10) n where c.kind = 'channel';
    insert into mentions (chat_id, user_id, seq) select chat_id, sender_id, seq from messages where seq <= 3;
    insert into attachments (id, owner_id, object_key, mime_type, size, uses)
        select gen_random_uuid(), 'p' || n % 2000 + 1, 'key-' || n, 'image/png', 1, 1 from generate_series(1, 10000) n;
    insert into rate_limits (user_id, class, tat, touched_on)
        select id, class, now(), now() from people, unnest(array['send', 'write', 'stream']) as class;
    insert into reactions (message_id, emoji, user_id) select id, 'x', sender_id from messages where seq = 1;
    insert into reply_parts (reply_id, attempt, byte_offset, text) select id, 1, 0, 'x' from replies where prompt_seq = 1;
    insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes) select id, 1, 0, 'x', 1 from replies where prompt_seq = 1;
    insert into refused_images (chat_id, seq, model) select chat_id, seq, 'm' from messages where seq = 1;
    insert into prompt_windows (chat_id, model, tokens) select id, 'm', 1 from chats;
    insert into budgets (subject, subject_id, period_start)
        select s, id, budget_period_start('month') from people, unnest('{person,organisation}'::text[]) s;
    insert into budget_limits (subject, subject_id, tokens) select 'person', id, 1 from people where id <> 'anna';
    insert into holds (reply_id, person_id, period_start, tokens, created_at)
        select id, asked_by, budget_period_start('month'), 1, now() - interval '1 day' * prompt_seq from replies;
    insert into message_versions (message_id, version, role, content, reason, created_at)
        select id, 1, role, 'before', 'edited', now() from messages where seq <= 3;
    insert into blocks (blocker, blocked) select 'p' || n, 'p' || n + 1 from generate_series(1, 19999) n;
    insert into chat_keys (owner_id, client_id, chat_id, request_hash) select owner_id, 'c-1', id, '' from chats;
    insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
        select chat_id, asked_by, 'r-' || prompt_seq, id, false from replies;
    insert into erased_uploads (id, expires_at) select gen_random_uuid(), now() + interval '1 hour' from generate_series(1, 5000);
    insert into webhooks (id, org_id, url, secret, events)
        select gen_random_uuid(), 'o' || n, 'https://hook/', 'env:S', '{message.created}' from generate_series(1, 5000) n;
    insert into chats (id, kind, owner_id, task_id) select gen_random_uuid(), 'task', 'p' || n, 't' from generate_series(1, 5000) n;
    analyze;";

/// What statements asked of the database.
#[derive(Debug, Default)]
struct Asked {
    /// How often a table was read from end to end.
    whole_scans: BTreeMap<String, i64>,
    /// How many rows of a table were fetched by its indexes.
    rows: BTreeMap<String, i64>,
    /// How often an index was used.
    uses: BTreeMap<String, i64>,
}

struct Observed {
    /// One connection, so that its counters are complete once it has told them.
    pool: PgPool,
    store: Store,
}

impl Observed {
    async fn on(world: &World, role: &str) -> Self {
        let role = role.to_owned();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .after_connect(move |connection, _| {
                let role = role.clone();
                Box::pin(async move {
                    // As the store's own pool does: one plan for all values.
                    connection.execute("set plan_cache_mode = force_generic_plan").await?;
                    connection.execute(AssertSqlSafe(role)).await.map(drop)
                })
            })
            .connect_lazy_with((*world.rows.connect_options()).clone());
        Self {
            store: Store::on(pool.clone()),
            pool,
        }
    }

    /// What `statements` asked.
    async fn watch(&self, statements: impl AsyncFnOnce(&Store)) -> Asked {
        let before = self.counters().await;
        statements(&self.store).await;
        let mut asked = self.counters().await;
        for (now, before) in [
            (&mut asked.whole_scans, before.whole_scans),
            (&mut asked.rows, before.rows),
            (&mut asked.uses, before.uses),
        ] {
            for (name, count) in before {
                *now.entry(name).or_default() -= count;
            }
        }
        asked
    }

    async fn counters(&self) -> Asked {
        self.pool.execute("select pg_stat_force_next_flush()").await.unwrap();
        let tables = sqlx::query(
            "select relname::text as name, seq_scan, coalesce(idx_tup_fetch, 0) as fetched
             from pg_stat_user_tables where relname <> '_sqlx_migrations'",
        );
        let indexes = sqlx::query("select indexrelname::text as name, idx_scan from pg_stat_user_indexes");
        let tables = tables.fetch_all(&self.pool).await.unwrap();
        let indexes = indexes.fetch_all(&self.pool).await.unwrap();
        Asked {
            whole_scans: tables
                .iter()
                .map(|row| (row.get("name"), row.get("seq_scan")))
                .collect(),
            rows: tables.iter().map(|row| (row.get("name"), row.get("fetched"))).collect(),
            uses: indexes
                .iter()
                .map(|row| (row.get("name"), row.get("idx_scan")))
                .collect(),
        }
    }
}

async fn much(pool: PgPool) -> (World, Caller, ChatId) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    world.rows.execute(MUCH).await.unwrap();
    (world, anna, chat)
}

fn assert_no_whole_scan(what: &str, asked: &Asked) {
    let scanned: Vec<_> = asked.whole_scans.iter().filter(|(_, scans)| **scans > 0).collect();
    assert!(scanned.is_empty(), "{what} read whole tables: {scanned:?}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_people_ask_is_answered_by_indexes(pool: PgPool) {
    let (world, anna, chat) = much(pool).await;
    // A long one, of which a page is little.
    for sql in [
        "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
         select $1, n, gen_random_uuid(), n, n, 'user', 'anna', 'text' from generate_series(1, 5000) n",
        "update chats set last_seq = 5000, last_number = 5000, last_message_seq = 5000 where id = $1",
        "update members set read_seq = 5000, read_number = 5000 where chat_id = $1",
    ] {
        sqlx::query(sql).bind(chat.uuid()).execute(&world.rows).await.unwrap();
    }
    world.rows.execute("analyze").await.unwrap();
    let channel: ChatId = ChatId::from(
        sqlx::query_scalar::<_, uuid::Uuid>(
            "select chat_id from members where user_id = 'anna' and role = 'member' limit 1",
        )
        .fetch_one(&world.rows)
        .await
        .unwrap(),
    );
    let observed = Observed::on(&world, &role::change(SCHEMA)).await;
    let anna = &anna;
    let me = &anna.id;
    let mut plans: Vec<(String, Asked)> = Vec::new();

    macro_rules! watch {
        ($what:expr, |$store:ident, $run:ident| $statement:expr) => {
            let asked = observed
                .watch(async |$store| {
                    for $run in 0..RUNS {
                        $statement.await.unwrap();
                    }
                })
                .await;
            plans.push((String::from($what), asked));
        };
    }

    watch!("meeting", |store, _run| store.upsert_user(anna));
    watch!("me", |store, _run| store.me(me));
    watch!("the list of chats", |store, _run| store.chats(
        me,
        ListFilter::default(),
        None,
        PageSize::DEFAULT
    ));
    watch!("a chat", |store, _run| store.chat(me, chat));
    watch!("the newest messages", |store, _run| store.newest(me, chat, page(10)));
    for range in [
        Range::Newest,
        Range::After(seq(5)),
        Range::Before(seq(2500)),
        Range::ChangedAfter(seq(2500)),
    ] {
        watch!(format!("{range:?}"), |store, _run| store.messages(
            me,
            chat,
            range,
            page(10)
        ));
    }
    watch!("sending", |store, run| async move {
        let outcome = store
            .send_message(anna, channel, &draft(&run.to_string(), "hi"), None, &FREE)
            .await;
        outcome.map(drop)
    });
    watch!("asking", |store, run| async move {
        let outcome = store
            .send_message(anna, chat, &draft(&run.to_string(), "hi"), Some(LEASE), &FREE)
            .await;
        outcome.map(drop)
    });
    watch!("a search", |store, _run| async move {
        let found = store
            .search(me, &SearchText::parse("text").unwrap(), None, None, page(10))
            .await?
            .unwrap();
        assert_eq!(found.results.len(), 10);
        Ok::<_, store::Error>(())
    });
    let notice = &crate::notices::notice("anna", "t", MessageType::Clarification, "which?");
    watch!("telling", |store, _run| async move {
        store
            .send_notice(notice, UnknownPeople::Refuse, Organisations::Agents)
            .await
            .map(drop)
    });
    let task = TaskId::parse("t").unwrap();
    watch!("a task", |store, _run| store.task_messages(me, &task, None, page(10)));
    watch!("unread", |store, _run| store.unread_messages(me, page(10)));
    let unread = world.people.unread_messages(me, page(100)).await.unwrap().messages;
    let ids: Vec<_> = unread.iter().map(|message| message.id).collect();
    watch!("marking", |store, run| {
        let from = usize::try_from(run).unwrap() * 10;
        store.mark_messages_read(me, &ids[from..from + 10])
    });

    let uploads = [AttachmentId::fresh(), AttachmentId::fresh()];
    let client_id = &draft("another", "x").client_id;
    let limit = RateLimit { quota: 2, seconds: 60 };
    watch!("counting a request", |store, _run| store.spend_rate(
        me,
        RateClass::Write,
        limit
    ));
    watch!("looking for uploads", |store, _run| store
        .attachable(me, channel, client_id, &uploads));
    watch!("an attachment", |store, _run| store.shown_attachment(
        me,
        chat,
        MessageId::fresh(),
        0
    ));
    watch!("showing and withdrawing an image", |store, run| async move {
        let draft = Draft {
            attachments: vec![Attachment {
                attachment_type: AttachmentType::Image,
                url: AttachmentUrl::of_object("bucket", "attachments/unknown"),
                mime_type: None,
                size: None,
                file_name: None,
            }],
            ..draft(&format!("image {run}"), "look")
        };
        let SendOutcome::Sent(sent) = store.send_message(anna, channel, &draft, None, &FREE).await? else {
            panic!("not sent");
        };
        store.delete_message(me, channel, sent.message.id).await.map(drop)
    });

    for (what, asked) in &plans {
        assert_no_whole_scan(what, asked);
    }
    let of = |what: &str| &plans.iter().find(|(plan, _)| plan == what).unwrap().1;
    for (what, most) in [
        // Forty chats with thirty unread messages each, and not one of them is looked at to count them.
        ("me", 0),
        // A last message for each of 41 chats, and the row-level policy may look at each once more.
        ("the list of chats", 2 * 41),
        ("a chat", 2),
        ("the newest messages", 2 * 10),
        ("Newest", 2 * 11),
        ("After(Seq(5))", 2 * 11),
        ("Before(Seq(2500))", 2 * 11),
        ("ChangedAfter(Seq(2500))", 2 * 11),
        ("sending", 4),
        // The eight chats that are looked at first, a block of which has up to 1,024 messages that say it.
        ("a search", 8 * 1024),
    ] {
        let rows = of(what).rows["messages"] / RUNS;
        assert!(rows <= most, "{what}: {rows} messages are looked at");
    }
    for (what, index) in [
        ("me", "members_user"),
        ("the list of chats", "members_user"),
        ("unread", "members_user"),
        ("ChangedAfter(Seq(2500))", "messages_changed"),
        ("sending", "messages_client_id"),
        ("a search", "messages_search"),
    ] {
        assert!(
            of(what).uses.get(index).copied().unwrap_or(0) >= RUNS,
            "{what} without {index}"
        );
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_workers_ask_is_answered_by_indexes(pool: PgPool) {
    let (world, anna, chat) = much(pool).await;
    let observed = Observed::on(&world, "select").await;
    let mut jobs = Vec::new();
    for _ in 0..RUNS {
        let sent = world.send(&anna, chat, "hi").await;
        jobs.push((sent.wake.unwrap().job_id, sent.reply.unwrap().id));
    }
    let asked = observed
        .watch(async |store| {
            for (job, reply) in jobs {
                let claim = match store.try_claim_reply(job, LEASE, ATTEMPTS).await.unwrap() {
                    store::replies::ClaimOutcome::Claimed(claim) => claim,
                    other => panic!("{other:?}"),
                };
                store.reply_context(&claim, "scripted").await.unwrap().unwrap();
                store.append_to_reply(&claim, 0, "text").await.unwrap();
                store.renew_reply(&claim, LEASE).await.unwrap();
                store
                    .reply_progress(&anna.id, chat, reply, 0, 0)
                    .await
                    .unwrap()
                    .unwrap();
                store.end_reply(&claim, &completed("text")).await.unwrap().unwrap();
                store.try_claim_reply(job, LEASE, ATTEMPTS).await.unwrap();
            }
        })
        .await;
    assert_no_whole_scan("a reply", &asked);
    let asked = observed
        .watch(async |store| {
            for _ in 0..RUNS {
                store.overdue_jobs(Duration::from_secs(15), 500).await.unwrap();
                store.seize_abandoned_reply(None, ATTEMPTS, LEASE).await.unwrap();
                store
                    .trim_inboxes(Duration::from_secs(7 * 24 * 60 * 60), 1000)
                    .await
                    .unwrap();
                store.forget_rates(1000).await.unwrap();
                store.unused_uploads(1000).await.unwrap();
                store.forget_uploads(&[AttachmentId::fresh()]).await.unwrap();
            }
        })
        .await;
    assert_no_whole_scan("the sweeper", &asked);
}

#[sqlx::test(migrations = "../../migrations")]
async fn deleting_a_chat_scans_no_table(pool: PgPool) {
    let (world, anna, _) = much(pool).await;
    let mut chats = Vec::new();
    for _ in 0..RUNS {
        chats.push(world.assistant_chat(&anna).await);
    }
    let observed = Observed::on(&world, &role::change(SCHEMA)).await;
    let asked = observed
        .watch(async |store| {
            for chat in chats {
                store.delete_chat(&anna.id, chat).await.unwrap();
            }
        })
        .await;
    assert_no_whole_scan("deleting a chat", &asked);
}

#[sqlx::test(migrations = "../../migrations")]
async fn posts_are_found_by_indexes(pool: PgPool) {
    let (world, anna, _) = much(pool).await;
    for sql in [
        "insert into posts (id, owner_id, content, status, sent_at)
         select gen_random_uuid(), 'p' || n % 200 + 1, 'text', 'SENT', now() from generate_series(1, 20000) n",
        "insert into posts (id, owner_id, content, status, sent_at, created_at)
         select gen_random_uuid(), 'anna', 'text', 'SENT', now(), now() - n * interval '1 minute' from generate_series(1, 200) n",
        "insert into chats (id, kind, owner_id, post_id) select gen_random_uuid(), 'post', owner_id, id from posts",
        "insert into members (chat_id, user_id, role) select id, owner_id, 'owner' from chats where kind = 'post'",
        "analyze",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    let (observed, me) = (Observed::on(&world, &role::change(SCHEMA)).await, &anna.id);
    let first = world.people.posts(me, None, None, page(10)).await.unwrap();
    let (after, posts) = (first.next.unwrap(), first.posts);
    let draft = PostDraft::default();
    let change = PostChange {
        content: Some(PostText::parse("longer than it was", usize::MAX).unwrap()),
        ..PostChange::default()
    };
    let pages = observed
        .watch(async |store| {
            for _ in 0..RUNS {
                store.posts(me, None, Some(after), page(10)).await.unwrap();
            }
        })
        .await;
    assert_no_whole_scan("a page of posts", &pages);
    let rows = pages.rows["posts"] / RUNS;
    assert!(rows <= 2 * 11, "{rows} posts are looked at");
    assert!(pages.uses["posts_owner"] >= RUNS);

    let mut welcomes = Vec::new();
    let mut edits = Vec::new();
    let asked = observed
        .watch(async |store| {
            for run in 0..RUNS {
                let client_id = ClientId::parse(&run.to_string()).unwrap();
                let made = store.create_post(&anna, &draft, Some(&client_id), ALLOWANCE, &FREE.budget);
                welcomes.push(made.await.unwrap().unwrap().wake.unwrap().job_id);
                let post = posts[usize::try_from(run).unwrap()].id;
                store.post(me, post).await.unwrap().unwrap();
                // Published they stay as they are, but for their status.
                assert!(matches!(
                    store.update_post(&anna, post, &change, LEASE).await.unwrap(),
                    PostUpdated::IsSent
                ));
                let text = change.content.as_ref().unwrap();
                let FollowUp::Scheduled(Some(wake)) = store
                    .follow_up(&anna, post, text, &Trigger::edit(), Duration::ZERO)
                    .await
                    .unwrap()
                else {
                    panic!("not scheduled")
                };
                edits.push(wake.job_id);
                store.delete_post(me, posts[9].id).await.unwrap();
            }
        })
        .await;
    assert_no_whole_scan("writing posts", &asked);

    let observed = Observed::on(&world, "select").await;
    let asked = observed
        .watch(async |store| {
            for (welcome, edit) in welcomes.iter().zip(&edits) {
                store.organisation_of_follow_up(*edit).await.unwrap();
                store
                    .open_follow_up(*edit, ALLOWANCE, Duration::ZERO, &FREE.budget)
                    .await
                    .unwrap();
                for job in [welcome, edit] {
                    let reached = store.try_claim_reply(*job, LEASE, ATTEMPTS).await.unwrap();
                    let store::replies::ClaimOutcome::Claimed(claim) = reached else {
                        panic!("{reached:?}")
                    };
                    store.post_in_view(&claim).await.unwrap().unwrap();
                    store.end_reply(&claim, &completed("text")).await.unwrap().unwrap();
                }
            }
        })
        .await;
    assert_no_whole_scan("a welcome and a follow-up", &asked);
    // What a welcome looks at is the last three, and the post itself.
    let rows = asked.rows["posts"] / RUNS;
    assert!(rows <= 20, "{rows} posts are looked at");
}

/// A channel that many are in and nobody reads.
async fn unread_by_many(pool: PgPool) -> (World, Caller, ChatId) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut people = Vec::new();
    for n in 0..60 {
        people.push(world.person(&format!("p{n}")).await);
    }
    let chat = world.channel(&anna, &people.iter().collect::<Vec<_>>()).await;
    world.fill(chat, 2_000, &[&anna]).await;
    for _ in 0..20 {
        let other = world.assistant_chat(&anna).await;
        world.fill(other, 1_000, &[&anna]).await;
    }
    world.rows.execute("analyze").await.unwrap();
    (world, anna, chat)
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_many_never_read_is_counted_once_a_chat_and_not_without_end(pool: PgPool) {
    let (world, anna, chat) = unread_by_many(pool).await;
    world
        .rows
        .execute("update members set uncounted = uncounted + 7 where user_id in ('anna', 'p1')")
        .await
        .unwrap();
    let observed = Observed::on(&world, "select").await;
    let asked = observed
        .watch(async |store| assert_eq!(store.repair_unread(chat, 2_000).await.unwrap().len(), 2))
        .await;
    assert!(asked.rows["messages"] <= 2_100, "{asked:?}");
    assert!(asked.whole_scans["messages"] <= 1, "{asked:?}");
    let annas = world.people.chat(&anna.id, chat).await.unwrap().unwrap();
    assert_eq!(annas.unread_count, 0);

    // Who is further behind than is looked is left alone; those who are not are looked after.
    for sql in [
        "update members set uncounted = uncounted + 7 where user_id in ('anna', 'p1')",
        "update members set read_seq = 1950, read_number = 1950 where user_id = 'anna'",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    let asked = observed
        .watch(async |store| {
            let repaired = store.repair_unread(chat, 100).await.unwrap();
            assert_eq!((repaired.len(), &repaired[0].user_id), (1, &anna.id));
        })
        .await;
    assert!(asked.rows["messages"] <= 200, "{asked:?}");
    assert_eq!(asked.whole_scans["messages"], 0, "{asked:?}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn reading_a_page_of_what_one_never_read_looks_at_that_page(pool: PgPool) {
    let (world, _, chat) = unread_by_many(pool).await;
    // Something that does not count, near the end.
    for sql in [
        "update messages set deleted_at = now() where seq = 1990",
        "update members set uncounted = 1 where user_id <> 'anna'",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    let me = crate::world::caller("p1").id;
    let page: Vec<MessageId> = sqlx::query_scalar("select id from messages where seq in (50, 100) order by seq")
        .fetch_all(&world.rows)
        .await
        .unwrap()
        .into_iter()
        .map(|id: uuid::Uuid| id.into())
        .collect();
    let observed = Observed::on(&world, "set role backtalk_app").await;
    let asked = observed
        .watch(async |store| {
            store.mark_messages_read(&me, &page[..1]).await.unwrap();
            store
                .mark_chat_read(&me, chat, ReadMark::UpTo(seq(100)), None)
                .await
                .unwrap()
                .unwrap();
            // And back by a little.
            let standing = store
                .mark_chat_read(&me, chat, ReadMark::UnreadFrom(seq(91)), None)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(standing.unread_count, 2_000 - 90 - 1);
        })
        .await;
    assert!(asked.rows["messages"] <= 500, "{asked:?}");
    assert_eq!(asked.whole_scans["messages"], 0, "{asked:?}");
}
