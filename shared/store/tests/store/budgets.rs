//! Budgets: no reply beyond them, whoever asks how often at once; and after every end a ledger that sums to zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::budget::{BudgetPolicy, Exhausted, Period, Subject};
use domain::chat::Kind;
use domain::ids::{ChatId, JobId};
use domain::message::Usage;
use domain::person::Caller;
use domain::reply::{Failure, Terms, WhenBusy};
use serde_json::Value;
use sqlx::PgPool;
use store::chats::Deleted;
use store::messages::{Change, SendOutcome, Sent};
use store::replies::{Ending, Regeneration, Which};
use uuid::Uuid;

use crate::world::{ALLOWANCE, ATTEMPTS, FREE, LEASE, World, at_once, caller, completed, draft, usage};

/// What one question of 40 letters reserves in an empty chat: the instruction's 20, its own 40 and 16 around it, and an answer of 100.
const A_TURN: i64 = 176;
/// A window that the question fills alone: 24 tokens of prose are its bytes and the instruction's.
const OF_ONE_MESSAGE: u32 = ALLOWANCE.output + 24;
const QUESTION: &str = "forty letters of a question, no more now";

fn terms(person_limit: Option<i64>, organisation_limit: Option<i64>) -> Terms {
    Terms {
        budget: BudgetPolicy {
            period: Period::Month,
            person_limit,
            organisation_limit,
        },
        ..FREE
    }
}

fn of_org(name: &str, org: &str) -> Caller {
    Caller {
        org_id: Some(org.into()),
        ..caller(name)
    }
}

async fn try_to_ask(world: &World, sender: &Caller, chat: ChatId, terms: &Terms) -> SendOutcome {
    let draft = draft(&Uuid::now_v7().to_string(), QUESTION);
    let outcome = world.people.send_message(sender, chat, &draft, None, terms).await;
    outcome.unwrap()
}

async fn ask(world: &World, sender: &Caller, chat: ChatId, terms: &Terms) -> Sent {
    match try_to_ask(world, sender, chat, terms).await {
        SendOutcome::Sent(sent) => *sent,
        other => panic!("not sent: {other:?}"),
    }
}

fn job(sent: &Sent) -> JobId {
    sent.wake.unwrap().job_id
}

/// What a budget has used and reserved.
async fn balance(world: &World, subject: Subject, id: &str) -> (i64, i64) {
    sqlx::query_as("select used, reserved from budgets where subject = $1 and subject_id = $2")
        .bind(subject.word())
        .bind(id)
        .fetch_optional(&world.rows)
        .await
        .unwrap()
        .unwrap_or_default()
}

/// Nothing is held by anybody, and what is used is what replies have cost.
async fn assert_settled(world: &World) {
    assert_eq!(world.number("select count(*) from holds").await, 0);
    assert_eq!(
        world
            .number("select coalesce(sum(reserved), 0)::bigint from budgets")
            .await,
        0
    );
    let used = world
        .number("select coalesce(sum(used), 0)::bigint from budgets where subject = 'person'")
        .await;
    let cost = world
        .number("select coalesce(sum(input_tokens + output_tokens), 0)::bigint from replies")
        .await;
    assert_eq!(used, cost);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_turn_reserves_its_estimate_and_its_end_settles_what_was_counted(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let terms = terms(Some(1000), None);
    let sent = ask(&world, &anna, chat, &terms).await;
    assert_eq!(balance(&world, Subject::Person, "anna").await, (0, A_TURN));
    let balances = world.people.balances(&anna, &terms.budget).await.unwrap();
    assert_eq!(
        (balances.person.used, balances.person.reserved, balances.person.limit),
        (0, A_TURN, Some(1000))
    );
    assert_eq!(balances.organisation, None);

    let claim = world.claim(job(&sent)).await;
    let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
    assert_eq!(context.reserved_tokens, Some(u32::try_from(A_TURN).unwrap()));
    world.complete(&claim, "answer").await;
    assert_eq!(balance(&world, Subject::Person, "anna").await, (18, 0));
    assert_settled(&world).await;

    // What was said before is shown to the model again, and each message has 16 around it.
    ask(&world, &anna, chat, &terms).await;
    assert_eq!(
        balance(&world, Subject::Person, "anna").await,
        (18, A_TURN + 40 + 16 + 6 + 16)
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_does_not_fit_the_window_is_not_reserved(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for _ in 0..5 {
        let sent = world.send(&anna, chat, &"x".repeat(4000)).await;
        let claim = world.claim(job(&sent)).await;
        world.complete(&claim, "ok").await;
    }
    let before = balance(&world, Subject::Person, "anna").await;
    ask(&world, &anna, chat, &FREE).await;
    let (used, reserved) = balance(&world, Subject::Person, "anna").await;
    // Of prose, 900 tokens of prompt are 2,769 bytes.
    let most = (ALLOWANCE.context - ALLOWANCE.output) * 40 / 13 + ALLOWANCE.output;
    assert_eq!((used, reserved), (before.0, i64::from(most)));
}

#[sqlx::test(migrations = "../../migrations")]
async fn near_the_limit_less_of_what_was_said_is_reserved_and_nobody_is_refused_for_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = of_org("anna", "acme");
    world.people.upsert_user(&anna).await.unwrap();
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, &"7".repeat(1000)).await;
    let claim = world.claim(job(&sent)).await;
    world.complete(&claim, "ok").await;
    for table in ["budgets", "holds"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}")))
            .execute(&world.rows)
            .await
            .unwrap();
    }
    let room = A_TURN + 50;
    // The organisation has less than the person.
    let sent = ask(&world, &anna, chat, &terms(Some(room + 7), Some(room))).await;
    assert_eq!(balance(&world, Subject::Person, "anna").await, (0, room));
    assert_eq!(balance(&world, Subject::Organisation, "acme").await, (0, room));
    let other = world.assistant_chat(&anna).await;
    let refused = try_to_ask(&world, &anna, other, &terms(Some(room + 7), Some(room))).await;
    assert!(matches!(
        refused,
        SendOutcome::Exhausted(Exhausted {
            subject: Subject::Person,
            ..
        })
    ));
    let claim = world.claim(job(&sent)).await;
    world.complete(&claim, "ok").await;
    let (used, _) = balance(&world, Subject::Person, "anna").await;
    // What it takes at least is not there any more.
    let least = used + A_TURN - 1;
    let refused = try_to_ask(&world, &anna, chat, &terms(Some(least), None)).await;
    assert!(matches!(refused, SendOutcome::Exhausted(Exhausted { reserved: 0, .. })));
    ask(&world, &anna, chat, &terms(Some(least + 1), None)).await;
    assert_eq!(balance(&world, Subject::Person, "anna").await, (used, A_TURN));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_turn_beyond_the_limit_changes_nothing_and_says_how_things_stand(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = of_org("anna", "acme");
    world.people.upsert_user(&anna).await.unwrap();
    let chat = world.assistant_chat(&anna).await;
    let other = world.assistant_chat(&anna).await;
    ask(&world, &anna, chat, &terms(Some(2 * A_TURN - 1), None)).await;
    let tables = [
        "chats",
        "members",
        "messages",
        "replies",
        "jobs",
        "holds",
        "inbox",
        "inbox_heads",
    ];
    let mut before = Vec::new();
    for table in tables {
        before.push(world.dump(table).await);
    }
    for (limits, subject, limit) in [
        ((Some(2 * A_TURN - 1), None), Subject::Person, 2 * A_TURN - 1),
        ((None, Some(2 * A_TURN - 1)), Subject::Organisation, 2 * A_TURN - 1),
        ((Some(0), Some(0)), Subject::Person, 0),
    ] {
        let SendOutcome::Exhausted(exhausted) = try_to_ask(&world, &anna, other, &terms(limits.0, limits.1)).await
        else {
            panic!("it was sent")
        };
        let Exhausted { resets_at, .. } = exhausted;
        let expected = Exhausted {
            subject,
            period: Period::Month,
            limit,
            used: 0,
            reserved: A_TURN,
            resets_at,
        };
        assert_eq!(exhausted, expected);
        let next_month: bool = sqlx::query_scalar(
            "select $1 = (date_trunc('month', now() at time zone 'UTC') + interval '1 month') at time zone 'UTC'",
        )
        .bind(resets_at)
        .fetch_one(&world.rows)
        .await
        .unwrap();
        assert!(next_month, "{resets_at}");
    }
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(world.dump(table).await, before, "{table}");
    }
    // A retry of what was accepted is not refused for want of budget.
    let said = draft("c-1", QUESTION);
    let first = world.send_as(&anna, other, &said, None).await;
    let again = world
        .people
        .send_message(&anna, other, &said, None, &terms(Some(0), Some(0)))
        .await;
    let SendOutcome::Sent(again) = again.unwrap() else {
        panic!("a retry was refused")
    };
    assert!(again.is_replay);
    assert_eq!(again.message.id, first.message.id);
}

#[sqlx::test(migrations = "../../migrations")]
async fn people_and_organisations_may_have_limits_of_their_own(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = of_org("anna", "acme");
    world.people.upsert_user(&anna).await.unwrap();
    let chat = world.assistant_chat(&anna).await;
    let own = |subject: Subject, tokens: i64| {
        let rows = world.rows.clone();
        async move {
            let id = if subject == Subject::Person { "anna" } else { "acme" };
            sqlx::query(
                "insert into budget_limits (subject, subject_id, tokens) values ($1, $2, $3)
                 on conflict (subject, subject_id) do update set tokens = $3",
            )
            .bind(subject.word())
            .bind(id)
            .bind(tokens)
            .execute(&rows)
            .await
            .unwrap();
        }
    };
    own(Subject::Person, 10).await;
    let refused = try_to_ask(&world, &anna, chat, &terms(Some(100_000), None)).await;
    assert!(matches!(
        refused,
        SendOutcome::Exhausted(Exhausted {
            subject: Subject::Person,
            limit: 10,
            ..
        })
    ));
    own(Subject::Person, 100_000).await;
    own(Subject::Organisation, 10).await;
    let refused = try_to_ask(&world, &anna, chat, &terms(Some(0), None)).await;
    assert!(matches!(
        refused,
        SendOutcome::Exhausted(Exhausted {
            subject: Subject::Organisation,
            limit: 10,
            ..
        })
    ));
    own(Subject::Organisation, 100_000).await;
    ask(&world, &anna, chat, &terms(Some(0), Some(0))).await;
    let balances = world
        .people
        .balances(&anna, &terms(Some(0), Some(0)).budget)
        .await
        .unwrap();
    assert_eq!(balances.person.limit, Some(100_000));
    assert_eq!(balances.organisation.unwrap().reserved, A_TURN);
}

#[sqlx::test(migrations = "../../migrations")]
async fn balances_are_told_apart_whatever_plan_reads_them(pool: PgPool) {
    for slow in ["enable_mergejoin", "enable_hashjoin", "enable_nestloop"] {
        let options = ["enable_mergejoin", "enable_hashjoin", "enable_nestloop"]
            .into_iter()
            .filter(|join| *join != slow)
            .map(|join| (join, "off"));
        let planned = (*pool.connect_options()).clone().options(options);
        let world = World::on(PgPool::connect_with(planned).await.unwrap()).await;
        let anna = Caller {
            org_id: Some(format!("org-{slow}")),
            ..world.person(slow).await
        };
        let chat = world.assistant_chat(&anna).await;
        let terms = terms(Some(A_TURN), Some(2 * A_TURN));
        ask(&world, &anna, chat, &terms).await;
        let balances = world.people.balances(&anna, &terms.budget).await.unwrap();
        assert_eq!(balances.person.limit, Some(A_TURN), "{slow}");
        assert_eq!(balances.organisation.unwrap().limit, Some(2 * A_TURN), "{slow}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_new_period_begins_anew_and_an_old_hold_is_settled_in_its_own(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let terms = terms(Some(A_TURN), None);
    let sent = ask(&world, &anna, chat, &terms).await;
    for sql in [
        "update budgets set period_start = period_start - interval '1 month'",
        "update holds set period_start = period_start - interval '1 month'",
    ] {
        sqlx::query(sql).execute(&world.rows).await.unwrap();
    }
    let other = world.assistant_chat(&anna).await;
    ask(&world, &anna, other, &terms).await;
    let claim = world.claim(job(&sent)).await;
    world.complete(&claim, "answer").await;
    let periods: Vec<(i64, i64)> = sqlx::query_as("select used, reserved from budgets order by period_start")
        .fetch_all(&world.rows)
        .await
        .unwrap();
    assert_eq!(periods[0], (18, 0));
    assert_eq!(periods[1].0, 0);
    assert!(periods[1].1 > 0);
}

/// Many turns at once, in many chats of the people of one organisation; a watcher looks at the ledger all the while.
async fn ten_of_a_thousand(world: World, people: usize, terms: Terms, limit: i64) {
    let world = Arc::new(world);
    let mut asked = Vec::new();
    for number in 0..people {
        let person = of_org(&format!("p{number}"), "acme");
        world.people.upsert_user(&person).await.unwrap();
        for _ in 0..4 {
            asked.push((person.clone(), world.assistant_chat(&person).await));
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (world, is_over) = (world.clone(), is_over.clone());
        async move {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                let most = world
                    .number("select coalesce(max(used + reserved), 0) from budgets")
                    .await;
                assert!(most <= limit, "{most} of {limit}");
                looks += 1;
            }
            looks
        }
    });
    let outcomes = at_once(1000, |index| {
        let (world, terms) = (world.clone(), terms.clone());
        let (person, chat) = asked[index % asked.len()].clone();
        async move {
            match try_to_ask(&world, &person, chat, &terms).await {
                SendOutcome::Sent(sent) => Some((person, *sent)),
                SendOutcome::Exhausted(_) => None,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let mut accepted: Vec<_> = outcomes.into_iter().flatten().collect();
    accepted.sort_by_key(|(_, sent)| sent.message.seq);
    assert_eq!(accepted.len(), 10);
    assert_eq!(world.number("select count(*) from messages").await, 10);
    for (_, sent) in &accepted {
        let claim = world.claim(job(sent)).await;
        world.complete(&claim, "answer").await;
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 10);
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_a_thousand_turns_at_once_a_persons_budget_for_ten_lets_ten_run(pool: PgPool) {
    let world = World::racing(pool).await;
    // Four chats: what one turn takes grows with those before it in its chat, so a window of one message keeps it even.
    let mut terms = terms(Some(10 * A_TURN), None);
    terms.assistant.context = OF_ONE_MESSAGE;
    ten_of_a_thousand(world, 1, terms, 10 * A_TURN).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_a_thousand_turns_at_once_an_organisations_budget_for_ten_lets_ten_run(pool: PgPool) {
    let world = World::racing(pool).await;
    let mut terms = terms(None, Some(10 * A_TURN));
    terms.assistant.context = OF_ONE_MESSAGE;
    ten_of_a_thousand(world, 25, terms, 10 * A_TURN).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn every_way_a_reply_can_end_settles_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = of_org("anna", "acme");
    world.people.upsert_user(&anna).await.unwrap();
    let chat = world.assistant_chat(&anna).await;
    let terms = terms(Some(100_000), Some(100_000));

    // Completed, stopped with and without words, failed.
    for ending in [
        completed("text"),
        Ending::Stopped {
            text: "te".into(),
            usage: usage(),
        },
        Ending::Stopped {
            text: String::new(),
            usage: usage(),
        },
        Ending::Failed {
            failure: Failure::Silent,
            usage: usage(),
        },
    ] {
        let claim = world.claim(job(&ask(&world, &anna, chat, &terms).await)).await;
        world.system.end_reply(&claim, &ending).await.unwrap().unwrap();
        assert_settled(&world).await;
    }
    // Stopped while it waited.
    ask(&world, &anna, chat, &terms).await;
    let stopping = world.people.stop_replies(&anna.id, chat, None).await.unwrap().unwrap();
    assert_eq!(stopping.stopped.len(), 1);
    assert_settled(&world).await;
    // Its question deleted while it waited.
    let sent = ask(&world, &anna, chat, &terms).await;
    let change = world
        .people
        .delete_message(&anna.id, chat, sent.message.id)
        .await
        .unwrap();
    assert!(matches!(change, Change::Made { .. }));
    assert_settled(&world).await;
    // Requeued, and completed by the second attempt.
    let sent = ask(&world, &anna, chat, &terms).await;
    let claim = world.claim(job(&sent)).await;
    world
        .system
        .requeue_reply(&claim, Failure::Truncated, &usage(), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let claim = world.claim(job(&sent)).await;
    world.complete(&claim, "text").await;
    assert_settled(&world).await;
    // Its writer vanished; another completed it.
    let sent = ask(&world, &anna, chat, &terms).await;
    let claim = world.claim(job(&sent)).await;
    world
        .system
        .append_to_reply(&claim, 0, &"half an answer".repeat(10))
        .await
        .unwrap();
    world.let_the_lease_run_out(claim.reply_id).await;
    let before = balance(&world, Subject::Person, "anna").await;
    let claim = world.claim(job(&sent)).await;
    let (used, reserved) = balance(&world, Subject::Person, "anna").await;
    // The prompt as estimated, and 140 letters at 13 tokens to forty.
    assert!(used - before.0 >= 37 + 46, "{used} after {}", before.0);
    assert_eq!(reserved, before.1);
    world.complete(&claim, "text").await;
    assert_settled(&world).await;
    // Every writer vanished.
    let sent = ask(&world, &anna, chat, &terms).await;
    for _ in 0..ATTEMPTS {
        let claim = world.claim(job(&sent)).await;
        world.let_the_lease_run_out(claim.reply_id).await;
    }
    let seized = world
        .system
        .seize_abandoned_reply(None, ATTEMPTS, LEASE)
        .await
        .unwrap()
        .unwrap();
    assert!(seized.input_tokens > 0);
    let cost = Usage {
        input_tokens: seized.input_tokens,
        output_tokens: seized.output_tokens,
        ..usage()
    };
    let ending = Ending::Failed {
        failure: Failure::Abandoned,
        usage: cost,
    };
    world.system.end_reply(&seized.claim, &ending).await.unwrap().unwrap();
    assert_settled(&world).await;
    // Replaced while it waited.
    ask(&world, &anna, chat, &terms).await;
    let replacing = Terms {
        when_busy: WhenBusy::Replace,
        ..terms.clone()
    };
    let sent = ask(&world, &anna, chat, &replacing).await;
    assert_eq!(sent.replaced.len(), 1);
    let claim = world.claim(job(&sent)).await;
    world.complete(&claim, "text").await;
    assert_settled(&world).await;
    // Written again, with a new hold.
    let message = claim.reply_id;
    let again = world
        .people
        .regenerate_reply(&anna, chat, Which::Answer(message), None, None, &terms)
        .await
        .unwrap();
    let Regeneration::Opened(opened) = again else {
        panic!("{again:?}")
    };
    assert_ne!(balance(&world, Subject::Organisation, "acme").await.1, 0);
    let claim = world.claim(opened.wake.job_id).await;
    world.complete(&claim, "other words").await;
    assert_settled(&world).await;
    let person = balance(&world, Subject::Person, "anna").await;
    assert_eq!(balance(&world, Subject::Organisation, "acme").await, person);

    // The chat deleted with one that is written and one that waits: what was said is paid, and nobody holds anything.
    let sent = ask(&world, &anna, chat, &terms).await;
    ask(&world, &anna, chat, &terms).await;
    let claim = world.claim(job(&sent)).await;
    world.system.append_to_reply(&claim, 0, "half an answer").await.unwrap();
    assert!(matches!(
        world.people.delete_chat(&anna.id, chat).await.unwrap(),
        Deleted::Gone { .. }
    ));
    let (used, reserved) = balance(&world, Subject::Person, "anna").await;
    assert!(used > person.0 + 37, "{used} after {}", person.0);
    assert_eq!(reserved, 0);
    assert_eq!(world.number("select count(*) from holds").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_attempt_that_failed_is_paid_and_the_next_gets_what_the_limit_has_left(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = of_org("anna", "acme");
    world.people.upsert_user(&anna).await.unwrap();
    let chat = world.assistant_chat(&anna).await;
    for limits in [(Some(A_TURN + 10), None), (None, Some(A_TURN + 10))] {
        sqlx::query("delete from budgets").execute(&world.rows).await.unwrap();
        sqlx::query("delete from messages").execute(&world.rows).await.unwrap();
        let sent = ask(&world, &anna, chat, &terms(limits.0, limits.1)).await;
        let cost = |tokens| Usage {
            input_tokens: tokens,
            output_tokens: 0,
            ..usage()
        };
        for (spent, used, reserved) in [(4, 4, A_TURN), (26, 30, A_TURN - 20), (500, 530, 0)] {
            let claim = world.claim(job(&sent)).await;
            let rested = world
                .system
                .requeue_reply(&claim, Failure::Truncated, &cost(spent), Duration::ZERO)
                .await;
            assert!(rested.unwrap().is_some());
            assert_eq!(balance(&world, Subject::Person, "anna").await, (used, reserved));
            assert_eq!(balance(&world, Subject::Organisation, "acme").await, (used, reserved));
        }
        world.people.stop_replies(&anna.id, chat, None).await.unwrap();
        assert_settled(&world).await;
        sqlx::query("delete from replies").execute(&world.rows).await.unwrap();
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn holds_that_no_end_has_reached_are_released_and_no_others(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let kept = ask(&world, &anna, chat, &FREE).await;
    let other = world.assistant_chat(&anna).await;
    ask(&world, &anna, other, &FREE).await;
    // As no statement of ours does it.
    sqlx::query("delete from chats where id = $1")
        .bind(other.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    assert_eq!(
        world
            .system
            .release_dead_holds(Duration::from_secs(60), 10)
            .await
            .unwrap(),
        0
    );
    assert_eq!(world.system.release_dead_holds(Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(world.system.release_dead_holds(Duration::ZERO, 10).await.unwrap(), 0);
    assert_eq!(balance(&world, Subject::Person, "anna").await, (0, A_TURN));
    let claim = world.claim(job(&kept)).await;
    world.complete(&claim, "text").await;
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn people_spend_their_own_budget_and_nothing_is_spent_where_no_model_answers(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    ask(&world, &anna, direct, &terms(Some(0), Some(0))).await;
    assert_eq!(world.number("select count(*) from budgets").await, 0);
    // Nobody can settle, pay or admit for another, even by a function's own name.
    let chat = world.assistant_chat(&anna).await;
    let sent = ask(&world, &anna, chat, &FREE).await;
    let reply = sent.reply.unwrap().id.uuid();
    for (sql, expected) in [
        ("select acting_as('ben') and settle_reply($1, 0)", Some(false)),
        ("select acting_as('ben') and pay_for_attempt($1, 5)", Some(false)),
    ] {
        let done: Option<bool> = sqlx::query_scalar(sql)
            .bind(reply)
            .fetch_one(&world.restricted)
            .await
            .unwrap();
        assert_eq!(done, expected, "{sql}");
    }
    let admitted: Result<Option<Value>, _> = sqlx::query_scalar(
        "select admit_reply(chat_id, 'anna', null, gen_random_uuid(), null, 'queue', 1, 1, null, null, 'month')
         from (select $1::uuid as chat_id where acting_as('ben')) as x",
    )
    .bind(chat.uuid())
    .fetch_one(&world.restricted)
    .await;
    assert!(admitted.is_err());
    assert_eq!(balance(&world, Subject::Person, "anna").await, (0, A_TURN));
}

/// An end has its reply's row and waits for the budget's. So whoever ends several has all their rows before any budget, or the
/// two wait for each other.
#[sqlx::test(migrations = "../../migrations")]
async fn who_ends_several_replies_has_them_all_before_the_budget(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    for way in ["delete", "stop", "replace"] {
        let chat = world.assistant_chat(&anna).await;
        let written = world.ask(&anna, chat, QUESTION).await.claim.unwrap();
        ask(&world, &anna, chat, &FREE).await;
        // Its row lies behind that of the one that waits.
        world.system.renew_reply(&written, LEASE).await.unwrap();
        let mut end = world.rows.begin().await.unwrap();
        sqlx::query("select from replies where id = $1 for update")
            .bind(written.reply_id.uuid())
            .execute(&mut *end)
            .await
            .unwrap();
        let ending = async {
            match way {
                "delete" => drop(world.people.delete_chat(&anna.id, chat).await.unwrap()),
                "stop" => drop(world.people.stop_replies(&anna.id, chat, None).await.unwrap()),
                _ => {
                    let terms = Terms {
                        when_busy: WhenBusy::Replace,
                        ..FREE
                    };
                    ask(&world, &anna, chat, &terms).await;
                }
            }
        };
        let looking = async {
            // Whatever waits, for nothing else runs here.
            world.until_one_waits("").await;
            let free = sqlx::query("select from budgets for update nowait")
                .execute(&mut *end)
                .await;
            assert!(free.is_ok_and(|rows| rows.rows_affected() > 0), "{way} has a budget");
            end.rollback().await.unwrap();
        };
        tokio::join!(ending, looking);
    }
}
