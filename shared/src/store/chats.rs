//! Chats: opened, listed, shown, deleted.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::rows::{self, ChatRow, MessageRow, user_id, word};
use super::{Doing, Result, Store, lost_a_race};
use crate::domain::chat::{Chat, Kind};
use crate::domain::ids::{ChatId, UserId};
use crate::domain::limits::PageSize;
use crate::domain::message::Message;
use crate::domain::reply::{ReplyState, RunningReply};
use crate::domain::text::Title;

/// Where a page of the chat list ended: newest activity first, ids telling apart what happened in the same microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    pub active_at: DateTime<Utc>,
    pub chat_id: ChatId,
}

#[derive(Debug)]
pub struct ChatPage {
    pub chats: Vec<Chat>,
    /// All chats of the list, not of the page alone.
    pub total: i64,
    pub next: Option<ListCursor>,
}

/// What came of asking for a direct chat.
#[derive(Debug, PartialEq, Eq)]
pub enum DirectChat {
    Known(ChatId),
    Opened {
        chat_id: ChatId,
        audience: Vec<UserId>,
    },
    /// One of the two has blocked the other.
    Blocked,
    NoSuchPerson,
}

/// Whoever loses the race for a pair finds the winner's chat with the next look.
const OPEN_TRIES: usize = 3;

/// What came of an attempt to delete a chat.
#[derive(Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone {
        audience: Vec<UserId>,
        at: DateTime<Utc>,
    },
    /// The caller is a member, but the chat is not theirs to delete.
    NotYours,
    NoSuchChat,
}

/// A chat as its member sees it: `$mine` chooses rows of `members m join chats c`, `$1` is the member.
///
/// The last message is one look-up by messages_pkey, the members one range of members_pkey a chat.
macro_rules! chats_of_member {
    ($mine:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            ChatRow,
            r#"
            with mine as materialized (
                select
                    c.id, c.kind, c.title, c.post_id, c.task_id, c.last_seq, c.last_message_seq, c.created_at,
                    c.updated_at, c.last_message_at, c.active_at, m.read_seq, m.muted, m.archived,
                    c.last_number - m.read_number - m.uncounted as unread_count
                from members m
                join chats c on c.id = m.chat_id
                where m.user_id = $1 and (select acting_as($1))
            "# + $mine + r#"
            )
            select
                id as "id!", kind as "kind!", title, post_id, task_id, last_seq as "last_seq!",
                unread_count as "unread_count!", mentions_after(id, read_seq, $1) as "unread_mentions!", read_seq as "read_seq!", muted as "muted!", archived as "archived!",
                created_at as "created_at!", updated_at as "updated_at!", last_message_at, active_at as "active_at!",
                (
                    select message_json(last) from messages last
                    where last.chat_id = mine.id and last.seq = mine.last_message_seq
                ) as "last_message?: Json<MessageRow>",
                (
                    select jsonb_agg(jsonb_build_object(
                        'user_id', everyone.user_id, 'name', people.name, 'image', people.image, 'role', everyone.role,
                        'read_seq', everyone.read_seq, 'read_at', everyone.read_at,
                        'delivered_seq', everyone.delivered_seq, 'last_seen_at', people.last_seen_at
                    ) order by everyone.joined_at, everyone.user_id)
                    from members everyone
                    join people on people.id = everyone.user_id
                    where everyone.chat_id = mine.id
                ) as "members!: Json<Vec<rows::MemberRow>>"
            from mine
            order by active_at desc, id desc
            "#,
            $($argument),+
        )
    };
}

impl Store {
    /// Opens an assistant chat, unless the person has `max_active` already. The cap is a conditional update of one
    /// counter, so that no number of calls at once gets past it.
    pub async fn open_assistant_chat(
        &self,
        owner: &UserId,
        org_id: Option<&str>,
        title: Option<&Title>,
        max_active: i32,
    ) -> Result<Option<ChatId>> {
        let id = ChatId::fresh();
        let opened = sqlx::query_scalar!(
            r#"
            with counted as (
                update people set assistant_chats = assistant_chats + 1
                where id = $1 and assistant_chats < $5 and (select acting_as($1))
                returning id
            ),
            opened as (
                insert into chats (id, kind, title, owner_id, org_id)
                select $2, 'assistant', $3, id, $4 from counted
                returning id, owner_id
            ),
            joined as (
                -- From the chat that was opened: the policy looks for it.
                insert into members (chat_id, user_id, role)
                select id, owner_id, 'owner' from opened
                returning chat_id
            ),
            told as materialized (
                select tell(chat_id, 0, 'chat.updated', null, null) from joined
            )
            select exists (select 1 from told) as "opened!"
            "#,
            owner.as_str(),
            id.uuid(),
            title.map(Title::as_str),
            org_id,
            max_active,
        )
        .fetch_one(&self.pool)
        .await
        .doing("opening an assistant chat")?;
        Ok(opened.then_some(id))
    }

    /// Opens the direct chat of two people, or finds it: however many ask at once, a pair has one. Both are told of a new
    /// one.
    pub async fn open_direct_chat(&self, me: &UserId, other: &UserId) -> Result<DirectChat> {
        for _ in 1..OPEN_TRIES {
            match self.try_to_open_direct_chat(me, other).await {
                // The twin committed first: a fresh look finds its chat.
                Err(error) if lost_a_race(&error, &["chats_direct_pair"]) => {}
                outcome => return outcome.doing("opening a direct chat")?,
            }
        }
        self.try_to_open_direct_chat(me, other)
            .await
            .doing("opening a direct chat")?
    }

    async fn try_to_open_direct_chat(
        &self,
        me: &UserId,
        other: &UserId,
    ) -> std::result::Result<Result<DirectChat>, sqlx::Error> {
        // One order for both, whoever asks: that of bytes, which no collation of the server changes.
        let chat_id = ChatId::fresh();
        let (low, high) = if me.as_str() < other.as_str() {
            (me, other)
        } else {
            (other, me)
        };
        let row = sqlx::query!(
            r#"
            with known as materialized (
                select id from chats
                where kind = 'direct' and direct_low = $4 and direct_high = $5 and (select acting_as($1))
            ),
            opened as (
                insert into chats (id, kind, direct_low, direct_high)
                select $3, 'direct', $4, $5
                from people
                where id = $2 and not exists (select 1 from known) and not blocked_between($4, $5)
                    and (select acting_as($1))
                returning id
            ),
            joined as (
                insert into members (chat_id, user_id)
                select opened.id, pair.user_id from opened cross join unnest(array[$1, $2]) as pair (user_id)
                -- No column of the row: to show one, its policy would look for memberships that are only being made.
                returning true as is_in
            ),
            told as materialized (
                -- Counted, so that both have joined before the chat is told.
                select tell($3, 0, 'chat.updated', null, null) as user_id
                from (select count(*) as people from joined) as pair
                where pair.people > 0
            )
            select
                (select id from known) as known, array(select user_id from told) as "audience!: Vec<String>",
                blocked_between($4, $5) as "is_blocked!"
            "#,
            me.as_str(),
            other.as_str(),
            chat_id.uuid(),
            low.as_str(),
            high.as_str(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match row.known {
            Some(known) => Ok(DirectChat::Known(known.into())),
            None if row.is_blocked => Ok(DirectChat::Blocked),
            None if row.audience.is_empty() => Ok(DirectChat::NoSuchPerson),
            None => row
                .audience
                .iter()
                .map(|id| user_id(id))
                .collect::<Result<_>>()
                .map(|audience| DirectChat::Opened { chat_id, audience }),
        })
    }

    /// My chats, newest activity first.
    pub async fn chats(
        &self,
        me: &UserId,
        kind: Option<Kind>,
        after: Option<ListCursor>,
        size: PageSize,
    ) -> Result<ChatPage> {
        let kind = kind.map(Kind::word);
        let rows = chats_of_member!(
            r#"
                and ($2::text is null or c.kind = $2)
                and ($3::timestamptz is null or (c.active_at, c.id) < ($3, $4::uuid))
                order by c.active_at desc, c.id desc
                limit $5
            "#,
            me.as_str(),
            kind,
            after.map(|cursor| cursor.active_at),
            after.map(|cursor| cursor.chat_id.uuid()),
            size.rows_and_one(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("listing chats")?;
        let total = sqlx::query_scalar!(
            r#"
            select count(*) as "total!"
            from members m
            join chats c on c.id = m.chat_id
            where m.user_id = $1 and ($2::text is null or c.kind = $2) and (select acting_as($1))
            "#,
            me.as_str(),
            kind,
        )
        .fetch_one(&self.pool)
        .await
        .doing("counting chats")?;
        let page = usize::try_from(size.rows()).unwrap_or(usize::MAX);
        let next = (rows.len() > page)
            .then(|| rows.get(page - 1))
            .flatten()
            .map(|last| ListCursor {
                active_at: last.active_at,
                chat_id: last.id.into(),
            });
        let chats = rows
            .into_iter()
            .take(page)
            .map(|row| row.seen_by(me))
            .collect::<Result<_>>()?;
        Ok(ChatPage { chats, total, next })
    }

    /// One of my chats.
    pub async fn chat(&self, me: &UserId, chat: ChatId) -> Result<Option<Chat>> {
        let row = chats_of_member!("and m.chat_id = $2", me.as_str(), chat.uuid())
            .fetch_optional(&self.pool)
            .await
            .doing("reading a chat")?;
        row.map(|row| row.seen_by(me)).transpose()
    }

    /// The newest messages of one of my chats, ascending, and the answer that is being written.
    pub async fn newest(
        &self,
        me: &UserId,
        chat: ChatId,
        size: PageSize,
    ) -> Result<(Vec<Message>, Option<RunningReply>)> {
        let row = sqlx::query!(
            r#"
            select
                (
                    select coalesce(jsonb_agg(message_json(newest) order by newest.seq), '[]')
                    from (
                        select * from messages where chat_id = $2 order by seq desc limit $3
                    ) as newest
                ) as "messages!: Json<Vec<MessageRow>>",
                running.id as "running_id?",
                running.state as "running_state?",
                running.attempt as "running_attempt?",
                (
                    select string_agg(text, '' order by byte_offset) from reply_parts
                    where reply_id = running.id and attempt = running.attempt
                ) as running_text
            from members me
            left join lateral (
                -- replies_open: few rows or none.
                select id, state, attempt from replies
                where chat_id = me.chat_id and state in ('queued', 'streaming')
                order by prompt_seq limit 1
            ) as running on true
            where me.user_id = $1 and me.chat_id = $2 and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
            size.rows(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading the newest messages")?;
        let Some(row) = row else { return Ok((Vec::new(), None)) };
        let running = match (row.running_id, row.running_state, row.running_attempt) {
            (Some(id), Some(state), Some(attempt)) => Some(RunningReply {
                message_id: id.into(),
                state: word("reply state", &state, ReplyState::parse)?,
                attempt,
                text: row.running_text.unwrap_or_default(),
            }),
            _ => None,
        };
        Ok((rows::messages(row.messages)?, running))
    }

    /// Everyone in a chat, the caller too: who is told of what is not stored. `None` for a stranger.
    pub async fn audience(&self, me: &UserId, chat: ChatId) -> Result<Option<Vec<UserId>>> {
        let members = sqlx::query_scalar!(
            r#"
            select array(select everyone.user_id from members everyone where everyone.chat_id = m.chat_id) as "members!"
            from members m
            where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a chat's members")?;
        members
            .map(|ids| ids.iter().map(|id| user_id(id)).collect())
            .transpose()
    }

    /// Deletes a chat with all that hangs on it, if the caller owns it. Its members' inboxes learn of it.
    pub async fn delete_chat(&self, owner: &UserId, chat: ChatId) -> Result<Deleted> {
        let row = sqlx::query!(
            r#"
            with membership as (
                select c.id, c.kind, m.archived, c.owner_id = $1 and c.kind in ('assistant', 'channel') as is_own
                from members m
                join chats c on c.id = m.chat_id
                where m.user_id = $1 and m.chat_id = $2 and (select acting_as($1))
            ),
            gone as (
                delete from chats c using membership
                where c.id = membership.id and membership.is_own and (select acting_as($1))
                returning c.id, c.last_seq
            ),
            freed as (
                update people set assistant_chats = assistant_chats - 1
                from gone join membership on membership.id = gone.id
                where people.id = $1 and membership.kind = 'assistant' and not membership.archived
                    and assistant_chats > 0 and (select acting_as($1))
            ),
            unanswered as materialized (
                -- Before their holds, as whoever writes one does; the cascade would lock them after.
                select r.id, r.state, r.attempt
                from gone
                join replies r on r.chat_id = gone.id
                where r.state in ('queued', 'streaming') and (select acting_as($1))
                for update of r
            ),
            paid as materialized (
                -- What they have reserved is free again, but for what one that is being written has cost by now.
                select settle_reply(
                    unanswered.id, case when unanswered.state = 'streaming' then cost.input + cost.output else 0 end
                )
                from unanswered
                cross join lateral cost_of_lost_attempt(unanswered.id, unanswered.attempt) as cost
            ),
            held as materialized (
                -- Before the inboxes, as whoever sends or marks messages read does; the cascade would lock them after.
                select m.user_id from members m join gone on gone.id = m.chat_id
                where (select count(*) from paid) >= 0 and (select acting_as($1))
                for update of m
            ),
            told as materialized (
                select tell(id, null, 'chat.deleted', null, null) as user_id from gone
                where (select count(*) from held) > 0
            )
            select
                is_own as "is_own!", array(select user_id from told) as "audience!: Vec<String>", now() as "at!"
            from membership
            "#,
            owner.as_str(),
            chat.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("deleting a chat")?;
        Ok(match row {
            None => Deleted::NoSuchChat,
            Some(row) if !row.is_own => Deleted::NotYours,
            Some(row) => Deleted::Gone {
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                at: row.at,
            },
        })
    }
}
