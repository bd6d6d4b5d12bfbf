//! Who has blocked whom: it binds both, in what they have alone with one another.

use shared::domain::chat::Kind;
use shared::domain::ids::{ChatId, UserId};
use shared::domain::message::{EditHistory, Reacting};
use shared::domain::person::Caller;
use shared::domain::text::Emoji;
use shared::store::blocks::TypingAudience;
use shared::store::chats::DirectChat;
use shared::store::messages::{Change, Range, SendOutcome};
use shared::store::reactions::Reacted;
use sqlx::PgPool;

use crate::world::{FREE, World, at_once, draft, edit, page};

async fn friends(world: &World) -> (Caller, Caller, ChatId) {
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let opened = world.people.open_direct_chat(&anna.id, &ben.id, None).await.unwrap();
    let DirectChat::Opened { chat_id, .. } = opened else {
        panic!("not opened: {opened:?}")
    };
    (anna, ben, chat_id)
}

async fn state(world: &World) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for table in ["chats", "members", "messages", "reactions", "inbox"] {
        all.push(world.dump(table).await);
    }
    all
}

#[sqlx::test(migrations = "../migrations")]
async fn a_block_binds_both_and_what_was_said_stays(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = friends(&world).await;
    let store = &world.people;
    let thumb = Emoji::parse("👍").unwrap();
    let edited = edit("edited");
    let annas = world
        .send_as(&anna, chat, &draft("a-1", "from anna"), None)
        .await
        .message;
    let bens = world.send_as(&ben, chat, &draft("b-1", "from ben"), None).await.message;
    let liked = store
        .react(&ben.id, chat, annas.id, &thumb, Reacting::Add, 20)
        .await
        .unwrap();
    assert!(matches!(liked, Reacted::Done { .. }));

    for (blocker, blocked) in [(&anna, &ben), (&ben, &anna)] {
        assert!(store.block(&blocker.id, &blocked.id).await.unwrap());
        let before = state(&world).await;
        for (who, own, known) in [
            (&anna, annas.id, draft("a-1", "from anna")),
            (&ben, bens.id, draft("b-1", "from ben")),
        ] {
            let sent = store
                .send_message(who, chat, &draft("new", "hello?"), None, &FREE)
                .await
                .unwrap();
            assert!(matches!(sent, SendOutcome::Blocked), "{sent:?}");
            let change = store
                .edit_message(&who.id, chat, own, &edited, EditHistory::None)
                .await
                .unwrap();
            assert!(matches!(change, Change::Blocked), "{change:?}");
            for (what, message) in [(Reacting::Add, bens.id), (Reacting::Remove, annas.id)] {
                let reacted = store.react(&who.id, chat, message, &thumb, what, 20).await.unwrap();
                assert!(matches!(reacted, Reacted::Blocked), "{reacted:?}");
            }
            assert_eq!(
                store.typing_audience(&who.id, chat).await.unwrap(),
                TypingAudience::Blocked
            );
            // What they have is still theirs: the chat is found, read, and a retry finds its message.
            let (me, other) = if who.id == anna.id {
                (&anna, &ben)
            } else {
                (&ben, &anna)
            };
            assert_eq!(
                store.open_direct_chat(&me.id, &other.id, None).await.unwrap(),
                DirectChat::Known(chat)
            );
            let history = store
                .messages(&who.id, chat, Range::Newest, page(10))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(history.messages.len(), 2);
            let replay = world.send_as(who, chat, &known, None).await;
            assert!(replay.is_replay);
        }
        assert_eq!(state(&world).await, before);
        store.unblock(&blocker.id, &blocked.id).await.unwrap();
    }

    world.send(&ben, chat, "friends again").await;
    assert_eq!(
        store.typing_audience(&anna.id, chat).await.unwrap(),
        TypingAudience::Members(vec![ben.id.clone()])
    );
    // Taking one's words back is not speaking.
    store.block(&anna.id, &ben.id).await.unwrap();
    let gone = store.delete_message(&ben.id, chat, bens.id).await.unwrap();
    assert!(matches!(gone, Change::Made { .. }), "{gone:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn no_chat_is_opened_between_them_and_channels_go_on(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let store = &world.people;
    store.block(&ben.id, &anna.id).await.unwrap();
    for (one, other) in [(&anna, &ben), (&ben, &anna)] {
        assert_eq!(
            store.open_direct_chat(&one.id, &other.id, None).await.unwrap(),
            DirectChat::Blocked
        );
    }
    assert_eq!(world.number("select count(*) from chats").await, 0);
    let opened = store.open_direct_chat(&anna.id, &cleo.id, None).await.unwrap();
    assert!(matches!(opened, DirectChat::Opened { .. }), "{opened:?}");

    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let message = world.send(&anna, channel, "hi all").await.message.id;
    let thumb = Emoji::parse("👍").unwrap();
    let liked = store
        .react(&ben.id, channel, message, &thumb, Reacting::Add, 20)
        .await
        .unwrap();
    assert!(matches!(liked, Reacted::Done { .. }), "{liked:?}");
    assert_eq!(
        store.typing_audience(&ben.id, channel).await.unwrap(),
        TypingAudience::Members(vec![anna.id.clone()])
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn each_takes_back_their_own_block_alone(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, chat) = friends(&world).await;
    let store = &world.people;
    store.block(&anna.id, &ben.id).await.unwrap();
    store.block(&ben.id, &anna.id).await.unwrap();
    for who in [&anna, &ben] {
        let sent = store
            .send_message(who, chat, &draft("x", "x"), None, &FREE)
            .await
            .unwrap();
        assert!(matches!(sent, SendOutcome::Blocked), "{sent:?}");
        let other = if who.id == anna.id { &ben } else { &anna };
        store.unblock(&who.id, &other.id).await.unwrap();
        store.unblock(&who.id, &other.id).await.unwrap();
    }
    world.send(&anna, chat, "peace").await;
    assert_eq!(world.number("select count(*) from blocks").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn whom_i_blocked_is_mine_to_see_page_by_page(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    for number in 0..5 {
        let other = world.person(&format!("p{number}")).await.id;
        let made = at_once(10, |_| {
            let (store, me, other) = (world.people.clone(), anna.id.clone(), other.clone());
            async move { store.block(&me, &other).await.unwrap() }
        })
        .await;
        assert!(made.iter().all(|made| *made));
    }
    // All in one microsecond, so that the id must tell them apart.
    sqlx::query("update blocks set created_at = now()")
        .execute(&world.rows)
        .await
        .unwrap();
    let nobody = UserId::parse("nobody").unwrap();
    assert!(!world.people.block(&anna.id, &nobody).await.unwrap());

    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let (people, next) = world.people.blocked(&anna.id, after.as_ref(), page(2)).await.unwrap();
        names.extend(people.into_iter().map(|person| person.user.name));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["P4", "P3", "P2", "P1", "P0"]);
    let p0 = UserId::parse("p0").unwrap();
    assert!(world.people.blocked(&p0, None, page(10)).await.unwrap().0.is_empty());
}
