//! The role that functions change to when they act for people: which one a schema has, and that its owner may change to it.
//!
//! A role belongs to the whole server, and who owns the database need not be a superuser. So another owner's Backtalk may
//! have made `backtalk_app` first, and since Postgres 16 a role's maker may not change to it before they grant it to
//! themselves. The policies of a schema name its role, and functions learn it there.

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// What the migrations call the role, and what it is called unless another owner of the same server has made that one.
pub(super) const USUAL: &str = "backtalk_app";

/// Others may make and grant the same role at the same moment; each time this happens one of them is done.
const LOOKS: usize = 100;
const LONGEST_NAME: usize = 63;
const POSTGRES_16: u32 = 16_00_00;

/// A statement that changes to the role of a schema. It fails where no policy names one, for who does not change sees all.
#[must_use]
pub fn change(schema: &str) -> String {
    format!(
        "do $$ begin
            execute format('set role %I', ({}));
        end $$",
        named_by_policies(schema)
    )
}

fn named_by_policies(schema: &str) -> String {
    format!(
        "select rolname::text from pg_policy join pg_roles on pg_roles.oid = any(polroles)
         where polrelid = to_regclass('{schema}.chats') limit 1"
    )
}

/// Finds the role of a schema, or the one that its policies shall name; makes it, and lets the owner change to it. Answers
/// its name.
pub async fn ready(connection: &mut PgConnection, schema: &str) -> anyhow::Result<String> {
    let owner: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&mut *connection)
        .await?;
    let named: Option<String> = sqlx::query_scalar(AssertSqlSafe(named_by_policies(schema)))
        .fetch_optional(&mut *connection)
        .await?;
    let is_named = named.is_some();
    let candidates = named.map_or_else(|| vec![USUAL.to_owned(), name_for(&owner)], |role| vec![role]);
    let mut missing = None;
    for role in &candidates {
        match take(connection, role, is_named).await? {
            Taken::Ours => return Ok(role.clone()),
            Taken::Missing => {
                missing.get_or_insert(role);
            }
            Taken::Others => {}
        }
    }
    let statements = match (missing, candidates.last()) {
        (Some(role), _) => format!("create role {role} nologin; grant {role} to \"{owner}\""),
        (None, role) => format!("grant {} to \"{owner}\"", role.map_or(USUAL, String::as_str)),
    };
    bail!(
        "`{owner}` may not change to the role that functions need: an administrator of the server has to run `{statements}`"
    )
}

/// Another owner's role, by a name that is plain in any SQL.
fn name_for(owner: &str) -> String {
    let is_plain = owner
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let readable = format!("{USUAL}_{owner}");
    if is_plain && readable.len() <= LONGEST_NAME {
        return readable;
    }
    format!("{USUAL}_{}", hex::encode(&Sha256::digest(owner)[..8]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// We may change to it.
    Ours,
    /// Somebody else's, who has not granted it to us.
    Others,
    /// There is none, and we may make none.
    Missing,
}

/// Makes a role, or grants it to us, where that is needed and allowed. One that we are no member of is somebody else's, also
/// where we could make ourselves one: Postgres 15 allows that to whoever may make roles.
async fn take(connection: &mut PgConnection, role: &str, is_named: bool) -> anyhow::Result<Taken> {
    let is_16 = connection
        .server_version_num()
        .is_some_and(|version| version >= POSTGRES_16);
    let (right, option) = if is_16 {
        ("set", " with set true")
    } else {
        ("member", "")
    };
    let grant = format!("grant \"{role}\" to current_user{option}");
    for _ in 0..LOOKS {
        // Whether a connection may change to a role is asked of who logged in.
        let standing: Option<(bool, bool)> = sqlx::query_as(
            "select pg_has_role(session_user, oid, $2), pg_has_role(session_user, oid, 'member')
             from pg_roles where rolname = $1",
        )
        .bind(role)
        .bind(right)
        .fetch_optional(&mut *connection)
        .await?;
        let (statement, refused) = match standing {
            Some((true, _)) => return Ok(Taken::Ours),
            Some((_, false)) if !is_named => return Ok(Taken::Others),
            Some(_) => (grant.clone(), Taken::Others),
            // Both or neither, so that nobody sees it without its member.
            None => (format!("create role \"{role}\" nologin; {grant}"), Taken::Missing),
        };
        if let Err(error) = connection.execute(AssertSqlSafe(statement)).await {
            match error.as_database_error().and_then(|error| error.code()).as_deref() {
                // Insufficient privilege.
                Some("42501") => return Ok(refused),
                // It was made, granted or dropped by somebody else meanwhile; of two grants at once one is an internal error.
                Some("42710" | "23505" | "42704" | "XX000") => {}
                _ => return Err(error).with_context(|| format!("the role {role} cannot be made ready")),
            }
        }
    }
    bail!("the role {role} is changed by others without an end")
}

/// Does what functions do, and fails where they would: the owner of a migrated schema must pass its policies, and its role
/// must be able to read under them.
pub(super) async fn prove(connection: &mut PgConnection, schema: &str, role: &str) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    let are_active = format!("select row_security_active('{schema}.chats')");
    let binds_owner: bool = sqlx::query_scalar(AssertSqlSafe(are_active.clone()))
        .fetch_one(&mut *transaction)
        .await?;
    ensure!(
        !binds_owner,
        "the tables of {schema} belong to somebody else than the role of the URL"
    );
    transaction
        .execute(AssertSqlSafe(change(schema)))
        .await
        .with_context(|| format!("functions could not change to {role}"))?;
    transaction
        .execute(AssertSqlSafe(format!("select from {schema}.chats limit 0")))
        .await
        .with_context(|| format!("functions could read nothing as {role}"))?;
    let binds_role: bool = sqlx::query_scalar(AssertSqlSafe(are_active))
        .fetch_one(&mut *transaction)
        .await?;
    ensure!(binds_role, "{role} is not bound by the row-level security of {schema}");
    transaction.rollback().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owners_own_role_has_a_plain_name_that_fits() {
        assert_eq!(name_for("shop"), "backtalk_app_shop");
        for owner in ["Shop", "sh-op", "a\"b", "ä", &"long".repeat(15)] {
            let name = name_for(owner);
            assert!(name.len() <= LONGEST_NAME, "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "{name}"
            );
            assert_ne!(name, name_for("shop"));
        }
    }
}
