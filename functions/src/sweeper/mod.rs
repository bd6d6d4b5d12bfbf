//! Schedule → `sweeper`: finds what crashes, lost wake-ups and time left behind. Each run does a bounded bite; the next
//! run does the rest.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use shared::app::App;
use shared::domain::reply::Failure;
use shared::http::Result;
use shared::queue::Woken;
use tracing::{info, warn};

use crate::replies::write::{Attempt, fail};

/// A job is lost when its wake-up is so late. SQS itself is seconds late at worst.
const GRACE: Duration = Duration::from_secs(15);
/// Each chat is looked at in two runs after it was last busy.
const LATELY: Duration = Duration::from_secs(120);
const CHATS_A_RUN: i64 = 200;
const TICKETS_A_RUN: i64 = 1_000;
const PRESENCES_A_RUN: i64 = 1_000;
/// How long an inbox keeps what happened.
const INBOX_KEEPS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const JOBS_A_RUN: i64 = 500;
const REPLIES_A_RUN: u32 = 100;
const INBOX_ROWS_A_RUN: i64 = 10_000;

/// What a run found.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    jobs_woken: usize,
    replies_ended: u32,
    inbox_rows_forgotten: u64,
    unread_repaired: usize,
}

pub async fn handle(app: App, _tick: Value) -> Result<Swept> {
    let config = &app.config.replies;
    let mut replies_ended = 0;
    while replies_ended < REPLIES_A_RUN {
        let Some(claim) = app.store.seize_abandoned_reply(config.attempts, config.lease).await? else {
            break;
        };
        if let Attempt::Over { wake } = fail(&app, &claim, Failure::Abandoned).await {
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
    let inbox_rows_forgotten = app.store.trim_inboxes(INBOX_KEEPS, INBOX_ROWS_A_RUN).await?;
    app.store.forget_tickets(TICKETS_A_RUN).await?;
    app.store.forget_presences(PRESENCES_A_RUN).await?;
    let repaired = app.store.repair_unread(LATELY, CHATS_A_RUN).await?;
    for wrong in &repaired {
        warn!(chat = %wrong.chat_id, was = wrong.was, is = wrong.is, "an unread count was wrong");
    }
    let unread_repaired = repaired.len();
    let swept = Swept {
        jobs_woken,
        replies_ended,
        inbox_rows_forgotten,
        unread_repaired,
    };
    info!(
        lost = lost.len(),
        jobs_woken, replies_ended, inbox_rows_forgotten, unread_repaired, "swept"
    );
    Ok(swept)
}
