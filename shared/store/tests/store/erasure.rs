//! One person's export and erasure: all of theirs, and nothing of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::chat::Kind;
use domain::event::EventType;
use domain::ids::{ChatId, JobId, UserId};
use domain::job::{ClaimedJob, JobClaimOutcome};
use domain::message::{Draft, EditHistory, Reacting};
use domain::person::Caller;
use domain::text::Emoji;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::chats::{AssistantChat, ListFilter};
use store::erasure::ErasureStep;
use store::export::ExportCursor;
use store::messages::Range;

use crate::world::{FREE, World, at_once, draft, edit, page};

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
        "insert into open_streams (user_id, kind, expires_at) values ('anna', 'events', now())",
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
    match world.system.try_claim_job(job, LEASE).await.unwrap() {
        JobClaimOutcome::Claimed(job) => job,
        reached => panic!("{reached:?}"),
    }
}

/// One bite, with what S3 would do.
async fn bite(world: &World, job: &ClaimedJob) -> ErasureStep {
    let bite = world.system.erase_some(job).await.unwrap();
    if let ErasureStep::Uploads(uploads) = &bite {
        world.system.erase_uploads(job, uploads).await.unwrap();
    }
    bite
}

/// Runs an erasure to its end: who was told of what.
async fn erase(world: &World, person: &Caller) -> Vec<(EventType, ChatId, BTreeSet<String>)> {
    let job = claimed(world, person).await;
    let mut told = Vec::new();
    for _ in 0..200 {
        match bite(world, &job).await {
            ErasureStep::Taken(news) => told.extend(news.into_iter().map(|news| {
                let audience = news.audience.iter().map(ToString::to_string).collect();
                (news.event.event_type, news.event.chat_id, audience)
            })),
            ErasureStep::Uploads(_) => {}
            ErasureStep::Last => return told,
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

#[sqlx::test(migrations = "../../migrations")]
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

#[sqlx::test(migrations = "../../migrations")]
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

    let repaired = world.repair(Duration::from_secs(600)).await;
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

#[sqlx::test(migrations = "../../migrations")]
async fn it_may_be_cut_anywhere_and_asked_for_twice(pool: PgPool) {
    let Life {
        world,
        anna,
        ben,
        direct,
        ..
    } = life(pool).await;
    let system = world.system.clone();
    let job = claimed(&world, &anna).await;
    assert_eq!(system.ask_for_erasure(&anna.id).await.unwrap().unwrap().job_id, job.id);
    // Somebody is at it, and whoever asked anew has not changed that.
    assert!(matches!(
        system.try_claim_job(job.id, LEASE).await.unwrap(),
        JobClaimOutcome::Later { .. }
    ));
    system.erase_some(&job).await.unwrap();
    assert!(system.rest_job(&job, Duration::ZERO, None).await.unwrap());
    let JobClaimOutcome::Claimed(job) = system.try_claim_job(job.id, LEASE).await.unwrap() else {
        panic!("it does not go on");
    };
    // Two at once, one of whose lease ran out.
    let world = Arc::new(world);
    at_once(2, |_| {
        let (world, job) = (world.clone(), job.clone());
        async move { while !matches!(bite(&world, &job).await, ErasureStep::Last) {} }
    })
    .await;
    assert_eq!(tables_with(&world, "annas secret").await, [""; 0]);
    assert_eq!(
        system.try_claim_job(job.id, LEASE).await.unwrap(),
        JobClaimOutcome::Over
    );
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
    let opened = world.people.open_direct_chat(&ben.id, &anna.id, None).await.unwrap();
    assert!(matches!(opened, store::chats::DirectChat::Opened { chat_id, .. } if chat_id != direct));
    // A worker that was away meanwhile leaves them alone.
    assert!(matches!(bite(&world, &job).await, ErasureStep::Last));
    assert!(world.people.me(&anna.id).await.unwrap().is_some());
    assert_eq!(
        world
            .people
            .chats(&anna.id, ListFilter::default(), None, page(10))
            .await
            .unwrap()
            .total,
        1
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_others_were_told_of_them_is_told_without_them(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, dora) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
        world.person("dora").await,
    );
    let chat = world.channel(&anna, &[&ben]).await;
    let message = world.send(&ben, chat, "hi").await.message.id;
    let before = world.people.inbox_version(&ben.id).await.unwrap();
    let thumb = Emoji::parse("👍").unwrap();
    for what in [Reacting::Add, Reacting::Remove] {
        world
            .people
            .react(&anna.id, chat, message, &thumb, what, 20)
            .await
            .unwrap();
    }
    world.people.mark_messages_read(&anna.id, &[message]).await.unwrap();
    world.add(&anna, chat, &cleo).await;
    world.add(&ben, chat, &dora).await;
    world.remove(&anna, chat, &cleo).await;
    let of_ben = async || {
        let news = world.people.news(&ben.id, before, None, 100).await.unwrap();
        let events = news.events.into_iter().flat_map(|(_, events)| events);
        events
            .map(|event| (event.event_type.word().to_owned(), event.data))
            .collect::<Vec<_>>()
    };
    let kinds = |news: &[(String, Value)]| news.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>();
    let with_her = of_ben().await;
    assert_eq!(
        kinds(&with_her),
        [
            "reaction.changed",
            "reaction.changed",
            "read",
            "member.added",
            "member.removed"
        ]
    );

    erase(&world, &anna).await;

    let without_her = of_ben().await;
    assert_eq!(
        kinds(&without_her),
        [
            // How the message is now, that the chat has changed, what she did to others;
            "message.updated",
            "message.updated",
            "chat.updated",
            "member.added",
            "member.removed",
            // and that it has another owner, and that she went.
            "chat.updated",
            "chat.updated",
        ]
    );
    assert!(!format!("{without_her:?}").contains("anna"), "{without_her:?}");
    assert_eq!(without_her[2].1, json!({}));
    assert_eq!(without_her[3].1["members"], with_her[3].1["members"]);
    assert_eq!(without_her[4].1, json!({"userId": "cleo", "by": null}));
    // Cleo still learns that she is not in it any more.
    let news = world.people.news(&cleo.id, 0, None, 100).await.unwrap();
    let last = news.events.last().unwrap().1.last().unwrap();
    assert!(last.ends_for(&cleo.id), "{last:?}");
}

/// Others write, react and name her, and she herself writes on, makes chats and channels, until she is gone.
#[sqlx::test(migrations = "../../migrations")]
async fn an_erasure_bears_what_everyone_does_meanwhile(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let channel = world.channel(&anna, &[&ben, &cleo]).await;
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for number in 0..20 {
        for chat in [channel, direct] {
            world.send(&anna, chat, &format!("annas secret {number}")).await;
        }
    }
    let job = claimed(&world, &anna).await;
    let rounds = 25;
    at_once(5, |task| {
        let (world, job) = (world.clone(), job.clone());
        let (anna, ben, cleo) = (anna.clone(), ben.clone(), cleo.clone());
        async move {
            let store = &world.people;
            let thumb = Emoji::parse("👍").unwrap();
            match task {
                0 => while !matches!(bite(&world, &job).await, ErasureStep::Last) {},
                1 | 2 => {
                    let me = if task == 1 { &ben } else { &cleo };
                    for number in 0..rounds {
                        let named = Draft {
                            mentions: vec![anna.id.clone()],
                            ..draft(&format!("{task} {number}"), "others words")
                        };
                        let sent = world.send_as(me, channel, &named, None).await.message.id;
                        store
                            .react(&me.id, channel, sent, &thumb, Reacting::Add, 20)
                            .await
                            .unwrap();
                        store
                            .react(&anna.id, channel, sent, &thumb, Reacting::Add, 20)
                            .await
                            .ok();
                        // Where she is gone at this moment there is nobody to open it with.
                        store.open_direct_chat(&me.id, &anna.id, None).await.ok();
                    }
                }
                // With a token of hers. What is refused at the moment of her end is no matter; what is taken is erased.
                _ => {
                    for number in 0..rounds {
                        for chat in [channel, direct] {
                            let text = draft(&format!("{task} {number}"), "annas secret, late");
                            store.send_message(&anna, chat, &text, None, &FREE).await.ok();
                        }
                        if let Ok(AssistantChat::Opened(own)) =
                            store.open_assistant_chat(&anna.id, None, None, i32::MAX, None).await
                        {
                            store
                                .send_message(&anna, own, &draft("1", "annas secret"), None, &FREE)
                                .await
                                .ok();
                        }
                    }
                }
            }
        }
    })
    .await;

    // Of her there is nothing, and nobody made her anew: that takes a request that says who she is.
    assert_eq!(tables_with(&world, "annas secret").await, [""; 0]);
    assert_eq!(tables_with(&world, "\"anna\"").await, [""; 0]);
    assert_eq!(
        world
            .number("select count(*) from chats where kind = 'assistant'")
            .await,
        0
    );
    let others = "select count(*) from messages where content = 'others words'";
    assert_eq!(world.number(others).await, 2 * rounds);
    let shown = world.people.chat(&ben.id, channel).await.unwrap().unwrap();
    let owners = shown.members.iter().filter(|member| member.role.to_string() == "owner");
    assert_eq!(owners.count(), 1);
    let repaired = world.repair(Duration::from_secs(600)).await;
    assert!(repaired.is_empty(), "{repaired:?}");
    // Every seq was told to whom it concerns.
    let untold = format!(
        "select count(*) from generate_series(1, (select last_seq from chats where id = '{channel}')) n
         where not exists (select 1 from inbox where chat_id = '{channel}' and user_id = 'ben' and seq = n)"
    );
    assert_eq!(world.number(&untold).await, 0);
    world.assert_inboxes_are_contiguous().await;
}

/// What was begun before the last bite and is done while it waits is found by another bite.
#[sqlx::test(migrations = "../../migrations")]
async fn the_last_bite_looks_again_once_nobody_can_write_in_their_name(pool: PgPool) {
    let world = Arc::new(World::on(pool).await);
    let anna = world.person("anna").await;
    let job = claimed(&world, &anna).await;
    let mut writing = world.rows.begin().await.unwrap();
    for sql in [
        "insert into chats (id, kind, owner_id) values ('00000000-0000-7000-8000-000000000001', 'assistant', 'anna')",
        "insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
         select id, 1, gen_random_uuid(), 1, 1, 'user', 'anna', 'annas secret' from chats",
    ] {
        sqlx::query(sql).execute(&mut *writing).await.unwrap();
    }
    let erasing = tokio::spawn({
        let (world, job) = (world.clone(), job.clone());
        async move { while !matches!(bite(&world, &job).await, ErasureStep::Last) {} }
    });
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    while world.number(waits).await == 0 {
        tokio::task::yield_now().await;
    }
    writing.commit().await.unwrap();
    erasing.await.unwrap();
    assert_eq!(tables_with(&world, "annas secret").await, [""; 0]);
    assert_eq!(tables_with(&world, "\"anna\"").await, [""; 0]);
}

/// The owner's rights go to the oldest admin, else to the oldest member, and a channel of one goes.
#[sqlx::test(migrations = "../../migrations")]
async fn a_channel_is_handed_on_to_who_runs_it(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, dora) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
        world.person("dora").await,
    );
    let with_admins = world.channel(&anna, &[&ben, &cleo, &dora]).await;
    let alone = world.channel(&anna, &[]).await;
    for sql in [
        "update members set role = 'admin' where user_id in ('cleo', 'dora')",
        "update members set joined_at = now() - interval '1 day' where user_id = 'dora'",
        "update members set joined_at = now() - interval '2 days' where user_id = 'ben'",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    erase(&world, &anna).await;
    let owner = "select count(*) from members m join chats c on c.id = m.chat_id
                 where m.user_id = 'dora' and m.role = 'owner' and c.owner_id = 'dora'";
    assert_eq!(world.number(owner).await, 1);
    assert_eq!(
        world.number("select count(*) from members where role = 'owner'").await,
        1
    );
    assert!(world.people.chat(&ben.id, with_admins).await.unwrap().is_some());
    let left = format!("select count(*) from chats where id = '{alone}'");
    assert_eq!(world.number(&left).await, 0);
    // Two who go at once leave it to the third.
    let both = [claimed(&world, &dora).await, claimed(&world, &cleo).await];
    let world = Arc::new(world);
    at_once(2, |number| {
        let (world, job) = (world.clone(), both[number].clone());
        async move { while !matches!(bite(&world, &job).await, ErasureStep::Last) {} }
    })
    .await;
    let owner = "select count(*) from members where user_id = 'ben' and role = 'owner'";
    assert_eq!(world.number(owner).await, 1);
    erase(&world, &ben).await;
    assert_eq!(world.number("select count(*) from chats").await, 0);
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

#[sqlx::test(migrations = "../../migrations")]
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

#[sqlx::test(migrations = "../../migrations")]
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
#[sqlx::test(migrations = "../../migrations")]
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
        "chat_keys",
        "holds",
        "inbox",
        "inbox_heads",
        "open_streams",
        "presences",
        "rate_limits",
        "regenerations",
        "stream_tickets",
    ];
    let known: BTreeSet<&str> = exported.into_iter().chain(inner).collect();
    assert_eq!(tables.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}
