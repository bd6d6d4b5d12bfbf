//! Open streams: a person has so many at once, over all processes, and a dead one holds its place no longer than its lease.

use std::collections::HashSet;

use domain::ids::UserId;
use domain::stream::StreamKind;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::streams::OpenStream;

use crate::world::{World, at_once};

const MOST: i32 = 5;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn open(world: &World, name: &str, kind: StreamKind) -> OpenStream {
    let opened = world.people.open_stream(&user(name), kind, MOST).await.unwrap();
    opened.stream
}

/// Which of these may go on.
async fn kept(world: &World, name: &str, streams: &[OpenStream]) -> Vec<bool> {
    let mut kept = Vec::new();
    for stream in streams {
        let glance = world.people.glance(&user(name), *stream, None).await.unwrap();
        assert_eq!(
            world.people.keep_stream(&user(name), *stream).await.unwrap(),
            glance.is_kept
        );
        kept.push(glance.is_kept);
    }
    kept
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_opened_at_once_exactly_so_many_stay_open(pool: PgPool) {
    let world = World::racing(pool).await;
    let opened = at_once(50, |_| {
        let store = world.people.clone();
        async move {
            let opened = store.open_stream(&user("anna"), StreamKind::Events, MOST).await;
            opened.unwrap().stream
        }
    })
    .await;
    let different: HashSet<_> = opened.iter().map(|stream| format!("{stream:?}")).collect();
    assert_eq!(different.len(), 50);
    let kept = kept(&world, "anna", &opened).await;
    assert_eq!(kept.iter().filter(|is_kept| **is_kept).count(), 5);
    assert_eq!(world.number("select count(*) from open_streams").await, 5);
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_newest_streams_stay_and_one_that_closes_makes_room(pool: PgPool) {
    let world = World::on(pool).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        streams.push(open(&world, "anna", StreamKind::Events).await);
    }
    assert_eq!(
        kept(&world, "anna", &streams).await,
        [false, true, true, true, true, true]
    );
    world.people.close_stream(&user("anna"), streams[3]).await.unwrap();
    streams.push(open(&world, "anna", StreamKind::Events).await);
    assert_eq!(
        kept(&world, "anna", &streams).await,
        [false, true, true, false, true, true, true]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn people_and_kinds_of_streams_do_not_share_room(pool: PgPool) {
    let world = World::on(pool).await;
    let events = open(&world, "anna", StreamKind::Events).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(open(&world, "anna", StreamKind::Reply).await);
        open(&world, "ben", StreamKind::Events).await;
    }
    others.push(events);
    assert_eq!(kept(&world, "anna", &others).await, [true; 6]);
    // Nobody keeps or closes another's.
    assert!(!world.people.keep_stream(&user("ben"), events).await.unwrap());
    world.people.close_stream(&user("ben"), events).await.unwrap();
    assert_eq!(kept(&world, "anna", &[events]).await, [true]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stream_whose_process_died_counts_until_its_lease_ends_and_is_forgotten(pool: PgPool) {
    let world = World::on(pool).await;
    let dead = open(&world, "anna", StreamKind::Events).await;
    let expire = |stream: &OpenStream, ago: &str| {
        let place = format!("{stream:?}");
        let number: String = place.chars().filter(char::is_ascii_digit).collect();
        let sql = format!("update open_streams set expires_at = now() - interval '{ago}' where number = {number}");
        world.rows.execute(AssertSqlSafe(sql))
    };
    let mut alive = Vec::new();
    for _ in 0..4 {
        alive.push(open(&world, "anna", StreamKind::Events).await);
    }
    // One that was only held up goes on.
    expire(&dead, "1 min").await.unwrap();
    assert_eq!(kept(&world, "anna", &[dead]).await, [true]);
    assert_eq!(
        world
            .number("select count(*) from open_streams where expires_at > now() + interval '30 s'")
            .await,
        5,
        "all leases are fresh"
    );
    // The oldest leaves first, but one whose lease is over before it.
    expire(&alive[2], "1 s").await.unwrap();
    alive.push(open(&world, "anna", StreamKind::Events).await);
    assert_eq!(
        kept(&world, "anna", &alive).await,
        [true, true, false, true, true],
        "the dead one made room"
    );
    assert_eq!(kept(&world, "anna", &[dead]).await, [true]);

    expire(&dead, "59 min").await.unwrap();
    assert_eq!(world.system.forget_streams(100).await.unwrap(), 0);
    expire(&dead, "61 min").await.unwrap();
    assert_eq!(world.system.forget_streams(100).await.unwrap(), 1);
    assert_eq!(world.number("select count(*) from open_streams").await, 4);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_lease_is_renewed_when_half_of_it_has_passed_and_not_at_each_look(pool: PgPool) {
    let world = World::on(pool).await;
    let stream = open(&world, "anna", StreamKind::Events).await;
    let lease = async || {
        world
            .number("select extract(epoch from expires_at)::bigint from open_streams")
            .await
    };
    let begun = lease().await;
    for _ in 0..10 {
        assert_eq!(kept(&world, "anna", &[stream]).await, [true]);
    }
    assert_eq!(lease().await, begun);
    world
        .rows
        .execute("update open_streams set expires_at = expires_at - interval '31 s'")
        .await
        .unwrap();
    assert_eq!(kept(&world, "anna", &[stream]).await, [true]);
    assert!(lease().await >= begun);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_glance_sees_what_is_to_be_read(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    let bens = world.assistant_chat(&ben).await;
    let opened = world
        .people
        .open_stream(&anna.id, StreamKind::Events, MOST)
        .await
        .unwrap();
    let glance = async |chat| {
        let glance = world.people.glance(&anna.id, opened.stream, chat).await.unwrap();
        (glance.inbox_version, glance.is_answered)
    };
    assert_eq!(glance(None).await, (opened.inbox_version, false));
    world.ask(&ben, bens, "a question").await.claim.unwrap();
    assert_eq!(glance(None).await, (opened.inbox_version, false), "another's");
    let claim = world.ask(&anna, chat, "a question").await.claim.unwrap();
    let asked = world.people.inbox_version(&anna.id).await.unwrap();
    assert!(asked > opened.inbox_version);
    assert_eq!(glance(None).await, (asked, true));
    assert_eq!(glance(Some(chat)).await, (asked, true));
    assert_eq!(glance(Some(bens)).await, (asked, false));
    world.complete(&claim, "an answer").await;
    let (version, is_answered) = glance(None).await;
    assert!(version > asked && !is_answered);
}
