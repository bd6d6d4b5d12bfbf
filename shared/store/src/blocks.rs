//! Who wants to hear nothing from whom.

use chrono::{DateTime, Utc};

use super::rows::user_id;
use super::{Doing, Result, Store};
use domain::ids::{ChatId, UserId};
use domain::limits::PageSize;
use domain::page::{Kept, Page};
use domain::person::{BlockedPerson, Person};

/// Where a page of blocked people ended: newest first, ids telling apart what happened in the same microsecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedCursor {
    pub blocked_at: DateTime<Utc>,
    pub user_id: UserId,
}

/// Who is told that somebody types.
#[derive(Debug, PartialEq, Eq)]
pub enum TypingAudience {
    Members(Vec<UserId>),
    /// One of the two of a direct chat has blocked the other.
    Blocked,
    NoSuchChat,
}

impl Store {
    /// Blocks a person; to do it again changes nothing. False for somebody we never met.
    pub async fn block(&self, me: &UserId, other: &UserId) -> Result<bool> {
        sqlx::query_scalar!(
            r#"
            with known as (
                select id from people where id = $2 and (select acting_as($1))
            ),
            blocked as (
                insert into blocks (blocker, blocked)
                select $1, id from known
                on conflict do nothing
            )
            select exists (select 1 from known) as "is_known!"
            "#,
            me.as_str(),
            other.as_str(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("blocking a person")
    }

    /// Takes a block back. Whether the other has one of their own stays untold.
    pub async fn unblock(&self, me: &UserId, other: &UserId) -> Result<()> {
        sqlx::query!(
            "delete from blocks where blocker = $1 and blocked = $2 and (select acting_as($1))",
            me.as_str(),
            other.as_str(),
        )
        .execute(&self.pool)
        .await
        .doing("unblocking a person")?;
        Ok(())
    }

    /// Whom I have blocked, newest first, and where the next page goes on: a range of blocks_pkey, sorted.
    pub async fn blocked(
        &self,
        me: &UserId,
        after: Option<&BlockedCursor>,
        size: PageSize,
    ) -> Result<(Vec<BlockedPerson>, Option<BlockedCursor>)> {
        let rows = sqlx::query!(
            r#"
            select p.id, p.name, p.image, b.created_at
            from blocks b
            join people p on p.id = b.blocked
            where b.blocker = $1 and (select acting_as($1))
                and ($2::timestamptz is null or (b.created_at, b.blocked) < ($2, $3::text))
            order by b.created_at desc, b.blocked desc
            limit $4
            "#,
            me.as_str(),
            after.map(|cursor| cursor.blocked_at),
            after.map(|cursor| cursor.user_id.as_str()),
            size.rows_and_one(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("listing blocked people")?;
        let people = rows
            .into_iter()
            .map(|row| {
                Ok(BlockedPerson {
                    user: Person {
                        id: user_id(&row.id)?,
                        name: row.name,
                        image: row.image,
                    },
                    blocked_at: row.created_at,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let Page {
            items: people,
            has_more,
        } = Page::of(people, size, Kept::First);
        let next = people.last().filter(|_| has_more).map(|last| BlockedCursor {
            blocked_at: last.blocked_at,
            user_id: last.user.id.clone(),
        });
        Ok((people, next))
    }

    /// Whether one may be in the room of a chat where all see who is there: not where somebody is in the chat with whom one
    /// has a block. `None` for a stranger.
    pub async fn may_enter_room(&self, me: &UserId, chat: ChatId) -> Result<Option<bool>> {
        sqlx::query_scalar!(
            r#"
            select not meets_blocked(m.chat_id, m.user_id) as "may!"
            from members m
            where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("asking who may be in a room")
    }

    /// Everyone in a chat whom the caller may disturb by typing, which shows that they are there.
    pub async fn typing_audience(&self, me: &UserId, chat: ChatId) -> Result<TypingAudience> {
        let row = sqlx::query!(
            r#"
            select
                c.kind = 'direct' and blocked_between(c.direct_low, c.direct_high) as "is_blocked!",
                array(
                    select everyone.user_id from members everyone
                    where everyone.chat_id = m.chat_id and everyone.user_id <> $1
                        and everyone.user_id not in (select blocked_with($1))
                ) as "others!"
            from members m
            join chats c on c.id = m.chat_id
            where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading who hears of typing")?;
        Ok(match row {
            None => TypingAudience::NoSuchChat,
            Some(row) if row.is_blocked => TypingAudience::Blocked,
            Some(row) => TypingAudience::Members(row.others.iter().map(|id| user_id(id)).collect::<Result<_>>()?),
        })
    }
}
