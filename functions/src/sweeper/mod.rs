//! Schedule → `sweeper`: finds what crashes, lost wake-ups and time left behind. Each run does a bounded bite; the next
//! run does the rest.

mod retention;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use shared::app::App;
use shared::http::Result;
use shared::metrics::{self, Metric};
use shared::queue::Woken;
use tracing::{info, warn};

use crate::replies::write::{Attempt, abandon};

/// A job is lost when its wake-up is so late. SQS itself is seconds late at worst.
const GRACE: Duration = Duration::from_secs(15);
/// Each chat is looked at in two runs after it was last busy.
const LATELY: Duration = Duration::from_secs(120);
const CHATS_A_RUN: i64 = 200;
const TICKETS_A_RUN: i64 = 1_000;
const STREAMS_A_RUN: i64 = 1_000;
const RATES_A_RUN: i64 = 10_000;
const PRESENCES_A_RUN: i64 = 1_000;
/// How long an inbox keeps what happened.
const INBOX_KEEPS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const JOBS_A_RUN: i64 = 500;
const REPLIES_A_RUN: u32 = 100;
const HOLDS_A_RUN: i64 = 1_000;
const INBOX_ROWS_A_RUN: i64 = 10_000;
/// What S3 deletes at once.
const UPLOADS_A_RUN: i64 = 1_000;

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

pub async fn handle(app: App, _tick: Value) -> Result<Swept> {
    let config = &app.config.replies;
    let mut replies_ended = 0;
    while replies_ended < REPLIES_A_RUN {
        let seized = app
            .store
            .seize_abandoned_reply(None, config.attempts, config.lease)
            .await?;
        let Some(seized) = seized else { break };
        if let Attempt::Over { wake, .. } = abandon(&app, seized).await {
            app.queue.wake(wake.as_slice()).await;
        }
        replies_ended += 1;
    }
    let lost = app.store.overdue_jobs(GRACE, JOBS_A_RUN).await?;
    let jobs_woken = if app.queue.wake(&lost).await == Woken::Sent {
        lost.len()
    } else {
        0
    };
    let holds_released = app.store.release_dead_holds(GRACE, HOLDS_A_RUN).await?;
    let inbox_rows_forgotten = app.store.trim_inboxes(INBOX_KEEPS, INBOX_ROWS_A_RUN).await?;
    app.store.forget_tickets(TICKETS_A_RUN).await?;
    app.store.forget_streams(STREAMS_A_RUN).await?;
    app.store.forget_rates(RATES_A_RUN).await?;
    app.store.forget_presences(PRESENCES_A_RUN).await?;
    let repaired = app.store.repair_unread(LATELY, CHATS_A_RUN).await?;
    for wrong in &repaired {
        warn!(chat = %wrong.chat_id, was = wrong.was, is = wrong.is, "an unread count was wrong");
    }
    let unread_repaired = repaired.len();
    if unread_repaired > 0 {
        metrics::say(&[(Metric::UnreadRepaired, unread_repaired as f64)], None);
    }
    let uploads_deleted = delete_unused_uploads(&app).await?;
    let messages_expired = retention::expire(&app).await?;
    let swept = Swept {
        jobs_woken,
        replies_ended,
        holds_released,
        inbox_rows_forgotten,
        unread_repaired,
        uploads_deleted,
        messages_expired,
    };
    info!(
        lost = lost.len(),
        jobs_woken,
        replies_ended,
        holds_released,
        inbox_rows_forgotten,
        unread_repaired,
        uploads_deleted,
        messages_expired,
        "swept"
    );
    Ok(swept)
}

/// First the objects, then what we know of them: what S3 keeps is tried again in the next run.
async fn delete_unused_uploads(app: &App) -> Result<u64> {
    if !app.attachments.are_stored() {
        return Ok(0);
    }
    let unused = app.store.unused_uploads(UPLOADS_A_RUN).await?;
    if let Err(error) = app.attachments.delete(&unused).await {
        warn!(
            error = format!("{error:#}"),
            uploads = unused.len(),
            "unused uploads are kept"
        );
        return Ok(0);
    }
    Ok(app.store.forget_uploads(&unused).await?)
}
