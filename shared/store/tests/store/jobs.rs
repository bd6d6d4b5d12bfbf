//! What the sweeper finds.

use std::time::Duration;

use domain::ids::JobId;
use domain::job::{ClaimedJob, JobClaimOutcome, JobKind};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;

use crate::world::World;

const GRACE: Duration = Duration::from_secs(15);

async fn lost(world: &World) -> Vec<JobId> {
    world
        .system
        .overdue_jobs(GRACE, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|wake| wake.job_id)
        .collect()
}

/// As if so many seconds had passed for every job and every lease.
async fn pass(world: &World, seconds: i32) {
    for sql in [
        "update jobs set run_at = run_at - make_interval(secs => $1)",
        "update replies set lease_until = lease_until - make_interval(secs => $1)",
    ] {
        sqlx::query(sql)
            .bind(f64::from(seconds))
            .execute(&world.rows)
            .await
            .unwrap();
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_job_whose_wake_up_was_lost_is_found_after_a_grace(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let job = world.send(&anna, chat, "hi").await.wake.unwrap().job_id;
    assert_eq!(lost(&world).await, []);
    pass(&world, 16).await;
    assert_eq!(lost(&world).await, [job]);
    assert_eq!(world.system.overdue_jobs(GRACE, 0).await.unwrap(), []);
    world.complete(&world.claim(job).await, "1").await;
    pass(&world, 16).await;
    assert_eq!(lost(&world).await, []);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_that_is_being_written_or_waits_its_turn_is_not_lost(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let running = world.ask(&anna, chat, "one").await;
    let waiting = world.send(&anna, chat, "two").await.wake.unwrap().job_id;
    pass(&world, 20).await;
    assert_eq!(lost(&world).await, [], "its lease lasts for another ten seconds");
    pass(&world, 26).await;
    assert_eq!(lost(&world).await, [running.wake.unwrap().job_id]);
    let claim = world.claim(running.wake.unwrap().job_id).await;
    assert_eq!(lost(&world).await, []);
    // However long it takes, as long as its writer renews the lease.
    pass(&world, 60).await;
    world.system.renew_reply(&claim, crate::world::LEASE).await.unwrap();
    assert_eq!(lost(&world).await, []);
    // Its end wakes the next; should that be lost too, the next one is found.
    world.complete(&claim, "1").await;
    assert_eq!(lost(&world).await, [waiting]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_old_inbox_is_trimmed_a_bite_at_a_time(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for _ in 0..5 {
        world.send(&anna, chat, "hi").await;
    }
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(world.system.trim_inboxes(week, 100).await.unwrap(), 0);
    sqlx::query("update inbox set created_at = now() - interval '8 days' where version <= 4")
        .execute(&world.rows)
        .await
        .unwrap();
    assert_eq!(world.system.trim_inboxes(week, 3).await.unwrap(), 3);
    assert_eq!(world.system.trim_inboxes(week, 3).await.unwrap(), 1);
    assert_eq!(world.number("select count(*) from inbox").await, 2);
    assert_eq!(
        world.number("select version from inbox_heads").await,
        6,
        "the head goes on counting"
    );
}

async fn other_job(world: &World) -> JobId {
    let id = JobId::fresh();
    sqlx::query("insert into jobs (id, kind, payload) values ($1, 'notice', '{\"say\": \"hi\"}')")
        .bind(id.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    id
}

async fn claimed(world: &World, job: JobId) -> ClaimedJob {
    match world.system.try_claim_job(job, GRACE).await.unwrap() {
        JobClaimOutcome::Claimed(claimed) => claimed,
        other => panic!("{other:?}"),
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_who_reach_for_a_job_one_has_it_until_its_lease_ends(pool: PgPool) {
    let world = World::racing(pool).await;
    let job = other_job(&world).await;
    let reached = join_all((0..8).map(|_| world.system.try_claim_job(job, GRACE))).await;
    let (claims, others): (Vec<_>, Vec<_>) = reached
        .into_iter()
        .map(Result::unwrap)
        .partition(|reach| matches!(reach, JobClaimOutcome::Claimed(_)));
    assert_eq!(claims.len(), 1);
    for other in others {
        assert!(
            matches!(other, JobClaimOutcome::Later { after_seconds: 1..=16 }),
            "{other:?}"
        );
    }
    let JobClaimOutcome::Claimed(first) = &claims[0] else {
        unreachable!()
    };
    assert_eq!((first.attempt, &first.payload["say"]), (1, &json!("hi")));
    assert_eq!(lost(&world).await, []);

    // Its worker died: the sweeper finds it, and another one takes it. The first has nothing to say any more.
    pass(&world, 31).await;
    assert_eq!(lost(&world).await, [job]);
    let second = claimed(&world, job).await;
    assert_eq!(second.attempt, 2);
    assert!(!world.system.end_job(first).await.unwrap());
    assert!(!world.system.rest_job(first, GRACE, None).await.unwrap());
    assert!(!world.system.park_job(first, "late").await.unwrap());
    assert!(world.system.end_job(&second).await.unwrap());
    assert_eq!(
        world.system.try_claim_job(job, GRACE).await.unwrap(),
        JobClaimOutcome::Over
    );
    assert_eq!(world.system.job_kind(job).await.unwrap(), None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_job_that_rests_comes_again_and_a_parked_one_stays(pool: PgPool) {
    let world = World::on(pool).await;
    let job = other_job(&world).await;
    let first = claimed(&world, job).await;
    assert!(world.system.rest_job(&first, GRACE, Some("not yet")).await.unwrap());
    assert!(matches!(
        world.system.try_claim_job(job, GRACE).await.unwrap(),
        JobClaimOutcome::Later { .. }
    ));
    pass(&world, 16).await;
    let second = claimed(&world, job).await;
    assert!(world.system.park_job(&second, "never").await.unwrap());
    pass(&world, 60).await;
    assert_eq!(
        world.system.try_claim_job(job, GRACE).await.unwrap(),
        JobClaimOutcome::Over
    );
    assert_eq!(lost(&world).await, []);
    let why: String = sqlx::query_scalar("select last_error from jobs where id = $1 and state = 'dead'")
        .bind(job.uuid())
        .fetch_one(&world.rows)
        .await
        .unwrap();
    assert_eq!(why, "never");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_is_no_job_of_this_way(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let job = world.send(&anna, chat, "hi").await.wake.unwrap().job_id;
    assert_eq!(world.system.job_kind(job).await.unwrap(), Some(JobKind::Reply));
    assert_eq!(
        world.system.try_claim_job(job, GRACE).await.unwrap(),
        JobClaimOutcome::Over
    );
}
