//! Ten thousand things at once, by several people: afterwards arithmetic says what counting says, and nothing is out of
//! order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::chat::{Kind, MemberRole};
use domain::ids::{ChatId, MessageId};
use domain::message::EditHistory;
use domain::person::Caller;
use domain::text::Title;
use domain::unread::ReadMark;
use futures_util::future::join_all;
use sqlx::{Executor, PgPool};
use store::channels::Membership;
use store::chats::ChatChange;
use store::messages::{Change, SendOutcome};
use store::sweeps::Round;
use uuid::Uuid;

use crate::world::{FREE, LEASE, Random, World, draft, edit, seq};

const PEOPLE: [&str; 5] = ["anna", "ben", "cleo", "dan", "eve"];
const TASKS: usize = 12;
const OPERATIONS: usize = 10_000;
const LATELY: Duration = Duration::from_secs(24 * 60 * 60);

/// Fails whoever moves a read position back, in the middle of whatever they do; who marks as unread leaves `read_at` alone.
const WATCH: &str = "
    create function stay() returns trigger language plpgsql as $$
    begin
        if (new.read_seq, new.read_number, new.delivered_seq) is distinct from (old.read_seq, old.read_number, old.delivered_seq)
            and (
                new.read_at is distinct from old.read_at and (new.read_seq < old.read_seq or new.read_number < old.read_number)
                or new.delivered_seq < old.delivered_seq
            )
        then
            raise 'a read position moves back: % to %', old, new;
        end if;
        if new.uncounted < 0 then
            raise 'less than nothing is uncounted: % to %', old, new;
        end if;
        return new;
    end $$;
    create trigger stay before update on members for each row execute function stay();";

/// What counting finds that arithmetic does not: chat, person, both numbers.
const MISCOUNTED: &str = "
    select m.user_id || ' has ' || (c.last_number - m.read_number - m.uncounted) || ' for ' || counted.unread
        || ' in a ' || c.kind || ' chat: ' || to_jsonb(m)
    from members m
    join chats c on c.id = m.chat_id
    cross join lateral (
        select count(*) as unread from messages msg
        where msg.chat_id = m.chat_id and msg.seq > m.read_seq and msg.sender_id is distinct from m.user_id
            and msg.deleted_at is null
    ) as counted
    where c.last_number - m.read_number - m.uncounted <> counted.unread";

/// Members whose inbox does not tell a chat's seqs one after the other, from when they joined for the last time.
const OUT_OF_ORDER: &str = "
    select count(*) from members m
    join chats c on c.id = m.chat_id
    where (
        select array_agg(i.seq order by i.version) from inbox i
        where i.user_id = m.user_id and i.chat_id = m.chat_id and i.seq > 0 and i.version > (
            select coalesce(max(r.version), 0) from inbox r
            where r.user_id = m.user_id and r.chat_id = m.chat_id and r.event = 'member.removed'
                and r.data ->> 'userId' = m.user_id
        )
    ) is distinct from (select array_agg(n) from generate_series(greatest(1, m.joined_seq), c.last_seq) n)";

/// What people learnt of chats that they were not in.
const OVERHEARD: &str = "
    select count(*) from inbox i
    where i.event <> 'member.added' and i.seq is distinct from 0 and (
        select max(b.version) from inbox b
        where b.user_id = i.user_id and b.chat_id = i.chat_id and b.version < i.version
            and b.event = 'member.removed' and b.data ->> 'userId' = b.user_id
    ) > (
        select max(b.version) from inbox b
        where b.user_id = i.user_id and b.chat_id = i.chat_id and b.version < i.version
            and (b.event = 'member.added' and b.data -> 'members' @> jsonb_build_array(jsonb_build_object('userId', b.user_id))
                or b.seq = 0)
    )";

struct Place {
    id: ChatId,
    members: Vec<usize>,
    said: Mutex<Vec<(MessageId, usize)>>,
    /// The first of its people adds and removes the others, who also leave.
    comes_and_goes: bool,
}

impl Place {
    fn pick(&self, random: &mut Random) -> Option<(MessageId, usize)> {
        let said = self.said.lock().unwrap();
        // Of the latest, for those race.
        let few = said.len().min(12);
        (few > 0).then(|| said[said.len() - 1 - random.below(few)])
    }
}

async fn open(world: &World, people: &[Caller]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |id, members| {
        places.push(Place {
            id,
            members,
            said: Mutex::default(),
            comes_and_goes: false,
        });
    };
    for (me, person) in people.iter().enumerate() {
        add(world.assistant_chat(person).await, vec![me]);
        for (other, friend) in people.iter().enumerate().skip(me + 1).take(2) {
            let opened = world
                .people
                .open_direct_chat(&person.id, &friend.id, None)
                .await
                .unwrap();
            let store::chats::DirectChat::Opened { chat_id, .. } = opened else {
                panic!("{opened:?}")
            };
            add(chat_id, vec![me, other]);
        }
    }
    let everyone: Vec<_> = people.iter().collect();
    add(world.chat(Kind::Channel, &everyone).await, (0..people.len()).collect());
    for _ in 0..2 {
        places.push(Place {
            id: world.channel(everyone[0], &everyone[1..3]).await,
            members: (0..people.len()).collect(),
            said: Mutex::default(),
            comes_and_goes: true,
        });
    }
    places
}

/// One thing that somebody does.
async fn act(world: &World, people: &[Caller], places: &[Place], random: &mut Random) {
    let place = random.pick(places);
    let me = *random.pick(&place.members);
    let person = &people[me];
    if place.comes_and_goes && random.below(5) == 0 {
        let other = random.pick(people);
        let by = if random.below(3) == 0 { other } else { &people[0] };
        let outcome = match random.below(8) {
            0..3 => world.remove(by, place.id, other).await,
            3..6 => world.add(&people[0], place.id, other).await,
            6 => {
                let role = *random.pick(&[MemberRole::Admin, MemberRole::Member]);
                world
                    .people
                    .change_role(&by.id, place.id, &other.id, role)
                    .await
                    .unwrap()
            }
            _ => {
                let title = Title::parse(&format!("Harbour {}", random.below(2))).unwrap();
                let change = ChatChange {
                    title: (random.below(2) == 0).then_some(&title),
                    archived: Some(random.below(2) == 0),
                    muted: Some(false),
                };
                world.people.update_chat(&by.id, place.id, change, 5).await.unwrap();
                return;
            }
        };
        assert!(!matches!(
            outcome,
            Membership::Full | Membership::Unknown(_) | Membership::Blocked(_) | Membership::NotAChannel
        ));
        return;
    }
    match random.below(100) {
        0..40 => {
            let claim_for = (random.below(2) == 0).then_some(LEASE);
            let draft = draft(&Uuid::now_v7().to_string(), "hi");
            let sent = match world
                .people
                .send_message(person, place.id, &draft, claim_for, &FREE)
                .await
                .unwrap()
            {
                SendOutcome::Sent(sent) => sent,
                SendOutcome::NoSuchChat if place.comes_and_goes => return,
                other => panic!("not sent: {other:?}"),
            };
            place.said.lock().unwrap().push((sent.message.id, me));
            if let Some(claim) = sent.claim {
                let ended = world.complete(&claim, "an answer").await;
                place.said.lock().unwrap().push((ended.message.unwrap().id, usize::MAX));
            }
        }
        40..55 => {
            let said = place.said.lock().unwrap().len();
            let around = seq(i64::try_from((said * 4 / 3).saturating_sub(random.below(8))).unwrap());
            let mark = match random.below(4) {
                0 => ReadMark::Stay,
                1 => ReadMark::End,
                2 => ReadMark::UpTo(around),
                _ => ReadMark::UnreadFrom(around),
            };
            let delivered = (random.below(2) == 0).then_some(around);
            let standing = world
                .people
                .mark_chat_read(&person.id, place.id, mark, delivered)
                .await
                .unwrap();
            assert!(standing.is_some() || place.comes_and_goes);
        }
        55..70 => {
            let mut ids = Vec::new();
            for _ in 0..random.below(3) {
                let other = random.pick(places);
                ids.extend(other.pick(random).map(|(id, _)| id));
            }
            ids.extend(place.pick(random).map(|(id, _)| id));
            world.people.mark_messages_read(&person.id, &ids).await.unwrap();
        }
        dice => {
            let Some((message, sender)) = place.pick(random) else {
                return;
            };
            // Mostly one's own, and sometimes another's.
            let person = if sender < people.len() && random.below(10) > 0 {
                &people[sender]
            } else {
                person
            };
            let changed = edit(&format!("changed {dice}"));
            let change = if dice < 80 {
                world
                    .people
                    .edit_message(&person.id, place.id, message, &changed, EditHistory::None)
                    .await
                    .unwrap()
            } else {
                world
                    .people
                    .delete_message(&person.id, place.id, message)
                    .await
                    .unwrap()
            };
            let is_own = sender < people.len() && people[sender].id == person.id;
            match change {
                Change::NotYours => assert!(!is_own),
                Change::Made { message, .. } => assert!(is_own && message.changed_seq >= message.seq),
                Change::NoSuchMessage => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn work(world: &Arc<World>, people: &Arc<[Caller]>, places: &Arc<Vec<Place>>, operations: usize) {
    let tasks = (0..TASKS).map(|task| {
        let (world, places, people) = (world.clone(), places.clone(), people.clone());
        tokio::spawn(async move {
            let mut random = Random(20_261_121 + task as u64);
            for _ in 0..operations / TASKS {
                act(&world, &people, &places, &mut random).await;
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn ten_thousand_things_at_once_leave_unread_as_counted(pool: PgPool) {
    let world = Arc::new(World::on(pool).await);
    world.rows.execute(WATCH).await.unwrap();
    let mut people = Vec::new();
    for name in PEOPLE {
        people.push(world.person(name).await);
    }
    let places = Arc::new(open(&world, &people).await);
    let people: Arc<[Caller]> = people.into();

    let working = work(&world, &people, &places, OPERATIONS);
    // The sweeper counts in the middle of it, and finds nothing wrong.
    let sweeping = async {
        let mut runs = 0;
        loop {
            let wrong = world.repair(LATELY).await;
            assert!(wrong.is_empty(), "after {runs} runs: {wrong:?}");
            runs += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = working => {},
        never = sweeping => never,
    }

    let miscounted: Vec<String> = sqlx::query_scalar(MISCOUNTED).fetch_all(&world.rows).await.unwrap();
    assert_eq!(miscounted, Vec::<String>::new());
    for person in people.iter() {
        let counted = world
            .number(&format!(
                "select count(*) from members m join messages msg on msg.chat_id = m.chat_id and msg.seq > m.read_seq
                 where m.user_id = '{}' and not m.archived and msg.sender_id is distinct from m.user_id and msg.deleted_at is null",
                person.id
            ))
            .await;
        assert_eq!(
            world.people.me(&person.id).await.unwrap().unwrap().unread_total,
            counted,
            "{}",
            person.id
        );
    }
    assert_eq!(world.number(OUT_OF_ORDER).await, 0);
    assert_eq!(world.number(OVERHEARD).await, 0);
    world.assert_inboxes_are_contiguous().await;
    for (what, broken) in [
        (
            "chats whose messages are not numbered 1, 2, 3",
            "select count(*) from chats c where (
                 select array_agg(number order by seq) from messages where chat_id = c.id
             ) is distinct from (select array_agg(n) from generate_series(1, c.last_number) n)",
        ),
        (
            "messages that are at two places",
            "select count(*) from (
                 select 1 from messages group by chat_id, changed_seq having count(*) > 1
             ) as twice",
        ),
    ] {
        assert_eq!(world.number(broken).await, 0, "{what}");
    }
    for (what, least) in [
        ("select count(*) from messages", 3000),
        ("select count(*) from messages where deleted_at is not null", 500),
        ("select count(*) from messages where edited_at is not null", 300),
        ("select count(*) from inbox where event = 'read'", 500),
        ("select count(*) from inbox where event = 'member.added'", 100),
        ("select count(*) from inbox where event = 'member.removed'", 100),
    ] {
        let found = world.number(what).await;
        assert!(found >= least, "the script has become idle: {what} gives {found}");
    }

    assert!(world.repair(LATELY).await.is_empty());
}

#[sqlx::test(migrations = "../../migrations")]
async fn repairs_in_the_middle_of_everything_are_right_in_the_end(pool: PgPool) {
    let world = Arc::new(World::on(pool).await);
    let mut people = Vec::new();
    for name in PEOPLE {
        people.push(world.person(name).await);
    }
    let places = Arc::new(open(&world, &people).await);
    let people: Arc<[Caller]> = people.into();
    let working = work(&world, &people, &places, OPERATIONS / 4);
    let repairing = async {
        let mut repaired = 0;
        loop {
            // Those that nobody holds, in no order.
            let spoil = "update members set uncounted = uncounted + 1 where ctid = any(array(
                             select ctid from members for update skip locked
                         ))";
            world.rows.execute(spoil).await.unwrap();
            repaired += world.repair(LATELY).await.len();
            if repaired > 5000 {
                return;
            }
        }
    };
    tokio::join!(working, repairing);
    world.repair(LATELY).await;
    let miscounted: Vec<String> = sqlx::query_scalar(MISCOUNTED).fetch_all(&world.rows).await.unwrap();
    assert_eq!(miscounted, Vec::<String>::new());
    assert!(world.repair(LATELY).await.is_empty());
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_counter_that_is_wrong_is_put_right_once_and_everyone_told(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let other = world.chat(Kind::Channel, &[&anna, &ben]).await;
    for _ in 0..3 {
        world.send(&ben, chat, "hi").await;
        world.send(&ben, other, "hi").await;
    }
    assert!(world.repair(LATELY).await.is_empty());

    world
        .rows
        .execute("update members set uncounted = uncounted + 2 where user_id = 'anna'")
        .await
        .unwrap();
    let version = world.people.inbox_version(&anna.id).await.unwrap();
    let mut repaired = world.repair(LATELY).await;
    repaired.sort_by_key(|repaired| repaired.chat_id != chat);
    assert_eq!(repaired.len(), 2);
    for (repaired, chat) in repaired.iter().zip([chat, other]) {
        assert_eq!((repaired.chat_id, &repaired.user_id), (chat, &anna.id));
        assert_eq!((repaired.was, repaired.is), (1, 3));
    }
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 6);
    assert_eq!(
        world.people.inbox_version(&anna.id).await.unwrap(),
        version + 2,
        "polls ask anew"
    );
    assert!(world.repair(LATELY).await.is_empty());

    // Too little is put right like too much; somebody who is not there lately is left alone.
    world
        .rows
        .execute(
            "update members set uncounted = -4 where chat_id = any(array(select id from chats where kind = 'direct'))",
        )
        .await
        .unwrap();
    assert!(world.repair(Duration::ZERO).await.is_empty());
    let repaired = world.repair(LATELY).await;
    assert_eq!(repaired.len(), 2, "{repaired:?}");
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 6);
    assert_eq!(world.people.me(&ben.id).await.unwrap().unwrap().unread_total, 0);
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn busy_chats_take_turns_where_a_run_is_too_short_for_all(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for _ in 0..3 {
        let chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
        world.send(&anna, chat, "hi").await;
        chats.push(chat);
    }
    chats.sort_unstable_by_key(|chat| chat.uuid());
    let busy = async || world.system.busy_chats(LATELY, 10).await.unwrap();
    assert_eq!(busy().await, chats);
    world.system.note_reached(Round::Unread, Some(chats[0])).await.unwrap();
    assert_eq!(busy().await, [chats[1], chats[2], chats[0]]);
    assert_eq!(world.system.busy_chats(LATELY, 1).await.unwrap(), [chats[1]]);
}
