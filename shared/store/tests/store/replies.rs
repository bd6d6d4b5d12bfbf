//! The life of a reply, and that nobody without the newest fence has a part in it.

use std::time::Duration;

use domain::chat::Kind;
use domain::message::{MessageType, Role};
use domain::page::Page;
use domain::reply::{Claim, Failure, ReplyState};
use serde_json::json;
use sqlx::PgPool;
use store::replies::{ClaimOutcome, Ending, Hold};
use store::thoughts::Thought;

use crate::world::{ATTEMPTS, LEASE, World, completed, failed, seq, usage};

/// Whatever a writer can do must do nothing for this one.
async fn assert_powerless(world: &World, claim: &Claim) {
    let tables = [
        "replies",
        "reply_parts",
        "reply_thoughts",
        "refused_images",
        "prompt_windows",
        "jobs",
        "chats",
        "messages",
        "message_versions",
        "inbox",
        "budgets",
        "holds",
    ];
    let mut before = Vec::new();
    for table in tables {
        before.push(world.dump(table).await);
    }
    for store in [&world.people, &world.system] {
        assert_eq!(store.append_to_reply(claim, 0, "old").await.unwrap(), Hold::Lost);
        assert_eq!(store.renew_reply(claim, LEASE).await.unwrap(), Hold::Lost);
        assert_eq!(
            store
                .requeue_reply(claim, Failure::Silent, &usage(), LEASE)
                .await
                .unwrap(),
            None
        );
        for ending in [
            completed("old"),
            Ending::Stopped {
                text: "old".into(),
                usage: usage(),
            },
            failed(Failure::Silent),
        ] {
            assert!(store.end_reply(claim, &ending).await.unwrap().is_none());
        }
        assert!(store.reply_context(claim, "scripted").await.unwrap().is_none());
        let thought = Thought {
            offset: 0,
            text: "hm".into(),
            bytes: 2,
        };
        assert_eq!(store.think_aloud(claim, &thought).await.unwrap(), Hold::Lost);
        store
            .refuse_images(claim, "scripted", &[claim.prompt_seq])
            .await
            .unwrap();
        store.narrow_window(claim, "scripted", 1).await.unwrap();
    }
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(world.dump(table).await, before, "{table}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_goes_from_the_queue_to_a_message(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi").await;
    let (job, reply) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id);

    let claim = world.claim(job).await;
    assert_eq!((claim.reply_id, claim.chat_id, claim.attempt), (reply, chat, 1));
    assert_eq!(
        world.system.append_to_reply(&claim, 0, "héllo ").await.unwrap(),
        Hold::Held
    );
    assert_eq!(
        world.system.append_to_reply(&claim, 7, "wörld").await.unwrap(),
        Hold::Held
    );
    assert_eq!(world.system.renew_reply(&claim, LEASE).await.unwrap(), Hold::Held);
    let progress = world
        .people
        .reply_progress(&anna.id, chat, reply, 0, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((progress.state, progress.attempt), (ReplyState::Streaming, 1));
    assert_eq!(progress.text, "héllo wörld");
    assert!(progress.message.is_none());
    let (Page { items: messages, .. }, running) = world
        .people
        .newest(&anna.id, chat, crate::world::page(50))
        .await
        .unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(running.unwrap().text, "héllo wörld");

    let ended = world.complete(&claim, "héllo wörld").await;
    let message = ended.message.unwrap();
    assert_eq!(
        (message.id, message.seq, message.role),
        (reply, seq(2), Role::Assistant)
    );
    assert_eq!(message.content, "héllo wörld");
    assert_eq!(message.usage, Some(usage()));
    assert_eq!(message.sender_id, None);
    assert_eq!(ended.audience, std::slice::from_ref(&anna.id));
    assert_eq!(ended.wake, None);

    let row: serde_json::Value = sqlx::query_scalar("select to_jsonb(replies) from replies where id = $1")
        .bind(reply.uuid())
        .fetch_one(&world.rows)
        .await
        .unwrap();
    for (column, value) in [
        ("state", json!("completed")),
        ("attempt", json!(1)),
        ("fence", json!(null)),
        ("lease_until", json!(null)),
        ("input_tokens", json!(11)),
        ("output_tokens", json!(7)),
        ("cached_tokens", json!(3)),
        ("model", json!("test")),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    assert_eq!(world.number("select count(*) from reply_parts").await, 0);
    assert_eq!(world.number("select count(*) from jobs").await, 0);
    assert_eq!(world.reach(job).await, ClaimOutcome::Over);
    assert_powerless(&world, &claim).await;
    let progress = world
        .people
        .reply_progress(&anna.id, chat, reply, 1, 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(progress.state, ReplyState::Completed);
    assert_eq!(progress.message.unwrap().id, reply);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_writer_that_lost_its_lease_changes_nothing_more(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let (job, reply, old) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id, sent.claim.unwrap());
    assert_eq!(
        world.people.append_to_reply(&old, 0, "old text ").await.unwrap(),
        Hold::Held
    );

    // While the lease lasts nobody else gets it.
    let ClaimOutcome::Later { after_seconds } = world.reach(job).await else {
        panic!("claimed under a lease")
    };
    assert!((30..=31).contains(&after_seconds), "{after_seconds}");
    world.let_the_lease_run_out(reply).await;
    let new = world.claim(job).await;
    assert_eq!(new.attempt, 2);
    assert_ne!(new.fence, old.fence);

    assert_powerless(&world, &old).await;
    assert_eq!(world.system.append_to_reply(&new, 0, "new ").await.unwrap(), Hold::Held);
    assert_powerless(&world, &old).await;
    let progress = world
        .people
        .reply_progress(&anna.id, chat, reply, 1, 9)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((progress.attempt, progress.text.as_str()), (2, "new "));

    let message = world.complete(&new, "new text").await.message.unwrap();
    assert_eq!((message.content.as_str(), message.seq), ("new text", seq(2)));
    assert_powerless(&world, &old).await;
    assert_powerless(&world, &new).await;
    world.assert_seqs_are_contiguous(chat, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_renewed_lease_lasts_from_then_on(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let (job, reply, claim) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id, sent.claim.unwrap());
    world.let_the_lease_run_out(reply).await;
    assert_eq!(world.people.renew_reply(&claim, LEASE).await.unwrap(), Hold::Held);
    assert!(matches!(world.reach(job).await, ClaimOutcome::Later { .. }));
    assert_eq!(
        world.people.append_to_reply(&claim, 0, "still mine").await.unwrap(),
        Hold::Held
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_whose_attempts_are_used_up_is_taken_over_and_ended_once(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi").await;
    let next = world.send(&anna, chat, "and then?").await;
    let (job, reply) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id);
    let mut last = None;
    for attempt in 1..=ATTEMPTS {
        let claim = world.claim(job).await;
        assert_eq!(claim.attempt, attempt);
        last = Some(claim);
        assert!(
            world
                .system
                .seize_abandoned_reply(None, ATTEMPTS, LEASE)
                .await
                .unwrap()
                .is_none(),
            "it is held"
        );
        world.let_the_lease_run_out(reply).await;
    }

    assert_eq!(world.reach(job).await, ClaimOutcome::Exhausted { reply_id: reply });
    let seized = world
        .system
        .seize_abandoned_reply(None, ATTEMPTS, LEASE)
        .await
        .unwrap()
        .unwrap();
    let seized = seized.claim;
    assert_eq!((seized.reply_id, seized.attempt), (reply, ATTEMPTS));
    assert!(
        world
            .system
            .seize_abandoned_reply(None, ATTEMPTS, LEASE)
            .await
            .unwrap()
            .is_none()
    );
    assert_powerless(&world, &last.unwrap()).await;

    let ended = world
        .system
        .end_reply(&seized, &failed(Failure::Abandoned))
        .await
        .unwrap()
        .unwrap();
    let told = ended.message.unwrap();
    assert_eq!(
        (told.role, told.message_type, told.id),
        (Role::System, MessageType::Error, reply)
    );
    assert_eq!(told.content, Failure::Abandoned.told_to_user());
    assert_eq!(told.metadata, json!({"reason": "attempts-exhausted"}));
    assert_eq!(ended.wake.unwrap().job_id, next.wake.unwrap().job_id);
    let progress = world
        .people
        .reply_progress(&anna.id, chat, reply, 0, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (progress.state, progress.failure),
        (ReplyState::Failed, Some(Failure::Abandoned))
    );
    // The next question is answered as if nothing had been.
    world
        .complete(&world.claim(next.wake.unwrap().job_id).await, "fine")
        .await;
    world.assert_seqs_are_contiguous(chat, 4).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_two_abandoned_replies_each_is_taken_by_its_own_job(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let chat = world.assistant_chat(&anna).await;
        let sent = world.send(&anna, chat, "hi").await;
        jobs.push((sent.wake.unwrap().job_id, sent.reply.unwrap().id));
    }
    for (job, reply) in &jobs {
        for _ in 0..ATTEMPTS {
            world.claim(*job).await;
            world.let_the_lease_run_out(*reply).await;
        }
    }
    // Each once, and whichever comes first.
    for (job, reply) in jobs.iter().rev() {
        assert_eq!(world.reach(*job).await, ClaimOutcome::Exhausted { reply_id: *reply });
        let seized = world.system.seize_abandoned_reply(Some(*reply), ATTEMPTS, LEASE).await;
        assert_eq!(seized.unwrap().unwrap().claim.reply_id, *reply);
        let again = world.system.seize_abandoned_reply(Some(*reply), ATTEMPTS, LEASE).await;
        assert_eq!(again.unwrap(), None);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_failed_attempt_rests_in_the_queue_and_the_next_starts_anew(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let (job, reply, claim) = (sent.wake.unwrap().job_id, sent.reply.unwrap().id, sent.claim.unwrap());
    world.people.append_to_reply(&claim, 0, "half of").await.unwrap();

    let rest = Duration::from_millis(8500);
    let wake = world
        .people
        .requeue_reply(&claim, Failure::Truncated, &usage(), rest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((wake.job_id, wake.after_seconds), (job, 9));
    assert_powerless(&world, &claim).await;
    let ClaimOutcome::Later { after_seconds } = world.reach(job).await else {
        panic!("claimed while it rests")
    };
    assert!((9..=10).contains(&after_seconds), "{after_seconds}");

    world.let_the_lease_run_out(reply).await;
    let second = world.claim(job).await;
    assert_eq!(second.attempt, 2);
    assert_eq!(world.number("select count(*) from reply_parts").await, 0);
    assert_eq!(world.complete(&second, "whole").await.message.unwrap().content, "whole");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_waits_for_the_one_before_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.send(&anna, chat, "one").await.wake.unwrap().job_id;
    let second = world.send(&anna, chat, "two").await.wake.unwrap().job_id;

    assert_eq!(world.reach(second).await, ClaimOutcome::Behind);
    let claim = world.claim(first).await;
    assert_eq!(world.reach(second).await, ClaimOutcome::Behind);
    let ended = world.complete(&claim, "1").await;
    assert_eq!(ended.wake.unwrap().job_id, second);
    let claim = world.claim(second).await;
    assert_eq!(world.complete(&claim, "2").await.wake, None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_prompt_is_the_conversation_up_to_its_question(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.send(&anna, chat, "one").await.wake.unwrap().job_id;
    let second = world.send(&anna, chat, "two").await.wake.unwrap().job_id;
    let third = world.send(&anna, chat, "three").await.wake.unwrap().job_id;

    let mut heard = Vec::new();
    for (job, ending) in [
        (first, completed("1")),
        (second, failed(Failure::Silent)),
        (third, completed("3")),
    ] {
        let claim = world.claim(job).await;
        let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
        assert_eq!(claim.kind, Kind::Assistant);
        heard.push(
            context
                .messages
                .into_iter()
                .map(|message| message.content)
                .collect::<Vec<_>>(),
        );
        world.system.end_reply(&claim, &ending).await.unwrap().unwrap();
    }

    // Each answer stands behind its question, though it was given after the next question; a failure is no turn.
    assert_eq!(
        heard,
        [vec!["one"], vec!["one", "1", "two"], vec!["one", "1", "two", "three"]]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stopped_reply_keeps_its_text_and_an_empty_one_leaves_no_message(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    for (text, messages) in [("half", 2), (" ", 3)] {
        let claim = world.ask(&anna, chat, "hi").await.claim.unwrap();
        sqlx::query("update replies set stop_requested_at = now() where id = $1")
            .bind(claim.reply_id.uuid())
            .execute(&world.rows)
            .await
            .unwrap();
        assert_eq!(
            world.people.append_to_reply(&claim, 0, text).await.unwrap(),
            Hold::StopAsked
        );
        assert_eq!(world.people.renew_reply(&claim, LEASE).await.unwrap(), Hold::StopAsked);
        let ending = Ending::Stopped {
            text: text.into(),
            usage: usage(),
        };
        let ended = world.people.end_reply(&claim, &ending).await.unwrap().unwrap();
        assert_eq!(
            ended.message.map(|message| message.content),
            Some(text.to_owned()).filter(|text| text != " ")
        );
        // Even without a message, whoever asked must learn that it is over.
        assert_eq!(ended.audience, std::slice::from_ref(&anna.id));
        world.assert_seqs_are_contiguous(chat, messages).await;
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reader_gets_what_it_has_not_seen_of_the_running_attempt(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let (reply, claim) = (sent.reply.unwrap().id, sent.claim.unwrap());
    for (offset, text) in [(0, "äé"), (4, "👍"), (8, "z")] {
        world.people.append_to_reply(&claim, offset, text).await.unwrap();
    }
    // A part whose commit the writer did not hear of is written again.
    world.people.append_to_reply(&claim, 8, "z").await.unwrap();

    let text = async |attempt, offset| {
        let progress = world
            .people
            .reply_progress(&anna.id, chat, reply, attempt, offset)
            .await
            .unwrap()
            .unwrap();
        progress.text
    };
    assert_eq!(text(1, 0).await, "äé👍z");
    assert_eq!(text(1, 4).await, "👍z");
    assert_eq!(text(1, 9).await, "");
    // Nobody has half a character: whoever says so is told from the next one on.
    for (offset, next, rest) in [(1, 2, "é👍z"), (3, 4, "👍z"), (5, 8, "z"), (7, 8, "z")] {
        let progress = world.people.reply_progress(&anna.id, chat, reply, 1, offset).await;
        let progress = progress.unwrap().unwrap();
        assert_eq!((progress.offset, &*progress.text), (next, rest), "{offset}");
    }
    // What was seen of another attempt is void.
    assert_eq!(text(0, 9).await, "äé👍z");
    for (person, place) in [(&ben.id, chat), (&anna.id, world.assistant_chat(&anna).await)] {
        assert!(
            world
                .people
                .reply_progress(person, place, reply, 0, 0)
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reader_who_saw_half_a_part_gets_the_other_half(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let (reply, claim) = (sent.reply.unwrap().id, sent.claim.unwrap());
    world.people.append_to_reply(&claim, 0, "one ").await.unwrap();
    let seen = world
        .people
        .reply_progress(&anna.id, chat, reply, 1, 0)
        .await
        .unwrap()
        .unwrap()
        .text;
    // The writer did not hear of the commit, and writes the part again with what came meanwhile.
    world.people.append_to_reply(&claim, 0, "one twö ").await.unwrap();
    world.people.append_to_reply(&claim, 9, "three").await.unwrap();

    let rest = world
        .people
        .reply_progress(&anna.id, chat, reply, 1, seen.len())
        .await
        .unwrap()
        .unwrap()
        .text;
    assert_eq!(seen + &rest, "one twö three");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_chat_that_is_deleted_takes_its_running_reply_with_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi").await;
    let claim = sent.claim.unwrap();
    world.people.append_to_reply(&claim, 0, "half").await.unwrap();
    world.people.delete_chat(&anna.id, chat).await.unwrap();
    assert_powerless(&world, &claim).await;
    assert_eq!(world.reach(sent.wake.unwrap().job_id).await, ClaimOutcome::Over);
}
