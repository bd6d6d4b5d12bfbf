//! Who has blocked whom: it binds both, in what they have alone with one another.

use std::time::Duration;

use domain::chat::{Kind, MemberRole};
use domain::event::EventType;
use domain::ids::{ChatId, UserId};
use domain::message::{Draft, Edit, EditHistory, Reacting};
use domain::person::Caller;
use domain::text::{Emoji, Title};
use domain::unread::ReadMark;
use serde_json::json;
use sqlx::PgPool;
use store::blocks::TypingAudience;
use store::channels::{Channel, Membership};
use store::chats::{ChatChange, DirectChat, ListFilter};
use store::messages::{Change, Range, SendOutcome};
use store::reactions::Reacted;

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

#[sqlx::test(migrations = "../../migrations")]
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

#[sqlx::test(migrations = "../../migrations")]
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
    // Who types is there.
    for me in [&anna, &ben] {
        assert_eq!(
            store.typing_audience(&me.id, channel).await.unwrap(),
            TypingAudience::Members(vec![])
        );
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn nobody_is_put_into_a_channel_across_a_block(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let store = &world.people;
    let title = Title::parse("Harbour").unwrap();
    store.block(&ben.id, &anna.id).await.unwrap();
    for (owner, other) in [(&anna, &ben), (&ben, &anna)] {
        let before = state(&world).await;
        let wanted = [cleo.id.clone(), other.id.clone()];
        let opened = store
            .open_channel(&owner.id, None, &title, &wanted, None)
            .await
            .unwrap();
        assert_eq!(opened, Channel::Blocked(vec![other.id.clone()]));
        assert_eq!(state(&world).await, before);

        // Nor when it is there, nor again after they left.
        let channel = world.channel(owner, &[&cleo]).await;
        let before = state(&world).await;
        for _ in 0..2 {
            let added = world.add(owner, channel, other).await;
            assert!(
                matches!(&added, Membership::Blocked(people) if *people == [other.id.clone()]),
                "{added:?}"
            );
        }
        assert_eq!(state(&world).await, before);
        // Somebody else may bring both together; whoever does not want to be there leaves, and is not brought back.
        store
            .change_role(&owner.id, channel, &cleo.id, MemberRole::Admin)
            .await
            .unwrap();
        let added = world.add(&cleo, channel, other).await;
        assert!(matches!(added, Membership::Changed(Some(_))), "{added:?}");
        // An owner could not leave.
        let given = store
            .change_role(&owner.id, channel, &other.id, MemberRole::Owner)
            .await
            .unwrap();
        assert!(matches!(given, Membership::Blocked(_)), "{given:?}");
        world.remove(other, channel, other).await;
        let added = world.add(owner, channel, other).await;
        assert!(matches!(added, Membership::Blocked(_)), "{added:?}");
    }
    store.unblock(&ben.id, &anna.id).await.unwrap();
    world.channel(&anna, &[&ben]).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn nobody_is_seen_to_be_there_across_a_block(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, direct) = friends(&world).await;
    let cleo = world.person("cleo").await;
    let channel = world.channel(&anna, &[&ben, &cleo]).await;
    let store = &world.people;
    let said = world.send(&anna, channel, "hi").await.message;
    for person in [&anna, &ben, &cleo] {
        store.heartbeat(&person.id, Duration::from_secs(60)).await.unwrap();
    }
    let seen = async |viewer: &Caller, other: &Caller| {
        let list = store
            .chats(&viewer.id, ListFilter::default(), None, page(10))
            .await
            .unwrap();
        let one = store.chat(&viewer.id, channel).await.unwrap().unwrap();
        let chats: Vec<_> = list.chats.into_iter().chain([one]).collect();
        let members: Vec<_> = chats
            .iter()
            .flat_map(|chat| &chat.members)
            .filter(|member| member.user_id == other.id)
            .collect();
        assert!(members.len() >= 2);
        let is_there = |there: bool| {
            members
                .iter()
                .all(|member| member.online == there && member.last_seen_at.is_some() == there)
        };
        assert!(is_there(true) || is_there(false), "{members:?}");
        (is_there(true), members.iter().any(|member| member.read_at.is_some()))
    };
    let read = async |reader: &Caller| {
        let mark = store
            .mark_chat_read(&reader.id, channel, ReadMark::UpTo(said.seq), None)
            .await
            .unwrap();
        mark.unwrap().audience
    };
    let reads_heard = async |person: &Caller, of: &Caller| {
        let news = store.news(&person.id, 0, Some(channel), 100).await.unwrap();
        let events = news.events.into_iter().flat_map(|(_, events)| events);
        events
            .filter(|event| event.event_type == EventType::Read && event.data["userId"] == of.id.as_str())
            .count()
    };
    assert_eq!(seen(&anna, &ben).await, (true, false));
    assert_eq!(store.may_enter_room(&anna.id, channel).await.unwrap(), Some(true));
    assert_eq!(
        store.online_contacts(&ben.id, 20).await.unwrap(),
        [(direct, anna.id.clone())]
    );

    store.block(&ben.id, &anna.id).await.unwrap();
    let mut told = read(&ben).await;
    told.sort();
    assert_eq!(told, [ben.id.clone(), cleo.id.clone()]);
    assert_eq!((reads_heard(&anna, &ben).await, reads_heard(&cleo, &ben).await), (0, 1));
    for (me, other) in [(&anna, &ben), (&ben, &anna)] {
        assert_eq!(seen(me, other).await, (false, false));
        assert!(store.online_contacts(&me.id, 20).await.unwrap().is_empty());
        for chat in [direct, channel] {
            assert_eq!(store.may_enter_room(&me.id, chat).await.unwrap(), Some(false));
        }
    }
    // To all others as ever.
    assert!(seen(&cleo, &ben).await.0);
    assert_eq!(store.may_enter_room(&cleo.id, channel).await.unwrap(), Some(true));
    assert_eq!(store.may_enter_room(&cleo.id, direct).await.unwrap(), None);
    store.unblock(&ben.id, &anna.id).await.unwrap();
    assert_eq!(seen(&anna, &ben).await, (true, true));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_mention_across_a_block_calls_nobody(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let channel = world.channel(&anna, &[&ben, &cleo]).await;
    let store = &world.people;
    let mute = ChatChange {
        muted: Some(true),
        ..ChatChange::default()
    };
    for person in [&ben, &cleo] {
        store.update_chat(&person.id, channel, mute, 5).await.unwrap();
    }
    store.block(&ben.id, &anna.id).await.unwrap();
    let naming = Draft {
        mentions: vec![ben.id.clone(), cleo.id.clone()],
        ..draft("c-1", "look, both of you")
    };
    let sent = world.send_as(&anna, channel, &naming, None).await;
    assert_eq!(sent.withheld.unnamed, std::slice::from_ref(&ben.id));
    let renamed = Edit {
        mentions: Some(naming.mentions.clone()),
        ..edit("look, you two")
    };
    let change = store
        .edit_message(&anna.id, channel, sent.message.id, &renamed, EditHistory::None)
        .await
        .unwrap();
    assert!(matches!(change, Change::Made { withheld, .. } if withheld.unnamed == [ben.id.clone()]));
    for (person, counted, names) in [
        (&anna, 0, vec![&ben.id, &cleo.id]),
        (&ben, 0, vec![&cleo.id]),
        (&cleo, 1, vec![&ben.id, &cleo.id]),
    ] {
        let chat = store.chat(&person.id, channel).await.unwrap().unwrap();
        assert_eq!(chat.unread_mentions, counted, "{}", person.id);
        assert_eq!(store.me(&person.id).await.unwrap().unwrap().unread_total, counted);
        let told = store.news(&person.id, 0, Some(channel), 100).await.unwrap();
        let event = told.events.into_iter().flat_map(|(_, events)| events).last().unwrap();
        assert_eq!(event.data["mentions"], json!(names), "{}", person.id);
        assert_eq!(json!(chat.last_message.unwrap().mentions), json!(names));
    }
    // A retry finds it as it was sent, and an erasure finds the name.
    assert_eq!(
        world.send_as(&anna, channel, &naming, None).await.message.mentions,
        naming.mentions
    );
    assert_eq!(
        world
            .number("select count(*) from mentions where user_id = 'ben'")
            .await,
        1
    );
}

#[sqlx::test(migrations = "../../migrations")]
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

#[sqlx::test(migrations = "../../migrations")]
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
