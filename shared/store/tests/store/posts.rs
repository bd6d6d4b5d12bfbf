//! Posts and their AI chats: made at once, welcomed once, followed up once.

use std::time::Duration;

use domain::chat::Kind;
use domain::ids::JobId;
use domain::message::{Message, MessageType, Role};
use domain::page::Page;
use domain::person::Caller;
use domain::post::{Post, PostChange, PostDraft, PostStatus};
use domain::reply::{Claim, Failure, Purpose, Terms, Wake, WhenBusy};
use domain::text::{ClientId, PostText, ProviderName, Trigger};
use serde_json::json;
use sqlx::PgPool;
use store::messages::SendOutcome;
use store::posts::{Created, FollowUp, FollowUpClaimOutcome, PostCursor, PostUpdated};
use store::replies::{ClaimOutcome, Ending, Hold, Regeneration, Which};

use crate::world::{ALLOWANCE, FREE, World, at_once, completed, draft, failed, page, stopped, usage};

const AT_ONCE: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(60);
const LIMITED: i64 = 1_000;

fn text(content: &str) -> PostText {
    PostText::parse(content, usize::MAX).unwrap()
}

fn post_of(content: &str) -> PostDraft {
    PostDraft {
        content: text(content),
        providers: vec![ProviderName::parse("x").unwrap()],
        auth_provider_ids: Vec::new(),
    }
}

fn saying(content: &str) -> PostChange {
    PostChange {
        content: Some(text(content)),
        ..PostChange::default()
    }
}

async fn create(world: &World, owner: &Caller, content: &str, client_id: Option<&str>) -> Created {
    let client_id = client_id.map(|id| ClientId::parse(id).unwrap());
    let post = post_of(content);
    let made = world
        .people
        .create_post(owner, &post, client_id.as_ref(), ALLOWANCE, &FREE.budget);
    made.await.unwrap().unwrap()
}

/// A post whose welcome is said.
async fn welcomed(world: &World, owner: &Caller, content: &str) -> Post {
    let made = create(world, owner, content, None).await;
    let claim = world.claim(made.wake.unwrap().job_id).await;
    world.complete(&claim, "Welcome!").await;
    made.post
}

async fn edit(world: &World, owner: &Caller, post: &Post, change: &PostChange, quiet: Duration) -> Option<Wake> {
    match world.people.update_post(owner, post.id, change, quiet).await.unwrap() {
        PostUpdated::Made { wake, .. } => wake,
        other => panic!("not changed: {other:?}"),
    }
}

async fn open(world: &World, job: JobId) -> FollowUpClaimOutcome {
    let opening = world.system.open_follow_up(job, ALLOWANCE, AT_ONCE, &FREE.budget);
    opening.await.unwrap()
}

/// As if it had waited for long enough.
async fn open_at_last(world: &World, job: JobId) -> FollowUpClaimOutcome {
    let sql = "update jobs set run_at = now() where id = $1";
    sqlx::query(sql).bind(job.uuid()).execute(&world.rows).await.unwrap();
    open(world, job).await
}

/// The follow-up that is due, claimed.
async fn follow_up(world: &World, job: JobId) -> Claim {
    assert_eq!(open_at_last(world, job).await, FollowUpClaimOutcome::Opened);
    let claim = world.claim(job).await;
    assert_eq!(claim.purpose, Purpose::FollowUp);
    claim
}

async fn messages(world: &World, owner: &Caller, post: &Post) -> Vec<Message> {
    let (Page { items: messages, .. }, _) = world.people.newest(&owner.id, post.chat_id, page(100)).await.unwrap();
    messages
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_post_comes_with_its_chat_its_welcome_and_its_job(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let made = create(&world, &anna, "first thoughts", Some("c-1")).await;
    assert_eq!(
        (made.post.status, made.post.content.as_str()),
        (PostStatus::Draft, "first thoughts")
    );
    assert_eq!(
        world.people.post(&anna.id, made.post.id).await.unwrap().as_ref(),
        Some(&made.post)
    );
    let chat = world.people.chat(&anna.id, made.post.chat_id).await.unwrap().unwrap();
    assert_eq!((chat.kind, chat.post_id), (Kind::Post, Some(made.post.id.uuid())));
    assert_eq!((chat.members.len(), chat.last_seq.value()), (1, 0));

    let claim = world.claim(made.wake.unwrap().job_id).await;
    assert_eq!((claim.purpose, claim.prompt_seq.value()), (Purpose::Welcome, 0));
    let seen = world.system.post_in_view(&claim).await.unwrap().unwrap();
    assert_eq!(
        (seen.content.as_str(), seen.owner_name.as_str()),
        ("first thoughts", "ANNA")
    );
    assert!(!seen.is_waited_for && seen.sent.is_empty());
    let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
    assert_eq!(context.reserved_tokens, Some(ALLOWANCE.instruction + ALLOWANCE.output));

    let said = world.complete(&claim, "Welcome!").await.message.unwrap();
    assert_eq!(
        (said.role, said.message_type, said.id),
        (Role::Assistant, MessageType::Text, claim.reply_id)
    );
    assert_eq!(
        said.metadata,
        json!({ "type": "welcome", "actions": ["suggest_content", "improve_post", "schedule_post"] })
    );
    assert_eq!(
        world
            .people
            .chat(&anna.id, made.post.chat_id)
            .await
            .unwrap()
            .unwrap()
            .unread_count,
        1
    );
    world.assert_inboxes_are_contiguous().await;
    assert_eq!(world.number("select count(*) from jobs").await, 0);
    assert_eq!(world.number("select count(*) from holds").await, 0);
    assert_eq!(world.number("select used from budgets").await, 18);
}

#[sqlx::test(migrations = "../../migrations")]
async fn fifty_twins_make_one_post_and_one_welcome(pool: PgPool) {
    let world = std::sync::Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    let made = at_once(50, |_| {
        let (world, anna) = (world.clone(), anna.clone());
        async move { create(&world, &anna, "said at once", Some("c-1")).await }
    })
    .await;
    assert!(made.iter().all(|each| each.post == made[0].post));
    let wakes: Vec<_> = made.iter().filter_map(|each| each.wake).collect();
    assert_eq!(wakes.len(), 1);
    for table in ["posts", "chats", "members", "replies", "jobs", "holds", "inbox"] {
        assert_eq!(
            world.number(&format!("select count(*) from {table}")).await,
            1,
            "{table}"
        );
    }

    // However many workers reach for it, one writes.
    let job = wakes[0].job_id;
    let reached = at_once(20, |_| {
        let world = world.clone();
        async move { world.reach(job).await }
    })
    .await;
    let claims: Vec<_> = reached
        .iter()
        .filter(|reach| matches!(reach, ClaimOutcome::Claimed(_)))
        .collect();
    assert_eq!(claims.len(), 1, "{reached:?}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_lost_writer_of_a_welcome_is_followed_by_another_and_says_nothing_more(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let made = create(&world, &anna, "", None).await;
    let job = made.wake.unwrap().job_id;
    let lost = world.claim(job).await;
    world.let_the_lease_run_out(lost.reply_id).await;
    let second = world.claim(job).await;
    assert_eq!(second.purpose, Purpose::Welcome);
    let ending = Ending::Templated {
        text: "Welcome, plainly!".into(),
        usage: usage(),
    };
    let said = world
        .system
        .end_reply(&second, &ending)
        .await
        .unwrap()
        .unwrap()
        .message
        .unwrap();
    // No model wrote it.
    assert_eq!((said.usage, said.status.word()), (None, "sent"));
    assert!(
        world
            .system
            .end_reply(&lost, &completed("late"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.reach(job).await, ClaimOutcome::Over);
    let said = messages(&world, &anna, &made.post).await;
    assert_eq!(
        said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(),
        ["Welcome, plainly!"]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_question_waits_for_the_welcome_on_all_terms_and_neither_it_nor_a_stop_ends_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    for when_busy in [WhenBusy::Queue, WhenBusy::Reject, WhenBusy::Replace] {
        let made = create(&world, &anna, "about lighthouses", None).await;
        let (job, chat) = (made.wake.unwrap().job_id, made.post.chat_id);
        let terms = Terms { when_busy, ..FREE };
        let question = draft("c-1", "now?");
        let asking = world.people.send_message(&anna, chat, &question, None, &terms);
        let SendOutcome::Sent(sent) = asking.await.unwrap() else {
            panic!("{when_busy}: not sent")
        };
        assert!(sent.replaced.is_empty());
        assert_eq!(
            world.reach(sent.wake.unwrap().job_id).await,
            ClaimOutcome::Behind,
            "{when_busy}"
        );
        let stopping = world.people.stop_replies(&anna.id, chat, None).await.unwrap().unwrap();
        assert_eq!(stopping.stopped, [stopped(sent.reply.unwrap().id, 0)], "{when_busy}");
        let again = world.send(&anna, chat, "and now?").await;

        let claim = world.claim(job).await;
        assert_eq!(world.system.hold_on_reply(&claim).await.unwrap(), Hold::Held);
        assert!(world.system.post_in_view(&claim).await.unwrap().unwrap().is_waited_for);
        let ended = world.complete(&claim, "Welcome!").await;
        assert_eq!(ended.wake.unwrap().job_id, again.wake.unwrap().job_id);
        let claim = world.claim(again.wake.unwrap().job_id).await;
        let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
        let shown: Vec<_> = context
            .messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        assert_eq!(shown, ["Welcome!", "now?", "and now?"], "{when_busy}");
        world.complete(&claim, "Now.").await;
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn without_budget_a_welcome_reserves_nothing_and_a_follow_up_is_none(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut budget = FREE.budget;
    budget.person_limit = Some(1);
    let made = world
        .people
        .create_post(&anna, &post_of("poor"), None, ALLOWANCE, &budget)
        .await
        .unwrap()
        .unwrap();
    let claim = world.claim(made.wake.unwrap().job_id).await;
    assert_eq!(
        world
            .system
            .reply_context(&claim, "scripted")
            .await
            .unwrap()
            .unwrap()
            .reserved_tokens,
        None
    );
    world.complete(&claim, "Welcome!").await;

    let wake = edit(&world, &anna, &made.post, &saying("longer than ten"), AT_ONCE)
        .await
        .unwrap();
    let opened = world
        .system
        .open_follow_up(wake.job_id, ALLOWANCE, AT_ONCE, &budget)
        .await
        .unwrap();
    assert_eq!(opened, FollowUpClaimOutcome::Over);
    for table in ["jobs", "holds"] {
        assert_eq!(
            world.number(&format!("select count(*) from {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(
        world
            .number("select count(*) from replies where purpose = 'follow_up'")
            .await,
        0
    );
    assert_eq!(messages(&world, &anna, &made.post).await.len(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn fifty_edits_at_once_are_one_follow_up_of_the_last_text(pool: PgPool) {
    let world = std::sync::Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    let post = welcomed(&world, &anna, "a beginning").await;
    let wakes = at_once(50, |number| {
        let (world, anna, post) = (world.clone(), anna.clone(), post.clone());
        async move {
            // Half of them unsaved, and each may come twice.
            if number % 2 == 0 {
                let change = saying(&format!("a longer text, number {number}"));
                edit(&world, &anna, &post, &change, LATER).await
            } else {
                let draft = text(&format!("an unsaved text, number {number}"));
                let trigger = Trigger::parse("typing").unwrap();
                match world
                    .people
                    .follow_up(&anna, post.id, &draft, &trigger, LATER)
                    .await
                    .unwrap()
                {
                    FollowUp::Scheduled(wake) => wake,
                    FollowUp::NoSuchPost => panic!("no post"),
                }
            }
        }
    })
    .await;
    let wakes: Vec<_> = wakes.into_iter().flatten().collect();
    assert_eq!(wakes.len(), 1, "one job, one wake-up: {wakes:?}");
    assert_eq!(wakes[0].after_seconds, 60);
    let job = wakes[0].job_id;
    let FollowUpClaimOutcome::Later { after_seconds } = open(&world, job).await else {
        panic!("it is early")
    };
    assert!((55..=60).contains(&after_seconds), "{after_seconds}");

    // The last edit of all decides.
    assert_eq!(
        edit(&world, &anna, &post, &saying("the last text of all"), AT_ONCE).await,
        None
    );
    let opened = at_once(20, |_| {
        let world = world.clone();
        async move { open(&world, job).await }
    })
    .await;
    assert!(
        opened.iter().all(|each| *each == FollowUpClaimOutcome::Opened),
        "{opened:?}"
    );
    assert_eq!(
        world
            .number("select count(*) from replies where purpose = 'follow_up'")
            .await,
        1
    );
    let claim = world.claim(job).await;
    assert_eq!(claim.trigger.as_deref(), Some("edit"));
    // What is edited from here on is another follow-up's.
    let next = edit(&world, &anna, &post, &saying("an afterthought of mine"), AT_ONCE)
        .await
        .unwrap();
    assert_ne!(next.job_id, job);
    let seen = world.system.post_in_view(&claim).await.unwrap().unwrap();
    assert_eq!(seen.content, "the last text of all");
    assert!(
        matches!(open(&world, next.job_id).await, FollowUpClaimOutcome::Later { .. }),
        "one is being written"
    );
    let said = world.complete(&claim, "Shorter!").await.message.unwrap();
    assert_eq!(said.metadata, json!({ "type": "follow_up", "trigger": "edit" }));

    let claim = follow_up(&world, next.job_id).await;
    let seen = world.system.post_in_view(&claim).await.unwrap().unwrap();
    assert_eq!(seen.content, "an afterthought of mine");
    world.complete(&claim, "Better!").await;
    for stale in [job, next.job_id] {
        assert_eq!(open(&world, stale).await, FollowUpClaimOutcome::Over);
        assert_eq!(world.reach(stale).await, ClaimOutcome::Over);
    }
    let said = messages(&world, &anna, &post).await;
    assert_eq!(
        said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(),
        ["Welcome!", "Shorter!", "Better!"]
    );
    world.assert_inboxes_are_contiguous().await;
    assert_eq!(world.number("select count(*) from holds").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_no_news_is_not_followed_up(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let post = welcomed(&world, &anna, "as it was at first").await;
    let posts = &world;
    let schedule = async |content: &str| edit(posts, &anna, &post, &saying(content), AT_ONCE).await;
    assert_eq!(schedule("as it was at first").await, None, "the same text");
    assert_eq!(schedule("ten chars!").await, None, "too short");

    // Eleven characters, many of them more than a byte.
    let job = schedule("elf Zeichen").await.unwrap().job_id;
    assert_eq!(schedule("too short").await, None);
    assert_eq!(
        open(&world, job).await,
        FollowUpClaimOutcome::Over,
        "too short by the time that it is quiet"
    );
    let job = schedule("as it was not before").await.unwrap().job_id;
    assert_eq!(schedule("as it was at first").await, None);
    assert_eq!(
        open(&world, job).await,
        FollowUpClaimOutcome::Over,
        "it is what the welcome saw"
    );

    let draft = text("an unsaved text of mine");
    for expected in [FollowUpClaimOutcome::Opened, FollowUpClaimOutcome::Over] {
        let trigger = Trigger::parse("blur").unwrap();
        let scheduled = world
            .people
            .follow_up(&anna, post.id, &draft, &trigger, AT_ONCE)
            .await
            .unwrap();
        let FollowUp::Scheduled(Some(wake)) = scheduled else {
            panic!("{scheduled:?}")
        };
        assert_eq!(open(&world, wake.job_id).await, expected, "the same draft once");
        if expected == FollowUpClaimOutcome::Opened {
            let claim = world.claim(wake.job_id).await;
            assert_eq!(
                world.system.post_in_view(&claim).await.unwrap().unwrap().content,
                "an unsaved text of mine"
            );
            let said = world.complete(&claim, "Nice.").await.message.unwrap();
            assert_eq!(said.metadata["trigger"], "blur");
        }
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_follow_up_waits_for_a_reply_and_is_dropped_when_something_was_asked_since(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let post = welcomed(&world, &anna, "at first").await;
    let asked = world.ask(&anna, post.chat_id, "what do you think?").await;
    let job = edit(&world, &anna, &post, &saying("edited while it is answered"), AT_ONCE)
        .await
        .unwrap()
        .job_id;
    assert!(matches!(open(&world, job).await, FollowUpClaimOutcome::Later { .. }));
    world.complete(&asked.claim.unwrap(), "Not bad.").await;
    let claim = follow_up(&world, job).await;
    // A question now waits for it.
    let asked = world.send(&anna, post.chat_id, "and now?").await;
    assert_eq!(world.reach(asked.wake.unwrap().job_id).await, ClaimOutcome::Behind);
    // One that fails says nothing, and the chat goes on.
    let ended = world
        .system
        .end_reply(&claim, &failed(Failure::Overloaded))
        .await
        .unwrap()
        .unwrap();
    assert!(ended.message.is_none());
    let next = world.claim(ended.wake.unwrap().job_id).await;
    world.complete(&next, "Better.").await;

    let job = edit(&world, &anna, &post, &saying("edited before the question"), AT_ONCE)
        .await
        .unwrap()
        .job_id;
    let asked = world.ask(&anna, post.chat_id, "like this?").await;
    assert!(matches!(open(&world, job).await, FollowUpClaimOutcome::Later { .. }));
    world.complete(&asked.claim.unwrap(), "Yes.").await;
    assert_eq!(
        open_at_last(&world, job).await,
        FollowUpClaimOutcome::Over,
        "the answer saw the edit"
    );
    assert_eq!(world.number("select count(*) from jobs").await, 0);
    // A welcome and a follow-up answer nothing that could be answered again.
    let regenerating = world
        .people
        .regenerate_reply(&anna, post.chat_id, Which::Newest, None, None, &FREE)
        .await
        .unwrap();
    let Regeneration::Opened(reopened) = regenerating else {
        panic!("{regenerating:?}")
    };
    assert_eq!(reopened.reply.id, asked.reply.unwrap().id);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_reserved_counts_the_post(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let reserved = async |content: &str| {
        let post = welcomed(&world, &anna, content).await;
        let sent = world.ask(&anna, post.chat_id, "and?").await;
        let reserved = world.number("select sum(tokens)::bigint from holds").await;
        world.complete(&sent.claim.unwrap(), "So.").await;
        reserved
    };
    let (short, long, longest) = (
        reserved("x").await,
        reserved(&"x".repeat(401)).await,
        reserved(&"x".repeat(30_000)).await,
    );
    assert_eq!(long - short, 400, "a token a byte");
    // In bytes, of which a token of the window has four at most.
    assert!(
        longest > long && longest < 4 * i64::from(ALLOWANCE.context),
        "the window is the most: {longest}"
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_published_post_stays_as_it_is(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let post = welcomed(&world, &anna, "to be published").await;
    let to = |status| PostChange {
        status: Some(status),
        ..PostChange::default()
    };
    let change = async |change: &PostChange| world.people.update_post(&anna, post.id, change, LATER).await.unwrap();
    for status in [
        PostStatus::Scheduled,
        PostStatus::Draft,
        PostStatus::Scheduled,
        PostStatus::Failed,
        PostStatus::Sent,
    ] {
        let PostUpdated::Made { post, .. } = change(&to(status)).await else {
            panic!("not {status}")
        };
        assert_eq!(
            (post.status, post.sent_at.is_some()),
            (status, status == PostStatus::Sent)
        );
    }
    let before = world.dump("posts").await;
    assert!(matches!(
        change(&saying("something else entirely")).await,
        PostUpdated::IsSent
    ));
    for status in [PostStatus::Draft, PostStatus::Scheduled, PostStatus::Failed] {
        assert!(
            matches!(change(&to(status)).await, PostUpdated::NotFrom(PostStatus::Sent)),
            "{status}"
        );
    }
    assert_eq!(world.dump("posts").await, before);
    assert!(
        matches!(change(&to(PostStatus::Sent)).await, PostUpdated::Made { .. }),
        "again"
    );

    // The next welcome knows of it.
    let made = create(&world, &anna, "the next one", None).await;
    let claim = world.claim(made.wake.unwrap().job_id).await;
    assert_eq!(
        world.system.post_in_view(&claim).await.unwrap().unwrap().sent,
        ["to be published"]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn pages_of_posts_are_newest_first_without_gap_or_repetition(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(create(&world, &anna, &format!("{number}"), None).await.post.id);
    }
    // Two of the same moment.
    sqlx::query("update posts set created_at = (select max(created_at) from posts) where content in ('5', '6')")
        .execute(&world.rows)
        .await
        .unwrap();
    let (mut seen, mut after): (Vec<_>, Option<PostCursor>) = (Vec::new(), None);
    loop {
        let page = world.people.posts(&anna.id, None, after, page(3)).await.unwrap();
        seen.extend(page.posts.iter().map(|post| post.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    made.reverse();
    assert_eq!(seen, made);
    let sent = world
        .people
        .posts(&anna.id, Some(PostStatus::Sent), None, page(3))
        .await
        .unwrap();
    assert!(sent.posts.is_empty() && sent.next.is_none());
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stranger_finds_no_post_and_changes_none(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let post = welcomed(&world, &anna, "a secret of mine").await;
    let before = (
        world.dump("posts").await,
        world.dump("chats").await,
        world.dump("jobs").await,
    );
    for store in [&world.people, &world.system] {
        assert!(store.post(&ben.id, post.id).await.unwrap().is_none());
        assert!(
            store
                .posts(&ben.id, None, None, page(10))
                .await
                .unwrap()
                .posts
                .is_empty()
        );
        let changed = store
            .update_post(&ben, post.id, &saying("mine now, all of it"), AT_ONCE)
            .await
            .unwrap();
        assert!(matches!(changed, PostUpdated::NoSuchPost));
        let draft = text("mine now, all of it");
        let scheduled = store
            .follow_up(&ben, post.id, &draft, &Trigger::edit(), AT_ONCE)
            .await
            .unwrap();
        assert_eq!(scheduled, FollowUp::NoSuchPost);
        assert_eq!(store.delete_post(&ben.id, post.id).await.unwrap(), None);
    }
    assert_eq!(
        (
            world.dump("posts").await,
            world.dump("chats").await,
            world.dump("jobs").await
        ),
        before
    );
    // The same `clientId` is another person's own.
    let (annas, bens) = (
        create(&world, &anna, "a", Some("c")).await,
        create(&world, &ben, "b", Some("c")).await,
    );
    assert_ne!(annas.post.id, bens.post.id);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_deleted_post_takes_its_chat_its_reply_and_its_holds_along(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut budget = FREE.budget;
    budget.person_limit = Some(LIMITED);
    let post = world
        .people
        .create_post(&anna, &post_of("soon gone"), None, ALLOWANCE, &budget)
        .await
        .unwrap()
        .unwrap();
    let claim = world.claim(post.wake.unwrap().job_id).await;
    world.system.append_to_reply(&claim, 0, "Wel").await.unwrap();
    edit(&world, &anna, &post.post, &saying("edited and then deleted"), AT_ONCE)
        .await
        .unwrap();
    let gone = world.people.delete_post(&anna.id, post.post.id).await.unwrap().unwrap();
    assert_eq!(
        (gone.chat_id, gone.audience.as_slice()),
        (post.post.chat_id, std::slice::from_ref(&anna.id))
    );
    assert_eq!(
        world.system.append_to_reply(&claim, 3, "come").await.unwrap(),
        Hold::Lost
    );
    assert!(
        world
            .system
            .end_reply(&claim, &completed("Welcome!"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.people.delete_post(&anna.id, post.post.id).await.unwrap(), None);
    for table in ["posts", "chats", "members", "replies", "reply_parts", "jobs", "holds"] {
        assert_eq!(
            world.number(&format!("select count(*) from {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(world.number("select reserved from budgets").await, 0);
    assert_eq!(
        world
            .number("select count(*) from inbox where event = 'chat.deleted'")
            .await,
        1
    );
    world.assert_inboxes_are_contiguous().await;
}

/// Everything at once, with no order kept: no deadlock, and in the end the chat is gone or whole.
#[sqlx::test(migrations = "../../migrations")]
async fn edits_questions_workers_and_a_deletion_race_without_a_deadlock(pool: PgPool) {
    let world = std::sync::Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    for round in 0..10 {
        let post = welcomed(&world, &anna, "in a hurry").await;
        let job = edit(&world, &anna, &post, &saying("edited in a hurry"), AT_ONCE)
            .await
            .unwrap()
            .job_id;
        at_once(24, |number| {
            let (world, anna, post) = (world.clone(), anna.clone(), post.clone());
            async move {
                match number % 6 {
                    0 | 1 => {
                        let change = saying(&format!("edited in a hurry, {number}"));
                        let edited = world
                            .people
                            .update_post(&anna, post.id, &change, AT_ONCE)
                            .await
                            .unwrap();
                        if let PostUpdated::Made { wake: Some(wake), .. } = edited {
                            open(&world, wake.job_id).await;
                        }
                    }
                    2 | 3 => {
                        if open(&world, job).await == FollowUpClaimOutcome::Opened
                            && let ClaimOutcome::Claimed(claim) = world.reach(job).await
                        {
                            world.system.end_reply(&claim, &completed("So!")).await.unwrap();
                        }
                    }
                    4 => {
                        let message = draft(&format!("c-{number}"), "and?");
                        world
                            .people
                            .send_message(&anna, post.chat_id, &message, None, &FREE)
                            .await
                            .unwrap();
                    }
                    _ if round % 2 == 0 && number == 23 => {
                        world.people.delete_post(&anna.id, post.id).await.unwrap().unwrap();
                    }
                    _ => {
                        world.people.stop_replies(&anna.id, post.chat_id, None).await.unwrap();
                    }
                }
            }
        })
        .await;
        world.assert_inboxes_are_contiguous().await;
    }
    let reserved = world
        .number("select coalesce(sum(reserved), 0)::bigint from budgets")
        .await;
    assert_eq!(
        reserved,
        world.number("select coalesce(sum(tokens), 0)::bigint from holds").await
    );
}
