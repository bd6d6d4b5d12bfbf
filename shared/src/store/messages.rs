//! Messages: sent and read.

use std::time::Duration;

use serde_json::json;
use sqlx::types::Json;

use super::rows::{self, MessageRow, seq, user_id, word};
use super::{Doing, Result, Store, lost_a_race};
use crate::domain::ids::{ChatId, Fence, JobId, MessageId, Seq, UserId};
use crate::domain::limits::PageSize;
use crate::domain::message::{Draft, Message, MessageType, Role, Status};
use crate::domain::person::Caller;
use crate::domain::reply::{Claim, ReplyHandle, ReplyState, Wake};
use crate::domain::text::Content;

/// A send that keeps losing races has met 2 at most: its own twin, and a reply that began meanwhile.
const SEND_TRIES: usize = 4;

/// What came of a send.
#[derive(Debug)]
pub enum SendOutcome {
    Sent(Box<Sent>),
    /// `replyTo` names no message of this chat.
    NothingToReplyTo,
    /// The sender has used the `clientId` for a message from before they joined anew, which is not theirs to see.
    ClientIdTaken,
    NoSuchChat,
}

/// A message that is stored, and all that its answer and its events need.
#[derive(Debug)]
pub struct Sent {
    pub message: Message,
    /// Whether it was stored by an earlier call with the same `clientId`.
    pub is_replay: bool,
    /// Who must learn of it; empty on a replay.
    pub audience: Vec<UserId>,
    pub reply: Option<ReplyHandle>,
    /// The right to write the reply at once, if it was asked for and nobody else is writing in this chat.
    pub claim: Option<Claim>,
    pub wake: Option<Wake>,
}

/// What came of changing a message.
#[derive(Debug)]
pub enum Change {
    /// As it is now. Nobody has to be told where nothing changed.
    Made {
        message: Box<Message>,
        audience: Vec<UserId>,
        /// The reply that waited to answer it and does not any more.
        unanswered: Option<MessageId>,
        /// The chat's next reply, which waited for that one.
        wake: Option<Wake>,
    },
    /// It is in the chat, but somebody else's.
    NotYours,
    NoSuchMessage,
}

/// Which messages of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Newest,
    After(Seq),
    Before(Seq),
    /// Whatever changed since, in the order of change: closes any hole.
    ChangedAfter(Seq),
}

#[derive(Debug)]
pub struct MessagePage {
    pub messages: Vec<Message>,
    pub has_more: bool,
    /// The seq that the page is true for: with `ChangedAfter`, where to go on.
    pub seq: Seq,
}

impl Store {
    /// Stores a message, or finds the one that a retry repeats: one statement, one round trip.
    ///
    /// With `claim_for`, the reply is claimed for that long in the same statement, so that the caller may stream it.
    pub async fn send_message(
        &self,
        sender: &Caller,
        chat: ChatId,
        draft: &Draft,
        claim_for: Option<Duration>,
    ) -> Result<SendOutcome> {
        for _ in 1..SEND_TRIES {
            match self.try_to_send(sender, chat, draft, claim_for).await {
                // The twin committed first: a fresh look finds its message, or the reply that is being written.
                Err(error) if lost_a_race(&error, &["messages_client_id", "replies_one_streaming"]) => {}
                outcome => return outcome.doing("sending a message")?,
            }
        }
        match self.try_to_send(sender, chat, draft, claim_for).await {
            Err(error) if lost_a_race(&error, &["messages_client_id"]) => Ok(SendOutcome::ClientIdTaken),
            outcome => outcome.doing("sending a message")?,
        }
    }

    async fn try_to_send(
        &self,
        sender: &Caller,
        chat: ChatId,
        draft: &Draft,
        claim_for: Option<Duration>,
    ) -> std::result::Result<Result<SendOutcome>, sqlx::Error> {
        let message_id = MessageId::fresh();
        let reply_id = MessageId::fresh();
        let job_id = JobId::fresh();
        let fence = Fence::fresh();
        // One statement, so that the message, its seq, the read position, the reply and its job are all there or none.
        // `member` is one look-up in members_pkey, `known` in messages_client_id. `taken` locks the chat's row: from
        // there on, writers of this chat come one after the other, which makes `seq` contiguous.
        let row = sqlx::query!(
            r#"
            with member as (
                select
                    c.id, c.kind,
                    c.last_seq,
                    $8::uuid is null or exists (
                        select 1 from messages where chat_id = $2 and id = $8 and seq > m.visible_after
                    ) as may_reply_to
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            ),
            known as materialized (
                select seq from messages
                where chat_id = $2 and sender_id = $1 and client_id = $4 and (select acting_as($1))
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, last_number = c.last_number + 1, last_message_seq = c.last_seq + 1,
                    last_message_at = now(), active_at = now()
                from member
                where c.id = member.id and member.may_reply_to and not exists (select 1 from known)
                    and (select acting_as($1))
                    -- Whoever had to wait for the chat's row may have been removed by what was waited for.
                    and (c.last_seq = member.last_seq or is_in_now(c.id, $1))
                returning c.id, c.kind, c.last_seq, c.last_number
            ),
            stored as (
                insert into messages (
                    chat_id, seq, id, number, changed_seq, role, sender_id, client_id, content, metadata, attachments,
                    reply_to
                )
                select id, last_seq, $3, last_number, last_seq, 'user', $1, $4, $5, $6, $7, $8
                from taken
                returning seq, metadata, attachments, created_at
            ),
            read as (
                update members m
                set read_seq = taken.last_seq, read_number = taken.last_number, uncounted = 0, read_at = now(),
                    delivered_seq = taken.last_seq
                from taken
                where m.chat_id = taken.id and m.user_id = $1 and (select acting_as($1))
                returning m.chat_id
            ),
            asked as (
                insert into replies (
                    id, chat_id, asked_by, org_id, prompt_seq, state, attempt, fence, lease_until, started_at
                )
                select
                    $9, taken.id, $1, $13, taken.last_seq,
                    case when is_claimed then 'streaming' else 'queued' end,
                    case when is_claimed then 1 else 0 end,
                    case when is_claimed then $11::uuid end,
                    case when is_claimed then now() + make_interval(secs => $12) end,
                    case when is_claimed then now() end
                from taken
                cross join lateral (
                    select $12::float8 is not null and not exists (
                        select 1 from replies
                        where chat_id = taken.id and state in ('queued', 'streaming')
                    ) as is_claimed
                ) as claim
                where taken.kind in ('assistant', 'post')
                returning id, chat_id, state, prompt_seq
            ),
            job as (
                insert into jobs (id, kind, chat_id, reply_id, run_at)
                select
                    $10, 'reply', chat_id, id,
                    case when state = 'streaming' then now() + make_interval(secs => $12) else now() end
                from asked
            ),
            told as materialized (
                -- After `read`: whoever marks messages read locks their positions before the inboxes, too.
                select tell(taken.id, taken.last_seq, 'message.created', $3, null) as user_id
                from taken
                join read on read.chat_id = taken.id
            )
            select
                member.may_reply_to as "may_reply_to!",
                stored.seq as "seq?", stored.metadata as "metadata?", stored.attachments as "attachments?",
                stored.created_at as "created_at?",
                (
                    select message_json(m) from messages m where m.chat_id = $2 and m.seq = (select seq from known)
                ) as "known?: Json<MessageRow>",
                array(select user_id from told) as "audience!: Vec<String>",
                coalesce(asked.id, earlier.id) as reply_id,
                coalesce(asked.state, earlier.state) as reply_state,
                asked.id is not null as "is_asked!"
            from member
            left join stored on true
            left join asked on true
            left join lateral (
                select r.id, r.state from replies r
                where r.chat_id = $2 and r.prompt_seq = (select seq from known)
                order by r.created_at desc limit 1
            ) as earlier on true
            "#,
            sender.id.as_str(),
            chat.uuid(),
            message_id.uuid(),
            draft.client_id.as_str(),
            draft.content.as_str(),
            draft.metadata.clone().into_value(),
            json!(draft.attachments),
            draft.reply_to.map(MessageId::uuid),
            reply_id.uuid(),
            job_id.uuid(),
            fence.uuid(),
            claim_for.map(|lease| lease.as_secs_f64()),
            sender.org_id.as_deref(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(Ok(SendOutcome::NoSuchChat));
        };
        // Only what the database decides comes back of a new message: the rest we know.
        let stored = match (row.seq, row.metadata, row.attachments, row.created_at) {
            (Some(seq), Some(metadata), Some(attachments), Some(at)) => Some((seq, metadata, attachments, at)),
            _ => None,
        };
        let is_replay = stored.is_none();
        Ok((|| {
            let message = match (stored, row.known) {
                (Some((at_seq, metadata, attachments, created_at)), _) => Message {
                    id: message_id,
                    chat_id: chat,
                    seq: seq(at_seq)?,
                    changed_seq: seq(at_seq)?,
                    role: Role::User,
                    message_type: MessageType::Text,
                    status: Status::Sent,
                    sender_id: Some(sender.id.clone()),
                    client_id: Some(draft.client_id.as_str().to_owned()),
                    content: draft.content.as_str().to_owned(),
                    metadata,
                    attachments,
                    reply_to: draft.reply_to,
                    reactions: Vec::new(),
                    usage: None,
                    created_at,
                    edited_at: None,
                    deleted_at: None,
                },
                (None, Some(known)) => known.0.try_into()?,
                (None, None) if row.may_reply_to => return Ok(SendOutcome::NoSuchChat),
                (None, None) => return Ok(SendOutcome::NothingToReplyTo),
            };
            let reply = match (row.reply_id, row.reply_state) {
                (Some(id), Some(state)) => Some(ReplyHandle {
                    id: MessageId::from(id),
                    state: word("reply state", &state, ReplyState::parse)?,
                }),
                _ => None,
            };
            let claim = reply
                .filter(|reply| row.is_asked && reply.state == ReplyState::Streaming)
                .map(|reply| Claim {
                    reply_id: reply.id,
                    chat_id: chat,
                    asked_by: sender.id.clone(),
                    prompt_seq: message.seq,
                    attempt: 1,
                    fence,
                });
            let wake = row.is_asked.then(|| Wake {
                job_id,
                chat_id: Some(chat),
                after_seconds: if claim.is_some() {
                    claim_for.map_or(0, whole_seconds)
                } else {
                    0
                },
            });
            let audience = row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?;
            Ok(SendOutcome::Sent(Box::new(Sent {
                message,
                is_replay,
                audience,
                reply,
                claim,
                wake,
            })))
        })())
    }

    /// Changes what an own message says.
    pub async fn edit_message(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        content: &Content,
    ) -> Result<Change> {
        self.change_message(me, chat, message, Some(content)).await
    }

    /// Empties an own message; it keeps its place. For whoever had not read it, it is not unread any more.
    pub async fn delete_message(&self, me: &UserId, chat: ChatId, message: MessageId) -> Result<Change> {
        self.change_message(me, chat, message, None).await
    }

    /// One statement: the chat's row is locked first, as by a send, then the members, then the inboxes. A message that is
    /// deleted already, or says this already, is left as it is.
    async fn change_message(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        content: Option<&Content>,
    ) -> Result<Change> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id
                from chats c
                where c.id = $2 and (select acting_as($1))
                    and exists (select 1 from members where chat_id = $2 and user_id = $1)
                for update of c
            ),
            named as materialized (
                -- Locked after its chat, it is read as it is now: no seq is taken for a change that another made first.
                select
                    m.chat_id, m.seq, m.sender_id is not distinct from $1 and m.role = 'user' as is_own,
                    m.deleted_at is not null as is_deleted, m.content
                from messages m
                join place on place.id = m.chat_id
                where m.id = $3 and (select acting_as($1))
                    -- As of now: the chat's row may have been waited for.
                    and exists (
                        select 1 from members me
                        where me.chat_id = m.chat_id and me.user_id = $1 and m.seq > me.visible_after
                    )
                    and is_in_now(place.id, $1)
                for update of m
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1
                from named
                where c.id = named.chat_id and named.is_own and not named.is_deleted
                    and ($4::text is null or named.content <> $4) and (select acting_as($1))
                returning c.id, c.last_seq, named.seq
            ),
            changed as (
                update messages m
                set changed_seq = taken.last_seq, content = coalesce($4, ''),
                    edited_at = case when $4::text is null then m.edited_at else now() end,
                    deleted_at = case when $4::text is null then now() end,
                    metadata = case when $4::text is null then '{}' else m.metadata end,
                    attachments = case when $4::text is null then '[]' else m.attachments end
                from taken
                where m.chat_id = taken.id and m.seq = taken.seq and m.deleted_at is null and (select acting_as($1))
                returning m.chat_id, m.seq, m.id, m as message
            ),
            halted as (
                -- What is not said any more needs no answer: one that waits is stopped here, one that is being written by
                -- its writer.
                update replies r
                set stop_requested_at = coalesce(r.stop_requested_at, now()),
                    state = case when r.state = 'queued' then 'stopped' else r.state end,
                    ended_at = case when r.state = 'queued' then now() end
                from changed
                where $4::text is null and r.chat_id = changed.chat_id and r.prompt_seq = changed.seq
                    and r.state in ('queued', 'streaming') and (select acting_as($1))
                returning r.id, r.state
            ),
            dropped as (
                delete from jobs using halted
                where jobs.reply_id = halted.id and halted.state = 'stopped' and (select acting_as($1))
            ),
            readers as materialized (
                -- Locked, they are read as they are now: somebody may just have marked it as unread again.
                select r.user_id, r.read_seq
                from members r
                join changed on changed.chat_id = r.chat_id
                where $4::text is null and r.user_id <> $1 and (select acting_as($1))
                order by r.user_id
                for update of r
            ),
            uncounted as (
                update members r
                set uncounted = r.uncounted + 1
                from changed
                join readers on readers.read_seq < changed.seq
                where r.chat_id = changed.chat_id and r.user_id = readers.user_id and (select acting_as($1))
                returning r.user_id
            ),
            told as materialized (
                select tell(
                    taken.id, taken.last_seq,
                    case when $4::text is null then 'message.deleted' else 'message.updated' end, $3, null
                ) as user_id
                from taken
                where (select count(*) from changed) > 0 and (select count(*) from uncounted) >= 0
            ),
            told_of_the_end as materialized (
                select tell(taken.id, null, 'reply.ended', null, jsonb_build_object(
                    'messageId', halted.id, 'state', halted.state
                ))
                from taken
                join halted on halted.state = 'stopped'
                where (select count(*) from told) > 0
            )
            select
                (
                    select id from halted where state = 'stopped' and (select count(*) from told_of_the_end) > 0
                ) as "unanswered?",
                (
                    -- What waited behind it; woken too early it goes on waiting.
                    select j.id
                    from halted
                    join replies waiting on waiting.chat_id = $2 and waiting.state = 'queued' and waiting.id <> halted.id
                    join jobs j on j.reply_id = waiting.id
                    where halted.state = 'stopped'
                    order by waiting.prompt_seq
                    limit 1
                ) as "next_job?",
                named.is_own as "is_own!", named.is_deleted as "is_deleted!",
                coalesce(
                    (select message_json(message) from changed),
                    (select message_json(m) from messages m where m.chat_id = $2 and m.seq = named.seq)
                ) as "message!: Json<MessageRow>",
                array(select user_id from told) as "audience!: Vec<String>"
            from named
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            content.map(Content::as_str),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("changing a message")?;
        Ok(match row {
            None => Change::NoSuchMessage,
            Some(row) if !row.is_own => Change::NotYours,
            Some(row) if row.is_deleted && content.is_some() => Change::NoSuchMessage,
            Some(row) => Change::Made {
                message: Box::new(row.message.0.try_into()?),
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                unanswered: row.unanswered.map(Into::into),
                wake: row.next_job.map(|job| Wake {
                    job_id: job.into(),
                    chat_id: Some(chat),
                    after_seconds: 0,
                }),
            },
        })
    }

    /// A page of a chat's history, ascending; `None` for a stranger.
    pub async fn messages(
        &self,
        me: &UserId,
        chat: ChatId,
        range: Range,
        size: PageSize,
    ) -> Result<Option<MessagePage>> {
        /// `$page` chooses messages `m`, one more than the page holds; `$order` is how they leave.
        macro_rules! page {
            ($page:tt, $order:tt, $bound:expr) => {
                sqlx::query_as!(
                    PageRow,
                    r#"
                    select
                        c.last_seq as "last_seq!",
                        (
                            select coalesce(jsonb_agg(message_json(m) order by "#
                        + $order
                        + r#"), '[]')
                            from (
                                select * from messages m
                                where m.chat_id = c.id and "#
                        + $page
                        + r#"
                            ) as m
                        ) as "messages!: Json<Vec<MessageRow>>"
                    from members me
                    join chats c on c.id = me.chat_id
                    where me.user_id = $1 and me.chat_id = $2 and (select acting_as($1))
                    "#,
                    me.as_str(),
                    chat.uuid(),
                    $bound,
                    size.rows_and_one(),
                )
                .fetch_optional(&self.pool)
                .await
            };
        }
        // messages_pkey serves the first three, messages_changed the last: each is one range of at most a page. Both ends of
        // it are named, for without them the planner reads a chat whole and sorts it.
        let row = match range {
            Range::Newest => page!(
                "m.seq <= $3 and m.seq > me.visible_after order by m.seq desc limit $4",
                "m.seq",
                i64::MAX
            ),
            Range::Before(before) => page!(
                "m.seq < $3 and m.seq > me.visible_after order by m.seq desc limit $4",
                "m.seq",
                before.value()
            ),
            Range::After(after) => page!(
                "m.seq > greatest($3, me.visible_after) and m.seq <= c.last_seq order by m.seq limit $4",
                "m.seq",
                after.value()
            ),
            Range::ChangedAfter(after) => {
                page!(
                    "m.changed_seq > $3 and m.changed_seq <= c.last_seq and m.seq - me.visible_after > 0
                        order by m.changed_seq limit $4",
                    "m.changed_seq",
                    after.value()
                )
            }
        };
        let Some(row) = row.doing("reading messages")? else {
            return Ok(None);
        };
        let mut messages = rows::messages(row.messages)?;
        let page = usize::try_from(size.rows()).unwrap_or(usize::MAX);
        let has_more = messages.len() > page;
        if has_more {
            match range {
                Range::Newest | Range::Before(_) => drop(messages.remove(0)),
                Range::After(_) | Range::ChangedAfter(_) => messages.truncate(page),
            }
        }
        let seq = match (range, has_more, messages.last()) {
            (Range::ChangedAfter(_), true, Some(last)) => last.changed_seq,
            _ => seq(row.last_seq)?,
        };
        Ok(Some(MessagePage {
            messages,
            has_more,
            seq,
        }))
    }
}

struct PageRow {
    last_seq: i64,
    messages: Json<Vec<MessageRow>>,
}

/// SQS delays in whole seconds; a wake-up a moment late finds the lease over.
pub(super) fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}
