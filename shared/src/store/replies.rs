//! Replies: claimed, written, ended. Every write names the fence, so that a worker that lost its lease changes nothing.

use std::time::Duration;

use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::messages::whole_seconds;
use super::rows::{MessageRow, seq, user_id, word};
use super::{Doing, Result, Store, lost_a_race};
use crate::domain::chat::Kind;
use crate::domain::ids::{ChatId, Fence, JobId, MessageId, UserId};
use crate::domain::message::{Message, MessageType, Role, Usage};
use crate::domain::reply::{Claim, Failure, ReplyState, Wake};

/// How many messages are looked at for a prompt; the token window cuts further.
const CONTEXT_MESSAGES: i64 = 200;

/// What came of a worker's reach for a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Reach {
    Claimed(Claim),
    /// Somebody writes it, or it rests after a failure: look again then.
    Later {
        after_seconds: i32,
    },
    /// Its last attempt lost its lease: [`Store::seize_abandoned_reply`] finds it.
    Exhausted,
    /// An earlier reply of the chat comes first; its end wakes this one.
    Behind,
    /// Nothing is left to do.
    Over,
}

/// Whether a writer still holds its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Held,
    /// Held, and somebody asked to stop.
    StopAsked,
    Lost,
}

/// How a reply ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Completed {
        text: String,
        usage: Usage,
    },
    /// With the text so far; an empty one leaves no message.
    Stopped {
        text: String,
        usage: Usage,
    },
    Failed(Failure),
}

/// A reply that is over.
#[derive(Debug)]
pub struct Ended {
    pub message: Option<Message>,
    pub audience: Vec<UserId>,
    /// The chat's next reply, which waited for this one.
    pub wake: Option<Wake>,
}

/// One message of the conversation that a model is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextMessage {
    pub role: Role,
    pub content: String,
}

/// What a reply answers.
#[derive(Debug)]
pub struct Context {
    pub kind: Kind,
    /// Oldest first; the last is the message to be answered.
    pub messages: Vec<ContextMessage>,
}

/// A reply as somebody sees it who does not write it.
#[derive(Debug)]
pub struct Progress {
    pub state: ReplyState,
    pub attempt: i32,
    pub failure: Option<Failure>,
    /// The attempt's text from the asked offset on; the whole message once it is over.
    pub text: String,
    pub message: Option<Message>,
}

impl Store {
    /// Reaches for the reply of a job. Claims it when it is queued and first in its chat, or when its writer's lease is
    /// over, and clears what an earlier attempt wrote.
    pub async fn reach_for_reply(&self, job: JobId, lease: Duration, max_attempts: i32) -> Result<Reach> {
        let fence = Fence::fresh();
        let claimed = sqlx::query!(
            r#"
            with claimed as (
                update replies r
                set state = 'streaming', attempt = r.attempt + 1, fence = $2,
                    lease_until = now() + make_interval(secs => $3), started_at = coalesce(r.started_at, now())
                from jobs j
                where j.id = $1 and r.id = j.reply_id and r.attempt < $4
                    and ((r.state = 'queued' and j.run_at <= now())
                        or (r.state = 'streaming' and r.lease_until <= now()))
                    and not exists (
                        select 1 from replies earlier
                        where earlier.chat_id = r.chat_id and earlier.state in ('queued', 'streaming')
                            and earlier.prompt_seq < r.prompt_seq
                    )
                returning r.id, r.chat_id, r.asked_by, r.prompt_seq, r.attempt
            ),
            cleared as (
                delete from reply_parts p using claimed
                where p.reply_id = claimed.id and p.attempt < claimed.attempt
            ),
            counted as (
                update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $3)
                from claimed
                where jobs.id = $1
            )
            select id, chat_id, asked_by, prompt_seq, attempt from claimed
            "#,
            job.uuid(),
            fence.uuid(),
            lease.as_secs_f64(),
            max_attempts,
        )
        .fetch_optional(&self.pool)
        .await;
        let claimed = match claimed {
            // Another reply of the chat began in the same moment.
            Err(error) if lost_a_race(&error, &["replies_one_streaming"]) => None,
            claimed => claimed.doing("claiming a reply")?,
        };
        match claimed {
            Some(row) => Ok(Reach::Claimed(Claim {
                reply_id: row.id.into(),
                chat_id: row.chat_id.into(),
                asked_by: user_id(&row.asked_by)?,
                prompt_seq: seq(row.prompt_seq)?,
                attempt: row.attempt,
                fence,
            })),
            None => self.why_not_claimed(job, max_attempts).await,
        }
    }

    async fn why_not_claimed(&self, job: JobId, max_attempts: i32) -> Result<Reach> {
        let row = sqlx::query!(
            r#"
            select
                r.state,
                r.state = 'streaming' and r.lease_until <= now() and r.attempt >= $2 as "is_exhausted!",
                extract(epoch from greatest(r.lease_until, j.run_at) - now())::float8 as rests_for,
                exists (
                    select 1 from replies earlier
                    where earlier.chat_id = r.chat_id and earlier.state in ('queued', 'streaming')
                        and earlier.prompt_seq < r.prompt_seq
                ) as "is_behind!"
            from jobs j
            join replies r on r.id = j.reply_id
            where j.id = $1
            "#,
            job.uuid(),
            max_attempts,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a reply's state")?;
        let Some(row) = row else { return Ok(Reach::Over) };
        let state = word("reply state", &row.state, ReplyState::parse)?;
        Ok(if state.is_over() {
            Reach::Over
        } else if row.is_exhausted {
            Reach::Exhausted
        } else if row.is_behind {
            Reach::Behind
        } else {
            let seconds = row.rests_for.unwrap_or(0.0).clamp(0.0, 900.0);
            Reach::Later {
                after_seconds: whole_seconds(Duration::from_secs_f64(seconds)).saturating_add(1),
            }
        })
    }

    /// Takes over a reply whose attempts are used up and whose last writer is gone, so that it can be ended.
    pub async fn seize_abandoned_reply(&self, max_attempts: i32, lease: Duration) -> Result<Option<Claim>> {
        let fence = Fence::fresh();
        let row = sqlx::query!(
            r#"
            update replies
            set fence = $1, lease_until = now() + make_interval(secs => $2)
            where id = (
                select id from replies
                where state = 'streaming' and lease_until <= now() and attempt >= $3
                limit 1
                for update skip locked
            )
            returning id, chat_id, asked_by, prompt_seq, attempt
            "#,
            fence.uuid(),
            lease.as_secs_f64(),
            max_attempts,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("taking over an abandoned reply")?;
        row.map(|row| {
            Ok(Claim {
                reply_id: row.id.into(),
                chat_id: row.chat_id.into(),
                asked_by: user_id(&row.asked_by)?,
                prompt_seq: seq(row.prompt_seq)?,
                attempt: row.attempt,
                fence,
            })
        })
        .transpose()
    }

    /// The conversation up to the message that is to be answered: what was said before it and what earlier messages were
    /// answered, even if that answer came later. `None` when the chat or the claim is gone.
    pub async fn reply_context(&self, claim: &Claim) -> Result<Option<Context>> {
        let rows = sqlx::query!(
            r#"
            with asked as (
                select c.id as chat_id, c.kind
                from replies r
                join chats c on c.id = r.chat_id
                where r.id = $2 and r.fence = $3 and (select acting_as($1))
            )
            select asked.kind as "kind!", said.role as "role!", said.content as "content!"
            from asked
            cross join lateral (
                -- messages_pkey, newest first; replies_pkey tells which message an answer belongs to.
                select m.role, m.content, m.seq, coalesce(answer.prompt_seq, m.seq) as place
                from messages m
                left join replies answer on answer.id = m.id
                where m.chat_id = asked.chat_id and m.type = 'TEXT' and m.deleted_at is null and m.content <> ''
                    and (m.seq <= $4 or answer.prompt_seq < $4)
                order by m.seq desc
                limit $5
            ) as said
            order by said.place, said.seq
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            claim.prompt_seq.value(),
            CONTEXT_MESSAGES,
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading a reply's context")?;
        let Some(first) = rows.first() else { return Ok(None) };
        Ok(Some(Context {
            kind: word("chat kind", &first.kind, Kind::parse)?,
            messages: rows
                .into_iter()
                .map(|row| {
                    Ok(ContextMessage {
                        role: word("role", &row.role, Role::parse)?,
                        content: row.content,
                    })
                })
                .collect::<Result<_>>()?,
        }))
    }

    /// Appends to the text of a running reply. Without waiting for the disk: a crash of the database loses a fraction of
    /// a second of a text that another attempt would write anew anyway.
    pub async fn append_to_reply(&self, claim: &Claim, offset: usize, text: &str) -> Result<Hold> {
        let stop_asked = sqlx::query_scalar!(
            r#"
            with held as (
                select id, attempt, stop_requested_at is not null as stop_asked
                from replies
                where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
                    and (select set_config('synchronous_commit', 'off', true)) is not null
                -- Against a claim or a deletion at this very moment; the foreign key would lock the row anyway.
                for share
            ),
            added as (
                insert into reply_parts (reply_id, attempt, byte_offset, text)
                select id, attempt, $4, $5 from held
                -- A part whose commit we did not hear of is written again, perhaps with more behind it.
                on conflict (reply_id, attempt, byte_offset) do update set text = excluded.text
            )
            select stop_asked as "stop_asked!" from held
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            i32::try_from(offset).unwrap_or(i32::MAX),
            text,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("appending to a reply")?;
        Ok(hold(stop_asked))
    }

    /// Makes the lease of a running reply last from now on.
    pub async fn renew_reply(&self, claim: &Claim, lease: Duration) -> Result<Hold> {
        let stop_asked = sqlx::query_scalar!(
            r#"
            update replies set lease_until = now() + make_interval(secs => $4)
            where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
            returning stop_requested_at is not null as "stop_asked!"
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("renewing a reply's lease")?;
        Ok(hold(stop_asked))
    }

    /// Puts a failed attempt back into the queue, to rest for a while. `None` when the claim was lost.
    pub async fn requeue_reply(&self, claim: &Claim, failure: Failure, rest: Duration) -> Result<Option<Wake>> {
        let job = sqlx::query_scalar!(
            r#"
            with released as (
                update replies set state = 'queued', fence = null, lease_until = null, failure = $4
                where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
                returning id
            )
            update jobs set run_at = now() + make_interval(secs => $5), last_error = $4
            from released
            where jobs.reply_id = released.id and (select acting_as($1))
            returning jobs.id
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            failure.word(),
            rest.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("putting a reply back")?;
        Ok(job.map(|id| Wake {
            job_id: id.into(),
            chat_id: Some(claim.chat_id),
            after_seconds: whole_seconds(rest),
        }))
    }

    /// Ends a reply: its message with the chat's next seq, its state, its job and its partial text in one statement.
    /// `None` when the claim was lost; then nothing was changed.
    pub async fn end_reply(&self, claim: &Claim, ending: &Ending) -> Result<Option<Ended>> {
        let (state, failure, usage) = match ending {
            Ending::Completed { usage, .. } => (ReplyState::Completed, None, Some(usage)),
            Ending::Stopped { usage, .. } => (ReplyState::Stopped, None, Some(usage)),
            Ending::Failed(failure) => (ReplyState::Failed, Some(*failure), None),
        };
        let (role, message_type, content) = match ending {
            Ending::Completed { text, .. } | Ending::Stopped { text, .. } => (
                Role::Assistant,
                MessageType::Text,
                Some(text.as_str()).filter(|text| !text.trim().is_empty()),
            ),
            Ending::Failed(failure) => (Role::System, MessageType::Error, Some(failure.told_to_user())),
        };
        let metadata = failure.map_or_else(|| json!({}), |failure| json!({"reason": failure}));
        let row = sqlx::query!(
            r#"
            with place as materialized (
                -- The chat is locked before its reply, as by whoever deletes it.
                select id from chats
                where (select acting_as($1)) and id = (
                    select chat_id from replies where id = $2 and fence = $3 and (select acting_as($1))
                )
                for no key update
            ),
            ended as (
                update replies r
                set state = $4, failure = $5, ended_at = now(), fence = null, lease_until = null,
                    model = $6, input_tokens = $7, output_tokens = $8, cached_tokens = $9
                from place
                where r.chat_id = place.id and r.id = $2 and r.fence = $3 and r.state = 'streaming'
                    and (select acting_as($1))
                returning r.id, r.chat_id
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, last_number = c.last_number + 1, last_message_seq = c.last_seq + 1,
                    last_message_at = now(), active_at = now()
                from ended
                where c.id = ended.chat_id and $12::text is not null and (select acting_as($1))
                returning c.id, c.last_seq, c.last_number, ended.id as reply_id
            ),
            stored as (
                insert into messages (
                    chat_id, seq, id, number, changed_seq, role, type, content, metadata, usage
                )
                select id, last_seq, reply_id, last_number, last_seq, $10, $11, $12, $13, $14
                from taken
                returning messages as message
            ),
            cleared as (
                delete from reply_parts p using ended where p.reply_id = ended.id and (select acting_as($1))
            ),
            done as (
                delete from jobs using ended where jobs.reply_id = ended.id and (select acting_as($1))
            ),
            told as materialized (
                select tell(
                    ended.chat_id, taken.last_seq,
                    case when taken.id is null then 'reply.ended' else 'message.created' end, taken.reply_id,
                    case when taken.id is null then jsonb_build_object('messageId', ended.id, 'state', $4::text) end
                ) as user_id
                from ended
                left join taken on true
            )
            select
                ended.chat_id,
                (select message_json(message) from stored) as "stored?: Json<MessageRow>",
                array(select user_id from told) as "audience!: Vec<String>",
                (
                    select j.id
                    from replies waiting
                    join jobs j on j.reply_id = waiting.id
                    where waiting.chat_id = ended.chat_id and waiting.state = 'queued'
                    order by waiting.prompt_seq
                    limit 1
                ) as "next_job?: Uuid"
            from ended
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            state.word(),
            failure.map(Failure::word),
            usage.map(|usage| usage.model.as_str()),
            usage.map(|usage| i64::from(usage.input_tokens)),
            usage.map(|usage| i64::from(usage.output_tokens)),
            usage.map(|usage| i64::from(usage.cached_tokens)),
            role.word(),
            message_type.word(),
            content,
            metadata,
            usage.map(|usage| json!(usage)),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("ending a reply")?;
        row.map(|row| {
            Ok(Ended {
                message: row.stored.map(|stored| stored.0.try_into()).transpose()?,
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                wake: row.next_job.map(|job| Wake {
                    job_id: job.into(),
                    chat_id: Some(claim.chat_id),
                    after_seconds: 0,
                }),
            })
        })
        .transpose()
    }

    /// How far a reply has come, and its text from `offset` on if that is still the attempt that the reader saw.
    /// `None` for a stranger.
    pub async fn reply_progress(
        &self,
        me: &UserId,
        chat: ChatId,
        reply: MessageId,
        seen_attempt: i32,
        offset: usize,
    ) -> Result<Option<Progress>> {
        let row = sqlx::query!(
            r#"
            select
                r.state, r.attempt, r.failure,
                coalesce((
                    -- From the part on in which the reader stopped: the writer may have written it again, and longer.
                    select string_agg(
                        case
                            when p.byte_offset >= seen.bytes then p.text
                            else convert_from(substring(convert_to(p.text, 'UTF8') from seen.bytes - p.byte_offset + 1), 'UTF8')
                        end,
                        '' order by p.byte_offset
                    )
                    from reply_parts p
                    where p.reply_id = r.id and p.attempt = r.attempt
                        and p.byte_offset + octet_length(p.text) > seen.bytes
                        and p.byte_offset >= coalesce((
                            select max(byte_offset) from reply_parts
                            where reply_id = r.id and attempt = r.attempt and byte_offset < seen.bytes
                        ), 0)
                ), '') as "text!",
                (
                    select message_json(m) from messages m where m.id = r.id
                ) as "message?: Json<MessageRow>"
            from replies r
            cross join lateral (select case when r.attempt = $4 then $5 else 0 end as bytes) as seen
            where r.id = $3 and r.chat_id = $2 and (select acting_as($1))
                and exists (select 1 from members where chat_id = $2 and user_id = $1)
            "#,
            me.as_str(),
            chat.uuid(),
            reply.uuid(),
            seen_attempt,
            i32::try_from(offset).unwrap_or(i32::MAX),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a reply's progress")?;
        row.map(|row| {
            Ok(Progress {
                state: word("reply state", &row.state, ReplyState::parse)?,
                attempt: row.attempt,
                failure: row.failure.as_deref().and_then(Failure::parse),
                text: row.text,
                message: row.message.map(|message| message.0.try_into()).transpose()?,
            })
        })
        .transpose()
    }
}

fn hold(stop_asked: Option<bool>) -> Hold {
    match stop_asked {
        None => Hold::Lost,
        Some(false) => Hold::Held,
        Some(true) => Hold::StopAsked,
    }
}
