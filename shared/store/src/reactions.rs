//! Reactions to messages.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::rows::{MessageRow, WithheldRow, user_id};
use super::{Doing, Result, Store};
use domain::ids::{ChatId, MessageId, UserId};
use domain::message::{Message, Reacting};
use domain::text::Emoji;
use domain::withheld::Withheld;

/// What came of a reaction.
#[derive(Debug)]
pub enum Reacted {
    /// The message as it is now. Nobody has to be told where nothing changed.
    Done {
        message: Box<Message>,
        audience: Vec<UserId>,
        at: DateTime<Utc>,
    },
    /// One of the two of a direct chat has blocked the other.
    Blocked,
    /// The message has as many different emojis as it may have.
    TooMany,
    NoSuchMessage,
}

impl Store {
    /// Reacts to a message, or takes it back. What is so already is left as it is: no seq, no event.
    ///
    /// One statement: the chat's row is locked first, as by a send, so that the seq is contiguous and the bound on
    /// different emojis holds whoever reacts at the same time.
    pub async fn react(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        emoji: &Emoji,
        reacting: Reacting,
        most_emojis: i32,
    ) -> Result<Reacted> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id, c.kind = 'direct' and blocked_between(c.direct_low, c.direct_high) as is_blocked
                from chats c
                where c.id = $2 and (select acting_as($1))
                    and exists (select 1 from members where chat_id = $2 and user_id = $1)
                for update of c
            ),
            named as materialized (
                select m.chat_id, m.seq, m.id, place.is_blocked
                from messages m
                join place on place.id = m.chat_id
                where m.id = $3 and m.deleted_at is null and (select acting_as($1))
                    and exists (
                        select 1 from members me
                        where me.chat_id = m.chat_id and me.user_id = $1 and m.seq > me.visible_after
                    )
                    -- As of now: the chat's row may have been waited for.
                    and is_in_now(place.id, $1)
                for update of m
            ),
            room as materialized (
                -- Once all is locked: reactions_pkey has what the message has now.
                select chat_id, seq, id, is_blocked, not $5 or takes_emoji(id, $4, $6) as takes_it from named
            ),
            added as (
                insert into reactions (message_id, emoji, user_id)
                select id, $4, $1 from room where $5 and takes_it and not is_blocked
                on conflict do nothing
                returning message_id
            ),
            removed as (
                delete from reactions r using room
                where not $5 and not room.is_blocked and r.message_id = room.id and r.emoji = $4 and r.user_id = $1 and (select acting_as($1))
                returning r.message_id
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1
                from room
                where c.id = room.chat_id and (exists (select 1 from added) or exists (select 1 from removed))
                    and (select acting_as($1))
                returning c.id, c.last_seq, room.seq
            ),
            changed as (
                update messages m
                set changed_seq = taken.last_seq
                from taken
                where m.chat_id = taken.id and m.seq = taken.seq and (select acting_as($1))
                returning m.id
            ),
            told as materialized (
                select tell(
                    taken.id, taken.last_seq, 'reaction.changed', $3,
                    jsonb_build_object('userId', $1::text, 'emoji', $4::text, 'isAdded', $5::boolean)
                ) as user_id
                from taken
                where (select count(*) from changed) > 0
            )
            select
                room.takes_it as "takes_it!", room.is_blocked as "is_blocked!",
                array(select user_id from told) as "audience!: Vec<String>", now() as "at!",
                case
                    when (select count(*) from told) > 0 then withheld(room.chat_id, room.seq)
                end as "withheld: Json<WithheldRow>",
                case
                    when (select count(*) from told) >= 0 then message_now(room.chat_id, room.seq)
                end as "message!: Json<MessageRow>"
            from room
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            emoji.as_str(),
            reacting == Reacting::Add,
            most_emojis,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reacting to a message")?;
        Ok(match row {
            None => Reacted::NoSuchMessage,
            Some(row) if row.is_blocked => Reacted::Blocked,
            Some(row) if !row.takes_it => Reacted::TooMany,
            Some(row) => {
                let told: Vec<_> = row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?;
                let withheld: Withheld = row.withheld.map(|Json(row)| row).unwrap_or_default().try_into()?;
                Reacted::Done {
                    message: Box::new(row.message.0.try_into()?),
                    audience: withheld.seeing(&told),
                    at: row.at,
                }
            }
        })
    }
}
