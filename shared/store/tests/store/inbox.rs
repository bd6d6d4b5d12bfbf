//! Inboxes as readers find them, and the tickets that open one.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{SubsecRound, Utc};
use domain::chat::Kind;
use domain::event::EventType;
use domain::ids::UserId;
use domain::ticket::Ticket;
use sqlx::{Executor, PgPool};
use store::chats::DirectChat;
use store::tickets::Holder;

use crate::world::{World, at_once};

const MINUTE: Duration = Duration::from_secs(60);

#[sqlx::test(migrations = "../../migrations")]
async fn pages_of_news_join_without_a_seam(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    for number in 0..10 {
        world
            .send(&ben, if number % 3 == 0 { channel } else { direct }, "hi")
            .await;
    }
    for (chat, expected) in [(None, 10), (Some(direct), 6), (Some(channel), 4)] {
        let (mut after, mut versions) = (0, Vec::new());
        loop {
            let news = world.people.news(&anna.id, after, chat, 3).await.unwrap();
            assert!(!news.is_lost);
            assert_eq!(news.version, 10);
            versions.extend(news.events.iter().map(|(version, events)| {
                assert_eq!(events.len(), 1);
                *version
            }));
            // Also past what happened in other chats, so that nobody looks at it again and again.
            if news.next == after {
                break;
            }
            after = news.next;
        }
        assert_eq!((after, versions.len()), (10, expected), "{chat:?}");
        assert!(versions.is_sorted_by(|one, next| one < next));
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn news_of_a_deleted_chat_is_that_it_is_gone(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    world.send(&anna, chat, "hi").await;
    world.people.delete_chat(&anna.id, chat).await.unwrap();
    let news = world.people.news(&anna.id, 0, None, 100).await.unwrap();
    let told: Vec<_> = news
        .events
        .iter()
        .flat_map(|(_, events)| events)
        .map(|event| event.event_type)
        .collect();
    assert_eq!(told, [EventType::ChatDeleted]);
    assert_eq!((news.next, news.version), (3, 3));
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_trimmed_is_said_to_be_lost(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for _ in 0..4 {
        world.send(&ben, chat, "hi").await;
    }
    world
        .rows
        .execute("update inbox set created_at = now() - interval '8 days' where version <= 2")
        .await
        .unwrap();
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(world.system.trim_inboxes(week, 3).await.unwrap(), 3, "a bite");
    assert_eq!(world.system.trim_inboxes(week, 3).await.unwrap(), 1);
    assert_eq!(world.system.trim_inboxes(week, 3).await.unwrap(), 0);
    for (after, is_lost) in [(0, true), (1, true), (2, false), (4, false), (5, true)] {
        assert_eq!(
            world.people.news(&anna.id, after, None, 100).await.unwrap().is_lost,
            is_lost,
            "{after}"
        );
    }
    // Somebody whom we never met has missed nothing.
    let stranger = crate::world::caller("stranger");
    assert!(!world.people.news(&stranger.id, 0, None, 100).await.unwrap().is_lost);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_hundred_openings_of_a_pair_are_one_chat_that_is_news_once(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let opened = at_once(100, |number| {
        let store = world.people.clone();
        let (me, other) = if number % 2 == 0 { (&anna, &ben) } else { (&ben, &anna) };
        let (me, other) = (me.id.clone(), other.id.clone());
        async move { store.open_direct_chat(&me, &other, None).await.unwrap() }
    })
    .await;
    let mut ids = BTreeSet::new();
    let mut new = 0;
    for one in opened {
        match one {
            DirectChat::Known(id) => ids.insert(id.uuid()),
            DirectChat::Opened { chat_id, audience } => {
                new += 1;
                assert_eq!(audience.len(), 2);
                ids.insert(chat_id.uuid())
            }
            other => panic!("both are known: {other:?}"),
        };
    }
    assert_eq!((ids.len(), new), (1, 1));
    assert_eq!(world.number("select count(*) from chats").await, 1);
    assert_eq!(world.number("select count(*) from members").await, 2);
    assert_eq!(world.number("select count(*) from inbox").await, 2);
    let nobody = crate::world::caller("nobody");
    let refused = world.people.open_direct_chat(&anna.id, &nobody.id, None).await.unwrap();
    assert_eq!(refused, DirectChat::NoSuchPerson);
    assert_eq!(world.number("select count(*) from chats").await, 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_ticket_is_good_for_its_minute_and_is_never_stored(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let (annas, bens) = (Ticket::fresh(), Ticket::fresh());
    let until = Utc::now().trunc_subsecs(6) + MINUTE * 2;
    for (person, ticket) in [(&anna, &annas), (&ben, &bens)] {
        let issued = world.people.issue_ticket(&person.id, ticket, MINUTE, until);
        issued.await.unwrap();
    }
    let holder = |id: &UserId| {
        Some(Holder {
            id: id.clone(),
            token_expires_at: until,
        })
    };
    assert_eq!(world.people.ticket_holder(&annas).await.unwrap(), holder(&anna.id));
    assert_eq!(world.people.ticket_holder(&bens).await.unwrap(), holder(&ben.id));
    assert_eq!(world.people.ticket_holder(&Ticket::fresh()).await.unwrap(), None);
    let alike = Ticket::parse(&format!("{}{}", &annas.expose()[..32], &bens.expose()[32..])).unwrap();
    assert_eq!(world.people.ticket_holder(&alike).await.unwrap(), None);
    let rows = world.dump("stream_tickets").await.concat();
    assert!(!rows.contains(annas.expose()) && !rows.contains(bens.expose()));

    world
        .rows
        .execute("update stream_tickets set expires_at = now() where user_id = 'anna'")
        .await
        .unwrap();
    assert_eq!(world.people.ticket_holder(&annas).await.unwrap(), None);
    assert_eq!(world.system.forget_tickets(100).await.unwrap(), 1);
    assert_eq!(world.number("select count(*) from stream_tickets").await, 1);
    assert!(world.people.ticket_holder(&bens).await.unwrap().is_some());
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_ticket_is_good_for_no_longer_than_its_token(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let (late, old) = (Ticket::fresh(), Ticket::fresh());
    let issued = world.people.issue_ticket(&anna.id, &late, MINUTE, Utc::now());
    issued.await.unwrap();
    assert_eq!(world.people.ticket_holder(&late).await.unwrap(), None);
    // One that the version before has issued knows no token, and stands for itself.
    let issued = world
        .people
        .issue_ticket(&anna.id, &old, MINUTE, Utc::now() + MINUTE * 60);
    issued.await.unwrap();
    world
        .rows
        .execute("update stream_tickets set token_expires_at = null")
        .await
        .unwrap();
    let holder = world.people.ticket_holder(&old).await.unwrap().unwrap();
    assert!(holder.token_expires_at <= Utc::now() + MINUTE);
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_same_version_of_another_inbox_is_told_apart(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let head = async || world.people.inbox_head(&anna.id).await.unwrap();
    let mut epochs = vec![(head().await.version, head().await.epoch)];
    assert_eq!(head().await.epoch, epochs[0].1, "it stays while nothing happens");

    // Erased, and back.
    world
        .rows
        .execute("delete from people where id = 'anna'")
        .await
        .unwrap();
    assert_eq!((head().await.version, head().await.epoch), (0, String::new()));
    world.people.upsert_user(&anna).await.unwrap();
    epochs.push((head().await.version, head().await.epoch));
    assert_eq!(epochs[1].0, epochs[0].0);

    // Restored to before a message, after which there is another one.
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for text in ["hi", "ho"] {
        world.send(&ben, chat, text).await;
        epochs.push((head().await.version, head().await.epoch));
        world.rows.execute("delete from inbox").await.unwrap();
        world.rows.execute("update inbox_heads set version = 0").await.unwrap();
    }
    assert_eq!((epochs[2].0, epochs[3].0), (1, 1));
    let different: BTreeSet<_> = epochs.iter().map(|(_, epoch)| epoch).collect();
    assert_eq!(different.len(), epochs.len(), "{epochs:?}");
}
