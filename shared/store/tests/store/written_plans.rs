//! How Postgres answers polls, lists and histories. The plans are committed in `docs/plans`: `WRITE_PLANS=1` writes them anew.

use std::env;
use std::fs;
use std::path::Path;

use domain::ids::UserId;
use domain::limits::PageSize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::chats::ListFilter;
use store::messages::Range;
use store::{Store, role};

use crate::world::{SCHEMA, World};

/// Five thousand people, and a hundred of them with a channel of a thousand messages each; Anna is in twenty, and has read all but three in each.
const MUCH: &str = "
    insert into people (id, name) select 'p' || n, 'P' from generate_series(1, 5000) n;
    insert into inbox_heads (user_id, version) select id, 1000 from people on conflict do nothing;
    insert into chats (id, kind, owner_id, last_seq, last_number, last_message_seq, last_message_at)
        select gen_random_uuid(), 'channel', 'p' || n, 1000, 1000, 1000, now() from generate_series(1, 100) n;
    insert into members (chat_id, user_id, role) select id, owner_id, 'owner' from chats;
    insert into members (chat_id, user_id, read_seq, read_number) select id, 'anna', 997, 997 from chats order by id limit 20;
    insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
        select c.id, n, gen_random_uuid(), n, n, 'user', c.owner_id, 'text' from chats c, generate_series(1, 1000) n;
    insert into inbox (user_id, version, chat_id, seq, event)
        select c.owner_id, n, c.id, n, 'message.created' from chats c, generate_series(1, 1000) n;
    analyze;";

/// Somebody with five thousand chats, of twenty messages each.
const KEEPER: &str = "
    insert into people (id, name) values ('keeper', 'Keeper');
    insert into inbox_heads (user_id) values ('keeper');
    create temp table kept as select n, gen_random_uuid() as id from generate_series(1, 5000) n;
    insert into chats (id, kind, owner_id, last_seq, last_number, last_message_seq, last_message_at, active_at)
        select id, 'channel', 'p' || n, 20, 20, 20, now(), now() - n * interval '1 minute' from kept;
    insert into members (chat_id, user_id, role) select id, 'p' || n, 'owner' from kept;
    insert into members (chat_id, user_id, joined_at) select id, 'keeper', now() - interval '1 year' from kept;
    insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
        select id, m, gen_random_uuid(), m, m, 'user', 'p' || n, 'text' from kept, generate_series(1, 20) m;
    analyze;";

/// The plan of the statement that was prepared last, for its one caller: as the store sends it, in its role.
async fn plan(pool: &PgPool, arguments: &str) -> String {
    plan_of(pool, "", arguments).await
}

/// The same of the last that says this.
async fn plan_of(pool: &PgPool, says: &str, arguments: &str) -> String {
    let (name, statement): (String, String) = sqlx::query_as(
        "select name, statement from pg_prepared_statements
         where statement like '%acting_as%' and statement not like '%pg_prepared_statements%'
             and strpos(statement, $1) > 0
         order by prepare_time desc limit 1",
    )
    .bind(says)
    .fetch_one(pool)
    .await
    .unwrap();
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (costs off) execute {name}({arguments})"
    )))
    .fetch_all(pool)
    .await
    .unwrap();
    let statement: Vec<_> = statement
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty())
        .collect();
    format!("{}\n\n{}\n", statement.join("\n"), lines.join("\n"))
}

/// As functions that act for people have it.
fn one_connection(world: &World) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            let settle = format!("{}; set plan_cache_mode = force_generic_plan", role::change(SCHEMA));
            Box::pin(async move { connection.execute(AssertSqlSafe(settle)).await.map(drop) })
        })
        .connect_lazy_with((*world.rows.connect_options()).clone())
}

fn commit(name: &str, plan: &str) {
    if env::var_os("WRITE_PLANS").is_some() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plans");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), plan).unwrap();
    }
}

fn scans<'a>(plan: &'a str, kind: &str) -> Vec<&'a str> {
    plan.lines().map(str::trim).filter(|line| line.contains(kind)).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_idle_poll_is_one_look_up_and_the_unread_list_reads_behind_the_read_positions(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    world.rows.execute(MUCH).await.unwrap();
    world
        .rows
        .execute("update inbox_heads set version = 1000")
        .await
        .unwrap();
    let one = one_connection(&world);
    let store = Store::on(one.clone());

    assert_eq!(store.inbox_version(&anna.id).await.unwrap(), 1000);
    let idle = plan(&one, "'anna'").await;
    let looks = scans(&idle, "Scan");
    assert_eq!(looks.len(), 1, "{idle}");
    assert!(looks[0].contains("Index Scan using inbox_heads_pkey"), "{idle}");
    commit("idle-poll.txt", &idle);

    let unread = store.unread_messages(&anna.id, PageSize::DEFAULT).await.unwrap();
    assert_eq!((unread.total, unread.messages.len()), (60, 50));
    let list = plan(&one, "'anna', 50").await;
    assert_eq!(scans(&list, "Seq Scan"), Vec::<&str>::new(), "{list}");
    assert!(list.contains("messages_pkey"), "{list}");
    commit("unread-list.txt", &list);
}

#[sqlx::test(migrations = "../../migrations")]
async fn lists_and_history_are_answered_by_indexes_however_many_chats_there_are(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    world.rows.execute(MUCH).await.unwrap();
    let mut connection = world.rows.acquire().await.unwrap();
    connection.execute(KEEPER).await.unwrap();
    drop(connection);
    let one = one_connection(&world);
    let store = Store::on(one.clone());

    let keeper = UserId::parse("keeper").unwrap();
    let list = store
        .chats(&keeper, ListFilter::default(), None, PageSize::DEFAULT)
        .await
        .unwrap();
    assert_eq!((list.total, list.chats.len()), (5000, 50));
    let page = plan_of(
        &one,
        "moved as materialized",
        "'keeper', null, null, null, 51, 0, false, 20",
    )
    .await;
    assert_eq!(scans(&page, "Seq Scan"), Vec::<&str>::new(), "{page}");
    for index in ["members_user", "chats_pkey", "inbox_pkey", "messages_pkey"] {
        assert!(page.contains(index), "{page}");
    }
    commit("chat-list.txt", &page);

    let chat = store
        .chats(&anna.id, ListFilter::default(), None, PageSize::DEFAULT)
        .await
        .unwrap()
        .chats[0]
        .id;
    let before = Range::Before(crate::world::seq(500));
    let history = store
        .messages(&anna.id, chat, before, PageSize::DEFAULT)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(history.messages.len(), 50);
    let page = plan_of(&one, "m.seq < $3", &format!("'anna', '{chat}', 500, 51")).await;
    assert_eq!(scans(&page, "Seq Scan"), Vec::<&str>::new(), "{page}");
    assert!(page.contains("Index Scan Backward using messages_pkey"), "{page}");
    commit("history-page.txt", &page);
}
