//! Read positions by seq: on, back, to the end; what is unread is what counting finds.

use domain::chat::Kind;
use domain::event::EventType;
use domain::ids::{ChatId, UserId};
use domain::person::Caller;
use domain::unread::ReadMark;
use sqlx::{Executor, PgPool};
use store::reading::Standing;
use uuid::Uuid;

use crate::world::{World, page, seq};

impl World {
    async fn mark(&self, person: &Caller, chat: ChatId, mark: ReadMark, delivered: Option<i64>) -> Standing {
        self.people
            .mark_chat_read(&person.id, chat, mark, delivered.map(seq))
            .await
            .unwrap()
            .unwrap()
    }

    /// What counting finds, which no statement of ours does.
    async fn counted(&self, person: &Caller, chat: ChatId) -> i64 {
        self.number(&format!(
            "select count(*) from messages msg join members m using (chat_id)
             where chat_id = '{chat}' and m.user_id = '{}' and msg.seq > m.read_seq
                 and msg.sender_id is distinct from m.user_id and msg.deleted_at is null and msg.read_at is null",
            person.id
        ))
        .await
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_position_moves_on_and_back_and_unread_is_as_counted(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    // 1 to 4 are Anna's, 5 is Ben's, 6 to 9 are Anna's, and she deletes 3 and 8 by the events 10 and 11.
    let mut messages = Vec::new();
    for n in 1..=9 {
        let sender = if n == 5 { &ben } else { &anna };
        messages.push(world.send(sender, chat, "hi").await.message);
    }
    for n in [3, 8] {
        world
            .people
            .delete_message(&anna.id, chat, messages[n - 1].id)
            .await
            .unwrap();
    }
    use ReadMark::{End, Stay, UnreadFrom, UpTo};
    for (mark, delivered, read_seq, delivered_seq, unread) in [
        (Stay, None, 5, 5, 3),
        (Stay, Some(7), 5, 7, 3),
        // Delivered never goes back, and never beyond the end.
        (Stay, Some(6), 5, 7, 3),
        (UpTo(seq(6)), None, 6, 7, 2),
        (UpTo(seq(2)), None, 6, 7, 2),
        (UpTo(seq(8)), None, 8, 8, 1),
        (UnreadFrom(seq(7)), None, 6, 8, 2),
        (UnreadFrom(seq(9)), None, 6, 8, 2),
        (UnreadFrom(seq(1)), None, 0, 8, 6),
        (UpTo(seq(3)), None, 3, 8, 4),
        (End, None, 11, 11, 0),
        (UnreadFrom(seq(12)), None, 11, 11, 0),
        (UnreadFrom(seq(99)), Some(99), 11, 11, 0),
        (UnreadFrom(seq(11)), None, 10, 11, 0),
        (UnreadFrom(seq(9)), None, 8, 11, 1),
        (UpTo(seq(99)), None, 11, 11, 0),
    ] {
        let at = format!("{mark:?}, {delivered:?}");
        let standing = world.mark(&ben, chat, mark, delivered).await;
        let receipt = &standing.receipt;
        assert_eq!(
            (receipt.read_seq, receipt.delivered_seq),
            (seq(read_seq), seq(delivered_seq)),
            "{at}"
        );
        assert_eq!(standing.unread_count, unread, "{at}");
        assert_eq!(world.counted(&ben, chat).await, unread, "{at}");
        let bens = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
        assert_eq!((bens.unread_count, bens.read_seq), (unread, seq(read_seq)), "{at}");
        let member = bens
            .members
            .into_iter()
            .find(|member| member.user_id == ben.id)
            .unwrap();
        assert_eq!(
            (member.read_seq, member.delivered_seq),
            (receipt.read_seq, receipt.delivered_seq),
            "{at}"
        );
        assert_eq!(member.read_at, receipt.read_at, "{at}");
        let unread_list = world.people.unread_messages(&ben.id, page(10)).await.unwrap();
        assert_eq!(unread_list.total, unread, "{at}");
        assert_eq!(i64::try_from(unread_list.messages.len()).unwrap(), unread, "{at}");
    }
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn everyone_is_told_once_and_not_where_nothing_moves(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for _ in 0..3 {
        world.send(&anna, chat, "hi").await;
    }
    let version = world.people.inbox_version(&anna.id).await.unwrap();
    let first = world.mark(&ben, chat, ReadMark::Stay, Some(2)).await;
    assert_eq!(first.receipt.read_at, None, "on the device is not read");
    let second = world.mark(&ben, chat, ReadMark::End, None).await;
    assert!(second.receipt.read_at.is_some());
    assert_eq!(second.audience.len(), 2);
    let again = world.mark(&ben, chat, ReadMark::End, None).await;
    assert_eq!(
        (again.receipt.clone(), again.audience),
        (second.receipt.clone(), Vec::<UserId>::new())
    );
    let news = world.people.news(&anna.id, version, None, 100).await.unwrap();
    let told: Vec<_> = news.events.into_iter().flat_map(|(_, events)| events).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (event, standing) in told.iter().zip([&first, &second]) {
        assert_eq!((event.event_type, event.seq), (EventType::Read, None));
        assert_eq!(event.data, serde_json::json!(standing.receipt));
    }
    // Back again, it is when they read last that is told.
    let back = world.mark(&ben, chat, ReadMark::UnreadFrom(seq(2)), None).await;
    assert_eq!((back.receipt.read_at, back.unread_count), (second.receipt.read_at, 2));
    let stranger = world.person("cleo").await;
    for store in [&world.people, &world.system] {
        let none = store
            .mark_chat_read(&stranger.id, chat, ReadMark::End, None)
            .await
            .unwrap();
        assert!(none.is_none());
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn notices_that_are_passed_are_marked_each_by_itself(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.chat(Kind::Task, &[&anna]).await;
    let mut ids = Vec::new();
    for n in 1_i64..=6 {
        let id = Uuid::now_v7();
        sqlx::query(
            "with c as (
                 update chats set last_seq = $2, last_number = $2, last_message_seq = $2 where id = $1 returning id
             )
             insert into messages (chat_id, seq, id, number, changed_seq, role, type, content)
             select id, $2, $3, $2, $2, 'assistant', 'INFO', 'notice' from c",
        )
        .bind(chat.uuid())
        .bind(n)
        .bind(id)
        .execute(&world.rows)
        .await
        .unwrap();
        ids.push(id.into());
    }
    let read = async || -> Vec<i64> {
        let sql = "select seq from messages where chat_id = $1 and read_at is not null order by seq";
        sqlx::query_scalar(sql)
            .bind(chat.uuid())
            .fetch_all(&world.rows)
            .await
            .unwrap()
    };
    let check = async |unread: i64, expected: &[i64]| {
        assert_eq!(read().await, expected);
        assert_eq!(world.counted(&anna, chat).await, unread);
        assert_eq!(
            world.people.chat(&anna.id, chat).await.unwrap().unwrap().unread_count,
            unread
        );
        assert_eq!(
            world.people.unread_messages(&anna.id, page(10)).await.unwrap().total,
            unread
        );
    };
    world.people.mark_messages_read(&anna.id, &[ids[3]]).await.unwrap();
    check(5, &[4]).await;
    assert_eq!(
        world.mark(&anna, chat, ReadMark::UpTo(seq(2)), None).await.unread_count,
        3
    );
    check(3, &[1, 2, 4]).await;
    assert_eq!(
        world
            .mark(&anna, chat, ReadMark::UnreadFrom(seq(4)), None)
            .await
            .unread_count,
        4
    );
    check(4, &[1, 2]).await;
    assert_eq!(
        world
            .mark(&anna, chat, ReadMark::UnreadFrom(seq(2)), None)
            .await
            .unread_count,
        5
    );
    check(5, &[1]).await;
    assert_eq!(world.mark(&anna, chat, ReadMark::End, None).await.unread_count, 0);
    check(0, &[1, 2, 3, 4, 5, 6]).await;
    assert_eq!(
        world
            .mark(&anna, chat, ReadMark::UnreadFrom(seq(6)), None)
            .await
            .unread_count,
        1
    );
    check(1, &[1, 2, 3, 4, 5]).await;
    world.people.mark_messages_read(&anna.id, &ids).await.unwrap();
    check(0, &[1, 2, 3, 4, 5, 6]).await;
}

/// Where history begins with the join, so does what can be marked as unread.
#[sqlx::test(migrations = "../../migrations")]
async fn nothing_from_before_one_sees_is_marked_as_unread(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[]).await;
    for _ in 0..3 {
        world.send(&anna, chat, "before").await;
    }
    let (role, history) = (domain::chat::MemberRole::Member, domain::chat::History::SinceJoin);
    world
        .people
        .add_members(&anna.id, chat, std::slice::from_ref(&ben.id), role, 10, history)
        .await
        .unwrap();
    assert_eq!(
        world
            .mark(&ben, chat, ReadMark::UnreadFrom(seq(1)), None)
            .await
            .unread_count,
        0
    );
    for _ in 0..2 {
        world.send(&anna, chat, "after").await;
    }
    assert_eq!(world.mark(&ben, chat, ReadMark::End, None).await.unread_count, 0);
    let back = world.mark(&ben, chat, ReadMark::UnreadFrom(seq(1)), None).await;
    assert_eq!((back.receipt.read_seq, back.unread_count), (seq(4), 2));
    assert_eq!(
        world
            .people
            .unread_messages(&ben.id, page(10))
            .await
            .unwrap()
            .messages
            .len(),
        2
    );
}

/// A message that all of many read would be told as many times as they are, to as many.
#[sqlx::test(migrations = "../../migrations")]
async fn in_a_large_channel_receipts_are_read_and_not_told(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut people = Vec::new();
    for n in 0..20 {
        people.push(world.person(&format!("p{n}")).await);
    }
    let everyone: Vec<_> = people.iter().collect();
    let small = world.channel(&anna, &everyone[..19]).await;
    let large = world.channel(&anna, &everyone).await;
    for (chat, told) in [(small, 20), (large, 1)] {
        let said = world.send(&anna, chat, "hi").await.message;
        let delivered = world.mark(&people[0], chat, ReadMark::Stay, Some(1)).await;
        let standing = world.mark(&people[0], chat, ReadMark::End, None).await;
        assert_eq!((delivered.audience.len(), standing.audience.len()), (told, told));
        assert!(standing.audience.contains(&people[0].id), "other devices of the reader");
        let by_id = world
            .people
            .mark_messages_read(&people[1].id, &[said.id])
            .await
            .unwrap();
        assert_eq!(by_id.reads[0].audience.len(), told);
        let annas = world.people.chat(&anna.id, chat).await.unwrap().unwrap();
        assert_eq!(
            annas.members.iter().filter(|member| member.read_seq == seq(1)).count(),
            3
        );
    }
    world.assert_inboxes_are_contiguous().await;
}

/// Own and deleted messages and holes lie anywhere: wherever a position comes from, it has as many before it as counting says.
#[sqlx::test(migrations = "../../migrations")]
async fn what_does_not_count_is_the_same_from_wherever_a_position_comes(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
    world.fill(chat, 24, &[&anna, &ben, &ben]).await;
    for sql in [
        "update messages set deleted_at = now() where seq % 5 = 0",
        "delete from messages where seq in (2, 7, 8, 24)",
    ] {
        world.rows.execute(sql).await.unwrap();
    }
    let wrong = "select count(*)
                 from generate_series(0, 24) as old, generate_series(0, 24) as new, chats c
                 where uncounted_at(
                     c.id, old, old, uncounted_after(c.id, old, old, 'anna'), new, new, 'anna'
                 ) <> uncounted_after(c.id, new, new, 'anna')";
    assert_eq!(world.number(wrong).await, 0);
}
