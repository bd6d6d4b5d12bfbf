//! What is older than is kept goes, and everything that is counted stays right.

use chrono::{TimeDelta, Utc};
use domain::chat::Kind;
use domain::ids::{ChatId, Seq, UserId};
use domain::limits::PageSize;
use domain::message::MessageType;
use domain::retention::Retention;
use domain::unread::ReadMark;
use sqlx::PgPool;
use store::messages::Range;
use store::sweeps::Round;

use crate::notices::{notice, notify, of_organisation};
use crate::world::World;

async fn age(world: &World, chat: ChatId, up_to: i64, days: i32) {
    sqlx::query("update messages set created_at = now() - make_interval(days => $3) where chat_id = $1 and seq <= $2")
        .bind(chat.uuid())
        .bind(up_to)
        .bind(days)
        .execute(&world.rows)
        .await
        .unwrap();
}

async fn expire(world: &World, chat: ChatId, most: i32) -> i32 {
    world
        .system
        .expire_messages(chat, Utc::now() - TimeDelta::days(30), most)
        .await
        .unwrap()
}

/// What the person's unread count says, and how many messages the list has for them.
async fn unread(world: &World, person: &UserId, chat: ChatId) -> (i64, i64) {
    let count = world.people.chat(person, chat).await.unwrap().unwrap().unread_count;
    let list = world.people.unread_messages(person, PageSize::LARGEST).await.unwrap();
    let listed = list.messages.iter().filter(|message| message.chat_id == chat).count();
    (count, i64::try_from(listed).unwrap())
}

async fn seqs(world: &World, person: &UserId, chat: ChatId) -> Vec<i64> {
    let page = world
        .people
        .messages(person, chat, Range::Newest, PageSize::LARGEST)
        .await
        .unwrap()
        .unwrap();
    page.messages.iter().map(|message| message.seq.value()).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn read_notices_go_first_and_the_rest_stays_countable(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut sent = Vec::new();
    for says in ["1", "2", "3", "4", "5", "6"] {
        sent.push(
            notify(&world, &notice("anna", "t", MessageType::Info, says))
                .await
                .message,
        );
    }
    let chat = sent[0].chat_id;
    age(&world, chat, 5, 40).await;
    world
        .people
        .mark_messages_read(&anna.id, &[sent[1].id, sent[3].id])
        .await
        .unwrap();
    assert_eq!(unread(&world, &anna.id, chat).await, (4, 4));
    assert_eq!(expire(&world, chat, 2).await, 2);
    assert_eq!(seqs(&world, &anna.id, chat).await, [1, 3, 5, 6]);
    assert_eq!(unread(&world, &anna.id, chat).await, (4, 4));
    let version = world.people.inbox_version(&anna.id).await.unwrap();
    // Unread ones go as well, and are one less to read each; pollers learn of it.
    assert_eq!(expire(&world, chat, 2).await, 2);
    assert_eq!(seqs(&world, &anna.id, chat).await, [5, 6]);
    assert_eq!(unread(&world, &anna.id, chat).await, (2, 2));
    assert!(world.people.inbox_version(&anna.id).await.unwrap() > version);
    world.assert_inboxes_are_contiguous().await;
    // Wherever the position moves from here, gone messages count for nothing.
    for mark in [
        ReadMark::UnreadFrom(Seq::new(1).unwrap()),
        ReadMark::UpTo(Seq::new(3).unwrap()),
        ReadMark::UpTo(Seq::new(5).unwrap()),
        ReadMark::UnreadFrom(Seq::new(2).unwrap()),
        ReadMark::End,
        ReadMark::UnreadFrom(Seq::new(6).unwrap()),
    ] {
        let standing = world
            .people
            .mark_chat_read(&anna.id, chat, mark, None)
            .await
            .unwrap()
            .unwrap();
        let (count, listed) = unread(&world, &anna.id, chat).await;
        assert_eq!((standing.unread_count, count), (listed, listed), "{mark:?}");
    }
    assert_eq!(expire(&world, chat, 100).await, 1);
    assert_eq!(
        world
            .people
            .mark_messages_read(&anna.id, &[sent[5].id])
            .await
            .unwrap()
            .count,
        1
    );
    assert_eq!(unread(&world, &anna.id, chat).await, (0, 0));
    // The seq goes on.
    let next = notify(&world, &notice("anna", "t", MessageType::Info, "7"))
        .await
        .message;
    assert_eq!(next.seq.value(), 7);
    assert_eq!(unread(&world, &anna.id, chat).await, (1, 1));
    assert_eq!(world.repair(std::time::Duration::from_secs(600)).await, []);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_position_in_a_gap_counts_right_when_notices_are_marked_unread_again(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut sent = Vec::new();
    for says in ["1", "2", "3", "4"] {
        sent.push(
            notify(&world, &notice("anna", "t", MessageType::Info, says))
                .await
                .message,
        );
    }
    let chat = sent[0].chat_id;
    world
        .people
        .mark_chat_read(&anna.id, chat, ReadMark::UpTo(Seq::new(1).unwrap()), None)
        .await
        .unwrap();
    world
        .people
        .mark_messages_read(&anna.id, &[sent[1].id, sent[3].id])
        .await
        .unwrap();
    age(&world, chat, 2, 40).await;
    assert_eq!(expire(&world, chat, 100).await, 2);
    assert_eq!(unread(&world, &anna.id, chat).await, (1, 1));
    // The position stays at 1, which is gone as is 2; only the tick of 4 is taken back.
    world
        .people
        .mark_chat_read(&anna.id, chat, ReadMark::UnreadFrom(Seq::new(4).unwrap()), None)
        .await
        .unwrap();
    assert_eq!(unread(&world, &anna.id, chat).await, (2, 2));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_channel_keeps_everyones_count(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Channel, &[&anna, &ben, &cleo]).await;
    for sender in [&anna, &ben, &anna, &cleo, &anna] {
        world.send(sender, chat, "hi").await;
    }
    let before = (
        unread(&world, &ben.id, chat).await,
        unread(&world, &cleo.id, chat).await,
    );
    assert_eq!(before, ((3, 3), (1, 1)));
    age(&world, chat, 4, 40).await;
    assert_eq!(expire(&world, chat, 100).await, 4);
    for person in [&anna, &ben, &cleo] {
        assert_eq!(seqs(&world, &person.id, chat).await, [5]);
        let (count, listed) = unread(&world, &person.id, chat).await;
        assert_eq!(count, listed, "{}", person.id);
    }
    assert_eq!(unread(&world, &ben.id, chat).await, (1, 1));
}

#[sqlx::test(migrations = "../../migrations")]
async fn nothing_goes_while_an_answer_is_written(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let asked = world.ask(&anna, chat, "hi").await;
    age(&world, chat, 1, 40).await;
    assert_eq!(expire(&world, chat, 100).await, 0);
    world.complete(asked.claim.as_ref().unwrap(), "hello").await;
    assert_eq!(expire(&world, chat, 100).await, 1);
    assert_eq!(seqs(&world, &anna.id, chat).await, [2]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_round_finds_what_is_too_old_by_kind_and_organisation(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let usual = notify(&world, &notice("anna", "usual", MessageType::Info, "x"))
        .await
        .message
        .chat_id;
    let longer = notify(
        &world,
        &of_organisation(notice("anna", "longer", MessageType::Info, "x"), "acme"),
    )
    .await
    .message
    .chat_id;
    let forever = notify(
        &world,
        &of_organisation(notice("anna", "forever", MessageType::Info, "x"), "archive"),
    )
    .await
    .message
    .chat_id;
    let assistant = world.assistant_chat(&anna).await;
    world.ask(&anna, assistant, "hi").await;
    for chat in [usual, longer, forever, assistant] {
        age(&world, chat, 1, 40).await;
    }
    sqlx::query("insert into retention (org_id, kind, days) values ('acme', 'task', 90), ('archive', 'task', null)")
        .execute(&world.rows)
        .await
        .unwrap();
    let found = async |days: i32| {
        let looked = world
            .system
            .expiring(&Retention(vec![(Kind::Task, days)]), 100)
            .await
            .unwrap();
        assert_eq!(looked.reached, None);
        looked.chats.into_iter().map(|(chat, _)| chat).collect::<Vec<_>>()
    };
    assert_eq!(found(30).await, [usual]);
    assert_eq!(found(60).await, []);
    sqlx::query("update retention set days = 20 where org_id = 'acme'")
        .execute(&world.rows)
        .await
        .unwrap();
    assert_eq!(found(60).await, [longer]);
    // Page after page, and then from the beginning.
    let policy = Retention(vec![(Kind::Task, 30)]);
    let first = world.system.expiring(&policy, 2).await.unwrap();
    world
        .system
        .note_reached(Round::Retention, first.reached)
        .await
        .unwrap();
    let second = world.system.expiring(&policy, 2).await.unwrap();
    assert!(second.reached > first.reached && first.reached.is_some());
    world
        .system
        .note_reached(Round::Retention, second.reached)
        .await
        .unwrap();
    let third = world.system.expiring(&policy, 2).await.unwrap();
    assert_eq!((third.chats.len(), third.reached), (0, None));
    world
        .system
        .note_reached(Round::Retention, third.reached)
        .await
        .unwrap();
    assert_eq!(world.system.expiring(&policy, 2).await.unwrap().reached, first.reached);
}
