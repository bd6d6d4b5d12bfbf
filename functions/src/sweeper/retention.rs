//! Deletes what is older than is kept, a batch at a time. A round through all chats takes as many runs as it needs.

use backtalk_http::Result;
use capabilities::Jobs;
use store::sweeps::Round;

use super::steps::{Until, kept_for_later};

/// Looked at in order of id: two look-ups each.
const CHATS_A_RUN: i64 = 5_000;
/// Messages of one chat that are deleted at once, while its row is held.
const BATCH: i32 = 200;

/// How many messages are deleted.
pub(super) async fn expire(jobs: &Jobs, until: Until) -> Result<i32> {
    let looked = jobs.store.expiring(&jobs.settings.retention, CHATS_A_RUN).await?;
    let mut deleted = 0;
    let mut done = None;
    let mut failure = None;
    for (chat, before) in looked.chats {
        loop {
            if until.is_over() {
                // The next run goes on with this chat.
                if done.is_some() {
                    jobs.store.note_reached(Round::Retention, done).await?;
                }
                return failure.map_or(Ok(deleted), Err);
            }
            match jobs.store.expire_messages(chat, before, BATCH).await {
                Ok(expired) => {
                    deleted += expired;
                    if expired < BATCH {
                        break;
                    }
                }
                Err(error) => {
                    kept_for_later(&mut failure, chat, error);
                    break;
                }
            }
        }
        done = Some(chat);
    }
    jobs.store.note_reached(Round::Retention, looked.reached).await?;
    failure.map_or(Ok(deleted), Err)
}
