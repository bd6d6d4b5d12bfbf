//! What a model thinks while it writes a reply, for those who watch it.

use super::replies::{Hold, hold};
use super::{Doing, Result, Store};
use domain::reply::Claim;

/// More of an attempt's thoughts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thought {
    /// Where it begins, in bytes of what people are shown of the thoughts.
    pub offset: usize,
    /// What people are shown; empty where that it thinks is all that they are told.
    pub text: String,
    /// How many bytes were thought, shown or not.
    pub bytes: usize,
}

impl Store {
    /// Stores more of what the model of a running reply thinks, as [`Store::append_to_reply`] does of what it says.
    pub async fn think_aloud(&self, claim: &Claim, thought: &Thought) -> Result<Hold> {
        let bytes = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let stop_asked = sqlx::query_scalar!(
            r#"
            with held as (
                select id, attempt, stop_requested_at is not null as stop_asked
                from replies
                where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
                    and (select set_config('synchronous_commit', 'off', true)) is not null
                for share
            ),
            added as (
                insert into reply_thoughts (reply_id, attempt, byte_offset, text, bytes)
                select id, attempt, $4, $5, $6 from held
                on conflict (reply_id, attempt, byte_offset) do update set text = excluded.text, bytes = excluded.bytes
            )
            select stop_asked as "stop_asked!" from held
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            bytes(thought.offset),
            thought.text,
            bytes(thought.bytes),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("storing what a model thinks")?;
        Ok(hold(stop_asked))
    }
}
