//! A chat goes with all that hangs on it, and only its owner makes it go.

use domain::chat::Kind;
use domain::ids::ChatId;
use sqlx::{AssertSqlSafe, PgPool};
use store::chats::Deleted;

use crate::world::World;

/// Every table that names a chat, by its column, and those that hang on them. The inbox keeps the news of the end.
const ROWS_OF_A_CHAT: &str = "
    select (select count(*) from chats where id = $1)
        + (select count(*) from members where chat_id = $1)
        + (select count(*) from messages where chat_id = $1)
        + (select count(*) from reactions)
        + (select count(*) from message_versions)
        + (select count(*) from mentions where chat_id = $1)
        + (select count(*) from replies where chat_id = $1)
        + (select count(*) from reply_parts)
        + (select count(*) from reply_thoughts)
        + (select count(*) from refused_images where chat_id = $1)
        + (select count(*) from prompt_windows where chat_id = $1)
        + (select count(*) from jobs where chat_id = $1)";

pub(crate) async fn rows_of(world: &World, chat: ChatId) -> i64 {
    sqlx::query_scalar(ROWS_OF_A_CHAT)
        .bind(chat.uuid())
        .fetch_one(&world.rows)
        .await
        .unwrap()
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_deleted_chat_leaves_no_row_and_frees_its_slot(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let (chat, other) = (world.assistant_chat(&anna).await, world.assistant_chat(&anna).await);
    let sent = world.ask(&anna, chat, "hi").await;
    world
        .people
        .append_to_reply(&sent.claim.unwrap(), 0, "half")
        .await
        .unwrap();
    world.send(&anna, chat, "queued behind it").await;
    for sql in [
        "insert into reactions (message_id, emoji, user_id) values ($1, '👍', 'anna')",
        "insert into message_versions (message_id, version, role, content, reason, created_at)
         values ($1, 1, 'user', 'hey', 'edited', now())",
        "insert into mentions (chat_id, user_id, seq) select chat_id, 'anna', seq from messages where id = $1",
        "insert into refused_images (chat_id, seq, model) select chat_id, seq, 'm' from messages where id = $1",
        "insert into prompt_windows (chat_id, model, tokens) select chat_id, 'm', 1 from messages where id = $1",
        "insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes)
         select r.id, 1, 0, '', 0 from replies r join messages m on m.chat_id = r.chat_id and m.seq = r.prompt_seq where m.id = $1",
    ] {
        sqlx::query(sql)
            .bind(sent.message.id.uuid())
            .execute(&world.rows)
            .await
            .unwrap();
    }
    assert_eq!(
        rows_of(&world, chat).await,
        1 + 1 + 2 + 1 + 1 + 1 + 2 + 1 + 2 + 1 + 1 + 1
    );

    let deleted = world.people.delete_chat(&anna.id, chat).await.unwrap();

    assert!(matches!(deleted, Deleted::Gone { audience, .. } if audience == [anna.id.clone()]));
    assert_eq!(rows_of(&world, chat).await, 0);
    assert_eq!(
        world.people.delete_chat(&anna.id, chat).await.unwrap(),
        Deleted::NoSuchChat
    );
    assert_eq!(world.number("select assistant_chats::bigint from people").await, 1);
    assert!(world.people.chat(&anna.id, other).await.unwrap().is_some());
    let news: String = sqlx::query_scalar("select event from inbox order by version desc limit 1")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    assert_eq!(news, "chat.deleted");
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn only_the_owner_deletes_and_everyone_learns_of_it(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let tables = ["chats", "members", "messages", "inbox", "people"];
    let mut before = Vec::new();
    for table in tables {
        before.push(world.dump(table).await);
    }

    assert_eq!(
        world.people.delete_chat(&ben.id, channel).await.unwrap(),
        Deleted::NotYourChannel
    );
    assert_eq!(
        world.people.delete_chat(&cleo.id, channel).await.unwrap(),
        Deleted::NoSuchChat
    );
    for person in [&anna, &ben] {
        assert_eq!(
            world.people.delete_chat(&person.id, direct).await.unwrap(),
            Deleted::NotYours
        );
    }
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(world.dump(table).await, before, "{table}");
    }

    let Deleted::Gone { mut audience, .. } = world.people.delete_chat(&anna.id, channel).await.unwrap() else {
        panic!("it is Anna's")
    };
    audience.sort();
    assert_eq!(audience, [anna.id.clone(), ben.id.clone()]);
}

/// A table that comes later must be in the tests above, or say here why it need not be.
#[sqlx::test(migrations = "../../migrations")]
async fn every_table_that_names_a_chat_is_looked_at(pool: PgPool) {
    let sql = "select distinct table_name::text from information_schema.columns
               where table_schema = current_schema() and column_name in ('chat_id', 'message_id', 'reply_id')
               order by 1";
    let tables: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
    // A hold outlives its chat, so that its tokens go back to the budget. Keys: see `keys.rs`.
    assert_eq!(
        tables,
        [
            "chat_keys",
            "holds",
            "inbox",
            "jobs",
            "members",
            "mentions",
            "message_versions",
            "messages",
            "prompt_windows",
            "reactions",
            "refused_images",
            "regenerations",
            "replies",
            "reply_parts",
            "reply_thoughts"
        ]
    );
}
