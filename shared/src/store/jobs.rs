//! Jobs: work that a commit left behind. SQS wakes them; the sweeper finds those that SQS lost.

use std::time::Duration;

use super::{Doing, Result, Store};
use crate::domain::reply::Wake;

impl Store {
    /// Jobs that were due a while ago and that nobody has begun: their wake-up was lost. A reply that is being written,
    /// or that waits for an earlier one, is not among them. Served by jobs_due.
    pub async fn overdue_jobs(&self, grace: Duration, most: i64) -> Result<Vec<Wake>> {
        let rows = sqlx::query!(
            r#"
            select j.id, j.chat_id
            from jobs j
            left join replies r on r.id = j.reply_id
            where j.state = 'waiting' and j.run_at < now() - make_interval(secs => $1)
                and (r.id is null or r.state = 'queued' or r.lease_until <= now())
                and not exists (
                    select 1 from replies earlier
                    where earlier.chat_id = r.chat_id and earlier.state in ('queued', 'streaming')
                        and earlier.prompt_seq < r.prompt_seq
                )
            order by j.run_at
            limit $2
            "#,
            grace.as_secs_f64(),
            most,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for lost jobs")?;
        Ok(rows
            .into_iter()
            .map(|row| Wake {
                job_id: row.id.into(),
                chat_id: row.chat_id.map(Into::into),
                after_seconds: 0,
            })
            .collect())
    }
}
