//! Who is named in a message, and how often one was named in what one has not read.

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId, UserId};
use domain::message::{Draft, Edit, EditHistory, Message};
use domain::person::Caller;
use sqlx::PgPool;
use store::chats::ListFilter;
use store::messages::{Change, SendOutcome};
use uuid::Uuid;

use crate::world::{FREE, World, at_once, draft, edit, page};

fn naming(people: &[&Caller]) -> Draft {
    Draft {
        mentions: people.iter().map(|person| person.id.clone()).collect(),
        ..draft(&Uuid::now_v7().to_string(), "you there")
    }
}

fn renaming(people: &[&Caller]) -> Edit {
    Edit {
        mentions: Some(people.iter().map(|person| person.id.clone()).collect()),
        ..edit("you there")
    }
}

async fn send(world: &World, sender: &Caller, chat: ChatId, people: &[&Caller]) -> Message {
    world.send_as(sender, chat, &naming(people), None).await.message
}

async fn rename(world: &World, me: &Caller, chat: ChatId, message: MessageId, people: &[&Caller]) -> Change {
    let store = &world.people;
    store
        .edit_message(&me.id, chat, message, &renaming(people), EditHistory::None)
        .await
        .unwrap()
}

/// How often a person is named in what they have not read of their one chat.
async fn named(world: &World, person: &Caller) -> i64 {
    let list = world
        .people
        .chats(&person.id, ListFilter::default(), None, page(10))
        .await
        .unwrap();
    list.chats.iter().map(|chat| chat.unread_mentions).sum()
}

async fn trio(world: &World) -> (Caller, Caller, Caller, ChatId) {
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Channel, &[&anna, &ben, &cleo]).await;
    (anna, ben, cleo, chat)
}

#[sqlx::test(migrations = "../../migrations")]
async fn those_who_are_named_see_how_often_until_they_read(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, chat) = trio(&world).await;
    let first = send(&world, &anna, chat, &[&ben, &anna]).await;
    assert_eq!(first.mentions, [ben.id.clone(), anna.id.clone()]);
    let second = send(&world, &anna, chat, &[&ben, &cleo]).await;
    send(&world, &anna, chat, &[]).await;
    assert_eq!(
        (
            named(&world, &anna).await,
            named(&world, &ben).await,
            named(&world, &cleo).await
        ),
        (0, 2, 1)
    );
    let shown = world.people.chat(&cleo.id, chat).await.unwrap().unwrap();
    assert_eq!((shown.unread_count, shown.unread_mentions), (3, 1));
    world.people.mark_messages_read(&ben.id, &[first.id]).await.unwrap();
    assert_eq!(named(&world, &ben).await, 1);
    world.people.mark_messages_read(&ben.id, &[second.id]).await.unwrap();
    assert_eq!(named(&world, &ben).await, 0);
    // Who speaks has read.
    send(&world, &cleo, chat, &[]).await;
    assert_eq!(named(&world, &cleo).await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn only_members_are_named_and_nobody_before_the_ai(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, channel) = trio(&world).await;
    let dora = world.person("dora").await;
    let unknown = crate::world::caller("unknown");
    let own = world.assistant_chat(&anna).await;
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let message = send(&world, &anna, channel, &[&ben]).await;
    let tables = ["messages", "mentions", "chats", "inbox", "replies", "jobs"];
    let mut before = Vec::new();
    for table in tables {
        before.push(world.dump(table).await);
    }

    for (chat, people, places) in [
        (channel, vec![&dora], vec![1]),
        (channel, vec![&ben, &unknown, &anna, &dora], vec![2, 4]),
        (own, vec![&anna], vec![1]),
        (own, vec![&ben], vec![1]),
    ] {
        let outcome = world
            .people
            .send_message(&anna, chat, &naming(&people), None, &FREE)
            .await
            .unwrap();
        match outcome {
            SendOutcome::NotMembers(strangers) => assert_eq!(strangers, places),
            other => panic!("{other:?}"),
        }
    }
    match rename(&world, &anna, channel, message.id, &[&ben, &dora]).await {
        Change::NotMembers(strangers) => assert_eq!(strangers, [2]),
        other => panic!("{other:?}"),
    }
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(world.dump(table).await, before, "{table}");
    }
    send(&world, &anna, direct, &[&ben]).await;
    assert_eq!(named(&world, &ben).await, 2);
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_edit_names_others_and_a_deletion_nobody(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, chat) = trio(&world).await;
    let message = send(&world, &anna, chat, &[&ben]).await.id;
    let counts = async || (named(&world, &ben).await, named(&world, &cleo).await);

    // A text alone leaves them as they are.
    let store = &world.people;
    let changed = store
        .edit_message(&anna.id, chat, message, &edit("you"), EditHistory::None)
        .await
        .unwrap();
    let Change::Made { message: said, .. } = changed else {
        panic!("{changed:?}")
    };
    assert_eq!((said.mentions.clone(), counts().await), (vec![ben.id.clone()], (1, 0)));
    let changed = rename(&world, &anna, chat, message, &[&cleo, &anna]).await;
    let Change::Made {
        message: said,
        audience,
        ..
    } = changed
    else {
        panic!("{changed:?}")
    };
    assert_eq!((said.mentions.len(), audience.len(), counts().await), (2, 3, (0, 1)));
    // The same again is nothing new.
    let changed = rename(&world, &anna, chat, message, &[&cleo, &anna]).await;
    assert!(matches!(changed, Change::Made { audience, .. } if audience.is_empty()));

    let gone = store.delete_message(&anna.id, chat, message).await.unwrap();
    let Change::Made { message: gone, .. } = gone else {
        panic!("{gone:?}")
    };
    assert_eq!((gone.mentions, counts().await), (vec![], (0, 0)));
    assert_eq!(world.number("select count(*) from mentions").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_muted_chat_counts_where_one_is_named(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    let loud = world.chat(Kind::Direct, &[&anna, &ben]).await;
    sqlx::query("update members set muted = true where user_id = 'ben' and chat_id = $1")
        .bind(chat.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    world.send(&anna, loud, "hi").await;
    for people in [vec![], vec![&ben], vec![]] {
        send(&world, &anna, chat, &people).await;
    }
    let me = world.people.me(&ben.id).await.unwrap().unwrap();
    assert_eq!(me.unread_total, 1 + 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn more_than_a_hundred_are_a_hundred(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, _, chat) = trio(&world).await;
    for _ in 0..103 {
        send(&world, &anna, chat, &[&ben]).await;
    }
    assert_eq!(named(&world, &ben).await, 100);
}

#[sqlx::test(migrations = "../../migrations")]
async fn whatever_races_those_are_named_whom_the_message_names(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben, cleo, chat) = trio(&world).await;
    for round in 0..10 {
        let message = send(&world, &anna, chat, &[]).await.id;
        at_once(16, |number| {
            let (store, me) = (world.people.clone(), anna.id.clone());
            let people: Vec<UserId> = match number % 3 {
                0 => vec![ben.id.clone()],
                1 => vec![cleo.id.clone()],
                _ => vec![],
            };
            let edit = Edit {
                mentions: Some(people),
                ..edit(&format!("{number}"))
            };
            async move {
                if round % 2 == 1 && number == 15 {
                    store.delete_message(&me, chat, message).await.unwrap();
                } else {
                    store
                        .edit_message(&me, chat, message, &edit, EditHistory::Kept)
                        .await
                        .unwrap();
                }
            }
        })
        .await;
    }
    let astray = "select count(*) from (
                      select chat_id, seq, unnest(mentions) as user_id from messages
                      except select chat_id, seq, user_id from mentions
                      union all (select chat_id, seq, user_id from mentions
                                 except select chat_id, seq, unnest(mentions) from messages)
                  ) as astray";
    assert_eq!(world.number(astray).await, 0);
    let left = "select count(*) from message_versions v join messages m on m.id = v.message_id
                where m.deleted_at is not null";
    assert_eq!(world.number(left).await, 0, "what a deleted message said");
}
