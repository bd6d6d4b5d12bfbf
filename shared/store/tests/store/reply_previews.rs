//! What a message replies to, shown beside it as it is now.

use domain::chat::{History, Kind, MemberRole};
use domain::ids::{ChatId, MessageId};
use domain::message::{Draft, EditHistory, Message, Reacting, ReplyPreview};
use domain::person::Caller;
use domain::text::{Emoji, SearchText};
use serde_json::Value;
use sqlx::{Executor, PgPool};
use store::messages::{Change, Range};
use store::reactions::Reacted;

use crate::world::{World, draft, edit, page};

async fn reply(world: &World, sender: &Caller, chat: ChatId, name: &str, to: MessageId) -> Message {
    let draft = Draft {
        reply_to: Some(to),
        ..draft(name, "indeed")
    };
    world.send_as(sender, chat, &draft, None).await.message
}

fn preview(of: &Message, content: &str) -> ReplyPreview {
    ReplyPreview {
        id: of.id,
        sender_id: of.sender_id.as_ref().map(ToString::to_string),
        role: of.role.to_string(),
        content: content.into(),
        deleted_at: None,
    }
}

/// The reply as each way of reading shows it.
async fn everywhere(world: &World, reader: &Caller, chat: ChatId, reply: MessageId) -> Vec<Option<ReplyPreview>> {
    let store = &world.people;
    let mut seen = Vec::new();
    for range in [Range::Newest, Range::ChangedAfter(crate::world::seq(0))] {
        seen.extend(
            store
                .messages(&reader.id, chat, range, page(10))
                .await
                .unwrap()
                .unwrap()
                .messages,
        );
    }
    seen.extend(store.newest(&reader.id, chat, page(10)).await.unwrap().0.items);
    seen.extend(store.chat(&reader.id, chat).await.unwrap().unwrap().last_message);
    let seen = seen.into_iter().filter(|message| message.id == reply);
    let mut previews: Vec<_> = seen.map(|message| message.reply_preview).collect();
    assert_eq!(previews.len(), 4);
    let news = store.news(&reader.id, 0, Some(chat), 100).await.unwrap();
    let events = news.events.iter().flat_map(|(_, events)| events);
    let told = events.filter(|event| event.data["id"] == reply.to_string());
    previews.extend(told.map(|event| {
        let mut preview = event.data["replyPreview"].clone();
        let id: MessageId = serde_json::from_value(preview["id"].take()).unwrap();
        Some(ReplyPreview {
            id,
            sender_id: preview["senderId"].as_str().map(str::to_owned),
            role: preview["role"].as_str().unwrap().to_owned(),
            content: preview["content"].as_str().unwrap().to_owned(),
            deleted_at: serde_json::from_value(preview["deletedAt"].take()).unwrap(),
        })
    }));
    previews
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_reply_shows_what_it_replies_to_as_that_is_now(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
    // Characters of several bytes, which must not be cut apart.
    let text = "ü🦀".repeat(150);
    let original = world.send(&anna, chat, &text).await.message;
    let first_200: String = text.chars().take(200).collect();

    let answer = reply(&world, &ben, chat, "r-1", original.id).await;
    let expected = preview(&original, &first_200);
    assert_eq!(answer.reply_preview, Some(expected.clone()));
    for seen in everywhere(&world, &anna, chat, answer.id).await {
        assert_eq!(seen, Some(expected.clone()));
    }
    let again = reply(&world, &ben, chat, "r-1", original.id).await;
    assert_eq!((again.id, again.reply_preview), (answer.id, Some(expected)));

    let store = &world.people;
    store
        .edit_message(&anna.id, chat, original.id, &edit("short"), EditHistory::None)
        .await
        .unwrap();
    for seen in everywhere(&world, &anna, chat, answer.id).await {
        assert_eq!(seen, Some(preview(&original, "short")));
    }
    store.delete_message(&anna.id, chat, original.id).await.unwrap();
    for seen in everywhere(&world, &anna, chat, answer.id).await {
        let seen = seen.unwrap();
        assert_eq!((seen.content.as_str(), seen.deleted_at.is_some()), ("", true));
    }
    let late = reply(&world, &ben, chat, "r-2", original.id).await;
    assert!(late.reply_preview.unwrap().deleted_at.is_some());
    let plain = world.send(&ben, chat, "plain").await.message;
    assert_eq!((plain.reply_to, plain.reply_preview), (None, None));
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_was_said_before_somebody_joined_is_not_shown_by_what_came_after(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo, dora) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
        world.person("dora").await,
    );
    let chat = world.channel(&anna, &[&ben]).await;
    let secret = world.send(&anna, chat, "a secret").await.message;
    let kept = secret.id;
    for (newcomer, history) in [(&cleo, History::SinceJoin), (&dora, History::All)] {
        world.add_as(&anna, chat, newcomer, MemberRole::Member, history).await;
    }
    let sent = world.send_as(&ben, chat, &replying_to(kept), None).await;
    let mut told = sent.audience.clone();
    told.sort();
    assert_eq!(
        told,
        [anna.id.clone(), ben.id.clone(), cleo.id.clone(), dora.id.clone()]
    );
    assert_eq!(sent.withheld.without_preview, std::slice::from_ref(&cleo.id));
    assert!(sent.withheld.blind.is_empty());
    let reply = sent.message.id;
    let shown = Some(preview(&secret, "a secret"));
    for reader in [&anna, &ben, &dora] {
        assert!(
            everywhere(&world, reader, chat, reply)
                .await
                .iter()
                .all(|seen| *seen == shown)
        );
    }
    let cleos = async || {
        let store = &world.people;
        let mut seen = Vec::new();
        for range in [Range::Newest, Range::ChangedAfter(crate::world::seq(0))] {
            seen.extend(
                store
                    .messages(&cleo.id, chat, range, page(10))
                    .await
                    .unwrap()
                    .unwrap()
                    .messages,
            );
        }
        seen.extend(store.newest(&cleo.id, chat, page(10)).await.unwrap().0.items);
        seen.extend(store.chat(&cleo.id, chat).await.unwrap().unwrap().last_message);
        let wanted = SearchText::parse("indeed").unwrap();
        let found = store
            .search(&cleo.id, &wanted, None, None, page(10))
            .await
            .unwrap()
            .unwrap();
        seen.extend(found.results.into_iter().map(|result| result.message));
        assert!(
            seen.iter()
                .all(|message| message.id == reply && message.reply_preview.is_none()),
            "{seen:?}"
        );
        assert!(seen.iter().all(|message| message.reply_to == Some(kept)));
        let news = store.news(&cleo.id, 0, Some(chat), 100).await.unwrap();
        let told: Vec<Value> = news
            .events
            .into_iter()
            .flat_map(|(_, events)| events)
            .map(|event| event.data)
            .collect();
        assert!(!serde_json::to_string(&told).unwrap().contains("secret"), "{told:?}");
        seen.len()
    };
    assert_eq!(cleos().await, 5);

    // What becomes of it later is not for those who do not see it.
    let change = world
        .people
        .edit_message(&anna.id, chat, kept, &edit("another secret"), EditHistory::None)
        .await
        .unwrap();
    assert!(matches!(change, Change::Made { withheld, .. } if withheld.blind == [cleo.id.clone()]));
    let thumb = Emoji::parse("👍").unwrap();
    let reacted = world
        .people
        .react(&ben.id, chat, kept, &thumb, Reacting::Add, 20)
        .await
        .unwrap();
    let Reacted::Done { audience, .. } = reacted else {
        panic!("{reacted:?}")
    };
    assert!(audience.len() == 3 && !audience.contains(&cleo.id), "{audience:?}");
    let change = world
        .people
        .edit_message(&ben.id, chat, reply, &edit("yes indeed"), EditHistory::None)
        .await
        .unwrap();
    assert!(matches!(change, Change::Made { withheld, .. } if withheld.without_preview == [cleo.id.clone()]));
    assert_eq!(cleos().await, 5);

    // Nor what it shows.
    world
        .rows
        .execute("update messages set attachments = '[{\"type\": \"image\", \"url\": \"https://host/a.png\"}]' where seq = 1")
        .await
        .unwrap();
    for (reader, sees) in [(&cleo, false), (&dora, true)] {
        // By the policies and the statement's own condition together, and by the latter alone.
        for store in [&world.people, &world.system] {
            let seen = store.shown_attachment(&reader.id, chat, kept, 0).await.unwrap();
            assert_eq!(seen.is_some(), sees, "{}", reader.id);
        }
    }
}

fn replying_to(message: MessageId) -> Draft {
    Draft {
        reply_to: Some(message),
        ..draft("c-1", "indeed")
    }
}
