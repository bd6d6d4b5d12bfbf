//! How far a member has read, told by the chat's own sequence.

use chrono::{DateTime, Utc};

use super::rows::{seq, user_id};
use super::{Doing, Result, Store};
use domain::ids::{ChatId, Seq, UserId};
use domain::unread::{ReadMark, Receipt};

/// Where a person stands in a chat, and who must learn of it; nobody where nothing moved.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    pub receipt: Receipt,
    pub unread_count: i64,
    pub at: DateTime<Utc>,
    pub audience: Vec<UserId>,
}

impl Store {
    /// Moves my read position in one chat, and notes up to where its messages are on my devices. What lies beyond the
    /// chat's end means its end. `None` for a stranger.
    ///
    /// One statement. `place` locks the position; what depends on messages is looked up from there on, for a deletion
    /// that was waited for must not be counted again (`uncounted_at`, `number_at`). In a `task` chat every notice that
    /// is passed is marked by itself.
    pub async fn mark_chat_read(
        &self,
        me: &UserId,
        chat: ChatId,
        mark: ReadMark,
        delivered: Option<Seq>,
    ) -> Result<Option<Standing>> {
        let (moves, to) = match mark {
            ReadMark::Stay => ("stay", None),
            ReadMark::End => ("on", None),
            ReadMark::UpTo(seq) => ("on", Some(seq)),
            ReadMark::UnreadFrom(seq) => ("back", Some(seq)),
        };
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select
                    m.chat_id, m.read_seq, m.read_number, m.uncounted, m.read_at, m.delivered_seq, m.visible_after
                from members m
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                for update of m
            ),
            aim as materialized (
                -- A position that was waited for may be beyond what this statement sees of its chat.
                select
                    place.*, c.kind = 'task' as is_task,
                    case when $5::bigint is not null then least($5, c.last_seq) end as told_delivered,
                    case $3
                        when 'on' then greatest(place.read_seq, least($4, c.last_seq))
                        when 'back' then least(place.read_seq, greatest($4 - 1, place.visible_after))
                        else place.read_seq
                    end as seq
                from place
                join chats c on c.id = place.chat_id
                where (select acting_as($1))
            ),
            noticed as (
                update messages msg
                set read_at = case when $3 = 'on' then now() end
                from aim
                where aim.is_task and msg.chat_id = aim.chat_id and msg.deleted_at is null and (
                    $3 = 'on' and msg.seq > aim.read_seq and msg.seq <= aim.seq and msg.read_at is null
                    or $3 = 'back' and msg.seq >= $4 and msg.read_at is not null
                ) and (select acting_as($1))
                returning msg.seq
            ),
            marked as materialized (
                select
                    aim.*, ticks.number > 0 as has_ticks,
                    greatest(aim.delivered_seq, aim.told_delivered, case when $3 = 'on' then aim.seq end) as delivered
                from aim
                cross join (select count(*) as number from noticed) as ticks
            ),
            reached as materialized (
                -- On from where everything counts, everything counts.
                select
                    marked.*,
                    case when seq = read_seq then read_number else number_at(chat_id, seq) end as number,
                    case
                        when seq = read_seq and not has_ticks then uncounted
                        when seq >= read_seq and uncounted = 0 and not has_ticks then 0
                        when has_ticks then uncounted_after(
                            chat_id, seq, case when seq = read_seq then read_number else number_at(chat_id, seq) end, $1
                        )
                        else uncounted_at(
                            chat_id, read_seq, read_number, uncounted, seq, number_at(chat_id, seq), $1
                        )
                    end as uncounted_there
                from marked
            ),
            moved as (
                update members m
                set read_seq = reached.seq, read_number = reached.number, uncounted = reached.uncounted_there,
                    read_at = case when $3 = 'on' then now() else m.read_at end, delivered_seq = reached.delivered
                from reached
                where m.chat_id = reached.chat_id and m.user_id = $1 and (select acting_as($1)) and (
                    reached.has_ticks or (reached.seq, reached.delivered) <> (m.read_seq, m.delivered_seq)
                )
                returning m.chat_id, m.read_at
            ),
            told as materialized (
                select tell(moved.chat_id, null, 'read', null, jsonb_build_object(
                    'userId', $1::text, 'readSeq', reached.seq, 'readAt', moved.read_at,
                    'deliveredSeq', reached.delivered
                )) as user_id
                from moved
                cross join reached
            )
            select
                reached.seq as "read_seq!", coalesce(moved.read_at, reached.read_at) as read_at,
                reached.delivered as "delivered_seq!",
                number_at(reached.chat_id, 9223372036854775807) - reached.number - reached.uncounted_there
                    as "unread_count!",
                now() as "at!",
                array(select user_id from told where user_id not in (select blocked_with($1))) as "audience!: Vec<String>"
            from reached
            left join moved on true
            "#,
            me.as_str(),
            chat.uuid(),
            moves,
            to.map_or(i64::MAX, Seq::value),
            delivered.map(Seq::value),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("moving a read position")?;
        row.map(|row| {
            Ok(Standing {
                receipt: Receipt {
                    user_id: me.clone(),
                    read_seq: seq(row.read_seq)?,
                    read_at: row.read_at,
                    delivered_seq: seq(row.delivered_seq)?,
                },
                unread_count: row.unread_count,
                at: row.at,
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
            })
        })
        .transpose()
    }
}
