//! Which streams a person has open, over all processes, and the look that an idle one costs.

use std::time::Duration;

use super::{Doing, Result, Store};
use domain::ids::{ChatId, UserId};
use domain::stream::StreamKind;

/// How long a stream counts whose process died. Renewed every half of it.
const LEASE: Duration = Duration::from_secs(60);

/// A stream's row, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenStream {
    kind: StreamKind,
    number: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub stream: OpenStream,
    /// How far the person's inbox had come. 0 for somebody we never met.
    pub inbox_version: i64,
}

/// What an event stream sees at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// False once newer streams have taken its place.
    pub is_kept: bool,
    pub inbox_version: i64,
    /// A reply to this person is being written.
    pub is_answered: bool,
}

impl Store {
    /// Opens a stream of a person, and closes the oldest beyond the `most` newest: one statement.
    pub async fn open_stream(&self, me: &UserId, kind: StreamKind, most: i32) -> Result<Opened> {
        let row = sqlx::query!(
            r#"
            select stream as "stream!", inbox_version as "inbox_version!"
            from open_stream($1, $2, $3, make_interval(secs => $4))
            "#,
            me.as_str(),
            kind.word(),
            most,
            LEASE.as_secs_f64(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("opening a stream")?;
        let stream = OpenStream {
            kind,
            number: row.stream,
        };
        Ok(Opened {
            stream,
            inbox_version: row.inbox_version,
        })
    }

    /// Whether a stream may go on.
    pub async fn keep_stream(&self, me: &UserId, stream: OpenStream) -> Result<bool> {
        sqlx::query_scalar!(
            r#"select keep_stream($1, $2, $3, make_interval(secs => $4)) as "is_kept!""#,
            me.as_str(),
            stream.kind.word(),
            stream.number,
            LEASE.as_secs_f64(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("keeping a stream")
    }

    /// Whether a stream may go on, and whether there is anything to read with [`Store::news`]: three look-ups by key.
    pub async fn glance(&self, me: &UserId, stream: OpenStream, chat: Option<ChatId>) -> Result<Glance> {
        sqlx::query_as!(
            Glance,
            r#"
            select
                keep_stream($1, $2, $3, make_interval(secs => $4)) as "is_kept!",
                coalesce(
                    (select version from inbox_heads where user_id = $1 and (select acting_as($1))), 0
                ) as "inbox_version!",
                exists (
                    select from replies
                    where asked_by = $1 and state = 'streaming' and ($5::uuid is null or chat_id = $5)
                        and (select acting_as($1))
                ) as "is_answered!"
            "#,
            me.as_str(),
            stream.kind.word(),
            stream.number,
            LEASE.as_secs_f64(),
            chat.map(ChatId::uuid),
        )
        .fetch_one(&self.pool)
        .await
        .doing("looking at an inbox")
    }

    /// Makes room at once; a stream that cannot say that it is over counts until its lease ends.
    pub async fn close_stream(&self, me: &UserId, stream: OpenStream) -> Result<()> {
        sqlx::query!(
            "select close_stream($1, $2, $3)",
            me.as_str(),
            stream.kind.word(),
            stream.number,
        )
        .execute(&self.pool)
        .await
        .doing("closing a stream")?;
        Ok(())
    }

    /// Forgets streams whose processes died, at most so many a call: a scan of a table that holds what is open. Not at once
    /// when a lease ends, for a stream that was held up renews it.
    pub async fn forget_streams(&self, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            delete from open_streams
            where (user_id, kind, number) in (
                select user_id, kind, number from open_streams
                where expires_at < now() - interval '1 hour'
                order by number
                limit $1
                for update skip locked
            )
            "#,
            most,
        )
        .execute(&self.pool)
        .await
        .doing("forgetting streams")?;
        Ok(done.rows_affected())
    }
}
