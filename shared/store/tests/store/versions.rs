//! What messages said before they were edited: kept where it is asked for, and only for those whom it concerns.

use domain::chat::{History, Kind, MemberRole};
use domain::ids::{ChatId, MessageId};
use domain::message::EditHistory;
use domain::person::Caller;
use sqlx::PgPool;

use crate::world::{World, at_once, edit, page};

async fn says(world: &World, me: &Caller, chat: ChatId, message: MessageId, text: &str, history: EditHistory) {
    let store = &world.people;
    store
        .edit_message(&me.id, chat, message, &edit(text), history)
        .await
        .unwrap();
}

/// What it said before, newest first; `None` where one may not see it.
async fn versions(world: &World, me: &Caller, chat: ChatId, message: MessageId) -> Option<Vec<(i32, String)>> {
    let page = world
        .people
        .versions(&me.id, chat, message, None, page(100))
        .await
        .unwrap()?;
    let versions = page.versions.into_iter();
    Some(versions.map(|version| (version.version, version.content)).collect())
}

#[sqlx::test(migrations = "../../migrations")]
async fn each_edit_keeps_what_was_said_for_its_author_and_who_runs_the_channel(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, dora) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
        world.person("dora").await,
    );
    // Anna owns it.
    let chat = world.chat(Kind::Channel, &[&anna, &ben, &cleo, &dora]).await;
    sqlx::query("update members set role = 'admin' where user_id = 'dora'")
        .execute(&world.rows)
        .await
        .unwrap();
    let message = world.send(&ben, chat, "one").await.message;
    for text in ["two", "two", "three"] {
        says(&world, &ben, chat, message.id, text, EditHistory::Kept).await;
    }
    let said = Some(vec![(2, "two".to_owned()), (1, "one".to_owned())]);
    for who in [&anna, &ben, &dora] {
        assert_eq!(versions(&world, who, chat, message.id).await, said, "{}", who.id);
    }
    assert_eq!(versions(&world, &cleo, chat, message.id).await, None);

    let first = world
        .people
        .versions(&ben.id, chat, message.id, None, page(1))
        .await
        .unwrap()
        .unwrap();
    assert!(first.has_more);
    let second = world
        .people
        .versions(&ben.id, chat, message.id, Some(2), page(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((second.versions[0].version, second.has_more), (1, false));
    assert_eq!(second.versions[0].created_at, message.created_at);
    assert_eq!(first.versions[0].created_at, second.versions[0].replaced_at);
    assert_eq!(
        (second.versions[0].reason.as_str(), second.versions[0].role.as_str()),
        ("edited", "user")
    );

    world.people.delete_message(&ben.id, chat, message.id).await.unwrap();
    assert_eq!(versions(&world, &ben, chat, message.id).await, Some(vec![]));
    assert_eq!(world.number("select count(*) from message_versions").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn by_default_nothing_is_kept(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let message = world.send(&anna, chat, "one").await.message.id;
    says(&world, &anna, chat, message, "two", EditHistory::None).await;
    assert_eq!(versions(&world, &anna, chat, message).await, Some(vec![]));
    assert_eq!(versions(&world, &ben, chat, message).await, None);
    assert_eq!(world.number("select count(*) from message_versions").await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn every_member_sees_what_the_ai_answered_before(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, chat, "hi").await.claim.unwrap();
    let answer = world.complete(&claim, "better").await.message.unwrap().id;
    sqlx::query(
        "insert into message_versions (message_id, version, role, content, usage, reason, created_at)
         select id, 1, role, 'worse', usage, 'regenerated', created_at from messages where id = $1",
    )
    .bind(answer.uuid())
    .execute(&world.rows)
    .await
    .unwrap();
    let seen = versions(&world, &anna, chat, answer).await;
    assert_eq!(seen, Some(vec![(1, "worse".to_owned())]));
    assert_eq!(versions(&world, &ben, chat, answer).await, None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_fifty_edits_at_once_each_has_its_version(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let message = world.send(&anna, chat, "first").await.message.id;
    at_once(50, |number| {
        let (store, me) = (world.people.clone(), anna.id.clone());
        async move {
            store
                .edit_message(&me, chat, message, &edit(&number.to_string()), EditHistory::Kept)
                .await
                .unwrap()
        }
    })
    .await;
    let seen = versions(&world, &anna, chat, message).await.unwrap();
    let numbers: Vec<i32> = seen.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=50).rev().collect::<Vec<_>>());
    let mut texts: Vec<_> = seen.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 50, "each version is another text");
}

/// Neither who is not in it any more, were it their own message, nor whom history begins with the join, were they an admin.
#[sqlx::test(migrations = "../../migrations")]
async fn versions_are_seen_by_who_sees_the_message(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.channel(&anna, &[&ben]).await;
    let message = world.send(&ben, chat, "one").await.message.id;
    says(&world, &ben, chat, message, "two", EditHistory::Kept).await;
    let said = Some(vec![(1, "one".to_owned())]);
    assert_eq!(versions(&world, &ben, chat, message).await, said);
    world.remove(&anna, chat, &ben).await;
    for newcomer in [&cleo, &ben] {
        let people = std::slice::from_ref(&newcomer.id);
        // By the policies and the statement's own conditions together, and by the latter alone.
        for store in [&world.people, &world.system] {
            let seen = store
                .versions(&newcomer.id, chat, message, None, page(9))
                .await
                .unwrap();
            assert!(seen.is_none(), "{} is not in it", newcomer.id);
        }
        world
            .people
            .add_members(&anna.id, chat, people, MemberRole::Admin, 10, History::SinceJoin)
            .await
            .unwrap();
        for store in [&world.people, &world.system] {
            let seen = store
                .versions(&newcomer.id, chat, message, None, page(9))
                .await
                .unwrap();
            assert!(seen.is_none(), "{} came later", newcomer.id);
        }
    }
    let since = world.send(&anna, chat, "three").await.message.id;
    says(&world, &anna, chat, since, "four", EditHistory::Kept).await;
    let said = Some(vec![(1, "three".to_owned())]);
    for person in [&anna, &ben, &cleo] {
        assert_eq!(versions(&world, person, chat, since).await, said, "{}", person.id);
    }
}
