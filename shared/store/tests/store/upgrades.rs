//! A new version migrates while functions of the version before serve, so it takes nothing away that they may use.

use std::collections::BTreeSet;

use sqlx::migrate::Migrator;
use sqlx::{PgConnection, PgPool};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// The newest migration of the version before, whose commit is `BEFORE` in `xtask/src/upgrade.rs`.
const LANDED: i64 = 57;

/// What was taken away all the same, and why the version before does not miss it.
const NOT_MISSED: [(&str, &str); 0] = [];

/// What a function can call, read, write, or lack.
const SURFACE: &str = "
    select 'function ' || oid::regprocedure || ' (' || pg_get_function_arguments(oid) || ') returns '
        || pg_get_function_result(oid)
    from pg_proc where pronamespace = current_schema()::regnamespace
    union all
    select 'column ' || table_name || '.' || column_name || ' ' || udt_name
    from information_schema.columns where table_schema = current_schema()
    union all
    select 'right to ' || privilege_type || ' ' || table_name || '.' || column_name || ' for ' || grantee
    from information_schema.column_privileges where table_schema = current_schema() and grantee = 'backtalk_app'
    union all
    select 'right to delete ' || table_name from information_schema.table_privileges
    where table_schema = current_schema() and grantee = 'backtalk_app' and privilege_type = 'DELETE'
    union all
    select 'right to call ' || oid::regprocedure from pg_proc
    where pronamespace = current_schema()::regnamespace and has_function_privilege('backtalk_app', oid, 'execute')
    union all
    select 'index ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
    where connamespace = current_schema()::regnamespace and contype in ('p', 'u')
    union all
    select 'index ' || indexname from pg_indexes where schemaname = current_schema() and indexdef like 'CREATE UNIQUE%'
";

/// What a row cannot be written without.
const DEMANDS: &str = "
    select 'value of ' || table_name || '.' || column_name
    from information_schema.columns
    where table_schema = current_schema() and is_nullable = 'NO' and column_default is null
        and is_identity = 'NO' and is_generated = 'NEVER'
        and table_name not like '\\_sqlx%'
";

async fn all(sql: &'static str, connection: &mut PgConnection) -> BTreeSet<String> {
    let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await.unwrap();
    found.into_iter().collect()
}

#[sqlx::test(migrations = false)]
async fn no_migration_takes_away_what_the_version_before_uses(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let connection = &mut *connection;
    MIGRATIONS.run_to(LANDED, &mut *connection).await.unwrap();
    let (surface, demands) = (
        all(SURFACE, &mut *connection).await,
        all(DEMANDS, &mut *connection).await,
    );
    let tables: BTreeSet<String> = all(
        "select tablename::text from pg_tables where schemaname = current_schema()",
        &mut *connection,
    )
    .await;

    MIGRATIONS.run(&mut *connection).await.unwrap();
    let after = all(SURFACE, &mut *connection).await;
    let is_missed = |what: &&String| NOT_MISSED.iter().all(|(name, _reason)| name != what);
    let missed: Vec<_> = surface.difference(&after).filter(is_missed).collect();
    assert!(missed.is_empty(), "taken away since {LANDED}: {missed:#?}");
    // Rows of tables that were there are written without what came since.
    let asked = all(DEMANDS, &mut *connection).await;
    let of_before = |what: &&String| {
        let table = what.trim_start_matches("value of ").split('.').next();
        table.is_some_and(|table| tables.contains(table))
    };
    let demanded: Vec<_> = asked.difference(&demands).filter(of_before).filter(is_missed).collect();
    assert!(demanded.is_empty(), "demanded since {LANDED}: {demanded:#?}");
}
