//! What must hold whatever happens at once.

use std::collections::{BTreeSet, HashSet};

use domain::chat::Kind;
use domain::reply::{Failure, ReplyState};
use sqlx::PgPool;
use store::chats::Deleted;
use store::messages::SendOutcome;
use store::replies::{ClaimOutcome, Hold};

use crate::world::{FREE, LEASE, World, at_once, completed, draft, opened, usage};

#[sqlx::test(migrations = "../../migrations")]
async fn fifty_sends_of_one_client_id_are_one_message(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    for claim_for in [None, Some(LEASE)] {
        let chat = world.assistant_chat(&anna).await;
        let sent = at_once(50, |_| {
            let (store, anna) = (world.people.clone(), anna.clone());
            async move {
                store
                    .send_message(&anna, chat, &draft("c-1", "hi"), claim_for, &FREE)
                    .await
                    .unwrap()
            }
        })
        .await;
        let sent: Vec<_> = sent
            .into_iter()
            .map(|outcome| match outcome {
                SendOutcome::Sent(sent) => sent,
                other => panic!("{other:?}"),
            })
            .collect();

        assert_eq!(sent.iter().filter(|sent| !sent.is_replay).count(), 1);
        assert_eq!(
            sent.iter().filter(|sent| sent.claim.is_some()).count(),
            usize::from(claim_for.is_some())
        );
        assert_eq!(sent.iter().filter(|sent| sent.wake.is_some()).count(), 1);
        assert_eq!(sent.iter().filter(|sent| !sent.audience.is_empty()).count(), 1);
        for one in &sent {
            assert_eq!(one.message, sent[0].message);
            assert_eq!(one.reply.unwrap().id, sent[0].reply.unwrap().id);
        }
        world.assert_seqs_are_contiguous(chat, 1).await;
        for (table, rows) in [("replies", 1), ("jobs", 1)] {
            assert_eq!(
                world
                    .number(&format!("select count(*) from {table} where chat_id = '{chat}'"))
                    .await,
                rows
            );
        }
    }
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn thirty_two_senders_leave_no_hole(pool: PgPool) {
    const EACH: i64 = 5;
    let world = World::racing(pool).await;
    let mut people = Vec::new();
    for index in 0..32 {
        people.push(world.person(&format!("person-{index}")).await);
    }
    let chat = world.chat(Kind::Channel, &people.iter().collect::<Vec<_>>()).await;

    let seqs = at_once(32, |index| {
        let (store, sender) = (world.people.clone(), people[index].clone());
        async move {
            let mut seqs = Vec::new();
            for message in 0..EACH {
                let draft = draft(&format!("c-{message}"), "hi");
                match store.send_message(&sender, chat, &draft, None, &FREE).await.unwrap() {
                    SendOutcome::Sent(sent) => seqs.push(sent.message.seq.value()),
                    other => panic!("{other:?}"),
                }
            }
            assert!(seqs.is_sorted(), "one's own messages stay in order");
            seqs
        }
    })
    .await;

    let seqs: BTreeSet<_> = seqs.into_iter().flatten().collect();
    assert!(seqs.into_iter().eq(1..=32 * EACH));
    world.assert_seqs_are_contiguous(chat, 32 * EACH).await;
    world.assert_inboxes_are_contiguous().await;
    // Everyone has been told of everything, and has read up to what they said last themselves.
    assert_eq!(world.number("select min(version) from inbox_heads").await, 32 * EACH);
    for person in &people {
        let unread = world.people.me(&person.id).await.unwrap().unwrap().unread_total;
        let after_own = world
            .number(&format!(
                "select count(*) from messages where chat_id = '{chat}'
                 and seq > (select max(seq) from messages where chat_id = '{chat}' and sender_id = '{}')",
                person.id
            ))
            .await;
        assert_eq!(unread, after_own, "{}", person.id);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_questions_at_once_one_is_being_answered_and_the_others_wait(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;

    let sent = at_once(32, |index| {
        let (store, anna) = (world.people.clone(), anna.clone());
        async move {
            match store
                .send_message(&anna, chat, &draft(&format!("c-{index}"), "hi"), Some(LEASE), &FREE)
                .await
                .unwrap()
            {
                SendOutcome::Sent(sent) => sent,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;

    let streaming: Vec<_> = sent
        .iter()
        .filter(|sent| sent.reply.unwrap().state == ReplyState::Streaming)
        .collect();
    assert_eq!(streaming.len(), 1);
    assert!(streaming[0].claim.is_some());
    assert_eq!(sent.iter().filter(|sent| sent.claim.is_some()).count(), 1);
    world.assert_seqs_are_contiguous(chat, 32).await;

    // Each end names the next, in the order of the questions, until all are answered.
    let mut claim = streaming[0].claim.clone().unwrap();
    let mut prompts = vec![claim.prompt_seq.value()];
    while let Some(wake) = world.complete(&claim, "answer").await.wake {
        claim = world.claim(wake.job_id).await;
        prompts.push(claim.prompt_seq.value());
    }
    assert!(prompts.iter().copied().eq(1..=32), "{prompts:?}");
    world.assert_seqs_are_contiguous(chat, 64).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_cap_on_assistant_chats_holds_against_fifty_at_once(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;

    let chats = at_once(50, |_| {
        let (store, anna) = (world.people.clone(), anna.id.clone());
        async move { opened(store.open_assistant_chat(&anna, None, None, 5, None).await.unwrap()) }
    })
    .await;

    let chats: HashSet<_> = chats.into_iter().flatten().collect();
    assert_eq!(chats.len(), 5);
    assert_eq!(world.number("select count(*) from chats").await, 5);
    assert_eq!(world.number("select count(*) from members").await, 5);
    assert_eq!(
        world
            .number("select assistant_chats::bigint from people where id = 'anna'")
            .await,
        5
    );
    world.assert_inboxes_are_contiguous().await;

    // Ten deletions of one chat at once free one slot, not ten.
    let doomed = *chats.iter().next().unwrap();
    let deleted = at_once(10, |_| {
        let (store, anna) = (world.people.clone(), anna.id.clone());
        async move { store.delete_chat(&anna, doomed).await.unwrap() }
    })
    .await;
    assert!(deleted.iter().any(|deleted| matches!(deleted, Deleted::Gone { .. })));
    assert_eq!(
        world
            .number("select assistant_chats::bigint from people where id = 'anna'")
            .await,
        4
    );
    assert!(
        opened(
            world
                .people
                .open_assistant_chat(&anna.id, None, None, 5, None)
                .await
                .unwrap()
        )
        .is_some()
    );
    assert!(
        opened(
            world
                .people
                .open_assistant_chat(&anna.id, None, None, 5, None)
                .await
                .unwrap()
        )
        .is_none()
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_workers_one_claims_a_reply(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi").await;
    let (job, reply) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id);

    for attempt in 1..=3 {
        let reached = at_once(16, |_| {
            let store = world.system.clone();
            async move { store.try_claim_reply(job, LEASE, 3).await.unwrap() }
        })
        .await;
        let claims: Vec<_> = reached
            .iter()
            .filter_map(|reach| match reach {
                ClaimOutcome::Claimed(claim) => Some(claim),
                _ => None,
            })
            .collect();
        assert_eq!(claims.len(), 1, "{reached:?}");
        assert_eq!(claims[0].attempt, attempt);
        world.let_the_lease_run_out(reply).await;
    }

    let seized = at_once(16, |_| {
        let store = world.system.clone();
        async move { store.seize_abandoned_reply(None, 3, LEASE).await.unwrap() }
    })
    .await;
    assert_eq!(seized.iter().flatten().count(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_ends_one_ends_a_reply(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, chat, "hi").await.claim.unwrap();

    let ended = at_once(16, |_| {
        let (store, claim) = (world.system.clone(), claim.clone());
        async move { store.end_reply(&claim, &completed("answer")).await.unwrap() }
    })
    .await;

    assert_eq!(ended.iter().flatten().count(), 1);
    world.assert_seqs_are_contiguous(chat, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn marking_at_once_counts_each_message_once(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for kind in [Kind::Direct, Kind::Channel, Kind::Task] {
        chats.push(world.chat(kind, &[&anna, &ben]).await);
    }
    for _ in 0..5 {
        let mut ids = Vec::new();
        for chat in &chats {
            for text in ["1", "2", "3", "4"] {
                ids.push(world.send(&ben, *chat, text).await.message.id);
            }
        }

        let counts = at_once(16, |_| {
            let (store, anna, ids) = (world.people.clone(), anna.id.clone(), ids.clone());
            async move { store.mark_messages_read(&anna, &ids).await.unwrap().count }
        })
        .await;

        assert_eq!(counts.iter().sum::<i64>(), 12, "{counts:?}");
        assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 0);
    }
    world.assert_inboxes_are_contiguous().await;
}

/// Two chats with the same people, written and read from all sides: whoever waits for whom, nobody waits in a circle.
#[sqlx::test(migrations = "../../migrations")]
async fn crossing_chats_never_deadlock(pool: PgPool) {
    let world = World::racing(pool).await;
    let mut people = Vec::new();
    for name in ["anna", "ben", "cleo", "dan"] {
        people.push(world.person(name).await);
    }
    let everyone: Vec<_> = people.iter().collect();
    let backwards: Vec<_> = people.iter().rev().collect();
    let chats = [
        world.chat(Kind::Channel, &everyone).await,
        world.chat(Kind::Channel, &backwards).await,
        world.chat(Kind::Direct, &[&people[1], &people[0]]).await,
    ];

    at_once(16, |index| {
        let (store, me) = (world.people.clone(), people[index % 4].clone());
        async move {
            for turn in 0..12 {
                let chat = chats[(index + turn) % if index % 4 < 2 { 3 } else { 2 }];
                let draft = draft(&format!("c-{index}-{turn}"), "hi");
                store.send_message(&me, chat, &draft, None, &FREE).await.unwrap();
                let size = crate::world::page(100);
                let unread = store.unread_messages(&me.id, size).await.unwrap().messages;
                let ids: Vec<_> = unread.iter().map(|message| message.id).collect();
                store.mark_messages_read(&me.id, &ids).await.unwrap();
            }
        }
    })
    .await;

    assert_eq!(world.number("select count(*) from messages").await, 16 * 12);
    world.assert_inboxes_are_contiguous().await;
}

/// A writer that does not know yet that it lost its lease writes on while another takes over.
#[sqlx::test(migrations = "../../migrations")]
async fn a_takeover_and_the_old_writers_last_words_do_not_mix(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for _ in 0..10 {
        let sent = world.ask(&anna, chat, "hi").await;
        let (job, old) = (sent.wake.unwrap().job_id, sent.claim.unwrap());
        world.let_the_lease_run_out(old.reply_id).await;
        let outcomes = at_once(12, |index| {
            let (store, old) = (world.system.clone(), old.clone());
            async move {
                match index {
                    0 => match store.try_claim_reply(job, LEASE, 3).await.unwrap() {
                        ClaimOutcome::Claimed(new) => Some(new),
                        other => panic!("{other:?}"),
                    },
                    _ => {
                        store.append_to_reply(&old, index, "old").await.unwrap();
                        None
                    }
                }
            }
        })
        .await;
        let new = outcomes.into_iter().flatten().next().unwrap();
        assert_eq!(world.system.append_to_reply(&old, 99, "old").await.unwrap(), Hold::Lost);
        world.system.append_to_reply(&new, 0, "new").await.unwrap();
        let progress = world
            .people
            .reply_progress(&anna.id, chat, new.reply_id, 2, 0)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(progress.text, "new");
        world.complete(&new, "new").await;
        assert_eq!(world.number("select count(*) from reply_parts").await, 0);
    }
}

/// Either the old writer's end comes first and there is nothing left to take over, or it comes too late.
#[sqlx::test(migrations = "../../migrations")]
async fn a_takeover_and_the_old_writers_end_exclude_each_other(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for round in 1..=20 {
        let sent = world.ask(&anna, chat, "hi").await;
        let (job, old) = (sent.wake.unwrap().job_id, sent.claim.unwrap());
        world.let_the_lease_run_out(old.reply_id).await;
        let outcomes = at_once(4, |index| {
            let (store, old) = (world.system.clone(), old.clone());
            async move {
                if index == 0 {
                    match store.try_claim_reply(job, LEASE, 3).await.unwrap() {
                        ClaimOutcome::Claimed(new) => (Some(new), None),
                        ClaimOutcome::Over => (None, None),
                        other => panic!("{other:?}"),
                    }
                } else {
                    (None, store.end_reply(&old, &completed("old")).await.unwrap())
                }
            }
        })
        .await;
        let (claims, ends): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        let (new, ends) = (claims.into_iter().flatten().next(), ends.iter().flatten().count());
        assert_eq!(
            (usize::from(new.is_some()), ends),
            if new.is_some() { (1, 0) } else { (0, 1) }
        );
        if let Some(new) = new {
            world.complete(&new, "new").await;
        }
        world.assert_seqs_are_contiguous(chat, 2 * round).await;
    }
}

/// Its writer finds nothing left to write to, which is no error.
#[sqlx::test(migrations = "../../migrations")]
async fn a_chat_may_go_while_its_answer_is_written(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    for _ in 0..20 {
        let chat = world.assistant_chat(&anna).await;
        let claim = world.ask(&anna, chat, "hi").await.claim.unwrap();
        at_once(10, |index| {
            let (store, anna, claim) = (world.people.clone(), anna.clone(), claim.clone());
            async move {
                if index == 0 {
                    store.delete_chat(&anna.id, chat).await.unwrap();
                } else {
                    let hold = store.append_to_reply(&claim, index, "word ").await.unwrap();
                    assert!(matches!(hold, Hold::Held | Hold::Lost), "{hold:?}");
                }
            }
        })
        .await;
        assert_eq!(world.number("select count(*) from reply_parts").await, 0);
    }
}

/// A channel goes while others read it and write to it.
#[sqlx::test(migrations = "../../migrations")]
async fn deleting_what_others_read_never_deadlocks(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    for round in 0..20 {
        let chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(world.send(&anna, chat, "hi").await.message.id);
        }
        if round % 2 == 0 {
            // It goes in batches.
            world.fill(chat, 300, &[&anna]).await;
        }
        at_once(8, |index| {
            let (store, anna, ben, id) = (world.people.clone(), anna.clone(), ben.clone(), ids[index % 6]);
            async move {
                match index {
                    0 | 1 => drop(store.delete_chat(&anna.id, chat).await.unwrap()),
                    2 => drop(
                        store
                            .send_message(&ben, chat, &draft("c-1", "hi"), None, &FREE)
                            .await
                            .unwrap(),
                    ),
                    _ => drop(store.mark_messages_read(&ben.id, &[id]).await.unwrap()),
                }
            }
        })
        .await;
        let seen = world.number("select count(*) from chats where kind <> 'deleted'").await;
        assert_eq!(seen, 0, "round {round}");
    }
    assert_eq!(world.number("select count(*) from members").await, 0);
    let late = "select count(*) from chats where last_message_seq >= last_seq";
    assert_eq!(world.number(late).await, 0, "something was sent after the end");
    world.assert_inboxes_are_contiguous().await;
}

/// Deleted while it is written to, read and answered: one after the other, and nobody waits in a circle.
#[sqlx::test(migrations = "../../migrations")]
async fn deleting_a_busy_chat_never_deadlocks(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    for round in 0..12 {
        let chat = world.assistant_chat(&anna).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let job = world.send(&anna, chat, "hi").await.wake.unwrap().job_id;
            ids.extend(
                world
                    .complete(&world.claim(job).await, "answer")
                    .await
                    .message
                    .map(|message| message.id),
            );
        }
        if round % 2 == 0 {
            // It goes in batches.
            world.fill(chat, 300, &[&anna]).await;
        }
        let claim = world.ask(&anna, chat, "hi").await.claim.unwrap();
        at_once(12, |index| {
            let (people, system, anna) = (world.people.clone(), world.system.clone(), anna.clone());
            let (claim, ids) = (claim.clone(), ids.clone());
            async move {
                match index {
                    0 | 1 => drop(people.delete_chat(&anna.id, chat).await.unwrap()),
                    2 => drop(system.end_reply(&claim, &completed("answer")).await.unwrap()),
                    3 => drop(system.append_to_reply(&claim, 0, "answer").await.unwrap()),
                    4 => drop(
                        system
                            .requeue_reply(&claim, Failure::Silent, &usage(), LEASE)
                            .await
                            .unwrap(),
                    ),
                    5..8 => drop(people.mark_messages_read(&anna.id, &ids[index - 5..]).await.unwrap()),
                    _ => {
                        let draft = draft(&format!("c-{round}-{index}"), "hi");
                        drop(
                            people
                                .send_message(&anna, chat, &draft, Some(LEASE), &FREE)
                                .await
                                .unwrap(),
                        );
                    }
                }
            }
        })
        .await;
    }
    for open in [
        "chats where kind <> 'deleted' or last_message_seq >= last_seq",
        "replies where state in ('queued', 'streaming')",
        "jobs where kind <> 'delete_chat'",
        "members",
    ] {
        let sql = format!("select count(*) from {open}");
        assert_eq!(world.number(&sql).await, 0, "{open}");
    }
    assert_eq!(world.number("select assistant_chats::bigint from people").await, 0);
    world.assert_inboxes_are_contiguous().await;
}
