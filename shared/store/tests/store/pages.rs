//! History, catching up, and the list of chats, a page at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::chat::Kind;
use domain::ids::ChatId;
use domain::limits::PageSize;
use domain::page::Page;
use domain::person::Caller;
use sqlx::PgPool;
use store::chats::{ChatPage, ListFilter};
use store::messages::{MessagePage, Range};

use crate::world::{Random, World, page, seq};

async fn read(world: &World, me: &Caller, chat: ChatId, range: Range, size: i64) -> (Vec<i64>, bool, i64) {
    let MessagePage {
        messages,
        has_more,
        seq,
    } = world
        .people
        .messages(&me.id, chat, range, page(size))
        .await
        .unwrap()
        .unwrap();
    (
        messages.iter().map(|message| message.seq.value()).collect(),
        has_more,
        seq.value(),
    )
}

fn run(from: i64, to: i64) -> Vec<i64> {
    (from..=to).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn history_is_read_a_page_at_a_time_from_both_ends(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    assert_eq!(read(&world, &anna, chat, Range::Newest, 50).await, (vec![], false, 0));
    for number in 1..=130 {
        world.send(&anna, chat, &number.to_string()).await;
    }
    for (range, size, expected) in [
        (Range::Newest, 50, (run(81, 130), true)),
        (Range::Newest, 100, (run(31, 130), true)),
        (Range::Before(seq(81)), 50, (run(31, 80), true)),
        (Range::Before(seq(31)), 30, (run(1, 30), false)),
        (Range::Before(seq(32)), 30, (run(2, 31), true)),
        (Range::Before(seq(1)), 50, (vec![], false)),
        (Range::Before(seq(i64::MAX)), 1, (vec![130], true)),
        (Range::After(seq(0)), 100, (run(1, 100), true)),
        (Range::After(seq(100)), 30, (run(101, 130), false)),
        (Range::After(seq(99)), 30, (run(100, 129), true)),
        (Range::After(seq(130)), 50, (vec![], false)),
        (Range::After(seq(i64::MAX)), 50, (vec![], false)),
    ] {
        let (seqs, has_more, at) = read(&world, &anna, chat, range, size).await;
        assert_eq!((seqs, has_more), expected, "{range:?} {size}");
        assert_eq!(at, 130);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_client_that_was_away_catches_up_with_what_changed(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for number in 1..=9 {
        world.send(&anna, chat, &number.to_string()).await;
    }
    // The second and the third message changed after the others, as edits do.
    for sql in [
        "update chats set last_seq = 11 where id = $1",
        "update messages set changed_seq = seq + 8 where chat_id = $1 and seq in (2, 3)",
    ] {
        sqlx::query(sql).bind(chat.uuid()).execute(&world.rows).await.unwrap();
    }
    let mut at = 4;
    let mut seen = Vec::new();
    loop {
        let (seqs, has_more, next) = read(&world, &anna, chat, Range::ChangedAfter(seq(at)), 2).await;
        seen.extend(seqs);
        at = next;
        assert!(seen.len() < 20, "it goes round in circles: {seen:?}");
        if !has_more {
            break;
        }
    }
    assert_eq!(seen, [5, 6, 7, 8, 9, 2, 3]);
    assert_eq!(at, 11);
    assert_eq!(
        read(&world, &anna, chat, Range::ChangedAfter(seq(11)), 2).await,
        (vec![], false, 11)
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stranger_reads_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    world.send(&anna, chat, "hi").await;
    for range in [
        Range::Newest,
        Range::After(seq(0)),
        Range::Before(seq(9)),
        Range::ChangedAfter(seq(0)),
    ] {
        assert!(
            world
                .people
                .messages(&ben.id, chat, range, PageSize::DEFAULT)
                .await
                .unwrap()
                .is_none()
        );
    }
    assert!(world.people.chat(&ben.id, chat).await.unwrap().is_none());
    let (Page { items: messages, .. }, reply) = world.people.newest(&ben.id, chat, PageSize::DEFAULT).await.unwrap();
    assert!(messages.is_empty() && reply.is_none());
    assert_eq!(
        world
            .people
            .chats(&ben.id, ListFilter::default(), None, PageSize::DEFAULT)
            .await
            .unwrap()
            .total,
        0
    );
    assert_eq!(
        world
            .people
            .unread_messages(&ben.id, PageSize::DEFAULT)
            .await
            .unwrap()
            .total,
        0
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_chat_shows_its_members_and_where_they_are(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    world.send(&anna, chat, "1").await;
    world.send(&anna, chat, "2").await;

    let seen = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
    assert_eq!(
        (seen.kind, seen.unread_count, seen.read_seq, seen.last_seq),
        (Kind::Direct, 2, seq(0), seq(2))
    );
    assert_eq!(seen.user.unwrap().id, anna.id);
    assert_eq!(seen.last_message.unwrap().content, "2");
    let positions: Vec<_> = seen
        .members
        .iter()
        .map(|member| (member.user_id.as_str(), member.read_seq))
        .collect();
    assert_eq!(positions, [("anna", seq(2)), ("ben", seq(0))]);
    assert_eq!(
        world.people.chat(&anna.id, chat).await.unwrap().unwrap().unread_count,
        0
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_list_of_chats_is_by_activity_and_skips_and_repeats_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for index in 0..23 {
        let kind = if index % 3 == 0 { Kind::Channel } else { Kind::Assistant };
        chats.push(world.chat(kind, &[&anna]).await);
    }
    world.chat(Kind::Channel, &[&ben]).await;
    // Several in one microsecond, told apart by their ids.
    for sql in [
        "update chats set active_at = '2026-01-01' where id = any($1)",
        "update members set joined_at = '2026-01-01' where chat_id = any($1)",
    ] {
        sqlx::query(sql)
            .bind(chats[3..9].iter().map(|chat| chat.uuid()).collect::<Vec<_>>())
            .execute(&world.rows)
            .await
            .unwrap();
    }
    world.send(&anna, chats[5], "to the top").await;

    for size in [1, 4, 23, 50] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let list = world
                .people
                .chats(&anna.id, ListFilter::default(), after, page(size))
                .await
                .unwrap();
            assert_eq!(list.total, 23);
            seen.extend(list.chats.into_iter().map(|chat| chat.id));
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected = vec![chats[5]];
        expected.extend(chats[9..].iter().rev());
        expected.extend(chats[..3].iter().rev());
        let mut together: Vec<_> = chats[3..9].iter().copied().filter(|chat| *chat != chats[5]).collect();
        together.sort_unstable_by(|a, b| b.cmp(a));
        expected.extend(together);
        assert_eq!(seen, expected, "{size} a page");
    }
    let channels = world
        .people
        .chats(&anna.id, of_kind(Kind::Channel), None, PageSize::DEFAULT)
        .await
        .unwrap();
    assert_eq!(channels.total, 8);
    assert!(channels.chats.iter().all(|chat| chat.kind == Kind::Channel));
    let ids: HashSet<_> = channels.chats.iter().map(|chat| chat.id).collect();
    assert_eq!(ids.len(), 8);
    assert_eq!(
        world
            .people
            .chats(&anna.id, of_kind(Kind::Task), None, PageSize::DEFAULT)
            .await
            .unwrap()
            .total,
        0
    );
}

fn of_kind(kind: Kind) -> ListFilter {
    ListFilter {
        kind: Some(kind),
        archived: false,
    }
}

/// Every chat once, in the order that the list had when it was begun, however much is said meanwhile and by whom.
#[sqlx::test(migrations = "../../migrations")]
async fn pages_of_the_list_neither_skip_nor_repeat_while_messages_arrive(pool: PgPool) {
    let world = Arc::new(World::on(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for _ in 0..40 {
        let chat = world.channel(&anna, &[&ben]).await;
        world.send(&anna, chat, "hi").await;
        chats.push(chat);
    }
    let everything: HashSet<_> = chats.iter().copied().collect();
    let said = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..4)
        .map(|n| {
            let (world, chats, said) = (world.clone(), chats.clone(), said.clone());
            let sender = if n % 2 == 0 { anna.clone() } else { ben.clone() };
            tokio::spawn(async move {
                let mut random = Random(n);
                loop {
                    world.send(&sender, *random.pick(&chats), "hi").await;
                    said.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut orders = HashSet::new();
    let mut session = 0;
    while session < 40 || said.load(Ordering::Relaxed) < 500 {
        let size = [1, 3, 7, 39][session % 4];
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let list = world
                .people
                .chats(&anna.id, ListFilter::default(), after, page(size))
                .await
                .unwrap();
            seen.extend(list.chats.into_iter().map(|chat| chat.id));
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 40, "in session {session}, {size} a page");
        assert_eq!(seen.iter().copied().collect::<HashSet<_>>(), everything);
        orders.insert(seen);
        session += 1;
    }
    for sender in senders {
        sender.abort();
    }
    assert!(orders.len() > session / 2, "chats hardly moved: this shows nothing");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_chat_that_moves_to_the_top_is_still_where_it_was_on_later_pages(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for _ in 0..6 {
        chats.push(world.channel(&anna, &[&ben]).await);
    }
    // One with nothing said in it before, one with something, one that was shown already.
    world.send(&ben, chats[1], "hi").await;
    let filter = ListFilter::default();
    let first = world.people.chats(&anna.id, filter, None, page(2)).await.unwrap();
    let ids = |list: &ChatPage| list.chats.iter().map(|chat| chat.id).collect::<Vec<_>>();
    assert_eq!(ids(&first), [chats[1], chats[5]]);
    for chat in [0, 3, 1, 0, 1] {
        world.send(&ben, chats[chat], "to the top").await;
    }
    let fresh = world.channel(&anna, &[&ben]).await;
    let second = world.people.chats(&anna.id, filter, first.next, page(2)).await.unwrap();
    assert_eq!(ids(&second), [chats[4], chats[3]]);
    // As it is now, where it was.
    assert_eq!((second.chats[1].unread_count, second.total), (1, 7));
    world.send(&ben, chats[2], "to the top").await;
    let third = world
        .people
        .chats(&anna.id, filter, second.next, page(2))
        .await
        .unwrap();
    assert_eq!(ids(&third), [chats[2], chats[0]]);
    assert_eq!(third.next, None);
    let anew = world.people.chats(&anna.id, filter, None, page(10)).await.unwrap();
    assert_eq!(
        ids(&anew),
        [chats[2], fresh, chats[1], chats[0], chats[3], chats[5], chats[4]]
    );
}

/// What Lambda hands on of an answer at most, in bytes of the JSON that a function answers with.
const LAMBDA_BYTES: usize = 6_291_556;

/// As an older version took it: each character is six bytes of JSON, and seven of the JSON within Lambda's.
fn controls() -> String {
    "\u{1}".repeat(32 * 1024)
}

/// What a list takes of the answer to Lambda.
fn bytes(list: &impl serde::Serialize) -> usize {
    domain::page::bytes_in_answer(list)
}

/// A chat with so many messages of `text`, as if an older version had taken them.
async fn chat_of(world: &World, anna: &Caller, ben: &Caller, messages: i64, text: &str) -> ChatId {
    let chat = world.chat(Kind::Direct, &[anna, ben]).await;
    for number in 1..=messages {
        world.send(ben, chat, &number.to_string()).await;
    }
    sqlx::query("update messages set content = $2 where chat_id = $1")
        .bind(chat.uuid())
        .bind(text)
        .execute(&world.rows)
        .await
        .unwrap();
    chat
}

#[sqlx::test(migrations = "../../migrations")]
async fn no_page_is_larger_than_lambda_hands_on_whatever_was_stored(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = chat_of(&world, &anna, &ben, 50, &controls()).await;
    let store = &world.people;

    // Each character is `\\u0001` there.
    let whole = 50 * bytes(&controls());
    let mut sizes = Vec::new();

    // History, both ways and by change: with `hasMore` until all were there, each once.
    let (mut before, mut after, mut changed) = (i64::MAX, 0, 0);
    let (mut back, mut on, mut caught_up) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let page = store
            .messages(&anna.id, chat, Range::Before(seq(before)), page(100))
            .await
            .unwrap()
            .unwrap();
        sizes.push(bytes(&page.messages));
        back.splice(0..0, page.messages.iter().map(|message| message.seq.value()));
        before = back[0];
        if !page.has_more {
            break;
        }
    }
    loop {
        let page = store
            .messages(&anna.id, chat, Range::After(seq(after)), page(100))
            .await
            .unwrap()
            .unwrap();
        sizes.push(bytes(&page.messages));
        on.extend(page.messages.iter().map(|message| message.seq.value()));
        after = *on.last().unwrap();
        if !page.has_more {
            break;
        }
    }
    loop {
        let page = store
            .messages(&anna.id, chat, Range::ChangedAfter(seq(changed)), page(100))
            .await
            .unwrap()
            .unwrap();
        sizes.push(bytes(&page.messages));
        caught_up.extend(page.messages.iter().map(|message| message.seq.value()));
        changed = page.seq.value();
        if !page.has_more {
            break;
        }
    }
    for all in [&back, &on, &caught_up] {
        assert_eq!(*all, run(1, 50));
    }

    let (newest, _) = store.newest(&anna.id, chat, page(50)).await.unwrap();
    sizes.push(bytes(&newest.items));
    assert!(newest.has_more && newest.items.last().unwrap().seq == seq(50));

    // The unread list has no cursor: what was read makes room for the rest.
    let mut unread = Vec::new();
    loop {
        let list = store.unread_messages(&anna.id, page(50)).await.unwrap();
        sizes.push(bytes(&list.messages));
        assert_eq!(list.total, i64::try_from(50 - unread.len()).unwrap());
        assert_eq!(list.has_more, list.messages.len() + unread.len() < 50);
        let ids: Vec<_> = list.messages.iter().map(|message| message.id).collect();
        unread.extend(list.messages.iter().map(|message| message.seq.value()));
        store.mark_messages_read(&anna.id, &ids).await.unwrap();
        if !list.has_more {
            break;
        }
    }
    assert_eq!(unread, run(1, 50));

    let most = sizes.iter().max().unwrap();
    println!("50 messages of 32,768 control characters: {whole} bytes in one answer before, {most} in the largest now");
    assert!(whole > LAMBDA_BYTES, "{whole}");
    assert!(*most < LAMBDA_BYTES - 1024 * 1024, "{most}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_list_of_chats_goes_on_where_its_bytes_ended(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    for number in 0..60 {
        let other = world.person(&format!("other-{number}")).await;
        chat_of(&world, &anna, &other, 1, &controls()).await;
    }
    let (mut seen, mut cursor, mut most) = (Vec::new(), None, 0);
    loop {
        let page = world
            .people
            .chats(&anna.id, ListFilter::default(), cursor, page(100))
            .await
            .unwrap();
        most = most.max(bytes(&page.chats));
        assert_eq!(page.total, 60);
        seen.extend(page.chats.iter().map(|chat| chat.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(most < LAMBDA_BYTES - 1024 * 1024, "{most}");
    assert_eq!((seen.len(), seen.iter().collect::<HashSet<_>>().len()), (60, 60));
}

#[sqlx::test(migrations = "../../migrations")]
async fn other_lists_end_by_bytes_too(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = chat_of(&world, &anna, &ben, 1, "hello").await;
    let store = &world.people;
    let row: (uuid::Uuid,) = sqlx::query_as("select id from messages")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    for (sql, what) in [
        (
            "insert into message_versions (message_id, version, role, type, content, metadata, reason, created_at)
                select $1, number, 'user', 'TEXT', $2, '{}', 'edited', now() from generate_series(1, 60) as number",
            "versions",
        ),
        (
            "insert into posts (id, owner_id, content)
                select gen_random_uuid(), 'ben', $2 from generate_series(1, 60) where $1::uuid is not null",
            "posts",
        ),
    ] {
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(row.0)
            .bind(controls())
            .execute(&world.rows)
            .await;
        assert_eq!(done.unwrap().rows_affected(), 60, "{what}");
    }
    sqlx::query(
        "insert into chats (id, kind, owner_id, post_id) select gen_random_uuid(), 'post', 'ben', id from posts",
    )
    .execute(&world.rows)
    .await
    .unwrap();

    let (mut before, mut versions) = (None, 0);
    loop {
        let page = store
            .versions(&ben.id, chat, row.0.into(), before, page(100))
            .await
            .unwrap()
            .unwrap();
        assert!(bytes(&page.versions) < LAMBDA_BYTES - 1024 * 1024);
        versions += page.versions.len();
        before = page.versions.last().map(|version| version.version);
        if !page.has_more {
            break;
        }
    }
    let (mut after, mut posts) = (None, 0);
    loop {
        let page = store.posts(&ben.id, None, after, page(100)).await.unwrap();
        assert!(bytes(&page.posts) < LAMBDA_BYTES - 1024 * 1024);
        posts += page.posts.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((versions, posts), (60, 60));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_list_names_twenty_members_of_a_large_channel_and_its_chat_all(pool: PgPool) {
    let world = World::on(pool).await;
    let mut people = Vec::new();
    for number in 0..60 {
        people.push(world.person(&format!("person-{number:02}")).await);
    }
    let everyone: Vec<_> = people.iter().collect();
    let chat = world.chat(Kind::Channel, &everyone).await;
    sqlx::query(
        "update members set joined_at = now() + make_interval(secs => right(user_id, 2)::int),
            role = case user_id when 'person-50' then 'owner' when 'person-51' then 'admin' else 'member' end",
    )
    .execute(&world.rows)
    .await
    .unwrap();
    world.send(&people[55], chat, "hello").await;
    let me = &people[57];
    let page = world
        .people
        .chats(&me.id, ListFilter::default(), None, PageSize::DEFAULT)
        .await
        .unwrap();
    let listed = &page.chats[0];
    let named: Vec<_> = listed.members.iter().map(|member| member.user_id.to_string()).collect();
    // In the order in which they came, as ever: the first sixteen, and those who matter to me.
    let expected: Vec<_> = (0..16)
        .chain([50, 51, 55, 57])
        .map(|number| format!("person-{number:02}"))
        .collect();
    assert_eq!((named, listed.member_count), (expected, 60));
    let read = world.people.chat(&me.id, chat).await.unwrap().unwrap();
    assert_eq!((read.members.len(), read.member_count), (60, 60));
}
