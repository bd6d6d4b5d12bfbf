//! The inbox: what happened, per person and contiguous. Written by the `tell` function of the schema.

use std::time::Duration;

use super::{Doing, Result, Store};

impl Store {
    /// Forgets what is older than the inbox keeps, at most so many rows a call; a cursor from before must read its chats
    /// anew. Served by inbox_created_at.
    pub async fn trim_inboxes(&self, keep: Duration, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            delete from inbox
            where (user_id, version) in (
                select user_id, version from inbox
                where created_at < now() - make_interval(secs => $1)
                order by created_at
                limit $2
            )
            "#,
            keep.as_secs_f64(),
            most,
        )
        .execute(&self.pool)
        .await
        .doing("trimming inboxes")?;
        Ok(done.rows_affected())
    }
}
