//! Retention: what is older than is kept goes, a bite at a time.

use chrono::{DateTime, Utc};

use super::{Doing, Result, Store};
use domain::ids::ChatId;
use domain::retention::Retention;

/// A look at some chats, in order of id.
#[derive(Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Those with messages that are too old, and what that is for each.
    pub chats: Vec<(ChatId, DateTime<Utc>)>,
    /// The last that was looked at; `None`: there are no more, and the next round begins.
    pub reached: Option<ChatId>,
}

impl Store {
    /// Looks at the chats that come next in the round, so many of them: a range of chats_pkey, and the oldest message of
    /// each by messages_pkey. No index is kept for it, and an organisation without a rule costs nothing more.
    pub async fn expiring(&self, policy: &Retention, most_chats: i64) -> Result<Expiring> {
        let kinds: Vec<String> = policy.0.iter().map(|(kind, _)| kind.word().to_owned()).collect();
        let days: Vec<i32> = policy.0.iter().map(|(_, days)| *days).collect();
        let rows = sqlx::query!(
            r#"
            with looked as materialized (
                select id, kind, org_id from chats
                where id > coalesce(
                    (select place from sweeps where name = 'retention'), '00000000-0000-0000-0000-000000000000'
                )
                order by id
                limit $3
            )
            select
                looked.id, rule.before,
                coalesce((
                    select oldest.created_at < rule.before from messages oldest
                    where oldest.chat_id = looked.id
                    order by oldest.seq
                    limit 1
                ), false) as "is_expiring!"
            from looked
            left join retention own on own.org_id = looked.org_id and own.kind = looked.kind
            left join unnest($1::text[], $2::integer[]) as usual (kind, days) on usual.kind = looked.kind
            cross join lateral (
                select now() - make_interval(days => case when own.kind is null then usual.days else own.days end) as before
            ) as rule
            order by looked.id
            "#,
            &kinds,
            &days,
            most_chats,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for what is too old")?;
        let is_whole_page = i64::try_from(rows.len()).is_ok_and(|rows| rows == most_chats);
        let reached = rows.last().filter(|_| is_whole_page).map(|row| row.id.into());
        let chats = rows
            .into_iter()
            .filter(|row| row.is_expiring)
            .filter_map(|row| Some((row.id.into(), row.before?)))
            .collect();
        Ok(Expiring { chats, reached })
    }

    /// Deletes at most so many of a chat's messages from before a time, what was read first. How many.
    pub async fn expire_messages(&self, chat: ChatId, before: DateTime<Utc>, most: i32) -> Result<i32> {
        let expired = sqlx::query_scalar!(
            r#"select expire_messages($1, $2, $3) as "expired!""#,
            chat.uuid(),
            before,
            most,
        )
        .fetch_one(&self.pool)
        .await
        .doing("deleting what is too old")?;
        Ok(expired)
    }
}
