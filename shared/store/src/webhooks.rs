//! What organisations' webhooks are to be told. Events are written by `announce` of the schema, in the statement of the
//! change itself; here they are delivered, those of one chat to one webhook one after the other.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{MessageRow, word};
use super::{Doing, Result, Store};
use domain::ids::{ChatId, JobId};
use domain::job::ClaimedJob;
use domain::reply::Wake;
use domain::webhook::{WebhookCall, WebhookClaimOutcome, WebhookEvent};

/// The events that a statement has announced, to be woken after its commit.
pub(super) fn announced(jobs: Option<Vec<Uuid>>, chat: ChatId) -> Vec<Wake> {
    let wake = |job: Uuid| Wake {
        job_id: job.into(),
        chat_id: Some(chat),
        after_seconds: 0,
    };
    jobs.into_iter().flatten().map(wake).collect()
}

/// What becomes of an event that was delivered, or will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEnd<'a> {
    Delivered,
    /// Kept, with the reason, for whoever looks into it.
    Parked(&'a str),
}

impl Store {
    /// Takes a webhook's event that is due, for so long, with all that it tells; none before those of its chat that are
    /// earlier (jobs_webhook).
    pub async fn try_claim_webhook(&self, job: JobId, lease: Duration) -> Result<WebhookClaimOutcome> {
        let row = sqlx::query!(
            r#"
            with found as materialized (
                select j.id, j.run_at, j.webhook_id, j.chat_id, j.payload, exists (
                    select 1 from jobs earlier
                    where earlier.webhook_id = j.webhook_id and earlier.chat_id = j.chat_id and earlier.place < j.place
                        and earlier.state = 'waiting'
                ) as is_behind
                from jobs j
                where j.id = $1 and j.state = 'waiting' and j.kind = 'webhook'
                for update of j
            ),
            claimed as (
                update jobs j
                set run_at = now() + make_interval(secs => $2), attempts = j.attempts + 1
                from found
                where j.id = found.id and found.run_at <= now() and not found.is_behind
                returning j.id, j.attempts
            )
            select
                claimed.attempts as "attempts?", found.is_behind as "is_behind!", found.payload,
                ceil(extract(epoch from found.run_at - now()))::integer as "due_in!",
                c.id as chat_id, c.task_id, c.owner_id, w.url, w.secret, w.org_id,
                found.payload ->> 'type' as "event!", (found.payload ->> 'at')::timestamptz as "at!: DateTime<Utc>",
                (
                    select message_json(m) from messages m where m.id = (found.payload ->> 'messageId')::uuid
                ) as "message?: Json<MessageRow>",
                (
                    select message_json(m) from messages m
                    where m.id = (found.payload -> 'data' ->> 'clarificationId')::uuid
                ) as "clarification?: Json<MessageRow>"
            from found
            -- What is left of a deleted chat is told to nobody.
            join chats c on c.id = found.chat_id and c.kind <> 'deleted'
            join webhooks w on w.id = found.webhook_id
            left join claimed on true
            "#,
            job.uuid(),
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reaching for a webhook's event")?;
        let Some(row) = row else {
            return Ok(WebhookClaimOutcome::Over);
        };
        let Some(attempt) = row.attempts else {
            return Ok(if row.is_behind {
                WebhookClaimOutcome::Behind
            } else {
                WebhookClaimOutcome::Later {
                    job,
                    after_seconds: row.due_in.max(1),
                }
            });
        };
        let message = |row: Option<Json<MessageRow>>| row.map(|row| row.0.try_into()).transpose();
        Ok(WebhookClaimOutcome::Claimed(Box::new(WebhookCall {
            chat_id: row.chat_id.into(),
            url: row.url,
            secret: row.secret,
            event: word("webhook event", &row.event, WebhookEvent::parse)?,
            at: row.at,
            organisation: row.org_id,
            person: row.owner_id.filter(|_| row.task_id.is_some()),
            task_id: row.task_id,
            message: message(row.message)?,
            clarification: message(row.clarification)?,
            data: row.payload.get("data").cloned().unwrap_or_default(),
            job: ClaimedJob {
                id: job,
                chat_id: Some(row.chat_id.into()),
                payload: row.payload,
                attempt,
            },
        })))
    }

    /// Is done with an event, one way or the other. The chat's next one for the same webhook, which waited for it; `None`
    /// as well where somebody else has this one.
    pub async fn end_webhook(&self, job: &ClaimedJob, end: WebhookEnd<'_>) -> Result<Option<Wake>> {
        let why = match end {
            WebhookEnd::Delivered => None,
            WebhookEnd::Parked(why) => Some(why),
        };
        let next = sqlx::query!(
            r#"
            with ended as (
                delete from jobs where id = $1 and attempts = $2 and $3::text is null
                returning webhook_id, chat_id, place
            ),
            parked as (
                update jobs set state = 'dead', last_error = $3
                where id = $1 and attempts = $2 and $3::text is not null
                returning webhook_id, chat_id, place
            )
            select next.id, next.chat_id
            from (select * from ended union all select * from parked) as done
            join jobs next on next.webhook_id = done.webhook_id and next.chat_id = done.chat_id
                and next.state = 'waiting' and next.place > done.place
            order by next.place
            limit 1
            "#,
            job.id.uuid(),
            job.attempt,
            why,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("ending a webhook's event")?;
        Ok(next.map(|next| Wake {
            job_id: next.id.into(),
            chat_id: next.chat_id.map(Into::into),
            after_seconds: 0,
        }))
    }
}
