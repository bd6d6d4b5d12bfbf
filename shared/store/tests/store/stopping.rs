//! Stopping replies, and what becomes of a message that comes while another is answered.

use domain::event::EventType;
use domain::message::Role;
use domain::reply::{Failure, ReplyState, Terms, WhenBusy};
use serde_json::json;
use sqlx::PgPool;
use store::messages::SendOutcome;
use store::replies::{ClaimOutcome, Ending, Hold, Stopping};
use uuid::Uuid;

use crate::world::{FREE, LEASE, World, at_once, draft, stopped, usage};

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_that_waits_is_over_at_once_and_one_that_is_written_is_asked(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.ask(&anna, chat, "one").await;
    let second = world.send(&anna, chat, "two").await;
    let third = world.send(&anna, chat, "three").await;
    let (claim, waiting) = (first.claim.unwrap(), second.reply.unwrap().id);

    let one = world
        .people
        .stop_replies(&anna.id, chat, Some(waiting))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(one.stopped, [stopped(waiting, 0)]);
    assert_eq!(one.asked, None);
    assert_eq!(one.audience, std::slice::from_ref(&anna.id));
    assert_eq!(world.people.hold_on_reply(&claim).await.unwrap(), Hold::Held);
    assert_eq!(world.reach(second.wake.unwrap().job_id).await, ClaimOutcome::Over);
    // Whoever listens by inbox is told the same.
    let told = world.people.news(&anna.id, 0, Some(chat), 100).await.unwrap().events;
    let end = &told.last().unwrap().1[0];
    assert_eq!(
        (end.event_type, &end.data),
        (EventType::ReplyEnded, &json!(stopped(waiting, 0)))
    );
    // Functions of before and after an update serve side by side for a while: an end without its attempt still ends.
    let older = sqlx::query("update inbox set data = data - 'attempt'");
    older.execute(&world.rows).await.unwrap();
    let told = world.people.news(&anna.id, 0, Some(chat), 100).await.unwrap().events;
    assert_eq!(told.last().unwrap().1[0].data, json!(stopped(waiting, 0)));

    let all = world.people.stop_replies(&anna.id, chat, None).await.unwrap().unwrap();
    assert_eq!(all.stopped, [stopped(third.reply.unwrap().id, 0)]);
    assert_eq!(all.asked, Some(claim.reply_id));
    for store in [&world.people, &world.system] {
        assert_eq!(store.hold_on_reply(&claim).await.unwrap(), Hold::StopAsked);
    }
    assert_eq!(
        world.people.append_to_reply(&claim, 0, "so far").await.unwrap(),
        Hold::StopAsked
    );
    let ending = Ending::Stopped {
        text: "so far".into(),
        usage: usage(),
    };
    let ended = world.people.end_reply(&claim, &ending).await.unwrap().unwrap();
    assert_eq!(ended.message.unwrap().content, "so far");
    assert_eq!(ended.wake, None);
    let nothing = world.people.stop_replies(&anna.id, chat, None).await.unwrap().unwrap();
    assert_eq!(nothing, Stopping::default());
    world.assert_inboxes_are_contiguous().await;
    assert_eq!(world.number("select count(*) from jobs").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_waited_behind_a_stopped_reply_is_woken_and_nothing_is_left_of_what_rested(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.ask(&anna, chat, "one").await;
    let second = world.send(&anna, chat, "two").await;
    let third = world.send(&anna, chat, "three").await;
    let claim = first.claim.unwrap();
    world.people.append_to_reply(&claim, 0, "so far").await.unwrap();
    let rest = std::time::Duration::from_secs(60);
    let requeued = world
        .people
        .requeue_reply(&claim, Failure::Truncated, &usage(), rest)
        .await
        .unwrap();
    assert!(requeued.is_some());
    // The second has been woken while the first was before it, and nobody will wake it again.
    assert_eq!(world.reach(second.wake.unwrap().job_id).await, ClaimOutcome::Behind);

    let stop = async |reply| {
        let stopping = world.people.stop_replies(&anna.id, chat, Some(reply)).await;
        stopping.unwrap().unwrap()
    };
    let stopping = stop(claim.reply_id).await;

    assert_eq!(
        stopping.stopped,
        [stopped(claim.reply_id, 1)],
        "its first attempt rested"
    );
    assert_eq!(stopping.wake.unwrap().job_id, second.wake.unwrap().job_id);
    assert_eq!(world.number("select count(*) from reply_parts").await, 0);
    let second = world.claim(second.wake.unwrap().job_id).await;
    // The last one waits for a reply that runs: whose end will wake it.
    assert_eq!(stop(second.reply_id).await.wake, None);
    assert_eq!(stop(third.reply.unwrap().id).await.wake, None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_was_asked_to_stop_is_not_put_back_for_another_attempt(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, chat, "one").await.claim.unwrap();
    world.people.stop_replies(&anna.id, chat, None).await.unwrap();

    let requeued = world
        .people
        .requeue_reply(&claim, Failure::Truncated, &usage(), LEASE)
        .await;

    assert_eq!(requeued.unwrap(), None);
    // It is its writer's to end.
    assert_eq!(world.people.hold_on_reply(&claim).await.unwrap(), Hold::StopAsked);
    let ending = Ending::Stopped {
        text: "so far".into(),
        usage: usage(),
    };
    assert!(world.people.end_reply(&claim, &ending).await.unwrap().is_some());
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stranger_stops_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "one").await;
    let claim = sent.claim.unwrap();
    assert!(world.people.stop_replies(&ben.id, chat, None).await.unwrap().is_none());
    world.people.stop_replies(&anna.id, chat, None).await.unwrap();
    let seized = world
        .people
        .seize_stopped_reply(&ben.id, chat, claim.reply_id, LEASE)
        .await;
    assert_eq!(seized.unwrap(), None);
    assert_eq!(world.people.hold_on_reply(&claim).await.unwrap(), Hold::StopAsked);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_writer_that_does_not_stop_is_stopped_with_what_is_stored(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "one").await;
    let claim = sent.claim.unwrap();
    world.people.append_to_reply(&claim, 0, "half ").await.unwrap();
    world.people.append_to_reply(&claim, 5, "an answer").await.unwrap();
    let seize = async || {
        world
            .people
            .seize_stopped_reply(&anna.id, chat, claim.reply_id, LEASE)
            .await
            .unwrap()
    };
    assert_eq!(seize().await, None, "nobody has asked it to stop");
    world.people.stop_replies(&anna.id, chat, None).await.unwrap();
    let seized = seize().await.unwrap();
    assert_eq!(seized.text, "half an answer");
    assert_eq!(
        world.people.append_to_reply(&claim, 14, "more").await.unwrap(),
        Hold::Lost
    );
    let ending = Ending::Stopped {
        text: seized.text,
        usage: usage(),
    };
    let message = world
        .people
        .end_reply(&seized.claim, &ending)
        .await
        .unwrap()
        .unwrap()
        .message
        .unwrap();
    assert_eq!(
        (message.role, message.content.as_str()),
        (Role::Assistant, "half an answer")
    );
    assert_eq!(seize().await, None, "it is over");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_wish_to_stop_outlives_the_writer(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "one").await;
    let claim = sent.claim.unwrap();
    world.people.append_to_reply(&claim, 0, "half").await.unwrap();
    world.people.stop_replies(&anna.id, chat, None).await.unwrap();
    world.let_the_lease_run_out(claim.reply_id).await;
    // No attempt begins anew, and the worker is told to end it.
    let reach = world.reach(sent.wake.unwrap().job_id).await;
    assert_eq!(
        reach,
        ClaimOutcome::StopAsked {
            chat_id: chat,
            reply_id: claim.reply_id,
            asked_by: anna.id.clone()
        }
    );
    let seized = world
        .system
        .seize_stopped_reply(&anna.id, chat, claim.reply_id, LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seized.text, "half");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_message_that_replaces_stops_what_came_before_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let terms = Terms {
        when_busy: WhenBusy::Replace,
        ..FREE
    };
    let send = async |text: &str, claim_for| {
        let draft = draft(&Uuid::now_v7().to_string(), text);
        let outcome = world.people.send_message(&anna, chat, &draft, claim_for, &terms).await;
        let SendOutcome::Sent(sent) = outcome.unwrap() else {
            panic!("it was not sent")
        };
        sent
    };
    let first = send("one", Some(LEASE)).await;
    let second = send("two", None).await;
    assert_eq!(second.replaced, []);
    let running = first.claim.unwrap();
    assert_eq!(world.people.hold_on_reply(&running).await.unwrap(), Hold::StopAsked);
    let third = send("three", Some(LEASE)).await;
    assert_eq!(third.replaced, [stopped(second.reply.unwrap().id, 0)]);
    assert_eq!(world.reach(second.wake.unwrap().job_id).await, ClaimOutcome::Over);
    assert_eq!(third.reply.unwrap().state, ReplyState::Queued);
    let job = third.wake.unwrap().job_id;
    assert_eq!(world.reach(job).await, ClaimOutcome::Behind);
    let ending = Ending::Stopped {
        text: "so".into(),
        usage: usage(),
    };
    let ended = world.people.end_reply(&running, &ending).await.unwrap().unwrap();
    assert_eq!(ended.wake.unwrap().job_id, job);
    let claim = world.claim(job).await;
    let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
    let said: Vec<_> = context
        .messages
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!(said, ["one", "so", "two", "three"]);
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_fifty_messages_at_once_one_is_accepted_where_a_running_reply_refuses_them(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let terms = Terms {
        when_busy: WhenBusy::Reject,
        ..FREE
    };
    let accepted = at_once(50, |index| {
        let (store, anna, terms) = (world.people.clone(), anna.clone(), terms.clone());
        async move {
            let draft = draft(&format!("c-{index}"), "hi");
            let claim_for = (index % 2 == 0).then_some(LEASE);
            match store
                .send_message(&anna, chat, &draft, claim_for, &terms)
                .await
                .unwrap()
            {
                SendOutcome::Sent(sent) => Some((draft, *sent)),
                SendOutcome::Busy => None,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let accepted: Vec<_> = accepted.into_iter().flatten().collect();
    assert_eq!(accepted.len(), 1);
    world.assert_seqs_are_contiguous(chat, 1).await;
    assert_eq!(world.number("select count(*) from holds").await, 1);
    // The same message again is no other one.
    let again = world
        .people
        .send_message(&anna, chat, &accepted[0].0, None, &terms)
        .await
        .unwrap();
    assert!(matches!(again, SendOutcome::Sent(sent) if sent.is_replay));
}
