//! The schema brought to this version.

use std::borrow::Cow;

use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr};

use super::{MIGRATIONS, options, role};
use crate::config::DatabaseConfig;

/// Applies the migrations that are missing, in the configured schema, and sees to it that functions can act for people
/// there. Safe to run twice at once: sqlx takes a lock.
pub async fn migrate(config: &DatabaseConfig) -> anyhow::Result<()> {
    let options = options(config)?.application_name("backtalk-migrate");
    let mut connection = PgConnection::connect_with(&options).await?;
    let schema = &config.schema;
    let role = role::ready(&mut connection, schema).await?;
    make_schema(&mut connection, schema).await?;
    connection
        .execute(AssertSqlSafe(format!("set search_path = {schema}")))
        .await?;
    naming(&role).run(&mut connection).await?;
    role::prove(&mut connection, schema, &role).await?;
    connection.close().await?;
    Ok(())
}

async fn make_schema(connection: &mut PgConnection, schema: &str) -> anyhow::Result<()> {
    // An owner for whom somebody made it may have no right to make one.
    let is_there: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    if is_there {
        return Ok(());
    }
    // Two migrations at once may both find it missing.
    if let Err(error) = connection
        .execute(AssertSqlSafe(format!("create schema if not exists {schema}")))
        .await
    {
        let is_there = error
            .as_database_error()
            .is_some_and(|error| error.is_unique_violation());
        anyhow::ensure!(is_there, error);
    }
    Ok(())
}

/// What makes the role in the migrations. It is there by then, and who owns the database may have no right to make one.
const MAKES_THE_ROLE: &str = "create role backtalk_app nologin;";

/// The migrations with the schema's role in the place of the usual one. Their checksums stay those of the files.
fn naming(role: &str) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|migration| Migration {
        sql: AssertSqlSafe(
            migration
                .sql
                .as_str()
                .replace(MAKES_THE_ROLE, "null;")
                .replace(role::USUAL, role),
        )
        .into_sql_str(),
        checksum: Cow::clone(&migration.checksum),
        ..migration.clone()
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_name_the_role_as_a_word_of_its_own_and_keep_their_checksums() {
        let named = naming("backtalk_app_shop");
        let makes_it = |migration: &&Migration| migration.sql.as_str().contains(MAKES_THE_ROLE);
        assert_eq!(MIGRATIONS.iter().filter(makes_it).count(), 1);
        for (migration, named) in MIGRATIONS.iter().zip(named.iter()) {
            let sql = migration.sql.as_str();
            let is_longer = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let longer = sql.split(role::USUAL).skip(1).find(is_longer);
            assert_eq!(longer, None, "{}", migration.version);
            assert_eq!(migration.checksum, named.checksum);
            let count = |sql: &str, name: &str| sql.matches(name).count();
            let named_elsewhere = count(sql, role::USUAL) - count(sql, MAKES_THE_ROLE);
            assert_eq!(named_elsewhere, count(named.sql.as_str(), "backtalk_app_shop"));
        }
    }
}
