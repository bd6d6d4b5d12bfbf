//! How fast people may go: exactly as fast as is configured, however many ask at once and however long they go on.

use domain::ids::UserId;
use domain::rate::{RateClass, RateLimit, Spent};
use sqlx::{PgPool, Row};

use crate::world::{Random, World, at_once};

const SLOW: RateLimit = RateLimit {
    quota: 10,
    seconds: 3600,
};

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn spend(world: &World, name: &str, class: RateClass, limit: RateLimit) -> Spent {
    world.people.spend_rate(&user(name), class, limit).await.unwrap()
}

/// As the store asks, at a time of the test's: whether it is allowed, what remains, and when all and when one more is back.
async fn spend_at(world: &World, quota: i32, seconds: i32, at_seconds: f64) -> (bool, i32, i32, i32) {
    let row = sqlx::query(
        "select * from spend_rate(
             'anna', 'send', $1, make_interval(secs => $2), timestamptz '2026-01-01' + make_interval(secs => $3)
         )",
    )
    .bind(quota)
    .bind(f64::from(seconds))
    .bind(at_seconds)
    .fetch_one(&world.restricted)
    .await
    .unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_at_once_exactly_the_quota_may_go_ahead(pool: PgPool) {
    let world = World::racing(pool).await;
    let spent = at_once(32, |_| {
        let store = world.people.clone();
        async move { store.spend_rate(&user("anna"), RateClass::Send, SLOW).await.unwrap() }
    })
    .await;
    let mut remaining: Vec<_> = spent
        .iter()
        .filter(|spent| spent.is_allowed)
        .map(|spent| spent.remaining)
        .collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..10).collect::<Vec<_>>());
    for refused in spent.iter().filter(|spent| !spent.is_allowed) {
        assert_eq!(refused.remaining, 0);
        assert!((350..=360).contains(&refused.retry_after_seconds), "{refused:?}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn people_and_classes_do_not_share_an_allowance(pool: PgPool) {
    let world = World::on(pool).await;
    let one = RateLimit {
        quota: 1,
        seconds: 3600,
    };
    assert!(spend(&world, "anna", RateClass::Send, one).await.is_allowed);
    assert!(!spend(&world, "anna", RateClass::Send, one).await.is_allowed);
    assert!(spend(&world, "ben", RateClass::Send, one).await.is_allowed);
    assert!(spend(&world, "anna", RateClass::Write, one).await.is_allowed);
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_allowance_comes_back_bit_by_bit_and_says_when(pool: PgPool) {
    let world = World::on(pool).await;
    for left in (0..7).rev() {
        let (is_allowed, remaining, reset_after, retry_after) = spend_at(&world, 7, 60, 0.0).await;
        assert_eq!((is_allowed, remaining, retry_after), (true, left, 0));
        // A seventh of a minute for each that is spent, rounded up.
        assert_eq!(reset_after, (60 * (7 - left) + 6) / 7);
    }
    assert_eq!(spend_at(&world, 7, 60, 0.0).await, (false, 0, 60, 9));
    assert_eq!(spend_at(&world, 7, 60, 8.5).await, (false, 0, 52, 1));
    assert!(spend_at(&world, 7, 60, 8.6).await.0);
    assert!(!spend_at(&world, 7, 60, 8.6).await.0);
    // After a rest all of it is there, and no more.
    for left in (0..7).rev() {
        assert_eq!(spend_at(&world, 7, 60, 1000.0).await.1, left);
    }
    assert!(!spend_at(&world, 7, 60, 1000.0).await.0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn one_too_many_moves_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    for _ in 0..3 {
        assert!(spend_at(&world, 3, 60, 0.0).await.0);
    }
    let before = world.dump("rate_limits").await;
    for _ in 0..100 {
        assert!(!spend_at(&world, 3, 60, 19.0).await.0);
    }
    assert_eq!(world.dump("rate_limits").await, before);
    assert!(spend_at(&world, 3, 60, 20.0).await.0);
}

/// Somebody who asks without end, at odd moments, for a day and more: never more than was promised, and never less.
#[sqlx::test(migrations = "../../migrations")]
async fn over_a_long_time_the_rate_is_exact(pool: PgPool) {
    let world = World::on(pool).await;
    let mut random = Random(7);
    for (quota, seconds) in [(7, 60), (120, 60), (2, 1), (3, 1000)] {
        sqlx::query("delete from rate_limits")
            .execute(&world.rows)
            .await
            .unwrap();
        let (mut now, mut allowed) = (0.0, Vec::new());
        for _ in 0..3000 {
            // On the average four times as fast as is allowed, and never so slow that anything is left.
            now += f64::from(seconds) / f64::from(quota) * f64::from(u8::try_from(random.below(50)).unwrap()) / 100.0;
            if spend_at(&world, quota, seconds, now).await.0 {
                allowed.push(now);
            }
        }
        let count = f64::from(u32::try_from(allowed.len()).unwrap());
        let earned = f64::from(quota) + now * f64::from(quota) / f64::from(seconds);
        assert!(count <= earned, "{quota}/{seconds}s: {count} of {earned}");
        assert!(
            count >= earned - f64::from(quota) - 2.0,
            "{quota}/{seconds}s: {count} of {earned}"
        );
        // In no period more than a full allowance and what came back meanwhile.
        let most = usize::try_from(quota).unwrap() * 2;
        for (first, from) in allowed.iter().enumerate() {
            let within = allowed[first..]
                .iter()
                .take_while(|at| **at < from + f64::from(seconds))
                .count();
            assert!(within <= most, "{within} in {seconds} seconds from {from}");
        }
    }
}

/// The send's own statement will count: what it does is undone with it.
#[sqlx::test(migrations = "../../migrations")]
async fn what_is_rolled_back_is_not_spent_and_a_statement_may_spend_on_its_way(pool: PgPool) {
    let world = World::on(pool).await;
    let sql = "with spent as materialized (select * from spend_rate('anna', 'send', 1, interval '1 h')),
                   kept as (
                       insert into people (id, name) select 'anna', 'Anna' from spent
                       where is_allowed and (select acting_as('anna')) returning id
                   )
               select is_allowed, (select count(*) from kept) from spent";
    for (is_kept, outcome) in [(false, (true, 1)), (true, (true, 1)), (true, (false, 0))] {
        let mut transaction = world.restricted.begin().await.unwrap();
        let row = sqlx::query(sql).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!((row.get::<bool, _>(0), row.get::<i64, _>(1)), outcome);
        if is_kept {
            transaction.commit().await.unwrap();
        }
    }
    assert_eq!(world.number("select count(*) from people").await, 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn who_has_rested_for_long_is_forgotten_a_bite_at_a_time(pool: PgPool) {
    let world = World::on(pool).await;
    for (name, days) in [("old", 9), ("older", 10), ("lately", 1), ("today", 0)] {
        sqlx::query("select spend_rate($1, 'send', 5, '60 s', now() - make_interval(days => $2))")
            .bind(name)
            .bind(days)
            .execute(&world.rows)
            .await
            .unwrap();
    }
    let left = async || -> Vec<String> {
        sqlx::query_scalar("select user_id from rate_limits order by 1")
            .fetch_all(&world.rows)
            .await
            .unwrap()
    };
    assert_eq!(world.system.forget_rates(1).await.unwrap(), 1);
    assert_eq!(left().await, ["lately", "old", "today"]);
    assert_eq!(world.system.forget_rates(10).await.unwrap(), 1);
    assert_eq!(left().await, ["lately", "today"]);
}
