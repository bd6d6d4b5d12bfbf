//! What is left of a large chat once it is deleted: out of everybody's sight, and deleted in batches.

use super::{Doing, Result, Store};
use domain::ids::{ChatId, JobId};
use domain::reply::Wake;

/// The wake-up of the job that deletes what is left of a chat.
pub(super) fn deletion(job: JobId, chat: ChatId) -> Wake {
    Wake {
        job_id: job,
        chat_id: Some(chat),
        after_seconds: 0,
    }
}

impl Store {
    /// Deletes a batch of what hangs on a chat, of at most so many messages, and in the end the chat with its job: see
    /// `empty_chat` in migration 0064. Whether something is left.
    pub async fn empty_chat(&self, chat: ChatId, most: i32) -> Result<bool> {
        sqlx::query_scalar!(r#"select empty_chat($1, $2) as "is_left!""#, chat.uuid(), most)
            .fetch_one(&self.pool)
            .await
            .doing("deleting what is left of a chat")
    }
}
