//! Chats: opened, listed, shown, deleted.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::deletion::deletion;
use super::rows::{self, ChatRow, MessageRow, user_id, word};
use super::{Doing, Result, Store, lost_a_race};
use domain::chat::{Chat, Kind};
use domain::event::{Event, EventType, Outgoing};
use domain::fingerprint::IdempotencyKey;
use domain::ids::{ChatId, JobId, UserId};
use domain::limits::PageSize;
use domain::message::Message;
use domain::page::{Kept, Page};
use domain::reply::{ReplyState, RunningReply, Wake};
use domain::text::Title;

/// Where a page of the chat list ended: newest activity first, ids telling apart what happened in the same microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// How far the inbox had come at the first page. All pages are of the order that the list had then, so that a chat
    /// that moves to the top meanwhile is neither skipped nor repeated.
    pub version: i64,
    pub active_at: DateTime<Utc>,
    pub chat_id: ChatId,
}

/// Which of my chats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    pub kind: Option<Kind>,
    /// The archived ones, or else those that are not.
    pub archived: bool,
}

#[derive(Debug)]
pub struct ChatPage {
    pub chats: Vec<Chat>,
    /// All chats of the list, not of the page alone.
    pub total: i64,
    pub next: Option<ListCursor>,
}

/// What came of asking for an assistant chat.
#[derive(Debug, PartialEq, Eq)]
pub enum AssistantChat {
    Opened(ChatId),
    /// An earlier request with the same key has opened it.
    Known(ChatId),
    /// The key was used for another chat.
    KeyReused,
    /// The person has as many active ones as they may.
    TooManyActive,
}

/// What came of asking for a direct chat.
#[derive(Debug, PartialEq, Eq)]
pub enum DirectChat {
    Known(ChatId),
    /// The key was used for another chat.
    KeyReused,
    Opened {
        chat_id: ChatId,
        audience: Vec<UserId>,
    },
    /// One of the two has blocked the other.
    Blocked,
    NoSuchPerson,
}

/// Of a channel's members its entry in a list names so many: oneself, who spoke last, those who run it, then those who came
/// first. Read with its chat, they are all there.
const MEMBERS_IN_LIST: i64 = 20;

/// Whoever loses the race for a pair or for a key finds the winner's chat with the next look, be it a pair's and then a key's.
pub(super) const OPEN_TRIES: usize = 4;

/// What came of an attempt to delete a chat.
#[derive(Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone {
        audience: Vec<UserId>,
        at: DateTime<Utc>,
        /// What is left of a large one: it is out of everybody's sight, and goes in batches.
        wake: Option<Wake>,
    },
    /// The caller is a member, but the chat is not theirs to delete.
    NotYours,
    /// It is a channel of somebody else's: one may leave it.
    NotYourChannel,
    NoSuchChat,
}

/// What came of changing a chat.
#[derive(Debug)]
pub enum Updated {
    /// Nobody has to be told where nothing changed.
    Made(Vec<Outgoing>),
    /// Only channels and assistant chats have a title that people give.
    HasNoTitle,
    NotAllowed,
    /// The person has as many active assistant chats as they may.
    TooManyActive,
    NoSuchChat,
}

/// What of a chat is to be changed: its title for all, the rest for oneself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChatChange<'a> {
    pub title: Option<&'a Title>,
    pub archived: Option<bool>,
    pub muted: Option<bool>,
}

/// A chat as its member sees it: `$mine` chooses rows of `members m join chats c` and whatever `$with` and `$join` bring
/// along, `$1` is the member, `$active_at` when it was last active for them. `$most` is how many of its members are named.
///
/// The last message is one look-up by messages_pkey, the members one range of members_pkey a chat.
macro_rules! chats_of_member {
    ($with:tt, $active_at:tt, $join:tt, $mine:tt, $most:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            ChatRow,
            "with " + $with + r#"
            mine as materialized (
                select
                    c.id, c.kind, c.title, c.post_id, c.task_id, c.last_seq, c.created_at, c.updated_at,
                    "# + $active_at + r#" as active_at,
                    -- What was said before somebody joined may not be theirs to know.
                    case when c.last_message_seq > m.visible_after then c.last_message_seq end as last_message_seq,
                    case when c.last_message_seq > m.visible_after then c.last_message_at end as last_message_at,
                    m.read_seq, m.muted, m.archived, c.last_number - m.read_number - m.uncounted as unread_count
                from members m
                join chats c on c.id = m.chat_id
            "# + $join + r#"
                where m.user_id = $1 and (select acting_as($1))
            "# + $mine + r#"
            ),
            -- Who is there and reads is not for those with whom they have a block.
            hidden as materialized (
                select person from blocked_with($1) as person where (select acting_as($1))
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
                        'read_seq', case when is_hidden then everyone.joined_seq else everyone.read_seq end,
                        'read_at', case when not is_hidden then everyone.read_at end,
                        'delivered_seq', case when is_hidden then everyone.joined_seq else everyone.delivered_seq end,
                        'last_seen_at', case when not is_hidden then people.last_seen_at end,
                        'online', not is_hidden and coalesce(people.online_until > now(), false)
                    ) order by everyone.joined_at, everyone.user_id)
                    from (
                        select named.* from members named
                        where named.chat_id = mine.id
                        order by
                            named.user_id = $1 desc,
                            named.user_id is not distinct from (
                                select sender_id from messages where chat_id = mine.id and seq = mine.last_message_seq
                            ) desc,
                            case named.role when 'owner' then 0 when 'admin' then 1 else 2 end,
                            named.joined_at, named.user_id
                        limit "# + $most + r#"
                    ) as everyone
                    join people on people.id = everyone.user_id
                    cross join lateral (
                        select everyone.user_id in (select person from hidden) as is_hidden
                    ) as hiding
                ) as "members!: Json<Vec<rows::MemberRow>>",
                (select count(*) from members everyone where everyone.chat_id = mine.id) as "member_count!"
            from mine
            order by active_at desc, id desc
            "#,
            $($argument),+
        )
    };
}

impl Store {
    /// Opens an assistant chat, unless the person has `max_active` already. The cap is a conditional update of one
    /// counter, so that no number of calls at once gets past it. Of those that have the same key, one opens a chat.
    pub async fn open_assistant_chat(
        &self,
        owner: &UserId,
        org_id: Option<&str>,
        title: Option<&Title>,
        max_active: i32,
        key: Option<&IdempotencyKey>,
    ) -> Result<AssistantChat> {
        for _ in 1..OPEN_TRIES {
            match self
                .try_to_open_assistant_chat(owner, org_id, title, max_active, key)
                .await
            {
                // The twin committed first: a fresh look finds its chat.
                Err(error) if lost_a_race(&error, &["chat_keys_pkey"]) => {}
                outcome => return outcome.doing("opening an assistant chat"),
            }
        }
        self.try_to_open_assistant_chat(owner, org_id, title, max_active, key)
            .await
            .doing("opening an assistant chat")
    }

    async fn try_to_open_assistant_chat(
        &self,
        owner: &UserId,
        org_id: Option<&str>,
        title: Option<&Title>,
        max_active: i32,
        key: Option<&IdempotencyKey>,
    ) -> std::result::Result<AssistantChat, sqlx::Error> {
        let id = ChatId::fresh();
        let row = sqlx::query!(
            r#"
            with known as materialized (
                select chat_id, request_hash = $7 as is_same from chat_keys
                where owner_id = $1 and client_id = $6 and (select acting_as($1))
            ),
            counted as (
                update people set assistant_chats = assistant_chats + 1
                where id = $1 and assistant_chats < $5 and not exists (select 1 from known) and (select acting_as($1))
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
            keyed as (
                insert into chat_keys (owner_id, client_id, chat_id, request_hash)
                select owner_id, $6, id, $7 from opened where $6::text is not null
            ),
            told as materialized (
                select tell(chat_id, 0, 'chat.updated', null, null) from joined
            )
            select
                exists (select 1 from told) as "opened!",
                (select chat_id from known) as known, (select is_same from known) as is_same
            "#,
            owner.as_str(),
            id.uuid(),
            title.map(Title::as_str),
            org_id,
            max_active,
            key.map(|key| key.client_id.as_str()),
            key.map(|key| key.asked.as_bytes()),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match (row.known, row.is_same) {
            (Some(known), Some(true)) => AssistantChat::Known(known.into()),
            (Some(_), _) => AssistantChat::KeyReused,
            (None, _) if row.opened => AssistantChat::Opened(id),
            (None, _) => AssistantChat::TooManyActive,
        })
    }

    /// Opens the direct chat of two people, or finds it: however many ask at once, a pair has one. Both are told of a new
    /// one. The pair is a key by itself; another one is kept for what else may be asked by it.
    pub async fn open_direct_chat(
        &self,
        me: &UserId,
        other: &UserId,
        key: Option<&IdempotencyKey>,
    ) -> Result<DirectChat> {
        for _ in 1..OPEN_TRIES {
            match self.try_to_open_direct_chat(me, other, key).await {
                // The twin committed first: a fresh look finds its chat.
                Err(error) if lost_a_race(&error, &["chats_direct_pair", "chat_keys_pkey"]) => {}
                outcome => return outcome.doing("opening a direct chat")?,
            }
        }
        self.try_to_open_direct_chat(me, other, key)
            .await
            .doing("opening a direct chat")?
    }

    async fn try_to_open_direct_chat(
        &self,
        me: &UserId,
        other: &UserId,
        key: Option<&IdempotencyKey>,
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
            with keyed as materialized (
                select request_hash = $7 as is_same from chat_keys
                where owner_id = $1 and client_id = $6 and (select acting_as($1))
            ),
            known as materialized (
                select id from chats
                where kind = 'direct' and direct_low = $4 and direct_high = $5 and (select acting_as($1))
            ),
            opened as (
                insert into chats (id, kind, direct_low, direct_high)
                select $3, 'direct', $4, $5
                from people
                where id = $2 and not exists (select 1 from known) and not exists (select 1 from keyed)
                    and not blocked_between($4, $5) and (select acting_as($1))
                returning id
            ),
            named as (
                insert into chat_keys (owner_id, client_id, chat_id, request_hash)
                select $1, $6, found.id, $7
                from (select id from opened union all select id from known) as found
                where $6::text is not null and not exists (select 1 from keyed)
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
                blocked_between($4, $5) as "is_blocked!", (select is_same from keyed) as is_same
            "#,
            me.as_str(),
            other.as_str(),
            chat_id.uuid(),
            low.as_str(),
            high.as_str(),
            key.map(|key| key.client_id.as_str()),
            key.map(|key| key.asked.as_bytes()),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match row.known {
            _ if row.is_same == Some(false) => Ok(DirectChat::KeyReused),
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

    /// My chats, newest activity first, as they were ordered when the list was begun.
    pub async fn chats(
        &self,
        me: &UserId,
        filter: ListFilter,
        after: Option<ListCursor>,
        size: PageSize,
    ) -> Result<ChatPage> {
        let kind = filter.kind.map(Kind::word);
        // Read before the list: every page, the first as well, is of the order at this version.
        let version = match after {
            Some(cursor) => cursor.version,
            None => self.inbox_version(me).await?,
        };
        let rows = chats_of_member!(
            r#"
            moved as materialized (
                -- Chats with messages since then, by a range of inbox_pkey: each goes where its message before them puts it.
                select first.chat_id, greatest(coalesce(
                    (
                        select before.created_at from messages before
                        where before.chat_id = first.chat_id and before.seq < first.seq
                        order by before.seq desc
                        limit 1
                    ),
                    (select c.created_at from chats c where c.id = first.chat_id)
                ), m.joined_at) as active_at
                from (
                    select chat_id, min(seq) as seq from inbox
                    where user_id = $1 and version > $6 and event = 'message.created' and (select acting_as($1))
                    group by chat_id
                ) as first
                join members m on m.chat_id = first.chat_id and m.user_id = $1
                where (select acting_as($1))
            ),
            "#,
            "coalesce(moved.active_at, greatest(c.active_at, m.joined_at))",
            "left join moved on moved.chat_id = c.id",
            r#"
                and m.archived = $7 and ($2::text is null or c.kind = $2)
                and (
                    $3::timestamptz is null
                    or (coalesce(moved.active_at, greatest(c.active_at, m.joined_at)), c.id) < ($3, $4::uuid)
                )
                order by active_at desc, c.id desc
                limit $5
            "#,
            "$8",
            me.as_str(),
            kind,
            after.map(|cursor| cursor.active_at),
            after.map(|cursor| cursor.chat_id.uuid()),
            size.rows_and_one(),
            version,
            filter.archived,
            MEMBERS_IN_LIST,
        )
        .fetch_all(&self.pool)
        .await
        .doing("listing chats")?;
        let total = sqlx::query_scalar!(
            r#"
            -- Without a kind, memberships alone are counted.
            select count(*) as "total!"
            from members m
            where m.user_id = $1 and m.archived = $3 and (select acting_as($1))
                and ($2::text is null or (select c.kind from chats c where c.id = m.chat_id) = $2)
            "#,
            me.as_str(),
            kind,
            filter.archived,
        )
        .fetch_one(&self.pool)
        .await
        .doing("counting chats")?;
        let places: Vec<_> = rows.iter().map(|row| row.active_at).collect();
        let found = rows.into_iter().map(|row| row.seen_by(me));
        let Page { items: chats, has_more } = Page::of(found.collect::<Result<Vec<_>>>()?, size, Kept::First);
        let last = places.into_iter().zip(&chats).next_back().filter(|_| has_more);
        let next = last.map(|(active_at, chat)| ListCursor {
            version,
            active_at,
            chat_id: chat.id,
        });
        Ok(ChatPage { chats, total, next })
    }

    /// One of my chats.
    pub async fn chat(&self, me: &UserId, chat: ChatId) -> Result<Option<Chat>> {
        let row = chats_of_member!(
            "",
            "c.active_at",
            "",
            "and m.chat_id = $2",
            "all",
            me.as_str(),
            chat.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a chat")?;
        row.map(|row| row.seen_by(me)).transpose()
    }

    /// The newest page of one of my chats, ascending, and the answer that is being written.
    pub async fn newest(
        &self,
        me: &UserId,
        chat: ChatId,
        size: PageSize,
    ) -> Result<(Page<Message>, Option<RunningReply>)> {
        let row = sqlx::query!(
            r#"
            select
                (
                    select coalesce(jsonb_agg(message_json(newest) order by newest.seq), '[]')
                    from (
                        select * from messages
                        where chat_id = $2 and seq > me.visible_after order by seq desc limit $3
                    ) as newest
                ) as "messages!: Json<Vec<MessageRow>>",
                running.id as "running_id?",
                running.state as "running_state?",
                running.attempt as "running_attempt?",
                (
                    select string_agg(text, '' order by byte_offset) from reply_parts
                    where reply_id = running.id and attempt = running.attempt
                ) as running_text,
                exists (
                    select 1 from reply_thoughts where reply_id = running.id and attempt = running.attempt
                ) as "has_thought!",
                (
                    select nullif(string_agg(text, '' order by byte_offset), '') from reply_thoughts
                    where reply_id = running.id and attempt = running.attempt
                ) as running_thoughts
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
            size.rows_and_one(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading the newest messages")?;
        let Some(row) = row else {
            return Ok((Page::default(), None));
        };
        let running = match (row.running_id, row.running_state, row.running_attempt) {
            (Some(id), Some(state), Some(attempt)) => Some(RunningReply {
                message_id: id.into(),
                state: word("reply state", &state, ReplyState::parse)?,
                attempt,
                is_thinking: row.has_thought && row.running_text.is_none(),
                text: row.running_text.unwrap_or_default(),
                reasoning: row.running_thoughts,
            }),
            _ => None,
        };
        Ok((Page::of(rows::messages(row.messages)?, size, Kept::Last), running))
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

    /// Changes what a chat is called, or how one keeps it: all or nothing. A title takes a seq and is told to everyone; the
    /// rest is told to one's own devices alone. An archived assistant chat gives its place among the active ones back.
    pub async fn update_chat(
        &self,
        me: &UserId,
        chat: ChatId,
        change: ChatChange<'_>,
        max_active: i32,
    ) -> Result<Updated> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select
                    c.id, $3::text is not null and c.kind not in ('channel', 'assistant') as has_no_title,
                    $3::text is null or m.role = 'owner' or c.kind = 'channel' and m.role = 'admin' as may,
                    $3::text is not null and c.title is distinct from $3 as renames,
                    (coalesce($4, m.archived), coalesce($5, m.muted)) <> (m.archived, m.muted) as keeps,
                    case
                        when c.kind <> 'assistant' or coalesce($4, m.archived) = m.archived then 0
                        when $4 then -1
                        else 1
                    end as places
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                for update of c, m
            ),
            counted as (
                update people set assistant_chats = greatest(0, assistant_chats + place.places)
                from place
                where people.id = $1 and place.places <> 0 and (place.places < 0 or assistant_chats < $6)
                    and place.may and not place.has_no_title and (select acting_as($1))
                returning people.id
            ),
            allowed as materialized (
                select * from place
                where may and not has_no_title and (places = 0 or exists (select 1 from counted))
            ),
            taken as (
                update chats c
                set title = $3, last_seq = c.last_seq + 1, updated_at = now()
                from allowed
                where c.id = allowed.id and allowed.renames and (select acting_as($1))
                returning c.id, c.last_seq, jsonb_build_object('title', c.title, 'by', $1::text) as data
            ),
            kept as (
                update members m
                set archived = coalesce($4, m.archived), muted = coalesce($5, m.muted)
                from allowed
                where m.chat_id = allowed.id and m.user_id = $1 and allowed.keeps and (select acting_as($1))
                returning m.chat_id, jsonb_build_object('archived', m.archived, 'muted', m.muted) as data
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'chat.updated', null, taken.data) as user_id
                from taken
                where (select count(*) from kept) >= 0
            ),
            told_own_devices as materialized (
                select tell_only($1, kept.chat_id, 'chat.updated', kept.data)
                from kept
                where (select count(*) from told) >= 0
            )
            select
                place.has_no_title as "has_no_title!", place.may as "may!",
                place.places = 0 or exists (select 1 from counted) as "has_place!",
                taken.last_seq as "last_seq?", taken.data as "renamed?", now() as "at!",
                array(select user_id from told) as "audience!: Vec<String>",
                (select kept.data from kept where (select count(*) from told_own_devices) > 0) as kept
            from place
            left join taken on true
            "#,
            me.as_str(),
            chat.uuid(),
            change.title.map(Title::as_str),
            change.archived,
            change.muted,
            max_active,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("changing a chat")?;
        let Some(row) = row else { return Ok(Updated::NoSuchChat) };
        if row.has_no_title {
            return Ok(Updated::HasNoTitle);
        }
        if !row.may {
            return Ok(Updated::NotAllowed);
        }
        if !row.has_place {
            return Ok(Updated::TooManyActive);
        }
        let mut news = Vec::new();
        if let (Some(last_seq), Some(data)) = (row.last_seq, row.renamed) {
            let seq = Some(rows::seq(last_seq)?);
            news.push(Outgoing {
                event: Event::chat_changed(EventType::ChatUpdated, chat, seq, row.at, data),
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
            });
        }
        if let Some(data) = row.kept {
            news.push(Outgoing {
                event: Event::chat_changed(EventType::ChatUpdated, chat, None, row.at, data),
                audience: vec![me.clone()],
            });
        }
        Ok(Updated::Made(news))
    }

    /// Deletes a chat with all that hangs on it, if the caller owns it: see `dissolve_chat` in migration 0064. It is gone for
    /// everybody at once, and their inboxes learn of it; what a large one holds is deleted by a job.
    pub async fn delete_chat(&self, owner: &UserId, chat: ChatId) -> Result<Deleted> {
        let job = JobId::fresh();
        let row = sqlx::query!(
            r#"
            with membership as materialized (
                select
                    c.id, c.kind, coalesce(c.owner_id = $1, false) and c.kind in ('assistant', 'channel') as is_own
                from members m
                join chats c on c.id = m.chat_id
                where m.user_id = $1 and m.chat_id = $2 and (select acting_as($1))
            ),
            gone as materialized (
                select dissolved.told, dissolved.is_left_to_job
                from membership
                cross join lateral dissolve_chat(membership.id, $3) as dissolved
                where membership.is_own
            )
            select
                is_own as "is_own!", kind = 'channel' as "is_channel!",
                coalesce((select told from gone), '{}') as "audience!: Vec<String>",
                coalesce((select is_left_to_job from gone), false) as "is_left_to_job!", now() as "at!"
            from membership
            "#,
            owner.as_str(),
            chat.uuid(),
            job.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("deleting a chat")?;
        Ok(match row {
            None => Deleted::NoSuchChat,
            Some(row) if !row.is_own && row.is_channel => Deleted::NotYourChannel,
            Some(row) if !row.is_own => Deleted::NotYours,
            Some(row) => Deleted::Gone {
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                at: row.at,
                wake: row.is_left_to_job.then(|| deletion(job, chat)),
            },
        })
    }
}
