//! Puts unread counts right that arithmetic has wrong, in chats that were busy lately.

use std::time::Duration;

use backtalk_http::Result;
use capabilities::Jobs;
use store::sweeps::Round;
use telemetry::metrics::{self, Metric};
use tracing::warn;

use super::steps::{Until, kept_for_later};

/// Each chat is looked at in two runs after it was last busy.
const LATELY: Duration = Duration::from_secs(120);
const CHATS_A_RUN: i64 = 200;
/// How far behind a read position is looked: a third of a second, whoever many stand there.
const MESSAGES_A_CHAT: i64 = 100_000;

/// How many counts were wrong. Where time runs out, the next run goes on.
pub(super) async fn repair(jobs: &Jobs, until: Until) -> Result<usize> {
    let mut wrong = 0;
    let mut reached = None;
    let mut failure = None;
    for chat in jobs.store.busy_chats(LATELY, CHATS_A_RUN).await? {
        if until.is_over() {
            break;
        }
        match jobs.store.repair_unread(chat, MESSAGES_A_CHAT).await {
            Ok(repaired) => {
                for count in &repaired {
                    warn!(chat = %count.chat_id, was = count.was, is = count.is, "an unread count was wrong");
                }
                wrong += repaired.len();
            }
            Err(error) => kept_for_later(&mut failure, chat, error),
        }
        reached = Some(chat);
    }
    if wrong > 0 {
        metrics::say(&[(Metric::UnreadRepaired, wrong as f64)], None);
    }
    if reached.is_some() {
        jobs.store.note_reached(Round::Unread, reached).await?;
    }
    failure.map_or(Ok(wrong), Err)
}
