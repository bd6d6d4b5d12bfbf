//! People are known from their first request.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::chat::Kind;
use sqlx::{Executor, PgPool};

use crate::world::{World, at_once, caller};

#[sqlx::test(migrations = "../../migrations")]
async fn a_person_is_written_when_something_is_new_and_not_otherwise(pool: PgPool) {
    let world = World::on(pool).await;
    let mut anna = caller("anna");
    assert_eq!(world.people.me(&anna.id).await.unwrap(), None);

    world.people.upsert_user(&anna).await.unwrap();
    let first = world.dump("people").await;
    world.people.upsert_user(&anna).await.unwrap();
    assert_eq!(world.dump("people").await, first);
    assert_eq!(world.number("select count(*) from inbox_heads").await, 1);

    anna.name = "Anna B.".into();
    anna.image = Some("https://host/a.png".into());
    world.people.upsert_user(&anna).await.unwrap();
    let me = world.people.me(&anna.id).await.unwrap().unwrap();
    assert_eq!(
        (me.person.name.as_str(), me.person.image.as_deref()),
        ("Anna B.", Some("https://host/a.png"))
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn many_first_requests_at_once_make_one_person(pool: PgPool) {
    let world = World::on(pool).await;
    crate::world::at_once(16, |_| {
        let store = world.people.clone();
        async move { store.upsert_user(&caller("anna")).await.unwrap() }
    })
    .await;
    assert_eq!(world.number("select count(*) from people").await, 1);
    assert_eq!(world.number("select count(*) from inbox_heads").await, 1);
}

fn at(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::hours(1) + TimeDelta::seconds(seconds)
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_heartbeat_keeps_somebody_online_for_a_while(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    let online = async || -> Vec<bool> {
        let chat = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
        chat.members.iter().map(|member| member.online).collect()
    };
    assert_eq!(online().await, [false, false]);
    let minute = Duration::from_secs(60);
    let first = world.people.heartbeat(&anna.id, minute).await.unwrap();
    assert_eq!((first.was_online, first.is_online), (false, true));
    assert_eq!(online().await, [true, false]);
    let written = world.dump("people").await;
    assert!(world.people.heartbeat(&anna.id, minute).await.unwrap().was_online);
    assert_eq!(world.dump("people").await, written, "twice in that while at most");
    // The while is over.
    let over = "update people set online_until = now() - interval '1 ms', last_seen_at = now() - interval '1 min'";
    world.rows.execute(over).await.unwrap();
    assert_eq!(online().await, [false, false]);
    assert!(!world.people.heartbeat(&anna.id, minute).await.unwrap().was_online);
    assert_eq!(online().await, [true, false]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_latest_of_what_webhooks_say_decides_in_whatever_order_they_come(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let note = async |channel: &str, seconds: i64, came: bool| {
        let noted = world
            .people
            .note_presence(&anna.id, channel, at(seconds), came)
            .await
            .unwrap()
            .unwrap();
        (noted.was_online, noted.is_online)
    };
    assert_eq!(note("presence-a", 10, true).await, (false, true));
    assert_eq!(note("presence-b", 20, true).await, (true, true));
    // She leaves one, and is still in the other.
    assert_eq!(note("presence-a", 30, false).await, (true, true));
    assert_eq!(note("presence-b", 40, false).await, (true, false));
    // Late, or twice.
    assert_eq!(note("presence-b", 20, true).await, (false, false));
    assert_eq!(note("presence-b", 40, false).await, (false, false));
    // That she has left comes before that she came.
    assert_eq!(note("presence-c", 60, false).await, (false, false));
    assert_eq!(note("presence-c", 50, true).await, (false, false));
    assert_eq!(note("presence-c", 70, true).await, (false, true));
    assert_eq!(note("presence-c", 50, true).await, (true, true));
    assert_eq!(note("presence-c", 80, false).await, (true, false));
    assert_eq!(note("presence-c", 60, false).await, (false, false));
    assert_eq!(note("presence-c", 75, true).await, (false, false));
    assert_eq!(note("presence-c", 90, true).await, (false, true));
    // Nobody said that she left, a day ago.
    let sql = "update presences set came_at = came_at - interval '1 day', left_at = left_at - interval '1 day'";
    world.rows.execute(sql).await.unwrap();
    assert_eq!(note("presence-a", 80, false).await, (true, false));
    let nobody = world
        .people
        .note_presence(&caller("nobody").id, "presence-a", at(0), true)
        .await
        .unwrap();
    assert!(nobody.is_none());
    world
        .rows
        .execute("update presences set noted_at = now() - interval '3 days' where channel <> 'presence-a'")
        .await
        .unwrap();
    world.system.forget_presences(100).await.unwrap();
    assert_eq!(world.number("select count(*) from presences").await, 1);
}

/// Two channels left at once: neither takes the other for still visited.
#[sqlx::test(migrations = "../../migrations")]
async fn who_leaves_all_channels_at_once_is_offline(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    for round in 0..10 {
        for came in [true, false] {
            at_once(8, |n| {
                let (world, me) = (world.clone(), anna.id.clone());
                async move {
                    let moment = at(round * 10 + i64::from(!came));
                    world
                        .people
                        .note_presence(&me, &format!("presence-{n}"), moment, came)
                        .await
                        .unwrap();
                }
            })
            .await;
        }
        let online = world
            .number("select count(*) from people where online_until > now()")
            .await;
        assert_eq!(online, 0);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn company_is_who_is_online_among_those_one_has_a_direct_chat_with(pool: PgPool) {
    let world = World::on(pool).await;
    let mut people = Vec::new();
    for name in ["anna", "ben", "cleo", "dan", "eve"] {
        people.push(world.person(name).await);
    }
    let [anna, ben, cleo, dan, eve] = people.as_slice() else {
        panic!()
    };
    let with_ben = world.chat(Kind::Direct, &[anna, ben]).await;
    world.chat(Kind::Direct, &[anna, cleo]).await;
    world.channel(anna, &[dan]).await;
    world.chat(Kind::Direct, &[ben, eve]).await;
    for person in [anna, ben, dan, eve] {
        world
            .people
            .heartbeat(&person.id, Duration::from_secs(60))
            .await
            .unwrap();
    }
    let company = world.people.online_contacts(&anna.id, 20).await.unwrap();
    assert_eq!(company, [(with_ben, ben.id.clone())]);
}
