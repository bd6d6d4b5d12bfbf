//! One message after the other.

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId};
use domain::message::Role;
use domain::reply::ReplyState;
use serde_json::json;
use sqlx::PgPool;
use store::messages::SendOutcome;

use crate::world::{FREE, LEASE, World, caller, completed, draft, metadata, page, seq};

#[sqlx::test(migrations = "../../migrations")]
async fn a_message_its_reply_and_its_job_are_stored_together(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;

    let mut said = draft("c-1", "hi 👋");
    said.metadata = metadata(json!({"a": [1, null, "é"]}));
    let sent = world.send_as(&anna, chat, &said, None).await;

    assert_eq!(sent.message.seq, seq(1));
    assert_eq!(sent.message.changed_seq, seq(1));
    assert_eq!(sent.message.role, Role::User);
    assert_eq!(sent.message.content, "hi 👋");
    assert_eq!(sent.message.metadata, json!({"a": [1, null, "é"]}));
    assert_eq!(sent.message.client_id.as_deref(), Some("c-1"));
    assert_eq!(sent.audience, std::slice::from_ref(&anna.id));
    let reply = sent.reply.unwrap();
    assert_eq!(reply.state, ReplyState::Queued);
    assert!(sent.claim.is_none());
    let wake = sent.wake.unwrap();
    let job: (uuid::Uuid, uuid::Uuid) = sqlx::query_as("select id, reply_id from jobs")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    assert_eq!(job, (wake.job_id.uuid(), reply.id.uuid()));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_retry_returns_the_first_message(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.send_as(&anna, chat, &draft("c-1", "first"), None).await;
    world.send(&anna, chat, "in between").await;

    let again = world.send_as(&anna, chat, &draft("c-1", "first"), Some(LEASE)).await;

    assert!(again.is_replay);
    assert_eq!(again.message, first.message);
    assert_eq!(again.reply.unwrap().id, first.reply.unwrap().id);
    assert!(again.audience.is_empty() && again.wake.is_none() && again.claim.is_none());
    world.assert_seqs_are_contiguous(chat, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_retry_after_the_end_tells_how_the_reply_ended(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send_as(&anna, chat, &draft("c-1", "hi"), Some(LEASE)).await;
    world.complete(&sent.claim.unwrap(), "hello").await;

    let again = world.send_as(&anna, chat, &draft("c-1", "hi"), Some(LEASE)).await;

    assert_eq!(again.reply.unwrap().state, ReplyState::Completed);
    assert!(again.claim.is_none());
    world.assert_seqs_are_contiguous(chat, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_client_id_belongs_to_its_sender_and_its_chat(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let shared = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let other = world.chat(Kind::Channel, &[&anna]).await;
    let same = draft("c-1", "hi");
    let mut ids = Vec::new();
    for (sender, chat) in [(&anna, shared), (&ben, shared), (&anna, other)] {
        let sent = world.send_as(sender, chat, &same, None).await;
        assert!(!sent.is_replay);
        ids.push(sent.message.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_stranger_cannot_send_and_cannot_tell_a_foreign_chat_from_none(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    for place in [chat, ChatId::fresh()] {
        let outcome = world
            .people
            .send_message(&ben, place, &draft("c-1", "hi"), None, &FREE)
            .await
            .unwrap();
        assert!(matches!(outcome, SendOutcome::NoSuchChat), "{outcome:?}");
    }
    world.assert_seqs_are_contiguous(chat, 0).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_person_who_was_never_seen_is_a_stranger_too(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let outcome = world
        .people
        .send_message(&caller("zoe"), chat, &draft("c-1", "hi"), None, &FREE)
        .await
        .unwrap();
    assert!(matches!(outcome, SendOutcome::NoSuchChat), "{outcome:?}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn only_a_message_of_the_same_chat_can_be_replied_to(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let (here, there) = (world.assistant_chat(&anna).await, world.assistant_chat(&anna).await);
    let (near, far) = (
        world.send(&anna, here, "near").await,
        world.send(&anna, there, "far").await,
    );

    for foreign in [far.message.id, MessageId::fresh()] {
        let mut said = draft("c-1", "hi");
        said.reply_to = Some(foreign);
        let outcome = world
            .people
            .send_message(&anna, here, &said, None, &FREE)
            .await
            .unwrap();
        assert!(matches!(outcome, SendOutcome::NothingToReplyTo), "{outcome:?}");
    }
    let mut said = draft("c-1", "hi");
    said.reply_to = Some(near.message.id);
    let sent = world.send_as(&anna, here, &said, None).await;
    assert_eq!(sent.message.reply_to, Some(near.message.id));
    world.assert_seqs_are_contiguous(here, 2).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_ai_answers_in_assistant_and_post_chats_alone(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    for (kind, people) in [
        (Kind::Assistant, vec![&anna]),
        (Kind::Post, vec![&anna]),
        (Kind::Direct, vec![&anna, &ben]),
        (Kind::Channel, vec![&anna, &ben]),
        (Kind::Task, vec![&anna]),
    ] {
        let chat = world.chat(kind, &people).await;
        let sent = world.ask(&anna, chat, "hi").await;
        assert_eq!(sent.reply.is_some(), kind.is_answered(), "{kind}");
        assert_eq!(sent.claim.is_some(), kind.is_answered(), "{kind}");
        assert_eq!(sent.wake.is_some(), kind.is_answered(), "{kind}");
        assert_eq!(sent.audience.len(), people.len(), "{kind}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn sending_reads_what_came_before(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for text in ["1", "2", "3"] {
        world.send(&ben, chat, text).await;
    }
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 3);
    world.send(&anna, chat, "4").await;
    assert_eq!(world.people.me(&anna.id).await.unwrap().unwrap().unread_total, 0);
    assert_eq!(world.people.me(&ben.id).await.unwrap().unwrap().unread_total, 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_claimed_reply_is_woken_only_after_its_lease(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;

    let first = world.ask(&anna, chat, "one").await;
    let second = world.ask(&anna, chat, "two").await;

    let claim = first.claim.unwrap();
    assert_eq!((claim.attempt, claim.prompt_seq), (1, seq(1)));
    assert_eq!(first.reply.unwrap().state, ReplyState::Streaming);
    assert_eq!(first.wake.unwrap().after_seconds, 30);
    // While it runs, another is queued behind it, though it asked to be claimed too.
    assert!(second.claim.is_none());
    assert_eq!(second.reply.unwrap().state, ReplyState::Queued);
    assert_eq!(second.wake.unwrap().after_seconds, 0);
    world.system.end_reply(&claim, &completed("1")).await.unwrap().unwrap();
    let history = world
        .people
        .messages(&anna.id, chat, store::messages::Range::Newest, page(100))
        .await;
    let roles: Vec<_> = history
        .unwrap()
        .unwrap()
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    assert_eq!(roles, [Role::User, Role::User, Role::Assistant]);
}
