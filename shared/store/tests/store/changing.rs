//! Messages that are edited or deleted by whoever sent them, and by nobody else.

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId};
use domain::message::{EditHistory, Message};
use domain::person::Caller;
use sqlx::PgPool;
use store::messages::{Change, Range};
use store::replies::{ClaimOutcome, Hold};

use crate::world::{World, at_once, draft, edit, metadata, page, seq, stopped};

fn made(change: Change) -> (Message, usize) {
    match change {
        Change::Made { message, audience, .. } => (*message, audience.len()),
        other => panic!("not changed: {other:?}"),
    }
}

async fn pair(world: &World) -> (Caller, Caller, ChatId) {
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    (anna, ben, chat)
}

async fn unread(world: &World, person: &Caller) -> i64 {
    world.people.me(&person.id).await.unwrap().unwrap().unread_total
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_edit_takes_the_next_seq_and_moves_no_message(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = pair(&world).await;
    let first = world.send(&anna, chat, "helo").await.message;
    world.send(&ben, chat, "?").await;

    let (edited, told) = made(
        world
            .people
            .edit_message(&anna.id, chat, first.id, &edit("hello"), EditHistory::None)
            .await
            .unwrap(),
    );
    assert_eq!(
        (edited.content.as_str(), edited.seq, edited.changed_seq, told),
        ("hello", seq(1), seq(3), 2)
    );
    assert!(edited.edited_at.is_some() && edited.deleted_at.is_none());
    assert_eq!(unread(&world, &ben).await, 0, "an edit is nothing new to read");
    let history = world
        .people
        .messages(&ben.id, chat, Range::Newest, page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(history.messages[0], edited);
    let changed = world
        .people
        .messages(&ben.id, chat, Range::ChangedAfter(seq(2)), page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((changed.messages, changed.seq), (vec![edited.clone()], seq(3)));

    // What says this already is left as it is.
    let (again, told) = made(
        world
            .people
            .edit_message(&anna.id, chat, first.id, &edit("hello"), EditHistory::None)
            .await
            .unwrap(),
    );
    assert_eq!((again, told), (edited, 0));
    assert_eq!(world.number("select last_seq from chats").await, 3);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_deleted_message_keeps_its_place_and_nothing_else(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = pair(&world).await;
    let mut rich = draft("c-1", "a secret");
    rich.metadata = metadata(serde_json::json!({"secret": true}));
    let sent = world.send_as(&anna, chat, &rich, None).await.message;
    world.send(&anna, chat, "stays").await;
    assert_eq!(unread(&world, &ben).await, 2);

    let (deleted, told) = made(world.people.delete_message(&anna.id, chat, sent.id).await.unwrap());
    assert_eq!((deleted.content.as_str(), deleted.changed_seq, told), ("", seq(3), 2));
    assert_eq!(
        (deleted.metadata, deleted.attachments),
        (serde_json::json!({}), serde_json::json!([]))
    );
    assert!(deleted.deleted_at.is_some());
    assert_eq!(unread(&world, &ben).await, 1);
    let listed = world.people.unread_messages(&ben.id, page(10)).await.unwrap();
    assert_eq!((listed.total, listed.messages.len(), listed.has_more), (1, 1, false));
    assert_eq!(
        world
            .number("select count(*) from messages where to_jsonb(messages)::text like '%secret%'")
            .await,
        0
    );

    // It was deleted once; it cannot be edited back, and sending it again finds it as it is.
    let (_, told) = made(world.people.delete_message(&anna.id, chat, sent.id).await.unwrap());
    assert_eq!(told, 0);
    let edit = world
        .people
        .edit_message(&anna.id, chat, sent.id, &edit("back"), EditHistory::None)
        .await
        .unwrap();
    assert!(matches!(edit, Change::NoSuchMessage));
    let replay = world.send_as(&anna, chat, &rich, None).await;
    assert!(replay.is_replay && replay.message.content.is_empty());
    assert_eq!(unread(&world, &ben).await, 1);
    assert_eq!(world.number("select last_seq from chats").await, 3);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_was_read_already_is_not_uncounted_by_its_deletion(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = pair(&world).await;
    let first = world.send(&anna, chat, "1").await.message.id;
    let second = world.send(&anna, chat, "2").await.message.id;
    world.people.mark_messages_read(&ben.id, &[first]).await.unwrap();
    world.people.delete_message(&anna.id, chat, first).await.unwrap();
    assert_eq!(unread(&world, &ben).await, 1);
    world.people.delete_message(&anna.id, chat, second).await.unwrap();
    assert_eq!(unread(&world, &ben).await, 0);
    assert_eq!(
        world.people.mark_messages_read(&ben.id, &[second]).await.unwrap().count,
        0
    );
    world.send(&anna, chat, "3").await;
    assert_eq!(unread(&world, &ben).await, 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn nobody_changes_what_others_said(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = pair(&world).await;
    let cleo = world.person("cleo").await;
    let annas = world.send(&anna, chat, "mine").await.message.id;
    let own = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, own, "hi").await.claim.unwrap();
    let answer = world.complete(&claim, "an answer").await.message.unwrap().id;
    let elsewhere = world.chat(Kind::Channel, &[&anna, &cleo]).await;
    let before = [
        world.dump("messages").await,
        world.dump("chats").await,
        world.dump("inbox").await,
    ];

    for (who, chat, message, is_there) in [
        (&ben, chat, annas, true),
        (&anna, own, answer, true),
        (&cleo, chat, annas, false),
        (&anna, elsewhere, annas, false),
        (&anna, chat, MessageId::fresh(), false),
        (&anna, ChatId::fresh(), annas, false),
    ] {
        let tries = [
            world
                .people
                .edit_message(&who.id, chat, message, &edit("theirs"), EditHistory::None)
                .await
                .unwrap(),
            world.people.delete_message(&who.id, chat, message).await.unwrap(),
        ];
        for change in tries {
            match change {
                Change::NotYours => assert!(is_there),
                Change::NoSuchMessage => assert!(!is_there),
                other => panic!("{} has changed it: {other:?}", who.id),
            }
        }
    }
    assert_eq!(
        [
            world.dump("messages").await,
            world.dump("chats").await,
            world.dump("inbox").await
        ],
        before
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_fifty_changes_at_once_each_takes_one_seq_and_nothing_follows_the_deletion(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = pair(&world).await;
    let message = world.send(&anna, chat, "hi").await.message.id;
    let told = at_once(50, |number| {
        let (store, me) = (world.people.clone(), anna.id.clone());
        async move {
            let change = if number % 10 == 9 {
                store.delete_message(&me, chat, message).await.unwrap()
            } else {
                store
                    .edit_message(&me, chat, message, &edit(&number.to_string()), EditHistory::None)
                    .await
                    .unwrap()
            };
            match change {
                Change::Made { audience, .. } => audience.len(),
                Change::NoSuchMessage => 0,
                other => panic!("it is hers: {other:?}"),
            }
        }
    })
    .await;
    let made = told.iter().filter(|told| **told > 0).count();
    assert_eq!(
        world.number("select last_seq from chats").await,
        i64::try_from(made).unwrap() + 1
    );
    assert_eq!(
        world
            .number("select count(*) from inbox where user_id = 'ben' and event = 'message.deleted'")
            .await,
        1
    );
    let after = "select count(*) from inbox late
                 join inbox gone on gone.user_id = late.user_id and gone.event = 'message.deleted'
                 where late.version > gone.version";
    assert_eq!(world.number(after).await, 0);
    assert_eq!(
        world
            .number("select count(*) from messages where content = '' and deleted_at is not null")
            .await,
        1
    );
    assert_eq!(unread(&world, &ben).await, 0);
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_deleted_question_that_waits_is_not_answered_and_the_next_is(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = world.send(&anna, chat, "one").await;
    let second = world.send(&anna, chat, "two").await.wake.unwrap().job_id;

    let change = world
        .people
        .delete_message(&anna.id, chat, first.message.id)
        .await
        .unwrap();
    let Change::Made { unanswered, wake, .. } = change else {
        panic!("not deleted: {change:?}")
    };
    assert_eq!(unanswered, Some(stopped(first.reply.unwrap().id, 0)));
    assert_eq!(wake.unwrap().job_id, second);
    assert_eq!(world.reach(first.wake.unwrap().job_id).await, ClaimOutcome::Over);
    let claim = world.claim(second).await;
    let context = world.system.reply_context(&claim, "scripted").await.unwrap().unwrap();
    let said: Vec<_> = context
        .messages
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!(said, ["two"]);
    world.complete(&claim, "2").await;
    let ended = "select count(*) from inbox where event = 'reply.ended' and data ->> 'state' = 'stopped'";
    assert_eq!(world.number(ended).await, 1, "whoever listens is told");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_deleted_question_that_is_being_answered_stops_its_answer(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "one").await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    assert_eq!(world.system.append_to_reply(&claim, 0, "so").await.unwrap(), Hold::Held);

    let change = world
        .people
        .delete_message(&anna.id, chat, sent.message.id)
        .await
        .unwrap();
    assert!(
        matches!(
            change,
            Change::Made {
                unanswered: None,
                wake: None,
                ..
            }
        ),
        "its writer ends it"
    );
    assert_eq!(
        world.system.append_to_reply(&claim, 2, " far").await.unwrap(),
        Hold::StopAsked
    );
    assert!(
        world.system.reply_context(&claim, "scripted").await.unwrap().is_none(),
        "there is nothing to answer"
    );
}
