//! What the sweeper finds.

use std::time::Duration;

use shared::domain::ids::JobId;
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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
