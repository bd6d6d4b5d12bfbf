//! What a person has not read: found by arithmetic and read positions, never by counting messages.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{UnreadRow, user_id};
use super::{Doing, Result, Store};
use domain::ids::{ChatId, MessageId, UserId};
use domain::limits::PageSize;
use domain::page::{Kept, Page};
use domain::unread::{Receipt, UnreadMessage, UnreadMessages};

/// What marking messages read has done.
#[derive(Debug)]
pub struct Marked {
    /// Of the given messages, those that were unread.
    pub count: i64,
    pub reads: Vec<ReadPosition>,
}

/// A read position that moved, and who must learn of it.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadPosition {
    pub chat_id: ChatId,
    pub receipt: Receipt,
    pub at: DateTime<Utc>,
    pub audience: Vec<UserId>,
}

/// An unread count that arithmetic had wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    pub chat_id: ChatId,
    pub user_id: UserId,
    pub was: i64,
    pub is: i64,
}

impl Store {
    /// Chats where something happened lately, those first that come after the one where the last run ended. Of a busy minute
    /// it sees the end: looked at are a hundred events a chat.
    pub async fn busy_chats(&self, lately: Duration, most: i64) -> Result<Vec<ChatId>> {
        let chats = sqlx::query_scalar!(
            r#"
            with latest as materialized (
                -- Served by inbox_created_at.
                select chat_id from inbox
                where created_at > now() - make_interval(secs => $1)
                order by created_at desc
                limit 100 * $2::bigint
            ),
            busy as (
                select distinct chat_id from latest
            )
            select chat_id as "chat_id!" from busy
            order by chat_id <= coalesce(
                (select place from sweeps where name = 'unread'), '00000000-0000-0000-0000-000000000000'
            ), chat_id
            limit $2
            "#,
            lately.as_secs_f64(),
            most,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for busy chats")?;
        Ok(chats.into_iter().map(Into::into).collect())
    }

    /// Counts what is unread in a chat, and puts right what arithmetic has wrong. The one place that counts: it reads the
    /// messages behind the furthest read position once for all members. Whoever is more than `furthest` messages behind is
    /// left out, so that no chat is too large: their count is found anew when they read.
    ///
    /// One snapshot serves both sides; a row that changed meanwhile, or is just being changed, is left to the next run.
    pub async fn repair_unread(&self, chat: ChatId, furthest: i64) -> Result<Vec<Repaired>> {
        let rows = sqlx::query!(
            r#"
            with place as materialized (
                select id, kind = 'task' as is_task, last_number from chats where id = $1
            ),
            standing as materialized (
                select
                    m.chat_id, m.user_id, m.read_seq, m.read_number, m.uncounted,
                    place.last_number - m.read_number - m.uncounted as was
                from place
                join members m on m.chat_id = place.id
                where place.last_number - m.read_number <= $2
            ),
            positions as materialized (
                select array_agg(distinct read_seq order by read_seq) as seqs, min(read_seq) as first from standing
            ),
            said as materialized (
                -- A range of messages_pkey: how many messages that count lie between two positions, by who said them.
                select width_bucket(msg.seq - 1, positions.seqs) as stretch, msg.sender_id, count(*) as messages
                from positions
                cross join place
                join messages msg on msg.chat_id = place.id and msg.seq > positions.first
                where msg.deleted_at is null and (not place.is_task or msg.read_at is null)
                group by stretch, msg.sender_id
            ),
            behind as materialized (
                select stretch, sum(sum(messages)) over (order by stretch desc) as messages from said group by stretch
            ),
            stretches as materialized (
                select standing.user_id, array_position(positions.seqs, standing.read_seq) as first
                from standing
                cross join positions
            ),
            own as materialized (
                select stretches.user_id, sum(said.messages) as messages
                from stretches
                join said on said.sender_id = stretches.user_id and said.stretch >= stretches.first
                group by stretches.user_id
            ),
            counted as materialized (
                select
                    standing.*,
                    (
                        coalesce((
                            select behind.messages from behind
                            where behind.stretch >= stretches.first
                            order by behind.stretch
                            limit 1
                        ), 0) - coalesce(own.messages, 0)
                    )::bigint as found
                from standing
                join stretches on stretches.user_id = standing.user_id
                left join own on own.user_id = standing.user_id
            ),
            wrong as materialized (
                -- Who waits here for one position and holds another would stand in the way of those who mark in order.
                select m.chat_id, m.user_id, counted.was, counted.found
                from counted
                join members m on m.chat_id = counted.chat_id and m.user_id = counted.user_id
                where counted.was <> counted.found
                    and (m.read_seq, m.read_number, m.uncounted)
                        = (counted.read_seq, counted.read_number, counted.uncounted)
                for update of m skip locked
            ),
            repaired as (
                update members m
                set uncounted = m.uncounted + wrong.was - wrong.found
                from wrong
                where m.chat_id = wrong.chat_id and m.user_id = wrong.user_id
                returning m.chat_id, m.user_id, m.read_seq, m.read_at, m.delivered_seq, wrong.was, wrong.found
            ),
            told as materialized (
                -- So that whoever polls by the inbox's version asks anew.
                select tell(chat_id, null, 'read', null, jsonb_build_object(
                    'userId', user_id, 'readSeq', read_seq, 'readAt', read_at, 'deliveredSeq', delivered_seq
                ))
                from (
                    select repaired.* from (select hold_inboxes(array(select chat_id from repaired))) as held
                    cross join repaired
                    order by user_id
                ) as each
            )
            select user_id, was as "was!", found as "found!" from repaired
            where (select count(*) from told) >= 0
            "#,
            chat.uuid(),
            furthest,
        )
        .fetch_all(&self.pool)
        .await
        .doing("repairing unread counts")?;
        rows.into_iter()
            .map(|row| {
                Ok(Repaired {
                    chat_id: chat,
                    user_id: user_id(&row.user_id)?,
                    was: row.was,
                    is: row.found,
                })
            })
            .collect()
    }

    /// My unread messages over all chats, those of high priority first, then the oldest. Chats without unread are left out by
    /// arithmetic (members_user, chats_pkey); of the others, messages_pkey gives at most a page behind each read position. Of
    /// tasks there are three pages, for messages_by_priority has those that come before and after the rest.
    pub async fn unread_messages(&self, me: &UserId, size: PageSize) -> Result<UnreadMessages> {
        let row = sqlx::query!(
            r#"
            with mine as materialized (
                select
                    c.id, c.task_id, m.read_seq,
                    c.last_number - m.read_number - m.uncounted as unread
                from members m
                join chats c on c.id = m.chat_id
                where m.user_id = $1 and c.last_number - m.read_number - m.uncounted > 0 and (select acting_as($1))
            )
            select
                (select coalesce(sum(unread), 0)::bigint from mine) as "total!",
                (
                    select coalesce(jsonb_agg(
                        to_jsonb(oldest) order by oldest.priority desc, oldest.created_at, oldest.chat_id, oldest.seq
                    ), '[]')
                    from (
                        select page.*, mine.task_id
                        from mine
                        cross join lateral (
                            (
                                select m.id, m.type, m.chat_id, m.seq, m.role, m.content, m.metadata, m.priority, m.created_at
                                from messages m
                                where m.chat_id = mine.id and m.priority = 0 and m.seq > mine.read_seq
                                    and m.sender_id is distinct from $1 and m.deleted_at is null and m.read_at is null
                                order by m.seq
                                limit $2
                            )
                            union all
                            (
                                select m.id, m.type, m.chat_id, m.seq, m.role, m.content, m.metadata, m.priority, m.created_at
                                from messages m
                                where mine.task_id is not null and m.chat_id = mine.id and m.priority = 1 and m.seq > mine.read_seq
                                    and m.sender_id is distinct from $1 and m.deleted_at is null and m.read_at is null
                                order by m.seq
                                limit $2
                            )
                            union all
                            (
                                select m.id, m.type, m.chat_id, m.seq, m.role, m.content, m.metadata, m.priority, m.created_at
                                from messages m
                                where mine.task_id is not null and m.chat_id = mine.id and m.priority = -1 and m.seq > mine.read_seq
                                    and m.sender_id is distinct from $1 and m.deleted_at is null and m.read_at is null
                                order by m.seq
                                limit $2
                            )
                        ) as page
                        order by page.priority desc, page.created_at, page.chat_id, page.seq
                        limit $2
                    ) as oldest
                ) as "messages!: Json<Vec<UnreadRow>>"
            "#,
            me.as_str(),
            size.rows(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("listing unread messages")?;
        let oldest = row.messages.0.into_iter().map(UnreadMessage::try_from);
        let Page { items: messages, .. } = Page::of(oldest.collect::<Result<_>>()?, size, Kept::First);
        let shown = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        Ok(UnreadMessages {
            has_more: row.total > shown,
            total: row.total,
            messages,
        })
    }

    /// Marks messages read by id. In a `task` chat each notice is marked by itself; elsewhere the read position moves to
    /// the furthest of them, never back. Ids of messages that the person cannot see count for nothing.
    ///
    /// One statement: `place` locks the person's read positions in chat order, so that two calls at once count each
    /// message once.
    pub async fn mark_messages_read(&self, me: &UserId, messages: &[MessageId]) -> Result<Marked> {
        let ids: Vec<Uuid> = messages.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query!(
            r#"
            with place as materialized (
                select m.chat_id, m.read_seq, m.read_number, m.uncounted
                from members m
                where m.user_id = $1 and (select acting_as($1)) and m.chat_id in (
                    select chat_id from messages where id = any($2) and (select acting_as($1))
                )
                order by m.chat_id
                for update of m
            ),
            named as materialized (
                select msg.chat_id, msg.seq, msg.number, msg.id, c.kind = 'task' as is_notice
                from messages msg
                join place on place.chat_id = msg.chat_id
                join chats c on c.id = msg.chat_id
                where msg.id = any($2) and msg.seq > place.read_seq
                    and msg.sender_id is distinct from $1 and msg.deleted_at is null and (select acting_as($1))
            ),
            noticed as (
                update messages msg set read_at = now()
                from named
                where named.is_notice and msg.chat_id = named.chat_id and msg.seq = named.seq and msg.read_at is null
                    and (select acting_as($1))
                returning msg.chat_id, msg.seq
            ),
            reached as (
                -- The furthest of the named messages, and how many after it still do not count: looked for only where
                -- there are any.
                select
                    furthest.chat_id, furthest.seq, furthest.number,
                    case
                        when place.uncounted = 0 then 0
                        else uncounted_at(
                            furthest.chat_id, place.read_seq, place.read_number, place.uncounted,
                            furthest.seq, furthest.number, $1
                        )
                    end as uncounted
                from (
                    select distinct on (chat_id) chat_id, seq, number from named
                    where not is_notice
                    order by chat_id, seq desc
                ) as furthest
                join place on place.chat_id = furthest.chat_id
            ),
            moved as (
                update members m
                set read_seq = reached.seq, read_number = reached.number, uncounted = reached.uncounted,
                    read_at = now(), delivered_seq = greatest(m.delivered_seq, reached.seq)
                from reached
                where m.chat_id = reached.chat_id and m.user_id = $1 and m.read_seq < reached.seq
                    and (select acting_as($1))
                returning m.chat_id, m.read_seq, m.read_at, m.delivered_seq
            ),
            ticked as (
                -- Once all are read the position moves to the end, so that the read ones are not looked at again.
                update members m
                set uncounted = case when is_all then 0 else m.uncounted + ticks.count end,
                    read_seq = case when is_all then greatest(m.read_seq, ticks.last_message_seq) else m.read_seq end,
                    read_number = case when is_all then greatest(m.read_number, ticks.last_number) else m.read_number end,
                    read_at = now(), delivered_seq = greatest(m.delivered_seq, ticks.furthest)
                from (
                    select
                        place.chat_id, count(*), max(noticed.seq) as furthest, c.last_number, c.last_message_seq,
                        c.last_number - place.read_number - place.uncounted - count(*) = 0 as is_all
                    from noticed
                    join place on place.chat_id = noticed.chat_id
                    join chats c on c.id = place.chat_id
                    where (select acting_as($1))
                    group by place.chat_id, place.read_number, place.uncounted, c.last_number, c.last_message_seq
                ) as ticks
                where m.chat_id = ticks.chat_id and m.user_id = $1 and (select acting_as($1))
                returning m.chat_id, m.read_seq, m.read_at, m.delivered_seq
            ),
            changed as (
                select chat_id, read_seq, read_at, delivered_seq from moved
                union all
                select chat_id, read_seq, read_at, delivered_seq from ticked
            ),
            told as materialized (
                select
                    changed.chat_id, changed.read_seq, changed.read_at, changed.delivered_seq,
                    array(
                        select reader from tell(changed.chat_id, null, 'read', null, jsonb_build_object(
                            'userId', $1::text, 'readSeq', changed.read_seq, 'readAt', changed.read_at,
                            'deliveredSeq', changed.delivered_seq
                        )) as reader
                        where reader not in (select blocked_with($1))
                    ) as audience
                from (select hold_inboxes(array(select chat_id from changed))) as held
                cross join (select * from changed order by chat_id) as changed
            )
            select
                told.chat_id as "chat_id?", told.read_seq as "read_seq?", told.read_at as "read_at?",
                told.delivered_seq as "delivered_seq?", told.audience as "audience?", now() as "at!",
                (
                    (select count(*) from noticed)
                    + (select count(*) from named where not is_notice)
                ) as "count!"
            from (select 1) as once
            left join told on true
            "#,
            me.as_str(),
            &ids,
        )
        .fetch_all(&self.pool)
        .await
        .doing("marking messages read")?;
        let count = rows.first().map_or(0, |row| row.count);
        let mut reads = Vec::new();
        for row in rows {
            if let (Some(chat_id), Some(read_seq), Some(delivered_seq), Some(audience)) =
                (row.chat_id, row.read_seq, row.delivered_seq, row.audience)
            {
                reads.push(ReadPosition {
                    chat_id: chat_id.into(),
                    receipt: Receipt {
                        user_id: me.clone(),
                        read_seq: super::rows::seq(read_seq)?,
                        read_at: row.read_at,
                        delivered_seq: super::rows::seq(delivered_seq)?,
                    },
                    at: row.at,
                    audience: audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                });
            }
        }
        Ok(Marked { count, reads })
    }
}
