//! How Postgres answers a poll. The plans are committed in `docs/plans`: `WRITE_PLANS=1` writes them anew.

use std::env;
use std::fs;
use std::path::Path;

use shared::domain::limits::PageSize;
use shared::store::Store;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use crate::world::World;

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

/// The plan of the statement that was prepared last, for its one caller: as the store sends it, in its role.
async fn plan(pool: &PgPool, arguments: &str) -> String {
    let (name, statement): (String, String) = sqlx::query_as(
        "select name, statement from pg_prepared_statements
         where statement like '%acting_as%' and statement not like '%pg_prepared_statements%'
         order by prepare_time desc limit 1",
    )
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

fn commit(name: &str, plan: &str) {
    if env::var_os("WRITE_PLANS").is_some() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plans");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), plan).unwrap();
    }
}

fn scans<'a>(plan: &'a str, kind: &str) -> Vec<&'a str> {
    plan.lines().map(str::trim).filter(|line| line.contains(kind)).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn an_idle_poll_is_one_look_up_and_the_unread_list_reads_behind_the_read_positions(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    world.rows.execute(MUCH).await.unwrap();
    world
        .rows
        .execute("update inbox_heads set version = 1000")
        .await
        .unwrap();
    let one = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            let settle = "set role backtalk_app; set plan_cache_mode = force_generic_plan";
            Box::pin(async move { connection.execute(settle).await.map(drop) })
        })
        .connect_lazy_with((*world.rows.connect_options()).clone());
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
