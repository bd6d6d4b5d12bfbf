//! Reactions: each person's, once for each emoji, and an event only where something changed.

use std::sync::Arc;

use domain::chat::{History, Kind, MemberRole};
use domain::event::{Event, EventType};
use domain::ids::{ChatId, MessageId};
use domain::message::{Message, Reacting, Reaction};
use domain::person::Caller;
use domain::text::Emoji;
use serde_json::json;
use sqlx::PgPool;
use store::chats::ListFilter;
use store::messages::Range;
use store::reactions::Reacted;

use crate::world::{World, at_once, caller, page, seq};

const MOST: i32 = 20;

fn emoji(text: &str) -> Emoji {
    Emoji::parse(text).unwrap()
}

async fn react(world: &World, who: &Caller, chat: ChatId, message: MessageId, text: &str, what: Reacting) -> Reacted {
    world
        .people
        .react(&who.id, chat, message, &emoji(text), what, MOST)
        .await
        .unwrap()
}

/// The message as it is now, and how many are to be told.
fn done(reacted: Reacted) -> (Message, usize) {
    match reacted {
        Reacted::Done { message, audience, .. } => (*message, audience.len()),
        other => panic!("not done: {other:?}"),
    }
}

fn reaction(text: &str, people: &[&str]) -> Reaction {
    Reaction {
        emoji: text.to_owned(),
        user_ids: people.iter().map(|person| (*person).to_owned()).collect(),
    }
}

async fn trio(world: &World) -> (Caller, Caller, Caller, ChatId) {
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Channel, &[&anna, &ben, &cleo]).await;
    (anna, ben, cleo, chat)
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reaction_takes_the_next_seq_and_is_nothing_to_read(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, chat) = trio(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    world.send(&anna, chat, "there").await;

    let (liked, told) = done(react(&world, &ben, chat, message, "👍", Reacting::Add).await);
    assert_eq!((liked.seq, liked.changed_seq, told), (seq(1), seq(3), 3));
    assert_eq!(liked.reactions, [reaction("👍", &["ben"])]);
    done(react(&world, &cleo, chat, message, ":wave:", Reacting::Add).await);
    let (liked, _) = done(react(&world, &cleo, chat, message, "👍", Reacting::Add).await);
    assert_eq!(
        liked.reactions,
        [reaction("👍", &["ben", "cleo"]), reaction(":wave:", &["cleo"])]
    );
    let (left, told) = done(react(&world, &ben, chat, message, "👍", Reacting::Remove).await);
    assert_eq!((left.changed_seq, told), (seq(6), 3));
    assert_eq!(
        left.reactions,
        [reaction(":wave:", &["cleo"]), reaction("👍", &["cleo"])]
    );

    let since = world
        .people
        .messages(&anna.id, chat, Range::ChangedAfter(seq(2)), page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((since.messages, since.seq), (vec![left], seq(6)));
    let me = world.people.me(&ben.id).await.unwrap().unwrap();
    assert_eq!(me.unread_total, 2);
    let list = world
        .people
        .chats(&ben.id, ListFilter::default(), None, page(10))
        .await
        .unwrap();
    assert_eq!(list.chats[0].last_message.as_ref().unwrap().content, "there");
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_late_reader_hears_of_each_reaction_with_what_there_is_now(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    done(react(&world, &ben, chat, message, "👍", Reacting::Add).await);
    done(react(&world, &ben, chat, message, "❤", Reacting::Add).await);
    let (now, _) = done(react(&world, &ben, chat, message, "👍", Reacting::Remove).await);

    let news = world.people.news(&anna.id, 1, None, 100).await.unwrap();
    let events: Vec<&Event> = news.events.iter().flat_map(|(_, events)| events).collect();
    let heard: Vec<_> = events
        .iter()
        .map(|event| (event.event_type, event.seq.unwrap().value(), event.data.clone()))
        .collect();
    let data = |text: &str, is_added: bool| {
        json!({
            "messageId": message, "reactions": [{"emoji": "❤\u{fe0f}", "userIds": ["ben"]}],
            "userId": "ben", "emoji": text, "isAdded": is_added,
        })
    };
    assert_eq!(
        heard,
        [
            (EventType::ReactionChanged, 2, data("👍", true)),
            (EventType::ReactionChanged, 3, data("❤\u{fe0f}", true)),
            (EventType::ReactionChanged, 4, data("👍", false)),
        ]
    );
    // The last is what was told at once.
    let at = events[2].at.unwrap();
    assert_eq!(
        events[2],
        &Event::reaction_changed(&now, &ben.id, "👍", Reacting::Remove, at)
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_so_already_changes_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    let (first, _) = done(react(&world, &ben, chat, message, "👍", Reacting::Add).await);
    let before = [
        world.dump("messages").await,
        world.dump("chats").await,
        world.dump("inbox").await,
        world.dump("reactions").await,
    ];
    let (again, told) = done(react(&world, &ben, chat, message, "👍", Reacting::Add).await);
    assert_eq!((again, told), (first, 0));
    // Anna cannot take back what is Ben's.
    let (_, told) = done(react(&world, &anna, chat, message, "👍", Reacting::Remove).await);
    assert_eq!(told, 0);
    let after = [
        world.dump("messages").await,
        world.dump("chats").await,
        world.dump("inbox").await,
        world.dump("reactions").await,
    ];
    assert_eq!(after, before);
}

#[sqlx::test(migrations = "../../migrations")]
async fn nobody_reacts_to_what_they_cannot_see_or_what_is_gone(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let dora = world.person("dora").await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    let gone = world.send(&anna, chat, "oops").await.message.id;
    done(react(&world, &ben, chat, gone, "👍", Reacting::Add).await);
    world.people.delete_message(&anna.id, chat, gone).await.unwrap();
    assert_eq!(world.number("select count(*) from reactions").await, 0);
    let elsewhere = world.chat(Kind::Channel, &[&anna, &dora]).await;
    let before = [
        world.dump("messages").await,
        world.dump("chats").await,
        world.dump("inbox").await,
    ];
    for (who, chat, message) in [
        (&dora, chat, message),
        (&caller("nobody"), chat, message),
        (&dora, elsewhere, message),
        (&ben, chat, gone),
        (&ben, chat, MessageId::fresh()),
        (&ben, ChatId::fresh(), message),
    ] {
        for what in [Reacting::Add, Reacting::Remove] {
            let reacted = react(&world, who, chat, message, "👍", what).await;
            assert!(matches!(reacted, Reacted::NoSuchMessage), "{reacted:?}");
        }
    }
    let after = [
        world.dump("messages").await,
        world.dump("chats").await,
        world.dump("inbox").await,
    ];
    assert_eq!(after, before);
    assert_eq!(world.number("select count(*) from reactions").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_forty_different_emojis_at_once_twenty_are_taken(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    let taken = at_once(40, |number| {
        let (store, me) = (world.people.clone(), ben.id.clone());
        async move {
            let emoji = emoji(&format!(":e{number}:"));
            let reacted = store
                .react(&me, chat, message, &emoji, Reacting::Add, MOST)
                .await
                .unwrap();
            matches!(reacted, Reacted::Done { .. })
        }
    })
    .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 20);
    assert_eq!(world.number("select count(*) from reactions").await, 20);
    assert_eq!(world.number("select last_seq from chats").await, 21);
    // Others may still join in with what is there.
    let known = taken.iter().position(|taken| *taken).unwrap();
    let unknown = taken.iter().position(|taken| !*taken).unwrap();
    done(react(&world, &anna, chat, message, &format!(":e{known}:"), Reacting::Add).await);
    let refused = react(&world, &anna, chat, message, &format!(":e{unknown}:"), Reacting::Add).await;
    assert!(matches!(refused, Reacted::TooMany), "{refused:?}");
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_fifty_taps_at_once_one_counts(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    for (what, last_seq) in [(Reacting::Add, 2), (Reacting::Remove, 3)] {
        let told = at_once(50, |_| {
            let (store, me) = (world.people.clone(), ben.id.clone());
            async move { done(store.react(&me, chat, message, &emoji("👍"), what, MOST).await.unwrap()).1 }
        })
        .await;
        assert_eq!(told.iter().filter(|told| **told > 0).count(), 1, "{what:?}");
        assert_eq!(world.number("select last_seq from chats").await, last_seq);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn each_event_knows_all_that_came_before_it(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let mut people = vec![anna];
    for number in 0..15 {
        people.push(world.person(&format!("p{number}")).await);
    }
    let everyone: Vec<&Caller> = people.iter().collect();
    let chat = world.chat(Kind::Channel, &everyone).await;
    let message = world.send(&people[0], chat, "hi").await.message.id;
    let mut seen = at_once(16, |number| {
        let (store, me) = (world.people.clone(), people[number].id.clone());
        async move {
            let reacted = store
                .react(&me, chat, message, &emoji("👍"), Reacting::Add, MOST)
                .await
                .unwrap();
            let message = done(reacted).0;
            (message.changed_seq.value(), message.reactions[0].user_ids.len())
        }
    })
    .await;
    seen.sort_unstable();
    let expected: Vec<_> = (0..16_usize).map(|n| (i64::try_from(n).unwrap() + 2, n + 1)).collect();
    assert_eq!(seen, expected);
}

/// What a removed member, or a newcomer to whom history begins with the join, may not see they cannot react to, nor take
/// back what they said of it.
#[sqlx::test(migrations = "../../migrations")]
async fn who_may_not_see_a_message_any_more_or_yet_cannot_react_to_it(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.channel(&anna, &[&ben]).await;
    let message = world.send(&anna, chat, "before").await.message.id;
    done(react(&world, &ben, chat, message, "👍", Reacting::Add).await);
    world.remove(&anna, chat, &ben).await;
    let since_join = async |person: &Caller| {
        let people = std::slice::from_ref(&person.id);
        let joined = world
            .people
            .add_members(&anna.id, chat, people, MemberRole::Member, 10, History::SinceJoin);
        joined.await.unwrap();
    };
    since_join(&cleo).await;
    let state = async || {
        [
            world.dump("messages").await,
            world.dump("reactions").await,
            world.dump("chats").await,
            world.dump("inbox").await,
        ]
    };
    let refused = async |person: &Caller| {
        let before = state().await;
        // By the policies and the statement's own conditions together, and by the latter alone.
        for store in [&world.people, &world.system] {
            for (text, what) in [("👍", Reacting::Add), ("👍", Reacting::Remove), ("❤", Reacting::Add)] {
                let reacted = store
                    .react(&person.id, chat, message, &emoji(text), what, MOST)
                    .await
                    .unwrap();
                assert!(matches!(reacted, Reacted::NoSuchMessage), "{}: {reacted:?}", person.id);
            }
        }
        assert!(state().await == before, "{} changed something", person.id);
    };
    refused(&ben).await;
    refused(&cleo).await;
    // Back again, and yet not to what was before.
    since_join(&ben).await;
    refused(&ben).await;
    let after = world.send(&anna, chat, "after").await.message.id;
    for person in [&ben, &cleo] {
        done(react(&world, person, chat, after, "👍", Reacting::Add).await);
    }
}

/// Whoever waited for the chat while they were removed has not reacted.
#[sqlx::test(migrations = "../../migrations")]
async fn no_reaction_comes_after_its_authors_removal(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut refused = 0;
    for round in 0..20 {
        let chat = world.channel(&anna, &[&ben]).await;
        let message = world.send(&anna, chat, "hi").await.message.id;
        refused += at_once(8, |number| {
            let (world, anna, ben) = (world.clone(), anna.clone(), ben.clone());
            async move {
                if number == 0 {
                    for _ in 0..round % 4 {
                        tokio::task::yield_now().await;
                    }
                    world.remove(&anna, chat, &ben).await;
                    return false;
                }
                let reacted = react(&world, &ben, chat, message, &format!(":e{number}:"), Reacting::Add).await;
                matches!(reacted, Reacted::NoSuchMessage)
            }
        })
        .await
        .into_iter()
        .filter(|is_refused| *is_refused)
        .count();
        let late = format!(
            "select count(*) from inbox i, inbox r
             where i.chat_id = '{chat}' and i.user_id = 'anna' and i.event = 'member.removed' and r.user_id = 'anna'
                 and r.chat_id = i.chat_id and r.event = 'reaction.changed' and r.seq > i.seq"
        );
        assert_eq!(world.number(&late).await, 0);
    }
    assert!(refused > 0, "no race was lost: this shows nothing");
}
