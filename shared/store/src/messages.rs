//! Messages: sent and read.

use std::time::Duration;

use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::budgets::{Refusal, Refused};
use super::rows::{self, EndRow, MessageRow, WithheldRow, seq, user_id, word};
use super::webhooks::announced;
use super::{Doing, Result, Store, lost_a_race};
use domain::budget::Exhausted;
use domain::chat::Kind;
use domain::event::ReplyEnded;
use domain::ids::{ChatId, Fence, JobId, MessageId, Seq, UserId};
use domain::limits::PageSize;
use domain::message::{Draft, Edit, EditHistory, Message, MessageType, ReplyPreview, Role, Status};
use domain::notice::Priority;
use domain::page::{Kept, Page};
use domain::person::Caller;
use domain::reply::{Claim, Purpose, ReplyHandle, ReplyState, Terms, Wake};
use domain::tokens;
use domain::withheld::Withheld;

/// A send that keeps losing races has met 2 at most: its own twin, and a reply that began meanwhile.
const SEND_TRIES: usize = 4;

/// What came of a send.
#[derive(Debug)]
pub enum SendOutcome {
    Sent(Box<Sent>),
    /// `replyTo` names no message of this chat.
    NothingToReplyTo,
    /// It names people who are not in the chat, or anybody at all in a chat with the AI: which of its mentions, from 1 on.
    NotMembers(Vec<i64>),
    /// One of the two of a direct chat has blocked the other.
    Blocked,
    /// A reply is running, and the terms say that it is not waited for.
    Busy,
    /// There is no budget for a reply; nothing is stored.
    Exhausted(Exhausted),
    /// The sender has used the `clientId` for a message that asked for something else.
    KeyReused,
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
    /// What of it is not for all of them.
    pub withheld: Withheld,
    pub reply: Option<ReplyHandle>,
    /// The right to write the reply at once, if it was asked for and nobody else is writing in this chat.
    pub claim: Option<Claim>,
    pub wake: Option<Wake>,
    /// Replies that waited and were stopped in favour of this one. One that runs is stopped by its writer.
    pub replaced: Vec<ReplyEnded>,
    /// What the organisation's webhooks are to be told.
    pub webhooks: Vec<Wake>,
}

/// What came of changing a message.
#[derive(Debug)]
pub enum Change {
    /// As it is now. Nobody has to be told where nothing changed.
    Made {
        message: Box<Message>,
        audience: Vec<UserId>,
        withheld: Withheld,
        /// The reply that waited to answer it and does not any more.
        unanswered: Option<ReplyEnded>,
        /// The chat's next reply, which waited for that one.
        wake: Option<Wake>,
    },
    /// It is in the chat, but somebody else's.
    NotYours,
    /// An edit is something new to say, and one of the two of a direct chat has blocked the other.
    Blocked,
    /// The same as of a send.
    NotMembers(Vec<i64>),
    /// It would say nothing and show nothing.
    NothingLeft,
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
        terms: &Terms,
    ) -> Result<SendOutcome> {
        for _ in 1..SEND_TRIES {
            match self.try_to_send(sender, chat, draft, claim_for, terms).await {
                // The twin committed first: a fresh look finds its message, or the reply that is being written.
                Err(error) if lost_a_race(&error, &["messages_client_id", "replies_one_streaming"]) => {}
                Ok(Ok(None)) => {}
                Ok(Ok(Some(outcome))) => return Ok(outcome),
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(error).doing("sending a message"),
            }
        }
        match self.try_to_send(sender, chat, draft, claim_for, terms).await {
            Err(error) if lost_a_race(&error, &["messages_client_id"]) => Ok(SendOutcome::ClientIdTaken),
            outcome => Ok(outcome
                .doing("sending a message")??
                .unwrap_or(SendOutcome::ClientIdTaken)),
        }
    }

    /// `None`: the twin was stored while this statement waited for the chat.
    async fn try_to_send(
        &self,
        sender: &Caller,
        chat: ChatId,
        draft: &Draft,
        claim_for: Option<Duration>,
        terms: &Terms,
    ) -> std::result::Result<Result<Option<SendOutcome>>, sqlx::Error> {
        let message_id = MessageId::fresh();
        let reply_id = MessageId::fresh();
        let job_id = JobId::fresh();
        let fence = Fence::fresh();
        let fingerprint = draft.fingerprint();
        // One statement, so that the message, its seq, the read position, the budget's hold, the reply and its job are all
        // there or none. `member` is one look-up in members_pkey, `known` in messages_client_id. `admitted`, in AI chats,
        // or `taken` locks the chat's row: from there on, writers of this chat come one after the other, which makes `seq`
        // contiguous.
        let row = sqlx::query!(
            r#"
            with member as (
                select
                    c.id, c.kind, c.last_seq, c.kind in ('assistant', 'post') as is_answered,
                    $8::uuid is null or exists (
                        select 1 from messages where chat_id = $2 and id = $8 and seq > m.visible_after
                    ) as may_reply_to,
                    case c.kind when 'post' then $16::bigint else $15::bigint end as instruction,
                    case c.kind when 'post' then $18::bigint else $17::bigint end as output,
                    case c.kind when 'post' then $20::bigint else $19::bigint end as context,
                    c.kind = 'direct' and blocked_between(c.direct_low, c.direct_high) as is_blocked,
                    array(
                        select place from unnest($26::text[]) with ordinality as named (user_id, place)
                        where c.kind not in ('direct', 'channel')
                            or not exists (select 1 from members where chat_id = $2 and user_id = named.user_id)
                    ) as strangers
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            ),
            known as materialized (
                select seq, coalesce(request_hash = $27, true) as is_same from messages
                where chat_id = $2 and sender_id = $1 and client_id = $4 and (select acting_as($1))
            ),
            admitted as materialized (
                select admit_answer(
                    member.id, $1, $13, $9, $4, $14,
                    -- What is asked now is never cut from a prompt; what was said before is.
                    member.instruction + $21, member.output, member.context, null, $22, $23, $24, $25
                ) as refusal
                from member
                where member.is_answered and member.may_reply_to and member.strangers = '{}'
                    and not exists (select 1 from known)
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, last_number = c.last_number + 1, last_message_seq = c.last_seq + 1,
                    last_message_at = now(), active_at = now()
                from member
                left join admitted on true
                where c.id = member.id and member.may_reply_to and not member.is_blocked
                    and member.strangers = '{}' and not exists (select 1 from known)
                    and admitted.refusal is null and (select acting_as($1))
                    -- Whoever had to wait for the chat's row may have been removed by what was waited for.
                    and (c.last_seq = member.last_seq or is_in_now(c.id, $1))
                returning c.id, c.kind, c.last_seq, c.last_number
            ),
            stored as (
                insert into messages (
                    chat_id, seq, id, number, changed_seq, role, sender_id, client_id, content, metadata, attachments,
                    reply_to, mentions, request_hash
                )
                select id, last_seq, $3, last_number, last_seq, 'user', $1, $4, $5, $6, $7, $8, $26, $27
                from taken
                returning seq, metadata, attachments, created_at
            ),
            mentioned as (
                insert into mentions (chat_id, user_id, seq, silent)
                select id, named, last_seq, blocked_between(named, $1)
                from taken
                cross join unnest($26::text[]) as named
                where named <> $1
                -- No column of the row: to show one, its policy would look for the message that is only being stored.
                returning true as is_there
            ),
            halted as (
                -- What this message replaces: a reply that waits is stopped here, one that is being written by its writer.
                update replies r
                set stop_requested_at = coalesce(r.stop_requested_at, now()),
                    state = case when r.state = 'queued' then 'stopped' else r.state end,
                    ended_at = case when r.state = 'queued' then now() end
                from taken
                where $14 = 'replace' and r.chat_id = taken.id and r.state in ('queued', 'streaming')
                    and r.purpose <> 'welcome'
                    and (select acting_as($1))
                returning r.id, r.state, r.attempt
            ),
            dropped as (
                delete from jobs using halted
                where jobs.reply_id = halted.id and halted.state = 'stopped' and (select acting_as($1))
            ),
            released as materialized (
                select
                    jsonb_build_object('messageId', id, 'attempt', attempt, 'state', state) as ending, settle_reply(id, 0)
                from halted
                -- All are locked before the first takes the budget's lock: an end has its reply, and waits for the budget.
                where state = 'stopped' and (select count(*) from halted) > 0
            ),
            read as (
                update members m
                set read_seq = taken.last_seq, read_number = taken.last_number, uncounted = 0, read_at = now(),
                    delivered_seq = taken.last_seq
                from taken
                where m.chat_id = taken.id and m.user_id = $1 and (select count(*) from released) >= 0
                    and (select acting_as($1))
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
            answered as materialized (
                -- After `read`: whoever marks notices read locks their position before them.
                select answer_clarification(taken.id, taken.last_seq, $3, $8) as clarification
                from taken
                join read on read.chat_id = taken.id
                where taken.kind = 'task'
            ),
            told as materialized (
                -- After `read`: whoever marks messages read locks their positions before the inboxes, too.
                select tell(taken.id, taken.last_seq, 'message.created', $3, null) as user_id
                from taken
                join read on read.chat_id = taken.id
                where (select count(*) from answered) >= 0
            ),
            told_of_the_end as materialized (
                select tell($2, null, 'reply.ended', null, ending)
                from released
                where (select count(*) from told) > 0
            )
            select
                member.may_reply_to as "may_reply_to!", member.is_blocked as "is_blocked!",
                member.strangers as "strangers!: Vec<i64>",
                (
                    select reply_preview(original) from messages original
                    where original.chat_id = $2 and original.id = $8
                ) as "reply_preview: Json<ReplyPreview>",
                admitted.refusal as "refusal?: Json<Refused>",
                stored.seq as "seq?", stored.metadata as "metadata?", stored.attachments as "attachments?",
                stored.created_at as "created_at?",
                (
                    select message_json(m) from messages m where m.chat_id = $2 and m.seq = (select seq from known)
                ) as "known?: Json<MessageRow>",
                (select not is_same from known) as is_reused,
                array(select user_id from told) as "audience!: Vec<String>",
                case
                    -- A new message is for all members; what it replies to, and whom it names, may not be.
                    when ($8::uuid is not null or $26::text[] <> '{}')
                        and (select count(*) from told) > 0 and (select count(*) from mentioned) >= 0
                    then withheld($2, stored.seq)
                end as "withheld: Json<WithheldRow>",
                array(
                    select ending from released where (select count(*) from told_of_the_end) >= 0
                ) as "replaced!: Vec<Json<EndRow>>",
                (
                    select string_to_array(current_setting('backtalk.announced', true), ',')::uuid[]
                    where (select count(*) from told) + (select count(*) from told_of_the_end) >= 0
                ) as "announced: Vec<Uuid>",
                coalesce(asked.id, earlier.id) as reply_id,
                coalesce(asked.state, earlier.state) as reply_state,
                asked.id is not null as "is_asked!", member.kind as "kind!"
            from member
            left join admitted on true
            left join stored on true
            left join asked on true
            left join lateral (
                select r.id, r.state from replies r
                where r.chat_id = $2 and r.prompt_seq = (select seq from known) and r.purpose = 'answer'
                order by r.created_at desc limit 1
            ) as earlier on true
            "#,
            sender.id.as_str(),
            chat.uuid(),
            message_id.uuid(),
            draft.client_id.as_str(),
            draft.text(),
            draft.metadata.clone().into_value(),
            json!(draft.attachments),
            draft.reply_to.map(MessageId::uuid),
            reply_id.uuid(),
            job_id.uuid(),
            fence.uuid(),
            claim_for.map(|lease| lease.as_secs_f64()),
            sender.org_id.as_deref(),
            terms.when_busy.word(),
            i64::from(terms.assistant.instruction),
            i64::from(terms.post.instruction),
            i64::from(terms.assistant.output),
            i64::from(terms.post.output),
            i64::from(terms.assistant.context),
            i64::from(terms.post.context),
            i64::from(tokens::bound_of_message(draft.text(), draft.attachments.len())),
            i64::from(tokens::MOST_OF_AN_IMAGE),
            terms.budget.person_limit,
            terms.budget.organisation_limit,
            terms.budget.period.word(),
            &texts(&draft.mentions) as &[&str],
            fingerprint.as_bytes(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(Ok(Some(SendOutcome::NoSuchChat)));
        };
        if let Some(Json(refused)) = row.refusal {
            return Ok(refused.read(&terms.budget).map(|refusal| match refusal {
                Refusal::Known => None,
                Refusal::Busy => Some(SendOutcome::Busy),
                Refusal::Exhausted(exhausted) => Some(SendOutcome::Exhausted(exhausted)),
            }));
        }
        if row.is_reused == Some(true) {
            return Ok(Ok(Some(SendOutcome::KeyReused)));
        }
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
                    content: draft.text().to_owned(),
                    reasoning: None,
                    metadata,
                    attachments,
                    mentions: draft.mentions.clone(),
                    reply_to: draft.reply_to,
                    reply_preview: row.reply_preview.map(|preview| preview.0),
                    reactions: Vec::new(),
                    usage: None,
                    priority: Priority::Normal,
                    created_at,
                    edited_at: None,
                    deleted_at: None,
                    version: 1,
                },
                (None, Some(known)) => known.0.try_into()?,
                (None, None) if !row.strangers.is_empty() => return Ok(Some(SendOutcome::NotMembers(row.strangers))),
                (None, None) if row.is_blocked => return Ok(Some(SendOutcome::Blocked)),
                (None, None) if row.may_reply_to => return Ok(Some(SendOutcome::NoSuchChat)),
                (None, None) => return Ok(Some(SendOutcome::NothingToReplyTo)),
            };
            let reply = match (row.reply_id, row.reply_state) {
                (Some(id), Some(state)) => Some(ReplyHandle {
                    id: MessageId::from(id),
                    state: word("reply state", &state, ReplyState::parse)?,
                }),
                _ => None,
            };
            let kind = word("chat kind", &row.kind, Kind::parse)?;
            let claim = reply
                .filter(|reply| row.is_asked && reply.state == ReplyState::Streaming)
                .map(|reply| Claim {
                    reply_id: reply.id,
                    chat_id: chat,
                    kind,
                    purpose: Purpose::Answer,
                    trigger: None,
                    asked_by: sender.id.clone(),
                    organisation: sender.org_id.clone(),
                    prompt_seq: message.seq,
                    attempt: 1,
                    attempt_of_version: 1,
                    fence,
                });
            let wake = row.is_asked.then(|| Wake {
                job_id,
                chat_id: Some(chat),
                after_seconds: if claim.is_some() {
                    claim_for.map_or(0, Wake::whole_seconds)
                } else {
                    0
                },
            });
            let audience = row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?;
            Ok(Some(SendOutcome::Sent(Box::new(Sent {
                message,
                is_replay,
                audience,
                withheld: row.withheld.map(|Json(row)| row).unwrap_or_default().try_into()?,
                reply,
                claim,
                wake,
                replaced: row
                    .replaced
                    .into_iter()
                    .map(|Json(ending)| ending.try_into())
                    .collect::<Result<_>>()?,
                webhooks: announced(row.announced, chat),
            }))))
        })())
    }

    /// Changes what an own message says.
    pub async fn edit_message(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        edit: &Edit,
        history: EditHistory,
    ) -> Result<Change> {
        self.change_message(me, chat, message, Some(edit), history).await
    }

    /// Empties an own message; it keeps its place. For whoever had not read it, it is not unread any more.
    pub async fn delete_message(&self, me: &UserId, chat: ChatId, message: MessageId) -> Result<Change> {
        self.change_message(me, chat, message, None, EditHistory::None).await
    }

    /// One statement: the chat's row is locked first, as by a send, then the members, then the inboxes. A message that is
    /// deleted already, or says this already, is left as it is.
    async fn change_message(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        edit: Option<&Edit>,
        history: EditHistory,
    ) -> Result<Change> {
        let mentions = edit.and_then(|edit| edit.mentions.as_deref()).map(texts);
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select
                    c.id,
                    $4::text is not null and c.kind = 'direct' and blocked_between(c.direct_low, c.direct_high) as is_blocked,
                    array(
                        select place from unnest($5::text[]) with ordinality as named (user_id, place)
                        where c.kind not in ('direct', 'channel')
                            or not exists (select 1 from members where chat_id = $2 and user_id = named.user_id)
                    ) as strangers
                from chats c
                where c.id = $2 and (select acting_as($1))
                    and exists (select 1 from members where chat_id = $2 and user_id = $1)
                for update of c
            ),
            named as materialized (
                -- Locked after its chat, it is read as it is now: no seq is taken for a change that another made first.
                select
                    m.chat_id, m.seq, m.sender_id is not distinct from $1 and m.role = 'user' as is_own,
                    m.deleted_at is not null as is_deleted, m.content, m.mentions, place.is_blocked,
                    $4 = '' and m.attachments = '[]' as is_nothing,
                    place.strangers, m.id, m.version, m.role, m.type, m.metadata, m.usage,
                    coalesce(m.edited_at, m.created_at) as written_at
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
                    and not named.is_blocked and named.strangers = '{}' and named.is_nothing is not true
                    and ($4::text is null or named.content <> $4 or named.mentions <> coalesce($5, named.mentions))
                    and (select acting_as($1))
                returning c.id, c.last_seq, named.seq
            ),
            kept as (
                insert into message_versions (
                    message_id, version, role, type, content, metadata, usage, reason, created_at
                )
                select id, version, role, type, content, metadata, usage, 'edited', written_at
                from named
                where $6 and $4::text is not null and exists (select 1 from taken)
            ),
            changed as (
                update messages m
                set changed_seq = taken.last_seq, content = coalesce($4, ''),
                    edited_at = case when $4::text is null then m.edited_at else now() end,
                    deleted_at = case when $4::text is null then now() end,
                    metadata = case when $4::text is null then '{}' else m.metadata end,
                    reasoning = case when $4::text is null then null else m.reasoning end,
                    attachments = case when $4::text is null then '[]' else m.attachments end,
                    mentions = case when $4::text is null then '{}' else coalesce($5, m.mentions) end,
                    version = case when $4::text is null then m.version else m.version + 1 end
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
                    and r.purpose = 'answer' and r.state in ('queued', 'streaming') and (select acting_as($1))
                returning
                    r.id, r.state, jsonb_build_object('messageId', r.id, 'attempt', r.attempt, 'state', r.state) as ending
            ),
            stripped as materialized (
                select strip_message(chat_id, seq, id) from changed where $4::text is null
            ),
            named_anew as materialized (
                select name_people(chat_id, seq, $5, $1) from changed where $5 is not null
            ),
            dropped as (
                delete from jobs using halted
                where jobs.reply_id = halted.id and halted.state = 'stopped' and (select acting_as($1))
            ),
            released as materialized (
                -- All are locked before the first takes the budget's lock: an end has its reply, and waits for the budget.
                select settle_reply(id, 0) from halted where state = 'stopped' and (select count(*) from halted) > 0
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
                where (select count(*) from released) >= 0 and r.chat_id = changed.chat_id and r.user_id = readers.user_id and (select acting_as($1))
                returning r.user_id
            ),
            told as materialized (
                select tell(
                    taken.id, taken.last_seq,
                    case when $4::text is null then 'message.deleted' else 'message.updated' end, $3, null
                ) as user_id
                from taken
                where (select count(*) from changed) > 0 and (select count(*) from uncounted) >= 0
                    and (select count(*) from stripped) >= 0 and (select count(*) from named_anew) >= 0
            ),
            told_of_the_end as materialized (
                select tell(taken.id, null, 'reply.ended', null, halted.ending)
                from taken
                join halted on halted.state = 'stopped'
                where (select count(*) from told) > 0
            )
            select
                (
                    select ending from halted where state = 'stopped' and (select count(*) from told_of_the_end) > 0
                ) as "unanswered?: Json<EndRow>",
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
                named.is_own as "is_own!", named.is_deleted as "is_deleted!", named.is_blocked as "is_blocked!",
                named.strangers as "strangers!: Vec<i64>", named.is_nothing,
                coalesce(
                    (select message_json(message) from changed),
                    (select message_json(m) from messages m where m.chat_id = $2 and m.seq = named.seq)
                ) as "message!: Json<MessageRow>",
                array(select user_id from told) as "audience!: Vec<String>",
                case
                    when (select count(*) from told) > 0 then withheld($2, named.seq)
                end as "withheld: Json<WithheldRow>"
            from named
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            edit.map(Edit::text),
            mentions.as_deref() as Option<&[&str]>,
            history == EditHistory::Kept,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("changing a message")?;
        Ok(match row {
            None => Change::NoSuchMessage,
            Some(row) if !row.is_own => Change::NotYours,
            Some(row) if row.is_deleted && edit.is_some() => Change::NoSuchMessage,
            Some(row) if row.is_blocked => Change::Blocked,
            Some(row) if !row.strangers.is_empty() => Change::NotMembers(row.strangers),
            Some(row) if row.is_nothing == Some(true) => Change::NothingLeft,
            Some(row) => Change::Made {
                message: Box::new(row.message.0.try_into()?),
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                withheld: row.withheld.map(|Json(row)| row).unwrap_or_default().try_into()?,
                unanswered: row.unanswered.map(|Json(ending)| ending.try_into()).transpose()?,
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
        let kept = match range {
            Range::Newest | Range::Before(_) => Kept::Last,
            Range::After(_) | Range::ChangedAfter(_) => Kept::First,
        };
        let Page {
            items: messages,
            has_more,
        } = Page::of(rows::messages(row.messages)?, size, kept);
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

fn texts(people: &[UserId]) -> Vec<&str> {
    people.iter().map(UserId::as_str).collect()
}
