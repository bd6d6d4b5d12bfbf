//! Schedule → `sweeper`: finds what crashes, lost wake-ups and time left behind. Each step of a run does what it can within its
//! share of the time, whatever comes of the others; the next run does the rest.

mod retention;
mod steps;
mod unread;

use std::time::Duration;

use anyhow::anyhow;
use backtalk_http::Result;
use backtalk_http::error::Error;
use capabilities::Jobs;
use models::assistants::ReplyPolicy;
use pusher::Delivery;
use queue::Queue;
use queue::Woken;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};
use uploads::Attachments;

use self::steps::{Steps, Until, in_batches};
use crate::replies::engine::Endings;
use crate::replies::write::{Attempt, abandon};

/// A job is lost when its wake-up is so late. SQS itself is seconds late at worst.
const GRACE: Duration = Duration::from_secs(15);
/// How long an inbox keeps what happened.
const INBOX_KEEPS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const JOBS_A_RUN: i64 = 500;
/// What is deleted or released by one statement: a tenth of a second or two.
const TICKETS_A_BATCH: i64 = 1_000;
const STREAMS_A_BATCH: i64 = 1_000;
const RATES_A_BATCH: i64 = 10_000;
const PRESENCES_A_BATCH: i64 = 1_000;
const HOLDS_A_BATCH: i64 = 1_000;
const INBOX_ROWS_A_BATCH: i64 = 10_000;
/// What S3 deletes at once.
const UPLOADS_A_BATCH: i64 = 1_000;

/// How long a run takes at most. The template gives it `Timeout: 55`; the rest is for its start.
const RUN: Duration = Duration::from_secs(48);
/// What each step may take of it. What is left is the inboxes', which grow with every event.
mod shares {
    use std::time::Duration;

    pub(super) const REPLIES: Duration = Duration::from_secs(8);
    pub(super) const JOBS: Duration = Duration::from_secs(4);
    pub(super) const HOLDS: Duration = Duration::from_secs(3);
    pub(super) const UNREAD: Duration = Duration::from_secs(5);
    pub(super) const UPLOADS: Duration = Duration::from_secs(5);
    pub(super) const RETENTION: Duration = Duration::from_secs(5);
    /// Tickets, streams, rates and presences: each.
    pub(super) const FORGETTING: Duration = Duration::from_secs(2);
    pub(super) const INBOXES_AT_LEAST: u64 = 10;

    const ALL: u64 = REPLIES.as_secs()
        + JOBS.as_secs()
        + HOLDS.as_secs()
        + UNREAD.as_secs()
        + UPLOADS.as_secs()
        + RETENTION.as_secs()
        + 4 * FORGETTING.as_secs();
    const _: () = assert!(ALL + INBOXES_AT_LEAST <= super::RUN.as_secs());
}

/// What a run found.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    jobs_woken: usize,
    replies_ended: u32,
    holds_released: u64,
    inbox_rows_forgotten: u64,
    unread_repaired: usize,
    uploads_deleted: u64,
    messages_expired: i32,
}

/// Fails where a step did, once all have had their turn: so that `SweeperAlarm` says so.
pub async fn handle(
    jobs: Jobs,
    delivery: Delivery,
    queue: Queue,
    policy: ReplyPolicy,
    uploads: Attachments,
    _tick: Value,
) -> Result<Swept> {
    let endings = Endings::for_jobs(&jobs, delivery, queue, policy);
    let begun = Instant::now();
    let mut steps = Steps::default();
    let store = &jobs.store;
    let replies_ended = steps
        .step("replies", shares::REPLIES, |until| end_abandoned(&endings, until))
        .await;
    let jobs_woken = steps.step("jobs", shares::JOBS, |_| wake_lost(&endings)).await;
    let holds_released = steps
        .step("holds", shares::HOLDS, |until| {
            in_batches(HOLDS_A_BATCH, until, |most| store.release_dead_holds(GRACE, most))
        })
        .await;
    let unread_repaired = steps
        .step("unread", shares::UNREAD, |until| unread::repair(&jobs, until))
        .await;
    let uploads_deleted = steps
        .step("uploads", shares::UPLOADS, |until| {
            delete_unused_uploads(&jobs, &uploads, until)
        })
        .await;
    let messages_expired = steps
        .step("retention", shares::RETENTION, |until| retention::expire(&jobs, until))
        .await;
    steps
        .step("tickets", shares::FORGETTING, |until| {
            in_batches(TICKETS_A_BATCH, until, |most| store.forget_tickets(most))
        })
        .await;
    steps
        .step("streams", shares::FORGETTING, |until| {
            in_batches(STREAMS_A_BATCH, until, |most| store.forget_streams(most))
        })
        .await;
    steps
        .step("rates", shares::FORGETTING, |until| {
            in_batches(RATES_A_BATCH, until, |most| store.forget_rates(most))
        })
        .await;
    steps
        .step("presences", shares::FORGETTING, |until| {
            in_batches(PRESENCES_A_BATCH, until, |most| store.forget_presences(most))
        })
        .await;
    let inbox_rows_forgotten = steps
        .step("inboxes", RUN.saturating_sub(begun.elapsed()), |until| {
            in_batches(INBOX_ROWS_A_BATCH, until, |most| store.trim_inboxes(INBOX_KEEPS, most))
        })
        .await;
    let swept = Swept {
        jobs_woken,
        replies_ended,
        holds_released,
        inbox_rows_forgotten,
        unread_repaired,
        uploads_deleted,
        messages_expired,
    };
    let failed = steps.failed();
    info!(
        jobs_woken,
        replies_ended,
        holds_released,
        inbox_rows_forgotten,
        unread_repaired,
        uploads_deleted,
        messages_expired,
        ?failed,
        "swept"
    );
    if failed.is_empty() {
        Ok(swept)
    } else {
        Err(Error::Internal(anyhow!("steps failed: {}", failed.join(", "))))
    }
}

async fn end_abandoned(endings: &Endings, until: Until) -> Result<u32> {
    let config = &endings.settings.replies;
    let mut ended = 0;
    while !until.is_over() {
        let seized = endings
            .store
            .seize_abandoned_reply(None, config.attempts, config.lease)
            .await?;
        let Some(seized) = seized else { break };
        if let Attempt::Over { wake, .. } = abandon(endings, seized).await {
            endings.queue.wake(wake.as_slice()).await;
        }
        ended += 1;
    }
    Ok(ended)
}

async fn wake_lost(endings: &Endings) -> Result<usize> {
    let lost = endings.store.overdue_jobs(GRACE, JOBS_A_RUN).await?;
    Ok(match endings.queue.wake(&lost).await {
        Woken::Sent => lost.len(),
        Woken::Nothing | Woken::Refused => 0,
    })
}

/// First the objects, then what we know of them: what S3 keeps is tried again in the next run.
async fn delete_unused_uploads(jobs: &Jobs, uploads: &Attachments, until: Until) -> Result<u64> {
    if !uploads.are_stored() {
        return Ok(0);
    }
    let mut deleted = 0;
    loop {
        let unused = jobs.store.unused_uploads(UPLOADS_A_BATCH).await?;
        if let Err(error) = uploads.delete(&unused).await {
            warn!(
                error = format!("{error:#}"),
                uploads = unused.len(),
                "unused uploads are kept"
            );
            return Ok(deleted);
        }
        deleted += jobs.store.forget_uploads(&unused).await?;
        let is_full = i64::try_from(unused.len()).is_ok_and(|found| found == UPLOADS_A_BATCH);
        if !is_full || until.is_over() {
            return Ok(deleted);
        }
    }
}
