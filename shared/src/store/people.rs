//! People are known from their first authenticated request.

use chrono::{DateTime, Utc};

use super::rows::user_id;
use super::{Doing, Result, Store};
use crate::domain::ids::UserId;
use crate::domain::person::{Caller, Person};

/// What `GET /api/me` tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Me {
    pub person: Person,
    pub unread_total: i64,
}

impl Store {
    /// Makes a caller known, or their new name and picture; writes nothing when all is as it was.
    pub async fn meet(&self, caller: &Caller) -> Result<()> {
        sqlx::query!(
            r#"
            with met as (
                insert into people (id, name, image)
                select $1, $2, $3
                where (select acting_as($1))
                on conflict (id) do update
                set name = excluded.name, image = excluded.image, updated_at = now()
                where (people.name, people.image) is distinct from (excluded.name, excluded.image)
                returning id
            )
            insert into inbox_heads (user_id)
            select id from met
            on conflict (user_id) do nothing
            "#,
            caller.id.as_str(),
            caller.name,
            caller.image,
        )
        .execute(&self.pool)
        .await
        .doing("meeting a person")?;
        Ok(())
    }

    /// Somebody was there: at `at`, or now. Written twice a minute at most, and never turned back.
    pub async fn saw(&self, person: &UserId, at: Option<DateTime<Utc>>) -> Result<()> {
        sqlx::query!(
            r#"
            update people
            set last_seen_at = least(coalesce($2, now()), now())
            where id = $1 and (select acting_as($1))
                and (last_seen_at is null or last_seen_at < least(coalesce($2, now()), now()) - interval '30 seconds')
            "#,
            person.as_str(),
            at,
        )
        .execute(&self.pool)
        .await
        .doing("noting that somebody was there")?;
        Ok(())
    }

    /// Me and my unread total, by arithmetic over my memberships (members_user, chats_pkey): no message is read.
    pub async fn me(&self, me: &UserId) -> Result<Option<Me>> {
        let row = sqlx::query!(
            r#"
            select
                p.id, p.name, p.image,
                (
                    select coalesce(sum(c.last_number - m.read_number - m.uncounted), 0)::bigint
                    from members m
                    join chats c on c.id = m.chat_id
                    where m.user_id = p.id and not m.muted and not m.archived
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
