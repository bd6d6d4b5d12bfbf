//! The first lock, alone and together with the second: every statement that acts for a person asks by itself whether it
//! may.

use domain::chat::Kind;
use domain::limits::PageSize;
use domain::message::{EditHistory, Reacting};
use domain::page::Page;
use domain::text::Emoji;
use sqlx::PgPool;
use store::Store;
use store::blocks::TypingAudience;
use store::chats::{Deleted, ListFilter};
use store::messages::{Change, Range, SendOutcome};
use store::reactions::Reacted;

use crate::world::{FREE, LEASE, World, draft, edit, seq};

const TABLES: [&str; 9] = [
    "chats",
    "members",
    "messages",
    "reactions",
    "replies",
    "reply_parts",
    "jobs",
    "inbox",
    "inbox_heads",
];

async fn dump(world: &World) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for table in TABLES {
        rows.push(world.dump(table).await);
    }
    rows
}

#[sqlx::test(migrations = "../../migrations")]
async fn each_statement_keeps_strangers_out_by_itself(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let cleo = world.person("cleo").await;
    let direct = world.chat(Kind::Direct, &[&anna, &cleo]).await;
    let assistant = world.assistant_chat(&anna).await;
    // Ben is somewhere himself, and has something to read.
    let his = world.chat(Kind::Direct, &[&ben, &cleo]).await;
    world.send(&cleo, his, "for Ben").await;
    let said = world.send(&anna, direct, "secret").await.message.id;
    let asked = world.ask(&anna, assistant, "secret").await;
    world
        .people
        .append_to_reply(&asked.claim.unwrap(), 0, "half")
        .await
        .unwrap();
    let before = dump(&world).await;
    let me = &ben.id;

    // As the owner of the tables, whom no policy binds, the statement's own conditions are all there is.
    let with_both_locks: &Store = &world.people;
    let with_the_first_alone: &Store = &world.system;
    for store in [with_both_locks, with_the_first_alone] {
        for chat in [direct, assistant] {
            assert!(store.chat(me, chat).await.unwrap().is_none());
            assert!(store.audience(me, chat).await.unwrap().is_none());
            let (Page { items: messages, .. }, running) = store.newest(me, chat, PageSize::DEFAULT).await.unwrap();
            assert!(messages.is_empty() && running.is_none());
            for range in [
                Range::Newest,
                Range::After(seq(0)),
                Range::Before(seq(9)),
                Range::ChangedAfter(seq(0)),
            ] {
                assert!(
                    store
                        .messages(me, chat, range, PageSize::DEFAULT)
                        .await
                        .unwrap()
                        .is_none()
                );
            }
            for claim_for in [None, Some(LEASE)] {
                let outcome = store
                    .send_message(&ben, chat, &draft("c-1", "let me in"), claim_for, &FREE)
                    .await
                    .unwrap();
                assert!(matches!(outcome, SendOutcome::NoSuchChat), "{outcome:?}");
            }
            assert_eq!(store.delete_chat(me, chat).await.unwrap(), Deleted::NoSuchChat);
            assert_eq!(
                store.typing_audience(me, chat).await.unwrap(),
                TypingAudience::NoSuchChat
            );
            for message in [said, asked.message.id] {
                let thumb = Emoji::parse("👍").unwrap();
                let reacted = store.react(me, chat, message, &thumb, Reacting::Add, 20).await.unwrap();
                assert!(matches!(reacted, Reacted::NoSuchMessage), "{reacted:?}");
                let versions = store
                    .versions(me, chat, message, None, PageSize::DEFAULT)
                    .await
                    .unwrap();
                assert!(versions.is_none());
                let forged = edit("forged");
                for change in [
                    store
                        .edit_message(me, chat, message, &forged, EditHistory::Kept)
                        .await
                        .unwrap(),
                    store.delete_message(me, chat, message).await.unwrap(),
                ] {
                    assert!(matches!(change, Change::NoSuchMessage), "{change:?}");
                }
            }
            let reply = asked.reply.unwrap().id;
            assert!(store.reply_progress(me, chat, reply, 0, 0).await.unwrap().is_none());
        }
        let list = store
            .chats(me, ListFilter::default(), None, PageSize::DEFAULT)
            .await
            .unwrap();
        assert_eq!(
            (list.total, list.chats.iter().map(|chat| chat.id).collect::<Vec<_>>()),
            (1, vec![his])
        );
        let unread = store.unread_messages(me, PageSize::DEFAULT).await.unwrap();
        assert_eq!((unread.total, unread.messages.len()), (1, 1));
        assert_eq!(unread.messages[0].chat_id, his);
        assert_eq!(store.me(me).await.unwrap().unwrap().unread_total, 1);
        let marked = store.mark_messages_read(me, &[said, asked.message.id]).await.unwrap();
        assert_eq!((marked.count, marked.reads.len()), (0, 0));
        assert_eq!(store.inbox_version(me).await.unwrap(), 1);
        let news = store.news(me, 0, None, 100).await.unwrap();
        assert!(
            news.events
                .iter()
                .flat_map(|(_, events)| events)
                .all(|event| event.chat_id == his),
            "{news:?}"
        );
        assert!(news.running.is_empty(), "{news:?}");
    }
    assert_eq!(dump(&world).await, before);
}
