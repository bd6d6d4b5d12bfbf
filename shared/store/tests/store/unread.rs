//! Unread is arithmetic, and the arithmetic must say what counting would.

use std::collections::{BTreeSet, HashMap};

use domain::chat::Kind;
use domain::ids::{ChatId, JobId, MessageId};
use domain::limits::PageSize;
use domain::person::Caller;
use domain::reply::Failure;
use sqlx::PgPool;
use store::chats::{Deleted, ListFilter};
use store::replies::ClaimOutcome;

use crate::world::{Random, World, completed, failed, page};

/// What a person who counts on their fingers knows of a chat.
struct Counted {
    id: ChatId,
    kind: Kind,
    members: Vec<usize>,
    messages: Vec<Said>,
    /// By person, the last message that they have read or stepped over.
    read: HashMap<usize, usize>,
    /// Replies that are to come, by job.
    pending: Vec<JobId>,
}

struct Said {
    id: MessageId,
    sender: Option<usize>,
    is_ticked: bool,
}

impl Counted {
    fn unread(&self, me: usize) -> Vec<MessageId> {
        let from = self.read.get(&me).copied().unwrap_or(0);
        let after = self.messages.iter().skip(from);
        after
            .filter(|said| said.sender != Some(me) && !said.is_ticked)
            .map(|said| said.id)
            .collect()
    }

    fn say(&mut self, id: MessageId, sender: Option<usize>) {
        self.messages.push(Said {
            id,
            sender,
            is_ticked: false,
        });
        if let Some(sender) = sender {
            self.read.insert(sender, self.messages.len());
        }
    }

    /// How many of the named messages were unread, and are not any more.
    fn mark(&mut self, me: usize, ids: &BTreeSet<MessageId>) -> i64 {
        if !self.members.contains(&me) {
            return 0;
        }
        let unread = self.unread(me);
        let named: Vec<_> = unread.into_iter().filter(|id| ids.contains(id)).collect();
        if self.kind == Kind::Task {
            self.messages
                .iter_mut()
                .filter(|said| named.contains(&said.id))
                .for_each(|said| said.is_ticked = true);
        } else if let Some(furthest) = self.messages.iter().rposition(|said| named.contains(&said.id)) {
            self.read.insert(me, furthest + 1);
        }
        i64::try_from(named.len()).unwrap()
    }
}

const PEOPLE: [&str; 4] = ["anna", "ben", "cleo", "dan"];

async fn open(world: &World, people: &[Caller], random: &mut Random, kind: Kind) -> Counted {
    let owner = random.below(people.len());
    let other = (owner + 1 + random.below(people.len() - 1)) % people.len();
    let members = match kind {
        Kind::Channel => vec![
            owner,
            other,
            (0..people.len()).find(|third| ![owner, other].contains(third)).unwrap(),
        ],
        Kind::Direct => vec![owner, other],
        _ => vec![owner],
    };
    let id = match kind {
        Kind::Assistant => world.assistant_chat(&people[owner]).await,
        _ => {
            world
                .chat(kind, &members.iter().map(|member| &people[*member]).collect::<Vec<_>>())
                .await
        }
    };
    Counted {
        id,
        kind,
        members,
        messages: Vec::new(),
        read: HashMap::new(),
        pending: Vec::new(),
    }
}

/// A notice of an agent, as no route sends it yet.
async fn notify(world: &World, chat: ChatId) -> MessageId {
    let id = MessageId::fresh();
    let sql = "with taken as (
                   update chats set last_seq = last_seq + 1, last_number = last_number + 1,
                       last_message_seq = last_seq + 1, last_message_at = now(), active_at = now()
                   where id = $1 returning id, last_seq, last_number
               )
               insert into messages (chat_id, seq, id, number, changed_seq, role, type, content)
               select id, last_seq, $2, last_number, last_seq, 'system', 'INFO', 'a notice' from taken";
    sqlx::query(sql)
        .bind(chat.uuid())
        .bind(id.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    id
}

async fn assert_all_agree(world: &World, people: &[Caller], chats: &[Counted], step: usize) {
    for (me, person) in people.iter().enumerate() {
        let mine: Vec<_> = chats.iter().filter(|chat| chat.members.contains(&me)).collect();
        let counted: usize = mine.iter().map(|chat| chat.unread(me).len()).sum();
        let total = world.people.me(&person.id).await.unwrap().unwrap().unread_total;
        assert_eq!(
            total,
            i64::try_from(counted).unwrap(),
            "step {step}: the total of {}",
            person.id
        );

        let list = world
            .people
            .chats(&person.id, ListFilter::default(), None, page(100))
            .await
            .unwrap();
        assert_eq!(list.chats.len(), mine.len());
        for chat in &mine {
            let seen = list.chats.iter().find(|seen| seen.id == chat.id).unwrap();
            let unread = i64::try_from(chat.unread(me).len()).unwrap();
            assert_eq!(
                seen.unread_count, unread,
                "step {step}: a {} of {}",
                chat.kind, person.id
            );
        }

        let unread = world.people.unread_messages(&person.id, page(100)).await.unwrap();
        assert_eq!(unread.total, total, "step {step}");
        assert_eq!(unread.has_more, counted > 100, "step {step}");
        assert!(
            unread.messages.is_sorted_by_key(|message| message.created_at),
            "step {step}"
        );
        let listed: BTreeSet<_> = unread.messages.iter().map(|message| message.id).collect();
        assert_eq!(listed.len(), counted.min(100), "step {step}");
        let counted: BTreeSet<_> = mine.iter().flat_map(|chat| chat.unread(me)).collect();
        assert!(listed.is_subset(&counted), "step {step}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn five_hundred_steps_leave_unread_as_counted(pool: PgPool) {
    let world = World::on(pool).await;
    let mut random = Random(20_261_121);
    let mut people = Vec::new();
    for name in PEOPLE {
        people.push(world.person(name).await);
    }
    let mut chats = Vec::new();
    for kind in [
        Kind::Assistant,
        Kind::Assistant,
        Kind::Channel,
        Kind::Channel,
        Kind::Task,
        Kind::Task,
    ] {
        chats.push(open(&world, &people, &mut random, kind).await);
    }
    chats.push(open(&world, &people, &mut random, Kind::Direct).await);

    let mut marked = 0;
    for step in 0..500 {
        let which = random.below(chats.len());
        match random.below(100) {
            0..40 => {
                let chat = &mut chats[which];
                let sender = *random.pick(&chat.members);
                let sent = world.send(&people[sender], chat.id, "hi").await;
                chat.say(sent.message.id, Some(sender));
                chat.pending.extend(sent.wake.map(|wake| wake.job_id));
            }
            40..60 => {
                let chat = &mut chats[which];
                if chat.kind == Kind::Task {
                    let id = notify(&world, chat.id).await;
                    chat.say(id, None);
                } else if !chat.pending.is_empty() {
                    let job = chat.pending.remove(0);
                    let ClaimOutcome::Claimed(claim) = world.reach(job).await else {
                        panic!("step {step}")
                    };
                    let ending = if random.below(4) == 0 {
                        failed(Failure::Silent)
                    } else {
                        completed("answer")
                    };
                    let ended = world.system.end_reply(&claim, &ending).await.unwrap().unwrap();
                    chat.say(ended.message.unwrap().id, None);
                }
            }
            60..97 => {
                // Anything goes: foreign ones, own ones, some twice, some read long ago.
                let me = random.below(people.len());
                let known: Vec<_> = chats
                    .iter()
                    .flat_map(|chat| &chat.messages)
                    .map(|said| said.id)
                    .collect();
                if known.is_empty() {
                    continue;
                }
                let few = 1 + random.below(4);
                let mut ids: Vec<_> = (0..few).map(|_| *random.pick(&known)).collect();
                let mine: Vec<_> = chats.iter().filter(|chat| chat.members.contains(&me)).collect();
                let unread: Vec<_> = mine.iter().flat_map(|chat| chat.unread(me)).collect();
                if !unread.is_empty() {
                    ids.push(*random.pick(&unread));
                }
                ids.push(MessageId::fresh());
                let named = ids.iter().copied().collect();
                let expected: i64 = chats.iter_mut().map(|chat| chat.mark(me, &named)).sum();
                let done = world.people.mark_messages_read(&people[me].id, &ids).await.unwrap();
                assert_eq!(done.count, expected, "step {step}");
                marked += expected;
            }
            _ => {
                let kind = chats[which].kind;
                if matches!(kind, Kind::Assistant | Kind::Channel) {
                    let owner = &people[chats[which].members[0]];
                    let deleted = world.people.delete_chat(&owner.id, chats[which].id).await.unwrap();
                    assert!(matches!(deleted, Deleted::Gone { .. }));
                    chats[which] = open(&world, &people, &mut random, kind).await;
                }
            }
        }
        assert_all_agree(&world, &people, &chats, step).await;
    }
    assert!(marked > 50, "the script has become idle: it marked {marked}");
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn marking_moves_the_position_to_the_furthest_and_never_back(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let mut ids = Vec::new();
    for text in ["1", "2", "3", "4"] {
        ids.push(world.send(&ben, chat, text).await.message.id);
    }

    let third = world
        .people
        .mark_messages_read(&anna.id, &[ids[2], ids[0]])
        .await
        .unwrap();
    assert_eq!(third.count, 2, "those that were named and unread");
    assert_eq!(third.reads.len(), 1);
    assert_eq!(third.reads[0].receipt.read_seq, crate::world::seq(3));
    let mut audience = third.reads[0].audience.clone();
    audience.sort();
    assert_eq!(audience, [anna.id.clone(), ben.id.clone()]);
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 1);

    let back = world
        .people
        .mark_messages_read(&anna.id, &[ids[0], ids[1]])
        .await
        .unwrap();
    assert_eq!((back.count, back.reads.len()), (0, 0));
    assert_eq!(
        world.people.chat(&anna.id, chat).await.unwrap().unwrap().read_seq,
        crate::world::seq(3)
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn notices_are_read_one_by_one(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.chat(Kind::Task, &[&anna]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(notify(&world, chat).await);
    }
    assert_eq!(
        world
            .people
            .mark_messages_read(&anna.id, &[ids[2]])
            .await
            .unwrap()
            .count,
        1
    );
    let unread = world.people.unread_messages(&anna.id, PageSize::DEFAULT).await.unwrap();
    assert_eq!(
        unread.messages.iter().map(|message| message.id).collect::<Vec<_>>(),
        ids[..2]
    );
    assert_eq!(world.people.mark_messages_read(&anna.id, &ids).await.unwrap().count, 2);
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 0);
    // Nothing is left to look through: the position has moved to the end.
    assert_eq!(world.number("select read_number + uncounted from members").await, 3);
    assert_eq!(world.number("select uncounted from members").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_muted_chat_counts_for_itself_and_not_in_the_total(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    for kind in [Kind::Direct, Kind::Channel] {
        let chat = world.chat(kind, &[&anna, &ben]).await;
        world.send(&ben, chat, "hi").await;
    }
    sqlx::query("update members set muted = true where user_id = 'anna' and role = 'member'")
        .execute(&world.rows)
        .await
        .unwrap();
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 1);
    let list = world
        .people
        .chats(&anna.id, ListFilter::default(), None, page(10))
        .await
        .unwrap();
    assert!(list.chats.iter().all(|chat| chat.unread_count == 1));
}

#[sqlx::test(migrations = "../../migrations")]
async fn foreign_messages_cannot_be_marked(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let id = world.send(&ben, chat, "hi").await.message.id;
    let (members, inbox) = (world.dump("members").await, world.dump("inbox").await);
    let marked = world.people.mark_messages_read(&cleo.id, &[id]).await.unwrap();
    assert_eq!((marked.count, marked.reads.len()), (0, 0));
    assert_eq!(
        (world.dump("members").await, world.dump("inbox").await),
        (members, inbox)
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_oldest_unread_come_first_and_the_total_counts_them_all(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let mut ids = Vec::new();
    for turn in 0..70 {
        let chat = if turn % 2 == 0 { direct } else { channel };
        ids.push(world.send(&ben, chat, "hi").await.message.id);
    }
    let mut seen = Vec::new();
    for (size, left) in [(50, 70), (20, 20), (50, 0)] {
        let unread = world.people.unread_messages(&anna.id, page(size)).await.unwrap();
        assert_eq!((unread.total, unread.has_more), (left, left > size));
        let page: Vec<_> = unread.messages.iter().map(|message| message.id).collect();
        assert_eq!(
            world.people.mark_messages_read(&anna.id, &page).await.unwrap().count,
            left.min(size)
        );
        seen.extend(page);
    }
    assert_eq!(seen, ids);
}
