//! A large chat is gone for everybody at once; what it held goes in batches, whoever dies at it.

use std::sync::Arc;
use std::time::Duration;

use domain::chat::{History, Kind, MemberRole};
use domain::event::EventType;
use domain::ids::{ChatId, JobId};
use domain::job::JobClaimOutcome;
use domain::limits::PageSize;
use domain::message::{EditHistory, Reacting};
use domain::person::Caller;
use domain::post::PostDraft;
use domain::reply::Wake;
use domain::text::Emoji;
use domain::unread::ReadMark;
use domain::webhook::WebhookClaimOutcome;
use sqlx::{Executor, PgPool};
use store::channels::Membership;
use store::chats::{ChatChange, Deleted, ListFilter, Updated};
use store::erasure::ErasureStep;
use store::messages::{Change, Range, SendOutcome};
use store::reactions::Reacted;
use store::replies::{ClaimOutcome, Regeneration, Which};
use tokio::time::timeout;

use crate::deletion::rows_of;
use crate::world::{ALLOWANCE, FREE, World, at_once, caller, draft, edit, opened, page};

/// More than goes with the deletion itself.
const MANY: i32 = 300;
const LEASE: Duration = Duration::from_secs(60);
/// For what would else wait for ever.
const LONG: Duration = Duration::from_secs(20);

async fn delete(world: &World, owner: &Caller, chat: ChatId) -> Wake {
    match world.people.delete_chat(&owner.id, chat).await.unwrap() {
        Deleted::Gone { wake: Some(wake), .. } => wake,
        other => panic!("{other:?}"),
    }
}

async fn is_claimed(world: &World, job: JobId) -> bool {
    matches!(
        world.system.try_claim_job(job, LEASE).await.unwrap(),
        JobClaimOutcome::Claimed(_)
    )
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_large_chat_is_gone_for_all_at_once_and_its_rows_go_in_batches(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    let said = world.send(&anna, chat, "the first of many").await.message;
    let thumb = Emoji::parse("👍").unwrap();
    world
        .people
        .react(&ben.id, chat, said.id, &thumb, Reacting::Add, 20)
        .await
        .unwrap();
    world
        .people
        .edit_message(&anna.id, chat, said.id, &edit("the very first"), EditHistory::Kept)
        .await
        .unwrap();
    world.fill(chat, MANY, &[&anna, &ben]).await;
    let version = world.people.inbox_version(&ben.id).await.unwrap();

    let Deleted::Gone {
        mut audience,
        wake: Some(wake),
        ..
    } = world.people.delete_chat(&anna.id, chat).await.unwrap()
    else {
        panic!("it is Anna's and large")
    };
    audience.sort();
    assert_eq!(audience, [anna.id.clone(), ben.id.clone()]);
    assert_eq!(wake.chat_id, Some(chat));

    for person in [&anna, &ben] {
        let (people, me) = (&world.people, &person.id);
        assert!(people.chat(me, chat).await.unwrap().is_none());
        assert_eq!(
            people
                .chats(me, ListFilter::default(), None, page(10))
                .await
                .unwrap()
                .total,
            0
        );
        let history = people.messages(me, chat, Range::Newest, PageSize::LARGEST).await;
        assert!(history.unwrap().is_none());
        assert_eq!(people.unread_messages(me, page(10)).await.unwrap().total, 0);
        assert_eq!(people.me(me).await.unwrap().unwrap().unread_total, 0);
        let outcome = people
            .send_message(person, chat, &draft("late", "too late"), None, &FREE)
            .await
            .unwrap();
        assert!(matches!(outcome, SendOutcome::NoSuchChat), "{outcome:?}");
        assert_eq!(people.delete_chat(me, chat).await.unwrap(), Deleted::NoSuchChat);
        let sees = "select count(*) from chats where acting_as($1)";
        let seen: i64 = sqlx::query_scalar(sees)
            .bind(me.as_str())
            .fetch_one(&world.restricted)
            .await
            .unwrap();
        assert_eq!(seen, 0, "the second lock holds, too");
    }
    let news = world.people.news(&ben.id, version, None, 10).await.unwrap().events;
    let told: Vec<_> = news
        .iter()
        .flat_map(|(_, events)| events)
        .map(|event| event.event_type)
        .collect();
    assert_eq!(told, [EventType::ChatDeleted]);

    // Killed after any batch, the next run goes on; each is of bounded size.
    assert!(is_claimed(&world, wake.job_id).await);
    let mut left = rows_of(&world, chat).await;
    let mut batches = 0;
    while world.system.empty_chat(chat, 50).await.unwrap() {
        let now = rows_of(&world, chat).await;
        assert!(now < left && left - now <= 50 + 2, "{left} to {now}");
        left = now;
        batches += 1;
    }
    assert_eq!(batches, (MANY + 1) / 50);
    assert_eq!(rows_of(&world, chat).await, 0);
    assert!(!world.system.empty_chat(chat, 50).await.unwrap(), "it is done");
    assert_eq!(
        world.system.try_claim_job(wake.job_id, LEASE).await.unwrap(),
        JobClaimOutcome::Over
    );
    world.assert_inboxes_are_contiguous().await;
}

/// The deletion waits for none of its messages, and its members' inboxes for none of it.
#[sqlx::test(migrations = "../../migrations")]
async fn deleting_a_large_chat_or_post_touches_none_of_its_messages(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let channel = world.channel(&anna, &[&ben]).await;
    let assistant = world.assistant_chat(&anna).await;
    let post = world
        .people
        .create_post(&anna, &PostDraft::default(), None, ALLOWANCE, &FREE.budget)
        .await
        .unwrap()
        .unwrap()
        .post;
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for chat in [channel, assistant, post.chat_id] {
        world.fill(chat, MANY, &[&anna]).await;
    }

    let mut held = world.rows.begin().await.unwrap();
    held.execute("select 1 from messages for update").await.unwrap();
    timeout(LONG, async {
        delete(&world, &anna, channel).await;
        delete(&world, &anna, assistant).await;
        let gone = world.people.delete_post(&anna.id, post.id).await.unwrap().unwrap();
        assert!(gone.wake.is_some());
        assert_eq!(gone.audience, std::slice::from_ref(&anna.id));
        world.send(&ben, direct, "are you there?").await;
    })
    .await
    .expect("nothing waits for a message of theirs");
    held.rollback().await.unwrap();

    assert_eq!(world.number("select count(*) from posts").await, 0);
    assert!(world.people.post(&anna.id, post.id).await.unwrap().is_none());
    assert_eq!(
        world
            .number("select assistant_chats::bigint from people where id = 'anna'")
            .await,
        0
    );
    for chat in [channel, assistant, post.chat_id] {
        while world.system.empty_chat(chat, 200).await.unwrap() {}
        assert_eq!(rows_of(&world, chat).await, 0);
    }
    assert!(world.people.chat(&anna.id, direct).await.unwrap().is_some());
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_large_chats_replies_are_over_and_paid_at_once(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    world.fill(chat, MANY, &[&anna]).await;
    let over = world.ask(&anna, chat, "done").await.claim.unwrap();
    world.complete(&over, "yes").await;
    let running = world.ask(&anna, chat, "and now?").await.claim.unwrap();
    world.people.append_to_reply(&running, 0, "half").await.unwrap();
    let waiting = world.send(&anna, chat, "and then?").await.wake.unwrap();
    assert_eq!(world.number("select count(*) from holds").await, 2);

    let wake = delete(&world, &anna, chat).await;

    assert_eq!(world.number("select count(*) from holds").await, 0);
    assert_eq!(world.number("select reserved from budgets").await, 0);
    assert!(world.number("select used from budgets").await > 0);
    assert!(
        world
            .system
            .end_reply(&running, &crate::world::completed("late"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.reach(waiting.job_id).await, ClaimOutcome::Over);
    // The sweeper finds the one job that is left, should its wake-up be lost.
    world
        .rows
        .execute("update jobs set run_at = now() - interval '1 minute'")
        .await
        .unwrap();
    let lost = world.system.overdue_jobs(Duration::from_secs(15), 10).await.unwrap();
    assert_eq!(lost, [wake]);
    while world.system.empty_chat(chat, 100).await.unwrap() {}
    assert_eq!(rows_of(&world, chat).await, 0);
}

/// Whoever waits for the chat's row finds that it is gone once they have it.
#[sqlx::test(migrations = "../../migrations")]
async fn what_waited_for_the_deletion_of_a_large_chat_finds_no_chat(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let cleo = world.person("cleo").await;
    for kind in [Kind::Channel, Kind::Assistant] {
        let chat = match kind {
            Kind::Channel => world.channel(&anna, &[&ben]).await,
            _ => world.assistant_chat(&anna).await,
        };
        world.fill(chat, MANY, &[&anna]).await;
        let said = world.send(&anna, chat, "hi").await;
        if let Some(wake) = &said.wake {
            world.complete(&world.claim(wake.job_id).await, "answer").await;
        }
        let message = said.message.id;

        let mut deletion = world.restricted.begin().await.unwrap();
        sqlx::query("select dissolve_chat($1, $2) from (select acting_as('anna')) as caller where acting_as('anna')")
            .bind(chat.uuid())
            .bind(JobId::fresh().uuid())
            .execute(&mut *deletion)
            .await
            .unwrap();
        let late = tokio::spawn({
            let (world, anna, cleo) = (world.clone(), anna.clone(), cleo.clone());
            async move {
                let (people, me) = (&world.people, &anna.id);
                let change = edit("changed");
                let thumb = Emoji::parse("👍").unwrap();
                let title = domain::text::Title::parse("renamed").unwrap();
                let renaming = ChatChange {
                    title: Some(&title),
                    ..ChatChange::default()
                };
                let newcomers = [cleo.id];
                let draft = draft("late", "too late");
                tokio::join!(
                    people.send_message(&anna, chat, &draft, None, &FREE),
                    people.edit_message(me, chat, message, &change, EditHistory::None),
                    people.react(me, chat, message, &thumb, Reacting::Add, 20),
                    people.add_members(me, chat, &newcomers, MemberRole::Member, 256, History::All),
                    people.update_chat(me, chat, renaming, 5),
                    people.regenerate_reply(&anna, chat, Which::Newest, None, None, &FREE),
                    people.mark_chat_read(me, chat, ReadMark::UnreadFrom(crate::world::seq(1)), None),
                    people.delete_chat(me, chat),
                )
            }
        });
        // What is shown of a statement is its beginning.
        for words in [
            "is_answered",
            "$4::text is not null and c.kind",
            "m.deleted_at is null and (select acting_as",
            "$4 = 'member' as may",
            "has_no_title",
            "when 'post' then $9",
            "when $5::bigint is not null",
            "dissolve_chat",
        ] {
            timeout(LONG, world.until_one_waits(words)).await.expect(words);
        }
        deletion.commit().await.unwrap();

        let (sent, edited, reacted, added, renamed, regenerated, read, deleted) = late.await.unwrap();
        assert!(matches!(sent.unwrap(), SendOutcome::NoSuchChat), "{kind}");
        assert!(matches!(edited.unwrap(), Change::NoSuchMessage), "{kind}");
        assert!(matches!(reacted.unwrap(), Reacted::NoSuchMessage), "{kind}");
        assert!(matches!(added.unwrap(), Membership::NoSuchChat), "{kind}");
        assert!(matches!(renamed.unwrap(), Updated::NoSuchChat), "{kind}");
        assert!(
            matches!(regenerated.unwrap(), Regeneration::NothingToRegenerate),
            "{kind}"
        );
        assert_eq!(read.unwrap(), None, "{kind}");
        assert!(matches!(deleted.unwrap(), Deleted::Gone { wake: None, .. }), "{kind}");
        for rows in [
            "members",
            "messages where content = 'too late' or content = 'changed'",
            "replies where state = 'queued'",
            "reactions",
            "chats where kind <> 'deleted' or title is not null",
        ] {
            let sql = format!("select count(*) from {rows}");
            assert_eq!(world.number(&sql).await, 0, "{kind}: {rows}");
        }
        while world.system.empty_chat(chat, 200).await.unwrap() {}
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn two_at_once_delete_what_is_left_once(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    world.fill(chat, MANY, &[&anna]).await;
    delete(&world, &anna, chat).await;
    at_once(8, |_| {
        let store = world.system.clone();
        async move { while store.empty_chat(chat, 7).await.unwrap() {} }
    })
    .await;
    assert_eq!(rows_of(&world, chat).await, 0);
}

/// What hangs on few messages may be much: a batch of it is bounded as well.
#[sqlx::test(migrations = "../../migrations")]
async fn a_batch_of_few_messages_with_many_reactions_is_bounded(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.channel(&anna, &[]).await;
    world.fill(chat, MANY, &[&anna]).await;
    for sql in [
        "insert into reactions (message_id, emoji, user_id) select id, n::text, 'anna' from messages, generate_series(1, 30) n",
        "insert into message_versions (message_id, version, role, content, reason, created_at)
         select id, n, 'user', 'before', 'edited', now() from messages, generate_series(1, 3) n",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    delete(&world, &anna, chat).await;
    let mut before = rows_of(&world, chat).await;
    loop {
        let is_left = world.system.empty_chat(chat, 10).await.unwrap();
        let now = rows_of(&world, chat).await;
        assert!(now < before && before - now <= 10 * 10 + 10 + 10, "{before} to {now}");
        before = now;
        if !is_left {
            break;
        }
    }
    assert_eq!(before, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_erasure_takes_what_is_left_of_chats_that_were_deleted(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, chat, "annas secret").await.claim.unwrap();
    world.complete(&claim, "an answer to annas secret").await;
    world.fill(chat, MANY, &[&anna]).await;
    delete(&world, &anna, chat).await;

    let wake = world.system.ask_for_erasure(&anna.id).await.unwrap().unwrap();
    let JobClaimOutcome::Claimed(job) = world.system.try_claim_job(wake.job_id, LEASE).await.unwrap() else {
        panic!("not claimed")
    };
    let mut bites = 0;
    while !matches!(world.system.erase_some(&job).await.unwrap(), ErasureStep::Last) {
        bites += 1;
        assert!(bites < 50, "it never ends");
    }
    assert_eq!(rows_of(&world, chat).await, 0);
    for table in ["people", "messages", "jobs", "replies"] {
        assert_eq!(
            world.number(&format!("select count(*) from {table}")).await,
            0,
            "{table}"
        );
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_left_of_a_chat_is_told_to_no_webhook(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = Caller {
        org_id: Some("acme".into()),
        ..caller("anna")
    };
    world.people.upsert_user(&anna).await.unwrap();
    sqlx::query(
        "insert into webhooks (id, org_id, url, secret, events)
         values (gen_random_uuid(), 'acme', 'https://hook/', 'env:S', '{message.created}')",
    )
    .execute(&world.rows)
    .await
    .unwrap();
    let chat = world
        .people
        .open_assistant_chat(&anna.id, Some("acme"), None, 5, None)
        .await;
    let chat = opened(chat.unwrap()).unwrap();
    let event = world.send(&anna, chat, "hi").await.webhooks[0].job_id;
    world.fill(chat, MANY, &[&anna]).await;
    delete(&world, &anna, chat).await;
    assert!(matches!(
        world.system.try_claim_webhook(event, LEASE).await.unwrap(),
        WebhookClaimOutcome::Over
    ));
    while world.system.empty_chat(chat, 100).await.unwrap() {}
    assert_eq!(rows_of(&world, chat).await, 0);
}

/// The functions of before go on working while those of now are deployed.
#[sqlx::test(migrations = "../../migrations")]
async fn the_version_before_deletes_a_large_chat_as_it_did(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.channel(&anna, &[]).await;
    world.fill(chat, MANY, &[&anna]).await;
    sqlx::query("delete from chats where id = $1 and owner_id = 'anna' and (select acting_as('anna'))")
        .bind(chat.uuid())
        .execute(&world.restricted)
        .await
        .unwrap();
    assert_eq!(rows_of(&world, chat).await, 0);
}
