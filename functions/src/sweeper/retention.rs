//! Deletes what is older than is kept, a bite a run. A round through all chats takes as many runs as it needs.

use shared::app::App;
use shared::store::Result;

/// Looked at in order of id: two look-ups each.
const CHATS_A_RUN: i64 = 5_000;
/// Messages of one chat that are deleted at once, while its row is held.
const BITE: i32 = 200;
const MESSAGES_A_RUN: i32 = 5_000;

/// How many messages are deleted.
pub(super) async fn expire(app: &App) -> Result<i32> {
    let looked = app.store.expiring(&app.config.retention, CHATS_A_RUN).await?;
    let mut deleted = 0;
    let mut done = None;
    for (chat, before) in looked.chats {
        loop {
            let expired = app.store.expire_messages(chat, before, BITE).await?;
            deleted += expired;
            if deleted >= MESSAGES_A_RUN {
                // The next run goes on with this chat.
                if done.is_some() {
                    app.store.note_expired(done).await?;
                }
                return Ok(deleted);
            }
            if expired < BITE {
                break;
            }
        }
        done = Some(chat);
    }
    app.store.note_expired(looked.reached).await?;
    Ok(deleted)
}
