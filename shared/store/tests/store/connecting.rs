//! How a store comes to its connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foundation::secret::Secret;
use futures_util::FutureExt;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::config::DatabaseConfig;
use store::{DbRole, ReadAgain, Store};
use tokio::time::{self, timeout};

use crate::way::{Way, refusing};
use crate::world::{World, caller};

fn config(pool: &PgPool) -> DatabaseConfig {
    let options = pool.connect_options();
    let (user, host, port) = (options.get_username(), options.get_host(), options.get_port());
    let database = options.get_database().unwrap();
    DatabaseConfig {
        schema: "public".into(),
        ..DatabaseConfig::of(format!("postgres://{user}@{host}:{port}/{database}"))
    }
}

/// To the server of a database.
async fn way_to(pool: &PgPool) -> Way {
    let options = pool.connect_options();
    Way::to(format!("{}:{}", options.get_host(), options.get_port())).await
}

/// The same database by this way.
fn by(config: &DatabaseConfig, way: &Way) -> DatabaseConfig {
    let url = config.url.expose();
    let (before, after) = (url.find('@').unwrap() + 1, url.rfind('/').unwrap());
    DatabaseConfig {
        url: Secret::new(format!("{}{}{}", &url[..before], way.address(), &url[after..])),
        ..config.clone()
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_store_does_not_serve_on_a_schema_that_is_older_than_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = caller("anna");
    let config = config(&world.rows);
    for (acting, older, again) in [
        (
            DbRole::App,
            "update _sqlx_migrations set success = false
             where version = (select max(version) from _sqlx_migrations)",
            "update _sqlx_migrations set success = true",
        ),
        (
            DbRole::Owner,
            "alter table _sqlx_migrations rename to elsewhere",
            "alter table elsewhere rename to _sqlx_migrations",
        ),
    ] {
        let store = || Store::connect(&config, acting).unwrap();
        let change = |sql: &'static str| sqlx::query(sql).execute(&world.rows);
        store().upsert_user(&anna).await.unwrap();
        change(older).await.unwrap();
        let error = store().upsert_user(&anna).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        change(again).await.unwrap();
        store().upsert_user(&anna).await.unwrap();
        // A schema that is newer serves: functions are replaced after it.
        change(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (99999999, 'later', true, '', 0)",
        )
        .await
        .unwrap();
        store().upsert_user(&anna).await.unwrap();
        change("delete from _sqlx_migrations where version = 99999999")
            .await
            .unwrap();
    }
}

/// As if so long had passed; the clock runs on afterwards, for the network needs it.
async fn pass(duration: Duration) {
    time::pause();
    time::advance(duration).await;
    time::resume();
}

/// What must come soon, and would never come from a peer that is gone.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("an answer")
}

async fn is_unavailable(store: &Store) -> bool {
    let error = soon(store.upsert_user(&caller("anna"))).await.unwrap_err();
    error.is_unavailable()
}

/// The store's sessions that the server knows.
async fn sessions(rows: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'backtalk'",
    )
    .fetch_one(rows)
    .await
    .unwrap()
}

async fn until_no_session_is_left(rows: &PgPool) {
    soon(async {
        while sessions(rows).await > 0 {
            time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn end_sessions(rows: &PgPool) {
    let ended = "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name = 'backtalk'";
    rows.execute(ended).await.unwrap();
    until_no_session_is_left(rows).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_older_schema_is_refused_at_once_and_not_asked_again_for_a_second(pool: PgPool) {
    let world = World::on(pool).await;
    for acting in [DbRole::App, DbRole::Owner] {
        let way = way_to(&world.rows).await;
        let store = Store::connect(&by(&config(&world.rows), &way), acting).unwrap();
        let newest = "where version = (select max(version) from _sqlx_migrations)";
        let change = async |success: &str| {
            let sql = format!("update _sqlx_migrations set success = {success} {newest}");
            world.rows.execute(AssertSqlSafe(sql)).await.unwrap();
        };
        change("false").await;
        for _ in 0..20 {
            assert!(is_unavailable(&store).await);
        }
        assert_eq!(way.opened(), 1);
        pass(Duration::from_secs(1)).await;
        assert!(is_unavailable(&store).await);
        assert_eq!(way.opened(), 2);
        // After a migration it serves by itself.
        change("true").await;
        assert!(is_unavailable(&store).await);
        pass(Duration::from_secs(1)).await;
        for _ in 0..3 {
            store.upsert_user(&caller("anna")).await.unwrap();
        }
        assert_eq!(way.opened(), 3);
    }
}

#[tokio::test]
async fn whatever_refuses_a_connection_is_asked_once_a_second_and_is_no_fault_of_ours() {
    for code in ["28P01", "28000", "3D000", "42501", "53300", "57P03", "08006", "XX000"] {
        let (address, asked) = refusing(code).await;
        let store = Store::connect(&nowhere(&address), DbRole::App).unwrap();
        for _ in 0..5 {
            assert!(is_unavailable(&store).await, "{code}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{code}");
        pass(Duration::from_secs(1)).await;
        assert!(is_unavailable(&store).await, "{code}");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{code}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_server_that_says_nothing_is_given_up(pool: PgPool) {
    let way = way_to(&pool).await;
    way.kill_for_good();
    let store = Store::connect(&by(&config(&pool), &way), DbRole::App).unwrap();
    assert!(is_unavailable(&store).await);
    assert!(is_unavailable(&store).await);
    assert_eq!(way.opened(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_connection_that_died_while_it_was_idle_costs_no_request(pool: PgPool) {
    let world = World::on(pool).await;
    let way = way_to(&world.rows).await;
    let store = Store::connect(&by(&config(&world.rows), &way), DbRole::App).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    way.kill_silently();
    pass(Duration::from_secs(1)).await;
    soon(store.upsert_user(&caller("anna"))).await.unwrap();
    assert_eq!(way.opened(), 2);
    // One that is alive is used again.
    pass(Duration::from_secs(60)).await;
    store.upsert_user(&caller("anna")).await.unwrap();
    assert_eq!(way.opened(), 2);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_statement_without_an_answer_is_given_up_with_its_connection(pool: PgPool) {
    let world = World::on(pool).await;
    let way = way_to(&world.rows).await;
    let config = DatabaseConfig {
        statement_timeout: Some(Duration::from_millis(200)),
        ..by(&config(&world.rows), &way)
    };
    for acting in [DbRole::App, DbRole::Owner] {
        let store = Store::connect(&config, acting).unwrap();
        let name = match acting {
            DbRole::App => caller("anna").id,
            DbRole::Owner => caller("ben").id,
        };
        store.inbox_version(&name).await.unwrap();
        let opened = way.opened();
        way.kill_silently();
        assert!(soon(store.inbox_version(&name)).await.unwrap_err().is_unavailable());
        soon(store.inbox_version(&name)).await.unwrap();
        assert_eq!(way.opened(), opened + 1);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_statement_that_takes_too_long_is_ended_and_may_be_tried_again(pool: PgPool) {
    let world = World::on(pool).await;
    let way = way_to(&world.rows).await;
    let config = DatabaseConfig {
        statement_timeout: Some(Duration::from_millis(100)),
        ..by(&config(&world.rows), &way)
    };
    let store = Store::connect(&config, DbRole::App).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    let mut other = world.rows.begin().await.unwrap();
    other
        .execute("update people set name = 'Other' where id = 'anna'")
        .await
        .unwrap();
    assert!(is_unavailable(&store).await);
    let running = "select count(*) from pg_stat_activity
                   where datname = current_database() and application_name = 'backtalk' and state = 'active'";
    assert_eq!(world.number(running).await, 0);
    other.rollback().await.unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    assert_eq!(way.opened(), 1, "the connection is good");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_request_that_is_dropped_takes_its_connection_along(pool: PgPool) {
    let world = World::on(pool).await;
    let way = way_to(&world.rows).await;
    let store = Store::connect(&by(&config(&world.rows), &way), DbRole::App).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    let mut other = world.rows.begin().await.unwrap();
    other
        .execute("update people set name = 'Other' where id = 'anna'")
        .await
        .unwrap();
    let (anna, ben) = (caller("anna"), caller("ben"));
    assert!(
        timeout(Duration::from_millis(100), store.upsert_user(&anna))
            .await
            .is_err()
    );
    soon(store.upsert_user(&ben)).await.unwrap();
    assert_eq!(way.opened(), 2);
    other.rollback().await.unwrap();
}

#[sqlx::test(migrations = "../../migrations")]
async fn many_requests_share_the_connections_that_there_are(pool: PgPool) {
    let world = World::on(pool).await;
    let way = way_to(&world.rows).await;
    let config = DatabaseConfig {
        connections: 2,
        ..by(&config(&world.rows), &way)
    };
    let store = Store::connect(&config, DbRole::App).unwrap();
    let people: Vec<_> = (0..50).map(|number| caller(&format!("p{number}"))).collect();
    let met = join_all(people.iter().map(|person| store.upsert_user(person))).await;
    assert!(met.iter().all(Result::is_ok), "{met:?}");
    assert_eq!(world.number("select count(*) from people where id like 'p%'").await, 50);
    assert_eq!(way.opened(), 2);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_session_that_the_server_ended_costs_no_request(pool: PgPool) {
    let world = World::on(pool).await;
    let store = Store::connect(&config(&world.rows), DbRole::App).unwrap();
    for idle in [Duration::ZERO, Duration::from_secs(1)] {
        store.upsert_user(&caller("anna")).await.unwrap();
        end_sessions(&world.rows).await;
        pass(idle).await;
        store.upsert_user(&caller("anna")).await.unwrap();
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_connection_that_nobody_uses_is_taken_back_and_costs_no_request(pool: PgPool) {
    let world = World::on(pool).await;
    let config = DatabaseConfig {
        idle_timeout: Duration::from_millis(100),
        ..config(&world.rows)
    };
    let store = Store::connect(&config, DbRole::App).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    until_no_session_is_left(&world.rows).await;
    store.upsert_user(&caller("anna")).await.unwrap();
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_server_that_only_reads_is_left(pool: PgPool) {
    let world = World::on(pool).await;
    let name = world.rows.connect_options().get_database().unwrap().to_owned();
    let turn = async |read_only: &str| {
        let sql = format!(r#"alter database "{name}" set default_transaction_read_only = {read_only}"#);
        // With these connections, which go on as they are.
        world.rows.execute(AssertSqlSafe(sql)).await.unwrap();
    };
    let store = Store::connect(&config(&world.rows), DbRole::App).unwrap();
    turn("on").await;
    assert!(is_unavailable(&store).await);
    assert!(is_unavailable(&store).await);
    turn("off").await;
    store.upsert_user(&caller("anna")).await.unwrap();
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_migration_beneath_a_warm_process_costs_no_request(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let store = Store::connect(&config(&world.rows), DbRole::App).unwrap();
    let known = store.me(&anna.id).await.unwrap();
    world
        .rows
        .execute("alter table people alter column name type varchar(1000)")
        .await
        .unwrap();
    assert_eq!(store.me(&anna.id).await.unwrap(), known);
}

/// A place where nobody is let in.
fn nowhere(address: &str) -> DatabaseConfig {
    DatabaseConfig::of(format!("postgres://nobody@{address}/nothing?sslmode=disable"))
}

/// Says where the database is, and how often it was asked.
fn saying(config: &DatabaseConfig) -> (ReadAgain, Arc<AtomicUsize>) {
    let (config, asked) = (config.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let read_again: ReadAgain = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let config = config.clone();
        async move { Ok(config) }.boxed()
    });
    (read_again, asked)
}

#[sqlx::test(migrations = "../../migrations")]
async fn another_password_or_address_is_read_again_and_costs_no_request(pool: PgPool) {
    let world = World::on(pool).await;
    let right = config(&world.rows);
    let mut places = vec![nowhere("127.0.0.1:9")];
    for code in ["28P01", "28000", "3D000"] {
        places.push(nowhere(&refusing(code).await.0));
    }
    for wrong in places {
        let (read_again, asked) = saying(&right);
        let store = Store::connect_reading_again(&wrong, DbRole::App, Some(read_again)).unwrap();
        for _ in 0..3 {
            store.upsert_user(&caller("anna")).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{wrong:?}");
    }
    // The same of a process that has served already.
    let way = way_to(&world.rows).await;
    let (read_again, _) = saying(&right);
    let store = Store::connect_reading_again(&by(&right, &way), DbRole::App, Some(read_again)).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
    way.kill_for_good();
    pass(Duration::from_secs(1)).await;
    soon(store.upsert_user(&caller("anna"))).await.unwrap();
}

#[tokio::test]
async fn a_password_that_stays_wrong_is_read_again_now_and_then() {
    let (address, asked) = refusing("28P01").await;
    let (read_again, read) = saying(&nowhere(&address));
    let store = Store::connect_reading_again(&nowhere(&address), DbRole::App, Some(read_again)).unwrap();
    for (passed, connections, reads) in [(0, 1, 1), (1, 2, 1), (1, 3, 1), (3, 4, 2)] {
        pass(Duration::from_secs(passed)).await;
        for _ in 0..3 {
            assert!(is_unavailable(&store).await);
        }
        let found = (asked.load(Ordering::SeqCst), read.load(Ordering::SeqCst));
        assert_eq!(found, (connections, reads));
    }
    // What another password would not mend is no reason to ask for one.
    let (address, _) = refusing("53300").await;
    let (read_again, read) = saying(&nowhere(&address));
    let store = Store::connect_reading_again(&nowhere(&address), DbRole::App, Some(read_again)).unwrap();
    assert!(is_unavailable(&store).await);
    assert_eq!(read.load(Ordering::SeqCst), 0);
}

/// What the issue's figures are: `cargo nextest run -p backtalk-store --test store --run-ignored only figures --no-capture`.
#[sqlx::test(migrations = "../../migrations")]
#[ignore = "prints figures, and really waits"]
async fn figures_of_refusals_and_dead_connections(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = caller("anna");
    let way = way_to(&world.rows).await;
    let config = by(&config(&world.rows), &way);
    let ask = async |what: &str, store: &Store| {
        let (before, began) = (way.opened(), Instant::now());
        let outcome = timeout(Duration::from_secs(35), store.upsert_user(&anna)).await;
        let outcome = match outcome {
            Err(_) => "no answer",
            Ok(Ok(())) => "answered",
            Ok(Err(error)) if error.is_unavailable() => "503",
            Ok(Err(_)) => "500",
        };
        let (took, attempts) = (began.elapsed().as_secs_f64(), way.opened() - before);
        println!("{what}: {outcome} after {took:.2} s, {attempts} connections");
    };
    let store = Store::connect(&config, DbRole::App).unwrap();
    ask("first", &store).await;
    ask("second", &store).await;
    way.kill_silently();
    tokio::time::sleep(Duration::from_secs(31)).await;
    ask("dead, after 31 s idle", &store).await;
    ask("next", &store).await;
    way.kill_silently();
    ask("dead, used at once", &store).await;
    ask("next", &store).await;

    sqlx::query(
        "update _sqlx_migrations set success = false where version = (select max(version) from _sqlx_migrations)",
    )
    .execute(&world.rows)
    .await
    .unwrap();
    let store = Store::connect(&config, DbRole::App).unwrap();
    ask("older schema", &store).await;
    ask("older schema, again", &store).await;
    for code in ["28P01", "3D000", "53300", "57P03", "42501"] {
        let (address, asked) = refusing(code).await;
        let url = format!("postgres://nobody@{address}/nothing?sslmode=disable");
        let store = Store::connect(&DatabaseConfig::of(url), DbRole::App).unwrap();
        let began = Instant::now();
        let error = store.upsert_user(&anna).await.unwrap_err();
        let status = if error.is_unavailable() { 503 } else { 500 };
        let (took, attempts) = (began.elapsed().as_secs_f64(), asked.load(Ordering::SeqCst));
        println!("{code} at connect: {status} after {took:.2} s, {attempts} connections");
    }
}
