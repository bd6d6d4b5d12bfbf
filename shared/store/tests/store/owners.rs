//! Owners as managed servers have them: none is a superuser, and several share a server. They are made by the role of
//! `DATABASE_URL`, which is one itself.

use domain::limits::PageSize;
use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use store::chats::ListFilter;
use store::config::DatabaseConfig;
use store::{DbRole, Store, migrate, role};
use uuid::Uuid;

use crate::world::{SCHEMA, caller, opened};

const USUAL: &str = "backtalk_app";
const PASSWORD: &str = "of-a-test";

/// Somebody who may log in, and their databases.
struct Owner {
    name: String,
    server: PgConnectOptions,
    databases: Vec<String>,
}

impl Owner {
    async fn new(administrator: &PgPool, rights: &str) -> Self {
        // The usual role is the administrator's, whichever test of this server comes first.
        let mut connection = administrator.acquire().await.unwrap();
        assert_eq!(role::ready(&mut connection, SCHEMA).await.unwrap(), USUAL);
        drop(connection);
        let name = format!("owner_{}", Uuid::now_v7().simple());
        run(
            administrator,
            format!("create role {name} login {rights} password '{PASSWORD}'"),
        )
        .await;
        let server = (*administrator.connect_options()).clone();
        let server = server.username(&name).password(PASSWORD);
        Self {
            name,
            server,
            databases: Vec::new(),
        }
    }

    /// One more database that they own.
    async fn database(&mut self) -> DatabaseConfig {
        let name = format!("{}_{}", self.name, self.databases.len());
        let mut connection = self.server.connect().await.unwrap();
        execute(&mut connection, format!("create database {name}")).await;
        self.databases.push(name.clone());
        let (host, port) = (self.server.get_host(), self.server.get_port());
        DatabaseConfig::of(format!("postgres://{}:{PASSWORD}@{host}:{port}/{name}", self.name))
    }

    /// In their first database.
    async fn connection(&self) -> PgConnection {
        self.server
            .clone()
            .database(&self.databases[0])
            .connect()
            .await
            .unwrap()
    }

    /// Databases and roles belong to the server, which is not the test's alone.
    async fn leave(self, administrator: &PgPool) {
        let mut connection = self.server.connect().await.unwrap();
        for database in &self.databases {
            execute(&mut connection, format!("drop database {database} with (force)")).await;
        }
        if administrator_knows(administrator, &self.own_role()).await {
            execute(&mut connection, format!("drop role {}", self.own_role())).await;
        }
        connection.close().await.unwrap();
        run(administrator, format!("drop role {}", self.name)).await;
    }

    /// What their role is called where somebody else has the usual one.
    fn own_role(&self) -> String {
        format!("{USUAL}_{}", self.name)
    }
}

async fn administrator_knows(administrator: &PgPool, role: &str) -> bool {
    sqlx::query_scalar("select exists (select 1 from pg_roles where rolname = $1)")
        .bind(role)
        .fetch_one(administrator)
        .await
        .unwrap()
}

async fn run(pool: &PgPool, sql: String) {
    execute(&mut pool.acquire().await.unwrap(), sql).await;
}

async fn execute(connection: &mut PgConnection, sql: String) {
    let done = connection.execute(AssertSqlSafe(sql.clone())).await;
    assert!(done.is_ok(), "{sql}: {done:?}");
}

/// As the functions of two people do: one opens a chat, and the other does not see it.
async fn people_are_served(config: &DatabaseConfig) {
    let store = Store::connect(config, DbRole::App).unwrap();
    let (anna, ben) = (caller("anna"), caller("ben"));
    store.upsert_user(&anna).await.unwrap();
    store.upsert_user(&ben).await.unwrap();
    let chat = store
        .open_assistant_chat(&anna.id, None, None, i32::MAX, None)
        .await
        .unwrap();
    let page = PageSize::new(10).unwrap();
    let of = |person| store.chats(person, ListFilter::default(), None, page);
    assert_eq!(of(&anna.id).await.unwrap().chats.len(), 1);
    assert_eq!(of(&ben.id).await.unwrap().chats.len(), 0);
    // Their connection is bound by the policies, whatever a statement says.
    let mut bound = connection(config).await;
    bound
        .execute(AssertSqlSafe(role::change(&config.schema)))
        .await
        .unwrap();
    assert_eq!(chats(&mut bound).await, 0);
    let system = Store::connect(config, DbRole::Owner).unwrap();
    assert!(system.chat(&anna.id, opened(chat).unwrap()).await.unwrap().is_some());
    assert_eq!(chats(&mut connection(config).await).await, 1);
}

async fn connection(config: &DatabaseConfig) -> PgConnection {
    PgConnection::connect(config.url.expose()).await.unwrap()
}

async fn chats(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from backtalk.chats")
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Whom the policies of an owner's first database name.
async fn role_of(owner: &Owner) -> String {
    sqlx::query_scalar(
        "select distinct rolname::text from pg_policy join pg_roles on pg_roles.oid = any(polroles)
         where polrelid::regclass::text like 'backtalk.%'",
    )
    .fetch_one(&mut owner.connection().await)
    .await
    .unwrap()
}

async fn is_at_least_16(pool: &PgPool) -> bool {
    let connection = pool.acquire().await.unwrap();
    connection.server_version_num().unwrap() >= 16_00_00
}

#[sqlx::test(migrations = false)]
async fn two_owners_without_superuser_have_a_database_each_on_one_server(administrator: PgPool) {
    let (mut first, mut second) = (
        Owner::new(&administrator, "createdb createrole").await,
        Owner::new(&administrator, "createdb createrole").await,
    );
    for owner in [&mut first, &mut second] {
        let config = owner.database().await;
        migrate(&config).await.unwrap();
        people_are_served(&config).await;
        // Nothing is left to do, and nothing is undone.
        migrate(&config).await.unwrap();
        people_are_served_by(&config).await;
    }
    if is_at_least_16(&administrator).await {
        let (theirs, ours) = (role_of(&first).await, role_of(&second).await);
        assert_ne!(theirs, ours);
        // Neither becomes the other's.
        let mut connection = second.connection().await;
        let denied = connection.execute(AssertSqlSafe(format!("set role {theirs}"))).await;
        let code = denied
            .unwrap_err()
            .into_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned();
        assert_eq!(code, "42501");
    }
    first.leave(&administrator).await;
    second.leave(&administrator).await;
}

/// Once more, on what is there.
async fn people_are_served_by(config: &DatabaseConfig) {
    let store = Store::connect(config, DbRole::App).unwrap();
    store.upsert_user(&caller("anna")).await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn an_owners_databases_may_be_migrated_at_once_and_twice_each(administrator: PgPool) {
    let mut owners = Vec::new();
    let mut configs = Vec::new();
    for _ in 0..2 {
        let mut owner = Owner::new(&administrator, "createdb createrole").await;
        for _ in 0..2 {
            configs.push(owner.database().await);
        }
        owners.push(owner);
    }
    let outcomes = join_all(configs.iter().chain(&configs).map(migrate)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    for config in &configs {
        people_are_served(config).await;
    }
    for owner in owners {
        owner.leave(&administrator).await;
    }
}

/// Before, `migrate` left an owner who had made the role without the right to change to it, and reported success.
#[sqlx::test(migrations = false)]
async fn what_was_migrated_before_is_mended_by_another_migrate(administrator: PgPool) {
    let mut owner = Owner::new(&administrator, "createdb createrole").await;
    let config = owner.database().await;
    migrate(&config).await.unwrap();
    let mut connection = owner.connection().await;
    let role = role_of(&owner).await;
    let to = if is_at_least_16(&administrator).await {
        "set option for"
    } else {
        ""
    };
    execute(&mut connection, format!("revoke {to} {role} from {}", owner.name)).await;
    let refused = Store::connect(&config, DbRole::App).unwrap();
    assert!(refused.upsert_user(&caller("anna")).await.is_err());

    migrate(&config).await.unwrap();
    people_are_served(&config).await;
    owner.leave(&administrator).await;
}

#[sqlx::test(migrations = false)]
async fn an_owner_who_may_make_no_role_is_told_what_an_administrator_has_to_run(administrator: PgPool) {
    let mut owner = Owner::new(&administrator, "createdb").await;
    let config = owner.database().await;
    let told = format!("{:#}", migrate(&config).await.unwrap_err());
    let statements = told.split('`').nth(3).unwrap();
    assert_eq!(
        statements,
        format!(
            "create role {own} nologin; grant {own} to \"{}\"",
            owner.name,
            own = owner.own_role()
        )
    );
    run(&administrator, statements.to_owned()).await;

    migrate(&config).await.unwrap();
    people_are_served(&config).await;

    // Taken away again, it is asked for again, and nothing claims to have succeeded.
    run(
        &administrator,
        format!("revoke {} from {}", owner.own_role(), owner.name),
    )
    .await;
    let told = format!("{:#}", migrate(&config).await.unwrap_err());
    assert!(told.contains(&format!("`grant {} to", owner.own_role())), "{told}");

    let mut connection = owner.connection().await;
    execute(&mut connection, "drop schema backtalk cascade".into()).await;
    connection.close().await.unwrap();
    run(&administrator, format!("drop role {}", owner.own_role())).await;
    owner.leave(&administrator).await;
}

#[sqlx::test(migrations = false)]
async fn a_schema_that_somebody_made_for_its_owner_is_taken(administrator: PgPool) {
    let mut owner = Owner::new(&administrator, "createdb createrole").await;
    let config = owner.database().await;
    let mut connection = owner.connection().await;
    execute(&mut connection, "create schema backtalk".into()).await;
    let database = &owner.databases[0];
    execute(
        &mut connection,
        format!("revoke create on database {database} from {}", owner.name),
    )
    .await;
    migrate(&config).await.unwrap();
    people_are_served(&config).await;
    owner.leave(&administrator).await;
}

#[sqlx::test(migrations = false)]
async fn migrate_does_not_succeed_where_the_policies_do_not_bind(administrator: PgPool) {
    let mut owner = Owner::new(&administrator, "createdb createrole").await;
    let config = owner.database().await;
    migrate(&config).await.unwrap();
    let mut connection = owner.connection().await;
    let role = role_of(&owner).await;
    for (harm, remedy, told) in [
        (
            "alter table backtalk.chats disable row level security".to_owned(),
            "alter table backtalk.chats enable row level security".to_owned(),
            "not bound",
        ),
        (
            "alter table backtalk.chats force row level security".to_owned(),
            "alter table backtalk.chats no force row level security".to_owned(),
            "belong to somebody else",
        ),
        (
            format!("revoke usage on schema backtalk from {role}"),
            format!("grant usage on schema backtalk to {role}"),
            "could read nothing",
        ),
    ] {
        execute(&mut connection, harm).await;
        let error = format!("{:#}", migrate(&config).await.unwrap_err());
        assert!(error.contains(told), "{error}");
        execute(&mut connection, remedy).await;
        migrate(&config).await.unwrap();
    }
    owner.leave(&administrator).await;
}

/// Whoever does not change to a role acts as the owner, and sees everything.
#[sqlx::test(migrations = false)]
async fn nobody_is_served_where_no_policy_names_a_role(administrator: PgPool) {
    let mut owner = Owner::new(&administrator, "createdb createrole").await;
    let config = owner.database().await;
    migrate(&config).await.unwrap();
    let mut connection = owner.connection().await;
    execute(
        &mut connection,
        "do $$ declare policy text; begin
             for policy in select polname from pg_policy where polrelid = 'backtalk.chats'::regclass loop
                 execute format('drop policy %I on backtalk.chats', policy);
             end loop;
         end $$"
            .into(),
    )
    .await;
    let store = Store::connect(&config, DbRole::App).unwrap();
    assert!(store.upsert_user(&caller("anna")).await.is_err());
    connection.close().await.unwrap();
    owner.leave(&administrator).await;
}
