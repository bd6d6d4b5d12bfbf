//! How a store comes to its connections.

use shared::config::DatabaseConfig;
use shared::store::{Acting, Store};
use sqlx::PgPool;

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

#[sqlx::test(migrations = "../migrations")]
async fn a_store_does_not_serve_on_a_schema_that_is_older_than_it(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = caller("anna");
    let config = config(&world.rows);
    for (acting, older, again) in [
        (
            Acting::ForAPerson,
            "update _sqlx_migrations set success = false
             where version = (select max(version) from _sqlx_migrations)",
            "update _sqlx_migrations set success = true",
        ),
        (
            Acting::ForTheSystem,
            "alter table _sqlx_migrations rename to elsewhere",
            "alter table elsewhere rename to _sqlx_migrations",
        ),
    ] {
        let store = || Store::connect(&config, acting).unwrap();
        let change = |sql: &'static str| sqlx::query(sql).execute(&world.rows);
        store().meet(&anna).await.unwrap();
        change(older).await.unwrap();
        let error = store().meet(&anna).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        change(again).await.unwrap();
        store().meet(&anna).await.unwrap();
        // A schema that is newer serves: functions are replaced after it.
        change(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (99999999, 'later', true, '', 0)",
        )
        .await
        .unwrap();
        store().meet(&anna).await.unwrap();
        change("delete from _sqlx_migrations where version = 99999999")
            .await
            .unwrap();
    }
}
