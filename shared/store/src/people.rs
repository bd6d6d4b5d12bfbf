//! People are known from their first authenticated request.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::rows::{people, user_id};
use super::{Doing, Result, Store};
use domain::ids::{ChatId, UserId};
use domain::person::{Caller, Person};

/// What `GET /api/me` tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Me {
    pub person: Person,
    pub unread_total: i64,
}

/// Whether somebody was online, and is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub was_online: bool,
    pub is_online: bool,
}

impl Store {
    /// Makes a caller known, or their new name, picture or organisation; writes nothing when all is as it was.
    pub async fn upsert_user(&self, caller: &Caller) -> Result<()> {
        sqlx::query!(
            r#"
            with met as (
                insert into people (id, name, image, org_id)
                select $1, $2, $3, $4
                where (select acting_as($1))
                on conflict (id) do update
                set name = excluded.name, image = excluded.image, org_id = excluded.org_id, updated_at = now()
                where (people.name, people.image, people.org_id)
                    is distinct from (excluded.name, excluded.image, excluded.org_id)
                returning id
            )
            insert into inbox_heads (user_id)
            select id from met
            on conflict (user_id) do nothing
            "#,
            caller.id.as_str(),
            caller.name,
            caller.image,
            caller.org_id,
        )
        .execute(&self.pool)
        .await
        .doing("meeting a person")?;
        Ok(())
    }

    /// Those of some people who are known to be of another organisation.
    pub async fn of_other_organisations(&self, organisation: &str, ids: &[UserId]) -> Result<Vec<UserId>> {
        let ids: Vec<_> = ids.iter().map(UserId::as_str).collect();
        let others = sqlx::query_scalar!(
            "select id from people where id = any ($2) and org_id <> $1",
            organisation,
            &ids as &[&str],
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for other organisations")?;
        people(&others)
    }

    /// Somebody says that they are there, and is online for a while. Written twice in that while at most.
    pub async fn heartbeat(&self, person: &UserId, online_for: Duration) -> Result<Presence> {
        let row = sqlx::query!(
            r#"
            with known as materialized (
                select id, coalesce(online_until > now(), false) as was_online from people
                where id = $1 and (select acting_as($1))
            ),
            written as (
                update people
                set last_seen_at = now(), online_until = greatest(online_until, now() + make_interval(secs => $2::float8))
                where id = $1 and (select acting_as($1)) and (
                    last_seen_at is null or last_seen_at < now() - make_interval(secs => $2::float8 / 2)
                    or online_until is null or online_until < now() + make_interval(secs => $2::float8 / 2)
                )
            )
            select was_online as "was_online!" from known
            "#,
            person.as_str(),
            online_for.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("noting that somebody is there")?;
        Ok(Presence {
            was_online: row.is_some_and(|row| row.was_online),
            is_online: true,
        })
    }

    /// Somebody came to one of Pusher's presence channels or left it. `None` for somebody we never met.
    pub async fn note_presence(
        &self,
        person: &UserId,
        channel: &str,
        at: DateTime<Utc>,
        came: bool,
    ) -> Result<Option<Presence>> {
        let row = sqlx::query!(
            r#"
            select noted.was_online as "was_online!", noted.is_online as "is_online!"
            from people
            cross join lateral note_presence(people.id, $2, $3, $4) as noted
            where people.id = $1 and (select acting_as($1))
            "#,
            person.as_str(),
            channel,
            at,
            came,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("noting who came and left")?;
        Ok(row.map(|row| Presence {
            was_online: row.was_online,
            is_online: row.is_online,
        }))
    }

    /// My direct chats with people who are online themselves, those active last first: whom it is worth telling that I
    /// come or go.
    pub async fn online_contacts(&self, me: &UserId, most: i64) -> Result<Vec<(ChatId, UserId)>> {
        let rows = sqlx::query!(
            r#"
            select c.id, other.user_id
            from members m
            join chats c on c.id = m.chat_id and c.kind = 'direct'
            join members other on other.chat_id = c.id and other.user_id <> $1
            join people on people.id = other.user_id
            where m.user_id = $1 and people.online_until > now() and (select acting_as($1))
                and other.user_id not in (select blocked_with($1))
            order by c.active_at desc
            limit $2
            "#,
            me.as_str(),
            most,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for company")?;
        rows.into_iter()
            .map(|row| Ok((row.id.into(), user_id(&row.user_id)?)))
            .collect()
    }

    /// Forgets who came and left long ago. Served by presences_noted_at.
    pub async fn forget_presences(&self, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            delete from presences
            where (user_id, channel) in (
                select user_id, channel from presences
                where noted_at < now() - interval '2 days'
                order by noted_at
                limit $1
            )
            "#,
            most,
        )
        .execute(&self.pool)
        .await
        .doing("forgetting who came and left")?;
        Ok(done.rows_affected())
    }

    /// Me and my unread total, by arithmetic over my memberships (members_user, chats_pkey): no message is read. Of a muted
    /// chat, only messages that name me count (mentions_pkey).
    pub async fn me(&self, me: &UserId) -> Result<Option<Me>> {
        let row = sqlx::query!(
            r#"
            select
                p.id, p.name, p.image,
                (
                    select coalesce(sum(
                        case
                            when m.muted then mentions_after(m.chat_id, m.read_seq, m.user_id)
                            else c.last_number - m.read_number - m.uncounted
                        end
                    ), 0)::bigint
                    from members m
                    join chats c on c.id = m.chat_id
                    where m.user_id = p.id and not m.archived
                ) as "unread_total!"
            from people p
            where p.id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a person")?;
        row.map(|row| {
            Ok(Me {
                person: Person {
                    id: user_id(&row.id)?,
                    name: row.name,
                    image: row.image,
                },
                unread_total: row.unread_total,
            })
        })
        .transpose()
    }
}
