//! Where the sweeper's rounds through the chats have come to.

use super::{Doing, Result, Store};
use domain::ids::ChatId;

/// A round that takes more than one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Retention,
    Unread,
}

impl Round {
    fn word(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Unread => "unread",
        }
    }
}

impl Store {
    /// Where the next run goes on; `None`: from the beginning.
    pub async fn note_reached(&self, round: Round, reached: Option<ChatId>) -> Result<()> {
        sqlx::query!(
            r#"
            with begun_anew as (
                delete from sweeps where name = $1 and $2::uuid is null
            )
            insert into sweeps (name, place) select $1, $2 where $2::uuid is not null
            on conflict (name) do update set place = excluded.place
            "#,
            round.word(),
            reached.map(ChatId::uuid),
        )
        .execute(&self.pool)
        .await
        .doing("noting how far a round has come")?;
        Ok(())
    }
}
