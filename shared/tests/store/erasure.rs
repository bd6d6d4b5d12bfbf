//! One person's export and erasure: all of theirs, and nothing of others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use shared::domain::chat::Kind;
use shared::domain::event::EventType;
use shared::domain::ids::{ChatId, JobId, UserId};
use shared::domain::job::{ClaimedJob, JobReach};
use shared::domain::message::{Draft, EditHistory, Reacting};
use shared::domain::person::Caller;
use shared::domain::text::Emoji;
use shared::store::chats::ListFilter;
use shared::store::erasure::Bite;
use shared::store::export::ExportCursor;
use shared::store::messages::Range;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use crate::world::{World, draft, edit, page};

const LEASE: Duration = Duration::from_secs(60);

/// Anna speaks everywhere: with Ben, in a channel of hers, in a channel that she has left, with the AI.
struct Life {
    world: World,
    anna: Caller,
    ben: Caller,
    cleo: Caller,
    direct: ChatId,
    channel: ChatId,
    left: ChatId,
}

async fn life(pool: PgPool) -> Life {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let channel = world.chat(Kind::Channel, &[&anna, &ben, &cleo]).await;
    let left = world.chat(Kind::Channel, &[&ben, &anna]).await;
    let store = &world.people;
    let thumb = Emoji::parse("👍").unwrap();
    for chat in [direct, channel, left] {
        for number in 0..3 {
            world.send(&anna, chat, &format!("annas secret {number}")).await;
            let bens = world.send(&ben, chat, &format!("bens own {number}")).await.message.id;
            store
                .react(&anna.id, chat, bens, &thumb, Reacting::Add, 20)
                .await
                .unwrap();
            store
                .react(&ben.id, chat, bens, &thumb, Reacting::Add, 20)
                .await
                .unwrap();
        }
        let named = Draft {
            mentions: vec![anna.id.clone(), ben.id.clone()],
            ..draft(&format!("named {chat}"), "you both")
        };
        world.send_as(&ben, chat, &named, None).await;
        let last = world.send(&anna, chat, "annas secret draft").await.message.id;
        store
            .edit_message(&anna.id, chat, last, &edit("annas secret text"), EditHistory::Kept)
            .await
            .unwrap();
        let gone = world.send(&anna, chat, "annas secret regret").await.message.id;
        store.delete_message(&anna.id, chat, gone).await.unwrap();
        let reply = Draft {
            reply_to: Some(last),
            ..draft(&format!("reply {chat}"), "bens answer")
        };
        world.send_as(&ben, chat, &reply, None).await;
    }
    store.remove_member(&anna.id, left, &anna.id).await.unwrap();
    let own = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, own, "annas secret question").await.claim.unwrap();
    world.complete(&claim, "an answer to annas secret").await;
    world.ask(&anna, own, "annas secret, being answered").await;
    world.chat(Kind::Post, &[&anna]).await;
    world.chat(Kind::Task, &[&anna]).await;
    world.chat(Kind::Channel, &[&anna]).await;
    let bens = world.assistant_chat(&ben).await;
    world.send(&ben, bens, "bens own question").await;
    store.block(&anna.id, &cleo.id).await.unwrap();
    store.block(&cleo.id, &anna.id).await.unwrap();
    for sql in [
        "insert into attachments (id, owner_id, object_key, mime_type, size)
         values (gen_random_uuid(), 'anna', 'a', 'image/png', 1), (gen_random_uuid(), 'ben', 'b', 'image/png', 1)",
        "insert into stream_tickets (hash, user_id, expires_at) values (sha256('ticket'), 'anna', now() + interval '1 h')",
        "insert into budgets (subject, subject_id, period_start)
         values ('person', 'anna', 'epoch'), ('person', 'ben', 'epoch') on conflict do nothing",
        "insert into budget_limits (subject, subject_id, tokens) values ('person', 'anna', 1)",
        "insert into rate_limits (user_id, class, tat, touched_on) values ('anna', 'send', now(), current_date)",
    ] {
        world.rows.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    Life {
        world,
        anna,
        ben,
        cleo,
        direct,
        channel,
        left,
    }
}

/// The job that erases somebody, taken.
async fn claimed(world: &World, person: &Caller) -> ClaimedJob {
    let job = world.system.ask_for_erasure(&person.id).await.unwrap().unwrap().job_id;
    match world.system.reach_for_job(job, LEASE).await.unwrap() {
        JobReach::Claimed(job) => job,
        reached => panic!("{reached:?}"),
    }
}

/// Runs an erasure to its end: who was told of what.
async fn erase(world: &World, person: &Caller) -> Vec<(EventType, ChatId, BTreeSet<String>)> {
    let job = claimed(world, person).await;
    let mut told = Vec::new();
    for _ in 0..200 {
        match world.system.erase_some(&job).await.unwrap() {
            Bite::Taken(news) => told.extend(news.into_iter().map(|news| {
                let audience = news.audience.iter().map(ToString::to_string).collect();
                (news.event.event_type, news.event.chat_id, audience)
            })),
            Bite::Uploads(uploads) => world.system.erase_uploads(&job, &uploads).await.unwrap(),
            Bite::Last => return told,
        }
    }
    panic!("it never ends");
}

/// Tables in which a text stands anywhere.
async fn tables_with(world: &World, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = current_schema()::regnamespace and relkind = 'r' and relname <> '_sqlx_migrations'
         order by 1",
    )
    .fetch_all(&world.rows)
    .await
    .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("select count(*) from {table} t where position('{text}' in to_jsonb(t)::text) > 0");
        if world.number(&sql).await > 0 {
            found.push(table);
        }
    }
    found
}

/// What everyone but Anna sees, as far as it is not hers.
async fn unread(world: &World, person: &Caller) -> i64 {
    world.people.me(&person.id).await.unwrap().unwrap().unread_total
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_of_them_is_left_and_all_of_the_others_is(pool: PgPool) {
    let Life {
        world,
        anna,
        ben,
        cleo,
        direct,
        channel,
        left,
    } = life(pool).await;
    assert!(
        tables_with(&world, "annas secret")
            .await
            .contains(&"messages".to_owned())
    );
    let bens_words = "select count(*) from messages where content like 'bens%' or content = 'you both'";
    let before = world.number(bens_words).await;

    erase(&world, &anna).await;

    assert_eq!(tables_with(&world, "annas secret").await, [""; 0]);
    assert_eq!(tables_with(&world, "\"anna\"").await, [""; 0]);
    assert_eq!(world.number(bens_words).await, before);
    for chat in [direct, channel, left] {
        let history = world
            .people
            .messages(&ben.id, chat, Range::Newest, page(100))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(history.messages.len(), 10);
        for message in &history.messages {
            let is_bens = message.sender_id.as_ref() == Some(&ben.id);
            assert_eq!(message.content.is_empty(), !is_bens);
            assert_eq!(message.deleted_at.is_some(), !is_bens);
            assert!(!message.mentions.contains(&anna.id));
            for reaction in &message.reactions {
                assert_eq!(reaction.user_ids, ["ben"]);
            }
        }
        let reply = history.messages.last().unwrap();
        assert_eq!(reply.reply_preview.as_ref().unwrap().content, "");
        assert_eq!(reply.reply_preview.as_ref().unwrap().sender_id, None);
    }
    let shown = world.people.chat(&ben.id, direct).await.unwrap().unwrap();
    assert_eq!((shown.user, shown.members.len()), (None, 1));
    // The channel has an owner: who was there first.
    let shown = world.people.chat(&cleo.id, channel).await.unwrap().unwrap();
    let roles: BTreeMap<_, _> = shown
        .members
        .iter()
        .map(|member| (member.user_id.to_string(), member.role.to_string()))
        .collect();
    assert_eq!(
        roles,
        BTreeMap::from([("ben".into(), "owner".into()), ("cleo".into(), "member".into())])
    );
    let kinds = "select count(*) from chats where kind in ('post', 'task') or owner_id is null and kind <> 'direct'";
    assert_eq!(world.number(kinds).await, 0);
    assert_eq!(world.number("select count(*) from jobs where kind = 'erase'").await, 0);
    assert!(
        world
            .number("select count(*) from attachments where owner_id = 'ben'")
            .await
            == 1
    );
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn others_are_told_in_order_and_their_counts_stay_right(pool: PgPool) {
    let Life {
        world,
        anna,
        ben,
        cleo,
        direct,
        channel,
        left,
    } = life(pool).await;
    let counts = (unread(&world, &ben).await, unread(&world, &cleo).await);
    let seqs = "select sum(last_seq)::bigint from chats where kind in ('direct', 'channel')";
    let (before, version) = (
        world.number(seqs).await,
        world.people.inbox_version(&ben.id).await.unwrap(),
    );
    // Ben has marked a part as unread, and Cleo has read nothing.
    assert_eq!(counts.0, 0, "who speaks has read");
    assert!(counts.1 > 0);

    let told = erase(&world, &anna).await;

    let repaired = world.system.repair_unread(Duration::from_secs(600), 100).await.unwrap();
    assert!(repaired.is_empty(), "{repaired:?}");
    assert_eq!(unread(&world, &ben).await, 0);
    // Of the channel's ten messages Anna's five are not unread any more; two of them she had deleted before.
    assert_eq!(unread(&world, &cleo).await, 5);
    let mut kinds: BTreeMap<(String, ChatId), usize> = BTreeMap::new();
    for (event, chat, _) in &told {
        *kinds.entry((event.word().to_owned(), *chat)).or_default() += 1;
    }
    for chat in [direct, channel, left] {
        let of = |event: EventType| kinds.get(&(event.word().to_owned(), chat)).copied().unwrap_or(0);
        assert_eq!(of(EventType::MessageDeleted), 4);
        assert_eq!(of(EventType::ReactionChanged), 3);
        assert_eq!(of(EventType::MessageUpdated), 1);
        assert_eq!(of(EventType::MemberRemoved), usize::from(chat != left));
        assert_eq!(of(EventType::ChatUpdated), usize::from(chat == channel));
    }
    let events = i64::try_from(told.len()).unwrap();
    assert_eq!(world.number(seqs).await, before + events);
    // What was told at once is what a late reader hears, without a name, and each has the chat's next seq.
    let news = world.people.news(&ben.id, version, Some(channel), 1000).await.unwrap();
    let heard: Vec<_> = news.events.iter().flat_map(|(_, events)| events).collect();
    let at_once: Vec<_> = told
        .iter()
        .filter(|(_, chat, _)| *chat == channel)
        .map(|(event, ..)| match event {
            EventType::ReactionChanged => EventType::MessageUpdated,
            EventType::MemberRemoved => EventType::ChatUpdated,
            other => *other,
        })
        .collect();
    assert_eq!(heard.iter().map(|event| event.event_type).collect::<Vec<_>>(), at_once);
    let numbers: Vec<i64> = heard.iter().map(|event| event.seq.unwrap().value()).collect();
    let first = numbers[0];
    assert_eq!(numbers, (first..).take(numbers.len()).collect::<Vec<_>>());
    for (_, chat, audience) in &told {
        assert!(audience.contains("ben") && (!audience.contains("cleo") || *chat == channel));
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn it_may_be_cut_anywhere_and_asked_for_twice(pool: PgPool) {
    let Life {
        world,
        anna,
        ben,
        direct,
        ..
    } = life(pool).await;
    let system = &world.system;
    let job = claimed(&world, &anna).await;
    assert_eq!(system.ask_for_erasure(&anna.id).await.unwrap().unwrap().job_id, job.id);
    // Somebody is at it, and whoever asked anew has not changed that.
    assert!(matches!(
        system.reach_for_job(job.id, LEASE).await.unwrap(),
        JobReach::Later { .. }
    ));
    system.erase_some(&job).await.unwrap();
    assert!(system.rest_job(&job, Duration::ZERO, None).await.unwrap());
    let JobReach::Claimed(job) = system.reach_for_job(job.id, LEASE).await.unwrap() else {
        panic!("it does not go on");
    };
    // Two at once, one of whose lease ran out.
    let both = crate::world::at_once(2, |_| {
        let (system, job) = (system.clone(), job.clone());
        async move {
            loop {
                match system.erase_some(&job).await.unwrap() {
                    Bite::Taken(_) => {}
                    Bite::Uploads(uploads) => system.erase_uploads(&job, &uploads).await.unwrap(),
                    Bite::Last => return,
                }
            }
        }
    });
    both.await;
    assert_eq!(tables_with(&world, "annas secret").await, [""; 0]);
    assert_eq!(system.reach_for_job(job.id, LEASE).await.unwrap(), JobReach::Over);
    assert_eq!(
        system.ask_for_erasure(&anna.id).await.unwrap().map(|wake| wake.job_id),
        None::<JobId>
    );
    assert_eq!(world.number("select count(*) from people where id = 'anna'").await, 0);
    let one_each = "select count(*) from inbox where user_id = 'ben' and event = 'message.deleted'
                    group by message_id having count(*) > 1 limit 1";
    let twice: Option<i64> = sqlx::query_scalar(one_each).fetch_optional(&world.rows).await.unwrap();
    assert_eq!(twice, None, "a message was deleted twice");

    // Whoever comes back under that name is somebody new.
    let anna = world.person("anna").await;
    assert_eq!(
        world
            .people
            .chats(&anna.id, ListFilter::default(), None, page(10))
            .await
            .unwrap()
            .total,
        0
    );
    let opened = world.people.open_direct_chat(&ben.id, &anna.id).await.unwrap();
    assert!(matches!(opened, shared::store::chats::DirectChat::Opened { chat_id, .. } if chat_id != direct));
}

async fn exported(world: &World, person: &UserId) -> Vec<Value> {
    let (mut lines, mut after) = (Vec::new(), Some(ExportCursor::START));
    while let Some(cursor) = after {
        let page = world.system.export(person, &cursor).await.unwrap();
        lines.extend(page.lines);
        after = page.next;
    }
    lines
}

#[sqlx::test(migrations = "../migrations")]
async fn an_export_has_all_of_theirs_and_nothing_of_others(pool: PgPool) {
    let Life { world, anna, .. } = life(pool).await;
    let lines = exported(&world, &anna.id).await;
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        *types.entry(line["type"].as_str().unwrap()).or_default() += 1;
    }
    let expected = [
        ("answer", 1),
        ("attachment", 1),
        ("block", 1),
        ("membership", 6),
        ("mention", 3),
        ("message", 17),
        ("person", 1),
        ("post", 1),
        ("reaction", 9),
        ("reply", 2),
        ("usage", 2),
        ("version", 3),
    ];
    assert_eq!(types.into_iter().collect::<Vec<_>>(), expected);
    let text = serde_json::to_string(&lines).unwrap();
    for mine in [
        "annas secret 2",
        "annas secret draft",
        "an answer to annas secret",
        "annas secret question",
    ] {
        assert!(text.contains(mine), "{mine}");
    }
    for others in ["bens", "you both", "ticket"] {
        assert!(!text.contains(others), "{others}");
    }
    let message = lines
        .iter()
        .find(|line| line["data"]["content"] == "annas secret 0")
        .unwrap();
    assert!(message["data"]["createdAt"].is_string() && message["data"]["clientId"].is_string());
    let nobody = UserId::parse("nobody").unwrap();
    assert!(exported(&world, &nobody).await.is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_long_export_comes_page_by_page(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    sqlx::query(
        "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
         select $1, n, gen_random_uuid(), n, n, 'user', 'anna', repeat(n || ' ', 4000) from generate_series(1, 1200) n",
    )
    .bind(chat.uuid())
    .execute(&world.rows)
    .await
    .unwrap();
    let (mut seen, mut pages, mut after) = (BTreeSet::new(), 0, Some(ExportCursor::START));
    while let Some(cursor) = after {
        let page = world.system.export(&anna.id, &cursor).await.unwrap();
        assert!(serde_json::to_string(&page.lines).unwrap().len() < 4_000_000);
        for line in page.lines.iter().filter(|line| line["type"] == "message") {
            assert!(
                seen.insert(line["data"]["seq"].as_i64().unwrap()),
                "{} came twice",
                line["data"]["seq"]
            );
        }
        pages += 1;
        after = page.next.map(|next| ExportCursor::parse(&next.written()).unwrap());
    }
    assert!(seen == (1..=1200).collect(), "{} of 1200", seen.len());
    assert!(pages > 12 + 5, "{pages} pages");
}

/// Whoever adds a table that names people says here what becomes of it when one of them is given all of theirs, or goes.
#[sqlx::test(migrations = "../migrations")]
async fn every_table_that_names_a_person_is_thought_of(pool: PgPool) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select distinct table_name::text from information_schema.columns
         where table_schema = current_schema() and (
             column_name in ('user_id', 'owner_id', 'sender_id', 'asked_by', 'person_id', 'blocker', 'blocked', 'subject_id')
             or (table_name, column_name) in (
                 select cl.relname, a.attname from pg_constraint co
                 join pg_class cl on cl.oid = co.conrelid
                 join pg_attribute a on a.attrelid = co.conrelid and a.attnum = any (co.conkey)
                 where co.contype = 'f' and co.confrelid = 'people'::regclass
             )
         )
         order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let exported = [
        "attachments",
        "blocks",
        "budgets",
        "chats",
        "members",
        "mentions",
        "messages",
        "posts",
        "reactions",
        "replies",
    ];
    // What only makes things work goes with the person, or is trimmed within a week.
    let inner = [
        "budget_limits",
        "holds",
        "inbox",
        "inbox_heads",
        "presences",
        "rate_limits",
        "stream_tickets",
    ];
    let known: BTreeSet<&str> = exported.into_iter().chain(inner).collect();
    assert_eq!(tables.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}
