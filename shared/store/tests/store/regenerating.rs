//! Answers that are written again: under their own id, with what they said before kept.

use std::time::Duration;

use domain::event::EventType;
use domain::ids::{ChatId, MessageId};
use domain::message::{MessageType, Role};
use domain::page::Page;
use domain::person::Caller;
use domain::reply::{Claim, Failure, ReplyState, Terms, WhenBusy};
use domain::text::ClientId;
use serde_json::json;
use sqlx::PgPool;
use store::replies::{ClaimOutcome, Ending, Regeneration, Reopened, Which};

use crate::world::{ATTEMPTS, FREE, LEASE, World, at_once, failed, page, seq, usage};

async fn regenerate(world: &World, me: &Caller, chat: ChatId, message: Option<MessageId>) -> Regeneration {
    let which = message.map_or(Which::Newest, Which::Answer);
    let regeneration = world.people.regenerate_reply(me, chat, which, None, None, &FREE).await;
    regeneration.unwrap()
}

async fn reopened(world: &World, me: &Caller, chat: ChatId, message: Option<MessageId>) -> Reopened {
    match regenerate(world, me, chat, message).await {
        Regeneration::Opened(reopened) => *reopened,
        other => panic!("not opened: {other:?}"),
    }
}

/// A question and its answer.
async fn answered(world: &World, me: &Caller, chat: ChatId, question: &str, answer: &str) -> MessageId {
    let sent = world.send(me, chat, question).await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    world.complete(&claim, answer).await.message.unwrap().id
}

async fn versions(world: &World, message: MessageId) -> Vec<(i32, String, String)> {
    sqlx::query_as("select version, content, reason from message_versions where message_id = $1 order by version")
        .bind(message.uuid())
        .fetch_all(&world.rows)
        .await
        .unwrap()
}

async fn end(world: &World, claim: &Claim, ending: &Ending) -> Option<domain::message::Message> {
    world.system.end_reply(claim, ending).await.unwrap().unwrap().message
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_answer_is_replaced_in_its_place_and_kept_as_a_version(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    answered(&world, &anna, chat, "before?", "earlier").await;
    let answer = answered(&world, &anna, chat, "hi?", "first").await;
    answered(&world, &anna, chat, "and after?", "later").await;

    for (again, text) in [(2, "second"), (3, "third")] {
        let opened = reopened(&world, &anna, chat, Some(answer)).await;
        assert_eq!((opened.reply.id, opened.reply.state), (answer, ReplyState::Queued));
        let claim = world.claim(opened.wake.job_id).await;
        assert_eq!((claim.attempt, claim.attempt_of_version), (again, 1));
        // The model sees what was said up to the question, and not the answer it is to replace.
        let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
        let said: Vec<_> = context
            .messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        assert_eq!(said, ["before?", "earlier", "hi?"]);
        // What it said stands until the new text is whole.
        world.system.append_to_reply(&claim, 0, "new").await.unwrap();
        let (Page { items: messages, .. }, running) = world.people.newest(&anna.id, chat, page(50)).await.unwrap();
        assert_eq!(messages.len(), 6);
        assert_ne!(messages[3].content, text);
        assert_eq!(running.unwrap().text, "new");

        let ended = world.complete(&claim, text).await;
        let message = ended.message.unwrap();
        assert_eq!((message.id, message.seq), (answer, seq(4)));
        assert_eq!(message.changed_seq, seq(5 + i64::from(again)));
        assert_eq!((message.content.as_str(), message.version), (text, again));
        assert_eq!(message.usage, Some(usage()));
    }
    let kept = [(1, "first"), (2, "second")].map(|(n, text)| (n, text.to_owned(), "regenerated".to_owned()));
    assert_eq!(versions(&world, answer).await, kept);
    let (Page { items: messages, .. }, running) = world.people.newest(&anna.id, chat, page(50)).await.unwrap();
    let said: Vec<_> = messages.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(said, ["before?", "earlier", "hi?", "third", "and after?", "later"]);
    assert_eq!(running, None);
    // Nothing new is to be read, and what changed is told with its seq.
    let numbers: (i64, i64) = sqlx::query_as("select last_seq, last_number from chats")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    assert_eq!(numbers, (8, 6));
    world.assert_inboxes_are_contiguous().await;
    let news = world.people.news(&anna.id, 0, None, 100).await.unwrap();
    let told: Vec<_> = news
        .events
        .iter()
        .flat_map(|(_, events)| events.iter().map(|event| event.event_type.word()))
        .collect();
    assert_eq!(
        &told[told.len() - 4..],
        ["message.updated", "reply.ended", "message.updated", "reply.ended"]
    );
    // Which attempt each end is of, so that whoever hears it late does not take it for that of the one after.
    let ends: Vec<_> = news
        .events
        .iter()
        .flat_map(|(_, events)| events)
        .filter(|event| event.event_type == EventType::ReplyEnded && event.data["messageId"] == json!(answer))
        .map(|event| event.data["attempt"].clone())
        .collect();
    assert_eq!(ends, [1, 2, 3]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_new_answer_that_fails_leaves_the_old_one(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let answer = answered(&world, &anna, chat, "hi?", "first").await;
    let opened = reopened(&world, &anna, chat, None).await;
    let claim = world.claim(opened.wake.job_id).await;
    assert!(end(&world, &claim, &failed(Failure::Blocked)).await.is_none());
    let progress = world
        .people
        .reply_progress(&anna.id, chat, answer, 0, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (progress.state, progress.failure),
        (ReplyState::Failed, Some(Failure::Blocked))
    );
    assert_eq!(progress.message.unwrap().content, "first");
    let news = world.people.news(&anna.id, 0, None, 100).await.unwrap();
    let last = &news.events.last().unwrap().1[0];
    assert_eq!(last.event_type.word(), "reply.ended");
    assert_eq!(last.data["reason"], "blocked-by-the-model");
    assert_eq!(last.data["attempt"], 2);

    // Stopped before its first word: the same.
    let opened = reopened(&world, &anna, chat, None).await;
    let claim = world.claim(opened.wake.job_id).await;
    let nothing = Ending::Stopped {
        text: String::new(),
        usage: usage(),
    };
    assert!(end(&world, &claim, &nothing).await.is_none());
    assert_eq!(versions(&world, answer).await, []);
    // Stopped half way: what was said is the answer now.
    let opened = reopened(&world, &anna, chat, None).await;
    let claim = world.claim(opened.wake.job_id).await;
    let half = Ending::Stopped {
        text: "sec".into(),
        usage: usage(),
    };
    assert_eq!(end(&world, &claim, &half).await.unwrap().content, "sec");
    assert_eq!(versions(&world, answer).await.len(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_failed_answer_can_be_asked_for_again_with_all_its_attempts(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi?").await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    let error = end(&world, &claim, &failed(Failure::Blocked)).await.unwrap();
    assert_eq!(error.message_type, MessageType::Error);

    let opened = reopened(&world, &anna, chat, None).await;
    for attempt in 1..=ATTEMPTS {
        let claim = world.claim(opened.wake.job_id).await;
        assert_eq!((claim.attempt, claim.attempt_of_version), (attempt + 1, attempt));
        if attempt < ATTEMPTS {
            let rested = world
                .system
                .requeue_reply(&claim, Failure::Silent, &usage(), Duration::ZERO)
                .await;
            assert!(rested.unwrap().is_some());
        } else {
            world.let_the_lease_run_out(claim.reply_id).await;
        }
    }
    assert_eq!(
        world.reach(opened.wake.job_id).await,
        ClaimOutcome::Exhausted { reply_id: error.id }
    );
    let seized = world
        .system
        .seize_abandoned_reply(None, ATTEMPTS, LEASE)
        .await
        .unwrap()
        .unwrap();
    end(&world, &seized.claim, &failed(Failure::Abandoned)).await;

    let opened = reopened(&world, &anna, chat, Some(error.id)).await;
    let claim = world.claim(opened.wake.job_id).await;
    let message = world.complete(&claim, "at last").await.message.unwrap();
    assert_eq!(
        (message.role, message.message_type),
        (Role::Assistant, MessageType::Text)
    );
    assert_eq!((message.content.as_str(), message.seq), ("at last", error.seq));
    assert_eq!(message.metadata, serde_json::json!({}));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stopped_answer_without_words_gets_its_message_when_it_is_written_again(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.ask(&anna, chat, "hi?").await;
    let nothing = Ending::Stopped {
        text: String::new(),
        usage: usage(),
    };
    assert!(end(&world, &sent.claim.unwrap(), &nothing).await.is_none());
    let opened = reopened(&world, &anna, chat, None).await;
    let claim = world.claim(opened.wake.job_id).await;
    let message = world.complete(&claim, "hello").await.message.unwrap();
    assert_eq!((message.seq, message.version), (seq(2), 1));
    world.assert_seqs_are_contiguous(chat, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_cannot_be_written_again_is_said(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    assert!(matches!(
        regenerate(&world, &anna, chat, None).await,
        Regeneration::NothingToRegenerate
    ));
    let sent = world.send(&anna, chat, "hi?").await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    // One that is being written is the same one.
    let Regeneration::Known(running) = regenerate(&world, &anna, chat, None).await else {
        panic!("opened twice")
    };
    assert_eq!((running.id, running.state), (claim.reply_id, ReplyState::Streaming));
    world.complete(&claim, "hello").await;
    assert!(matches!(
        regenerate(&world, &ben, chat, None).await,
        Regeneration::NoSuchChat
    ));
    let question = Some(sent.message.id);
    assert!(matches!(
        regenerate(&world, &anna, chat, question).await,
        Regeneration::NothingToRegenerate
    ));
    let other = world.assistant_chat(&anna).await;
    let foreign = Some(claim.reply_id);
    assert!(matches!(
        regenerate(&world, &anna, other, foreign).await,
        Regeneration::NothingToRegenerate
    ));
    // Another reply of the chat is awaited, or is a reason to refuse; it is never replaced.
    let running = world.ask(&anna, chat, "more?").await.claim.unwrap();
    let with = |when_busy| Terms { when_busy, ..FREE };
    let ask = async |terms: Terms| {
        world
            .people
            .regenerate_reply(&anna, chat, Which::Answer(claim.reply_id), None, Some(LEASE), &terms)
            .await
            .unwrap()
    };
    assert!(matches!(ask(with(WhenBusy::Reject)).await, Regeneration::Busy));
    let Regeneration::Opened(opened) = ask(with(WhenBusy::Replace)).await else {
        panic!("not opened")
    };
    assert_eq!(opened.claim, None);
    assert_eq!(
        world.people.hold_on_reply(&running).await.unwrap(),
        store::replies::Hold::Held
    );
    // A question that is deleted needs no answer.
    world.complete(&running, "more").await;
    let claim = world.claim(opened.wake.job_id).await;
    world.complete(&claim, "hello again").await;
    world
        .people
        .delete_message(&anna.id, chat, sent.message.id)
        .await
        .unwrap();
    assert!(matches!(
        regenerate(&world, &anna, chat, foreign).await,
        Regeneration::NothingToRegenerate
    ));
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_same_request_opens_an_answer_once_whoever_sends_it_how_often(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let answer = answered(&world, &anna, chat, "hi?", "first").await;
    let opened = at_once(30, |index| {
        let (store, anna) = (world.people.clone(), anna.clone());
        async move {
            let client_id = ClientId::parse("again-1").unwrap();
            let claim_for = (index % 2 == 0).then_some(LEASE);
            let done = store
                .regenerate_reply(&anna, chat, Which::Newest, Some(&client_id), claim_for, &FREE)
                .await;
            match done.unwrap() {
                Regeneration::Opened(opened) => Some(opened),
                Regeneration::Known(reply) => {
                    assert_eq!(reply.id, answer);
                    None
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let opened: Vec<_> = opened.into_iter().flatten().collect();
    assert_eq!(opened.len(), 1);
    assert_eq!(world.number("select count(*) from jobs").await, 1);
    assert_eq!(world.number("select count(*) from holds").await, 1);
    let claim = match &opened[0].claim {
        Some(claim) => claim.clone(),
        None => world.claim(opened[0].wake.job_id).await,
    };
    world.complete(&claim, "second").await;
    // Late, it still opens nothing.
    let client_id = ClientId::parse("again-1").unwrap();
    let late = world
        .people
        .regenerate_reply(&anna, chat, Which::Newest, Some(&client_id), None, &FREE)
        .await;
    assert!(matches!(late.unwrap(), Regeneration::Known(reply) if reply.state == ReplyState::Completed));
}
