//! Jobs: work that a commit left behind. SQS wakes them; the sweeper finds those that SQS lost.

use std::time::Duration;

use sqlx::PgExecutor;

use super::rows::word;
use super::{Doing, Result, Store};
use domain::ids::JobId;
use domain::job::{ClaimedJob, JobClaimOutcome, JobKind};
use domain::reply::Wake;

/// Whether a job is still whose claim this is.
pub(super) async fn has_job(executor: impl PgExecutor<'_>, job: &ClaimedJob) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from jobs where id = $1 and attempts = $2) as "has!""#,
        job.id.uuid(),
        job.attempt,
    )
    .fetch_one(executor)
    .await
    .doing("looking for a job")
}

impl Store {
    /// What a job is for: one look-up in jobs_pkey. `None`: it is done.
    pub async fn job_kind(&self, job: JobId) -> Result<Option<JobKind>> {
        let kind = sqlx::query_scalar!("select kind from jobs where id = $1", job.uuid())
            .fetch_optional(&self.pool)
            .await
            .doing("reading a job")?;
        kind.map(|kind| word("job kind", &kind, JobKind::parse)).transpose()
    }

    /// Takes a job that is due, for so long. A job that is claimed is not due, until its worker is taken for dead.
    pub async fn try_claim_job(&self, job: JobId, lease: Duration) -> Result<JobClaimOutcome> {
        let row = sqlx::query!(
            r#"
            with found as materialized (
                select id, run_at from jobs where id = $1 and state = 'waiting' and kind <> 'reply' for update
            ),
            claimed as (
                update jobs j
                set run_at = now() + make_interval(secs => $2), attempts = j.attempts + 1
                from found
                where j.id = found.id and found.run_at <= now()
                returning j.id, j.chat_id, j.payload, j.attempts
            )
            select
                claimed.id as "claimed?", claimed.chat_id, claimed.payload as "payload?", claimed.attempts as "attempts?",
                ceil(extract(epoch from found.run_at - now()))::integer as "due_in!"
            from found
            left join claimed on true
            "#,
            job.uuid(),
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reaching for a job")?;
        Ok(row.map_or(JobClaimOutcome::Over, |row| {
            match (row.claimed, row.payload, row.attempts) {
                (Some(id), Some(payload), Some(attempt)) => JobClaimOutcome::Claimed(ClaimedJob {
                    id: id.into(),
                    chat_id: row.chat_id.map(Into::into),
                    payload,
                    attempt,
                }),
                _ => JobClaimOutcome::Later {
                    after_seconds: row.due_in.max(1),
                },
            }
        }))
    }

    /// The job is done. `false`: somebody else has it.
    pub async fn end_job(&self, job: &ClaimedJob) -> Result<bool> {
        let ended = sqlx::query!(
            "delete from jobs where id = $1 and attempts = $2",
            job.id.uuid(),
            job.attempt,
        )
        .execute(&self.pool)
        .await
        .doing("ending a job")?;
        Ok(ended.rows_affected() > 0)
    }

    /// Leaves the rest of a job, or its next attempt, to a wake-up after so long. `false`: somebody else has it.
    pub async fn rest_job(&self, job: &ClaimedJob, after: Duration, why: Option<&str>) -> Result<bool> {
        let rested = sqlx::query!(
            "update jobs set run_at = now() + make_interval(secs => $3), last_error = $4 where id = $1 and attempts = $2",
            job.id.uuid(),
            job.attempt,
            after.as_secs_f64(),
            why,
        )
        .execute(&self.pool)
        .await
        .doing("resting a job")?;
        Ok(rested.rows_affected() > 0)
    }

    /// Gives a job up and keeps it for whoever looks into it. `false`: somebody else has it.
    pub async fn park_job(&self, job: &ClaimedJob, why: &str) -> Result<bool> {
        let parked = sqlx::query!(
            "update jobs set state = 'dead', last_error = $3 where id = $1 and attempts = $2",
            job.id.uuid(),
            job.attempt,
            why,
        )
        .execute(&self.pool)
        .await
        .doing("parking a job")?;
        Ok(parked.rows_affected() > 0)
    }

    /// Jobs that were due a while ago and that nobody has begun: their wake-up was lost. A reply that is being written,
    /// or that waits for an earlier one, is not among them. Served by jobs_due.
    pub async fn overdue_jobs(&self, grace: Duration, most: i64) -> Result<Vec<Wake>> {
        let rows = sqlx::query!(
            r#"
            with recursive heads as (
                -- The first that waits of each webhook in each chat: its end wakes the next. Served by jobs_webhook_waiting, one
                -- look-up each, however many wait behind it.
                (
                    select webhook_id, chat_id, id, run_at from jobs
                    where webhook_id is not null and state = 'waiting'
                    order by webhook_id, chat_id, place
                    limit 1
                )
                union all
                select next.webhook_id, next.chat_id, next.id, next.run_at
                from heads
                cross join lateral (
                    select j.webhook_id, j.chat_id, j.id, j.run_at from jobs j
                    where j.webhook_id is not null and j.state = 'waiting'
                        and (j.webhook_id, j.chat_id) > (heads.webhook_id, heads.chat_id)
                    order by j.webhook_id, j.chat_id, j.place
                    limit 1
                ) as next
            ),
            due as (
                select id, chat_id, run_at from heads where run_at < now() - make_interval(secs => $1)
                union all
                select j.id, j.chat_id, j.run_at
                from jobs j
                left join replies r on r.id = j.reply_id
                where j.state = 'waiting' and j.run_at < now() - make_interval(secs => $1) and j.webhook_id is null
                    and (r.id is null or r.state = 'queued' or r.lease_until <= now())
                    and not exists (
                        select 1 from replies earlier
                        where earlier.chat_id = r.chat_id and earlier.state in ('queued', 'streaming')
                            and earlier.prompt_seq < r.prompt_seq
                    )
            )
            select id as "id!", chat_id from due
            order by run_at
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
