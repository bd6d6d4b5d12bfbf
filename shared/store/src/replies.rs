//! Replies: claimed, written, ended. Every write names the fence, so that a worker that lost its lease changes nothing.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::budgets::{Refusal, Refused};
use super::rows::{EndRow, MessageRow, seq, user_id, word};
use super::webhooks::announced;
use super::{Doing, Result, Store, lost_a_race};
use domain::budget::Exhausted;
use domain::characters::is_blank;
use domain::chat::Kind;
use domain::event::ReplyEnded;
use domain::ids::{ChatId, Fence, JobId, MessageId, Seq, UserId};
use domain::message::{Message, MessageType, Role, Usage};
use domain::person::Caller;
use domain::reply::{Claim, Failure, Omitted, Purpose, ReplyHandle, ReplyState, RunningReply, Terms, Wake};
use domain::text::ClientId;
use domain::tokens;

/// How many messages are looked at for a prompt; the token window cuts further.
const CONTEXT_MESSAGES: i64 = 200;

/// However long a provider asks to be left alone: a year is for ever, and no date is beyond what is stored.
const LONGEST_REST: Duration = Duration::from_secs(366 * 86_400);

/// What a welcome offers to do.
const WELCOME_ACTIONS: [&str; 3] = ["suggest_content", "improve_post", "schedule_post"];

/// A request that keeps losing races has met another reply's beginning, and its own twin.
const REGENERATE_TRIES: u32 = 4;

/// What came of a worker's reach for a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    Claimed(Claim),
    /// Somebody writes it, or it rests after a failure: look again then.
    Later {
        after_seconds: i32,
    },
    /// Its last attempt lost its lease: [`Store::seize_abandoned_reply`] takes it.
    Exhausted {
        reply_id: MessageId,
    },
    /// It was asked to stop, and its writer is gone: [`Store::seize_stopped_reply`] takes it.
    StopAsked {
        chat_id: ChatId,
        reply_id: MessageId,
        asked_by: UserId,
    },
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
    /// With a text that no model wrote.
    Templated {
        text: String,
        /// What failed attempts of a model cost all the same.
        usage: Usage,
    },
    /// With the text so far; an empty one leaves no message.
    Stopped {
        text: String,
        usage: Usage,
    },
    /// With the text so far, for its function's time was over.
    CutOff {
        text: String,
        usage: Usage,
    },
    Failed {
        failure: Failure,
        /// What the last attempt cost all the same.
        usage: Usage,
    },
}

impl Ending {
    /// What the reply is then, and if it failed or was cut off, why.
    #[must_use]
    pub fn state(&self) -> (ReplyState, Option<Failure>) {
        match self {
            Self::Completed { .. } | Self::Templated { .. } => (ReplyState::Completed, None),
            Self::Stopped { .. } => (ReplyState::Stopped, None),
            Self::CutOff { .. } => (ReplyState::Stopped, Some(Failure::Deadline)),
            Self::Failed { failure, .. } => (ReplyState::Failed, Some(*failure)),
        }
    }

    #[must_use]
    pub fn usage(&self) -> &Usage {
        match self {
            Self::Completed { usage, .. }
            | Self::Templated { usage, .. }
            | Self::Stopped { usage, .. }
            | Self::CutOff { usage, .. }
            | Self::Failed { usage, .. } => usage,
        }
    }

    /// What the reply's message says, if it says anything of what was heard as deltas.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Completed { text, .. } | Self::Stopped { text, .. } | Self::CutOff { text, .. } => Some(text),
            Self::Templated { .. } | Self::Failed { .. } => None,
        }
    }
}

/// What stands beside what a reply says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// What the model thought, where that is kept.
    pub reasoning: Option<String>,
    /// What it was not shown, because it had refused it.
    pub omitted: Vec<Omitted>,
    /// Of a failed reply: how long its provider asks to be left alone.
    pub rest: Option<Duration>,
}

/// A reply that was taken from a writer who is gone, and what that writer left.
#[derive(Debug, PartialEq, Eq)]
pub struct Seized {
    pub claim: Claim,
    /// As far as it was stored.
    pub text: String,
    pub input_tokens: u32,
    pub output_tokens: u32,
}

/// What came of asking replies to stop.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopping {
    /// Those that waited: they are over now.
    pub stopped: Vec<ReplyEnded>,
    /// The one that is being written: its writer will end it.
    pub asked: Option<MessageId>,
    pub audience: Vec<UserId>,
    /// The chat's next reply, if it waited for one of those.
    pub wake: Option<Wake>,
}

/// Which answer is to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    Newest,
    /// The one of this id.
    Answer(MessageId),
    /// The one that a client knows by this name, or that answers the message which it knows by it: our ids and its own
    /// `clientId`s alike.
    Named(&'a str),
}

/// What came of asking for an answer again.
#[derive(Debug)]
pub enum Regeneration {
    Opened(Box<Reopened>),
    /// It is being written, or this very request was heard before.
    Known(ReplyHandle),
    /// The key was used for another answer.
    KeyReused,
    Busy,
    Exhausted(Exhausted),
    /// There is no answer that could be written again.
    NothingToRegenerate,
    NoSuchChat,
}

#[derive(Debug)]
pub struct Reopened {
    pub reply: ReplyHandle,
    /// The right to write it at once, as [`Store::send_message`] gives it.
    pub claim: Option<Claim>,
    pub wake: Wake,
}

/// A reply that is over.
#[derive(Debug)]
pub struct Ended {
    pub message: Option<Message>,
    pub audience: Vec<UserId>,
    /// The chat's next reply, which waited for this one.
    pub wake: Option<Wake>,
    /// What the organisation's webhooks are to be told.
    pub webhooks: Vec<Wake>,
    /// When its provider may be asked again.
    pub retry_at: Option<DateTime<Utc>>,
}

/// One message of the conversation that a model is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextMessage {
    /// `None` for what is no message of the chat.
    pub seq: Option<Seq>,
    pub role: Role,
    pub content: String,
    /// As stored with the message.
    pub attachments: Value,
    /// Whether the model has refused its images before.
    pub are_images_refused: bool,
}

/// What a reply answers.
#[derive(Debug)]
pub struct Context {
    /// What the reply may cost, prompt and answer together. `None` for one that was accepted before there were budgets.
    pub reserved_tokens: Option<u32>,
    /// How long the prompt may be, as we estimate, since the model refused a longer one of this chat.
    pub window: Option<u32>,
    /// Oldest first; the last is the message to be answered, if the reply answers one.
    pub messages: Vec<ContextMessage>,
}

/// A reply as somebody sees it who does not write it.
#[derive(Debug)]
pub struct Progress {
    pub state: ReplyState,
    pub attempt: i32,
    /// Whether that attempt is one of what is being written now. One that is to be written again and waits has none yet.
    pub has_begun: bool,
    pub failure: Option<Failure>,
    /// The attempt's text from the asked offset on, or from the next whole character; also of one that is over.
    pub text: String,
    /// Where that begins, in bytes.
    pub offset: usize,
    /// What the attempt thinks or thought, if it does and people hear of it; of one that is over, its message has it.
    pub thoughts: Option<Thoughts>,
    /// Of a failed one: when its provider may be asked again.
    pub retry_at: Option<DateTime<Utc>>,
    pub message: Option<Message>,
}

/// More of what an attempt thinks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Thoughts {
    /// Empty where that it thinks is all that is told.
    pub text: String,
    /// Where that begins, in bytes.
    pub offset: usize,
}

/// What somebody has of a running reply already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Had {
    pub attempt: i32,
    /// Bytes of that attempt's text.
    pub offset: usize,
    /// Bytes of its thoughts.
    pub thoughts: usize,
}

impl Store {
    /// Reaches for the reply of a job. Claims it when it is queued and first in its chat, or when its writer's lease is
    /// over, and clears what an earlier attempt wrote.
    pub async fn try_claim_reply(&self, job: JobId, lease: Duration, max_attempts: i32) -> Result<ClaimOutcome> {
        let fence = Fence::fresh();
        let claimed = sqlx::query!(
            r#"
            with found as (
                select r.id, c.kind, r.state = 'streaming' as is_lost, lost.input, lost.output
                from jobs j
                join replies r on r.id = j.reply_id
                join chats c on c.id = r.chat_id
                left join lateral cost_of_lost_attempt(r.id, r.attempt) as lost on r.state = 'streaming'
                where j.id = $1 and r.attempt - r.earlier_attempts < $4
                    and ((r.state = 'queued' and j.run_at <= now())
                        or (r.state = 'streaming' and r.lease_until <= now() and r.stop_requested_at is null))
                    and not exists (
                        select 1 from replies earlier
                        where earlier.chat_id = r.chat_id and earlier.state in ('queued', 'streaming')
                            and earlier.prompt_seq < r.prompt_seq
                    )
                for no key update of r
            ),
            claimed as (
                update replies r
                set state = 'streaming', attempt = r.attempt + 1, fence = $2,
                    lease_until = now() + make_interval(secs => $3), started_at = coalesce(r.started_at, now()),
                    input_tokens = case when found.is_lost then coalesce(r.input_tokens, 0) + found.input else r.input_tokens end,
                    output_tokens = case when found.is_lost then coalesce(r.output_tokens, 0) + found.output else r.output_tokens end
                from found
                where r.id = found.id
                returning
                    r.id, r.chat_id, found.kind, r.purpose, r.trigger, r.asked_by, r.org_id, r.prompt_seq, r.attempt,
                    r.attempt - r.earlier_attempts as attempt_of_version, found.is_lost, found.input + found.output as lost
            ),
            paid as materialized (
                -- Whoever vanished has spent what cannot be counted any more, only estimated.
                select pay_for_attempt(id, lost) from claimed where is_lost
            ),
            cleared as (
                delete from reply_parts p using claimed
                where p.reply_id = claimed.id and p.attempt < claimed.attempt
            ),
            forgotten as (
                delete from reply_thoughts t using claimed
                where t.reply_id = claimed.id and t.attempt < claimed.attempt
            ),
            counted as (
                update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $3)
                from claimed
                where jobs.id = $1
            )
            select
                id, chat_id, kind as "kind!", purpose, trigger, asked_by, org_id, prompt_seq, attempt,
                attempt_of_version as "attempt_of_version!"
            from claimed
            where (select count(*) from paid) >= 0
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
            Some(row) => Ok(ClaimOutcome::Claimed(Claim {
                reply_id: row.id.into(),
                chat_id: row.chat_id.into(),
                kind: word("chat kind", &row.kind, Kind::parse)?,
                purpose: word("purpose", &row.purpose, Purpose::parse)?,
                trigger: row.trigger,
                asked_by: user_id(&row.asked_by)?,
                organisation: row.org_id,
                prompt_seq: seq(row.prompt_seq)?,
                attempt: row.attempt,
                attempt_of_version: row.attempt_of_version,
                fence,
            })),
            None => self.why_not_claimed(job, max_attempts).await,
        }
    }

    async fn why_not_claimed(&self, job: JobId, max_attempts: i32) -> Result<ClaimOutcome> {
        let row = sqlx::query!(
            r#"
            select
                r.id, r.chat_id, r.asked_by, r.state,
                r.state = 'streaming' and r.lease_until <= now() and r.attempt - r.earlier_attempts >= $2 as "is_exhausted!",
                r.state = 'streaming' and r.lease_until <= now() and r.stop_requested_at is not null as "is_left_to_stop!",
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
        let Some(row) = row else { return Ok(ClaimOutcome::Over) };
        let state = word("reply state", &row.state, ReplyState::parse)?;
        Ok(if state.is_over() {
            ClaimOutcome::Over
        } else if row.is_left_to_stop {
            ClaimOutcome::StopAsked {
                chat_id: row.chat_id.into(),
                reply_id: row.id.into(),
                asked_by: user_id(&row.asked_by)?,
            }
        } else if row.is_exhausted {
            ClaimOutcome::Exhausted {
                reply_id: row.id.into(),
            }
        } else if row.is_behind {
            ClaimOutcome::Behind
        } else {
            let seconds = row.rests_for.unwrap_or(0.0).clamp(0.0, 900.0);
            ClaimOutcome::Later {
                after_seconds: Wake::whole_seconds(Duration::from_secs_f64(seconds)).saturating_add(1),
            }
        })
    }

    /// Takes over a reply whose attempts are used up and whose last writer is gone, so that it can be ended: the one named,
    /// or any.
    pub async fn seize_abandoned_reply(
        &self,
        reply: Option<MessageId>,
        max_attempts: i32,
        lease: Duration,
    ) -> Result<Option<Seized>> {
        let fence = Fence::fresh();
        let row = sqlx::query_as!(
            SeizedRow,
            r#"
            with found as (
                select id from replies
                where state = 'streaming' and lease_until <= now() and attempt - earlier_attempts >= $3
                    and ($4::uuid is null or id = $4)
                limit 1
                for update skip locked
            ),
            seized as (
                update replies r
                set fence = $1, lease_until = now() + make_interval(secs => $2)
                from found
                where r.id = found.id
                returning
                    r.id, r.chat_id, r.purpose, r.trigger, r.asked_by, r.org_id, r.prompt_seq, r.attempt,
                    r.attempt - r.earlier_attempts as attempt_of_version
            )
            select
                id, chat_id, (select kind from chats where id = chat_id) as "kind!", purpose, trigger, asked_by, org_id, prompt_seq,
                attempt, attempt_of_version as "attempt_of_version!", '' as "text!", lost.input as "input!", lost.output as "output!"
            from seized
            cross join lateral cost_of_lost_attempt(seized.id, seized.attempt) as lost
            "#,
            fence.uuid(),
            lease.as_secs_f64(),
            max_attempts,
            reply.map(MessageId::uuid),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("taking over an abandoned reply")?;
        row.map(|row| row.seized(fence)).transpose()
    }

    /// Takes a reply that was asked to stop from its writer, with the text that is stored of it, so that it can be ended.
    /// Whoever wrote it writes no more. `None` when it is over.
    pub async fn seize_stopped_reply(
        &self,
        asked_by: &UserId,
        chat: ChatId,
        reply: MessageId,
        lease: Duration,
    ) -> Result<Option<Seized>> {
        let fence = Fence::fresh();
        let row = sqlx::query_as!(
            SeizedRow,
            r#"
            with seized as (
                update replies
                set fence = $2, lease_until = now() + make_interval(secs => $3)
                where id = $5 and chat_id = $4 and asked_by = $1 and state = 'streaming'
                    and stop_requested_at is not null and (select acting_as($1))
                returning
                    id, chat_id, purpose, trigger, asked_by, org_id, prompt_seq, attempt,
                    attempt - earlier_attempts as attempt_of_version
            )
            select
                id, chat_id, (select kind from chats where id = chat_id) as "kind!", purpose, trigger, asked_by, org_id, prompt_seq,
                attempt, attempt_of_version as "attempt_of_version!",
                coalesce((
                    select string_agg(p.text, '' order by p.byte_offset) from reply_parts p
                    where p.reply_id = seized.id and p.attempt = seized.attempt
                ), '') as "text!",
                lost.input as "input!", lost.output as "output!"
            from seized
            cross join lateral cost_of_lost_attempt(seized.id, seized.attempt) as lost
            "#,
            asked_by.as_str(),
            fence.uuid(),
            lease.as_secs_f64(),
            chat.uuid(),
            reply.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("taking over a stopped reply")?;
        row.map(|row| row.seized(fence)).transpose()
    }

    /// Asks a chat's replies to stop: all that are not over, or the one. Those that wait are stopped here; `None` for a
    /// stranger.
    pub async fn stop_replies(&self, me: &UserId, chat: ChatId, reply: Option<MessageId>) -> Result<Option<Stopping>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id
                from chats c
                where c.id = $2 and (select acting_as($1))
                    and exists (select 1 from members where chat_id = $2 and user_id = $1)
                for no key update of c
            ),
            halted as (
                update replies r
                set stop_requested_at = coalesce(r.stop_requested_at, now()),
                    state = case when r.state = 'queued' then 'stopped' else r.state end,
                    ended_at = case when r.state = 'queued' then now() end
                from place
                where r.chat_id = place.id and r.state in ('queued', 'streaming') and ($3::uuid is null or r.id = $3)
                    and r.purpose <> 'welcome'
                    and (select acting_as($1))
                returning r.id, r.state, r.attempt, r.prompt_seq
            ),
            dropped as (
                delete from jobs using halted
                where jobs.reply_id = halted.id and halted.state = 'stopped' and (select acting_as($1))
            ),
            released as materialized (
                select
                    prompt_seq, jsonb_build_object('messageId', id, 'attempt', attempt, 'state', state) as ending,
                    settle_reply(id, 0)
                from halted
                -- All are locked before the first takes the budget's lock: an end has its reply, and waits for the budget.
                where state = 'stopped' and (select count(*) from halted) > 0
            ),
            told as materialized (
                select tell($2, null, 'reply.ended', null, ending) as user_id
                from released
            )
            select
                array(select ending from released order by prompt_seq) as "stopped!: Vec<Json<EndRow>>",
                (select id from halted where state = 'streaming') as "asked?: Uuid",
                array(select distinct user_id from told) as "audience!: Vec<String>",
                (
                    -- What waited behind them, if it is first now. What came before them has a wake-up of its own.
                    select j.id
                    from (
                        select id, prompt_seq, state from replies
                        where chat_id = $2 and state in ('queued', 'streaming') and id not in (select id from halted)
                        order by prompt_seq
                        limit 1
                    ) as first
                    join jobs j on j.reply_id = first.id
                    where first.state = 'queued' and first.prompt_seq > (select min(prompt_seq) from released)
                ) as "next_job?: Uuid"
            from place
            "#,
            me.as_str(),
            chat.uuid(),
            reply.map(MessageId::uuid),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("stopping replies")?;
        row.map(|row| {
            Ok(Stopping {
                stopped: row
                    .stopped
                    .into_iter()
                    .map(|Json(ending)| ending.try_into())
                    .collect::<Result<_>>()?,
                asked: row.asked.map(Into::into),
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                wake: row.next_job.map(|job| Wake {
                    job_id: job.into(),
                    chat_id: Some(chat),
                    after_seconds: 0,
                }),
            })
        })
        .transpose()
    }

    /// Opens a reply that is over once more: the newest of the chat, or the one that wrote `message`. What it will say
    /// replaces what it said. With `claim_for`, it is claimed for that long, as [`Store::send_message`] does.
    pub async fn regenerate_reply(
        &self,
        me: &Caller,
        chat: ChatId,
        which: Which<'_>,
        client_id: Option<&ClientId>,
        claim_for: Option<Duration>,
        terms: &Terms,
    ) -> Result<Regeneration> {
        let mut tries = 1;
        loop {
            match self
                .try_to_regenerate(me, chat, which, client_id, claim_for, terms)
                .await
            {
                // Another reply of the chat began, or this one was opened, or the twin was heard, in the same moment.
                Err(error)
                    if tries < REGENERATE_TRIES
                        && lost_a_race(
                            &error,
                            &[
                                "replies_one_streaming",
                                "jobs_reply",
                                "holds_pkey",
                                "regenerations_pkey",
                            ],
                        ) =>
                {
                    tries += 1;
                }
                outcome => return outcome.doing("regenerating a reply")?,
            }
        }
    }

    async fn try_to_regenerate(
        &self,
        me: &Caller,
        chat: ChatId,
        which: Which<'_>,
        client_id: Option<&ClientId>,
        claim_for: Option<Duration>,
        terms: &Terms,
    ) -> std::result::Result<Result<Regeneration>, sqlx::Error> {
        let job_id = JobId::fresh();
        let fence = Fence::fresh();
        let (id, name) = match which {
            Which::Newest => (None, None),
            Which::Answer(id) => (Some(id), None),
            Which::Named(name) => (MessageId::parse(name), Some(name)),
        };
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select
                    c.id, c.kind,
                    case c.kind when 'post' then $9::bigint else $8::bigint end as instruction,
                    case c.kind when 'post' then $11::bigint else $10::bigint end as output,
                    case c.kind when 'post' then $13::bigint else $12::bigint end as context
                from chats c
                where c.id = $2 and (select acting_as($1))
                    and exists (select 1 from members where chat_id = $2 and user_id = $1)
                for no key update of c
            ),
            newest as materialized (
                select id from replies
                where chat_id = $2 and purpose = 'answer' and (select acting_as($1))
                order by prompt_seq desc, created_at desc
                limit 1
            ),
            named as materialized (
                -- By its id; of a client's name for it also by that of its question, which is one of ours or its own.
                select coalesce(
                    case when $21::text is null then $3::uuid end,
                    (select id from replies where id = $3 and chat_id = $2 and purpose = 'answer'),
                    (
                        select r.id
                        from messages m
                        join replies r on r.chat_id = m.chat_id and r.prompt_seq = m.seq and r.purpose = 'answer'
                        where m.id = $3 and m.chat_id = $2
                        order by r.created_at desc
                        limit 1
                    ),
                    (
                        select r.id
                        from messages m
                        join replies r on r.chat_id = m.chat_id and r.prompt_seq = m.seq and r.purpose = 'answer'
                        where m.chat_id = $2 and m.sender_id = $1 and m.client_id = $21
                        order by r.created_at desc
                        limit 1
                    )
                ) as id
                where (select acting_as($1))
            ),
            heard as materialized (
                select
                    r.id, r.state,
                    case
                        when $3::uuid is null and $21::text is null
                            then not g.is_named or g.reply_id is not distinct from (select id from newest)
                        else g.reply_id is not distinct from (select id from named)
                    end as is_same
                from regenerations g
                join replies r on r.id = g.reply_id
                where g.chat_id = $2 and g.asked_by = $1 and g.client_id = $4 and (select acting_as($1))
            ),
            target as materialized (
                -- Locked after its chat: what another request has opened meanwhile is seen here.
                select
                    r.id, r.state, r.prompt_seq, r.regenerated_by, question.deleted_at is not null as is_void,
                    octet_length(question.content) + $20::bigint + jsonb_array_length(question.attachments) * $16::bigint as question
                from replies r
                join place on place.id = r.chat_id
                join messages question on question.chat_id = r.chat_id and question.seq = r.prompt_seq
                where r.purpose = 'answer' and not exists (select 1 from heard) and (select acting_as($1))
                    and r.id = case
                        when $3::uuid is null and $21::text is null then (select id from newest)
                        else (select id from named)
                    end
                    -- As of now: the chat's row may have been waited for.
                    and is_in_now(place.id, $1)
                for no key update of r
            ),
            admitted as materialized (
                select admit_answer(
                    place.id, $1, $14, target.id, null, $15,
                    place.instruction + target.question, place.output, place.context, target.prompt_seq - 1, $16, $17, $18, $19
                ) as refusal
                from place
                cross join target
                where target.state in ('completed', 'failed', 'stopped') and not target.is_void
                    and ($4::text is null or target.regenerated_by is distinct from $4)
            ),
            opened as (
                update replies r
                set state = case when is_claimed then 'streaming' else 'queued' end,
                    version = r.version + 1, earlier_attempts = r.attempt,
                    attempt = r.attempt + case when is_claimed then 1 else 0 end,
                    fence = case when is_claimed then $6::uuid end,
                    lease_until = case when is_claimed then now() + make_interval(secs => $7) end,
                    started_at = case when is_claimed then now() end,
                    stop_requested_at = null, failure = null, ended_at = null, retry_at = null,
                    asked_by = $1, org_id = $14, regenerated_by = $4
                from target
                cross join admitted
                cross join lateral (
                    select $7::float8 is not null and not exists (
                        select 1 from replies where chat_id = $2 and state in ('queued', 'streaming')
                    ) as is_claimed
                ) as claim
                where r.id = target.id and admitted.refusal is null and (select acting_as($1))
                returning r.id, r.chat_id, r.state, r.attempt, r.prompt_seq
            ),
            kept as (
                -- Also where an answer is being written, which is that of this request then.
                insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
                select $2, $1, $4, target.id, $3::uuid is not null or $21::text is not null
                from target
                left join admitted on true
                where $4::text is not null and not target.is_void and admitted.refusal is null
            ),
            job as (
                insert into jobs (id, kind, chat_id, reply_id, run_at)
                select
                    $5, 'reply', chat_id, id,
                    case when state = 'streaming' then now() + make_interval(secs => $7) else now() end
                from opened
            )
            select
                place.kind as "kind!", heard.id as "heard?", heard.state as "heard_state?", heard.is_same as "is_same?",
                target.id as "target?", target.state as "target_state?", target.is_void as "is_void?",
                admitted.refusal as "refusal?: Json<Refused>",
                opened.state as "state?", opened.attempt as "attempt?", opened.prompt_seq as "prompt_seq?"
            from place
            left join heard on true
            left join target on true
            left join admitted on true
            left join opened on true
            "#,
            me.id.as_str(),
            chat.uuid(),
            id.map(MessageId::uuid),
            client_id.map(ClientId::as_str),
            job_id.uuid(),
            fence.uuid(),
            claim_for.map(|lease| lease.as_secs_f64()),
            i64::from(terms.assistant.instruction),
            i64::from(terms.post.instruction),
            i64::from(terms.assistant.output),
            i64::from(terms.post.output),
            i64::from(terms.assistant.context),
            i64::from(terms.post.context),
            me.org_id.as_deref(),
            terms.when_busy.without_replacing().word(),
            i64::from(tokens::MOST_OF_AN_IMAGE),
            terms.budget.person_limit,
            terms.budget.organisation_limit,
            terms.budget.period.word(),
            i64::from(tokens::MOST_AROUND_A_MESSAGE),
            name,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(Ok(Regeneration::NoSuchChat));
        };
        if let (Some(heard), Some(state)) = (row.heard, row.heard_state) {
            return Ok(if row.is_same == Some(true) {
                word("reply state", &state, ReplyState::parse).map(|state| {
                    Regeneration::Known(ReplyHandle {
                        id: heard.into(),
                        state,
                    })
                })
            } else {
                Ok(Regeneration::KeyReused)
            });
        }
        let (Some(target), Some(target_state), Some(false)) = (row.target, row.target_state, row.is_void) else {
            return Ok(Ok(Regeneration::NothingToRegenerate));
        };
        Ok((|| {
            let id = MessageId::from(target);
            if let Some(Json(refused)) = row.refusal {
                return Ok(match refused.read(&terms.budget)? {
                    Refusal::Exhausted(exhausted) => Regeneration::Exhausted(exhausted),
                    Refusal::Busy | Refusal::Known => Regeneration::Busy,
                });
            }
            let (Some(state), Some(attempt), Some(prompt_seq)) = (row.state, row.attempt, row.prompt_seq) else {
                let state = word("reply state", &target_state, ReplyState::parse)?;
                return Ok(Regeneration::Known(ReplyHandle { id, state }));
            };
            let state = word("reply state", &state, ReplyState::parse)?;
            let is_claimed = state == ReplyState::Streaming;
            Ok(Regeneration::Opened(Box::new(Reopened {
                reply: ReplyHandle { id, state },
                claim: is_claimed
                    .then(|| {
                        Ok(Claim {
                            reply_id: id,
                            chat_id: chat,
                            kind: word("chat kind", &row.kind, Kind::parse)?,
                            purpose: Purpose::Answer,
                            trigger: None,
                            asked_by: me.id.clone(),
                            organisation: me.org_id.clone(),
                            prompt_seq: seq(prompt_seq)?,
                            attempt,
                            attempt_of_version: 1,
                            fence,
                        })
                    })
                    .transpose()?,
                wake: Wake {
                    job_id,
                    chat_id: Some(chat),
                    after_seconds: claim_for.filter(|_| is_claimed).map_or(0, Wake::whole_seconds),
                },
            })))
        })())
    }

    /// The conversation up to the message that is to be answered: what was said before it and what earlier messages were
    /// answered, even if that answer came later. `None` when the chat or the claim is gone, or nothing is left to answer.
    /// `model`: the one that is to answer, for what it has refused is left out.
    pub async fn reply_context(&self, claim: &Claim, model: &str) -> Result<Option<Context>> {
        let rows = sqlx::query!(
            r#"
            with asked as (
                select
                    r.chat_id, (select tokens from holds where reply_id = r.id) as reserved,
                    (select tokens from prompt_windows w where w.chat_id = r.chat_id and w.model = $6) as "window"
                from replies r
                where r.id = $2 and r.fence = $3 and (select acting_as($1))
            )
            select
                asked.reserved, asked."window", said.seq as "seq?", said.role as "role?", said.content as "content?",
                said.attachments as "attachments?", said.is_refused as "is_refused?"
            from asked
            left join lateral (
                -- messages_pkey, newest first; replies_pkey tells which message an answer belongs to.
                select
                    m.role, m.content, m.attachments, m.seq, coalesce(answer.prompt_seq, m.seq) as place,
                    m.attachments <> '[]' and exists (
                        select 1 from refused_images i
                        where i.chat_id = m.chat_id and i.seq = m.seq and i.model = $6
                    ) as is_refused
                from messages m
                left join replies answer on answer.id = m.id
                where m.chat_id = asked.chat_id and m.type = 'TEXT' and m.deleted_at is null
                    and (m.content <> '' or m.attachments <> '[]')
                    and (m.seq <= $4 or answer.prompt_seq < $4)
                order by m.seq desc
                limit $5
            ) as said on true
            order by said.place, said.seq
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            claim.prompt_seq.value(),
            CONTEXT_MESSAGES,
            model,
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading a reply's context")?;
        let Some(first) = rows.first() else { return Ok(None) };
        let reserved_tokens = first.reserved.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        let window = first.window.map(|tokens| u32::try_from(tokens).unwrap_or(0));
        let messages = rows
            .into_iter()
            .filter_map(|row| Some((row.seq?, row.role?, row.content?, row.attachments?, row.is_refused)))
            .map(|(place, role, content, attachments, is_refused)| {
                Ok(ContextMessage {
                    seq: Some(seq(place)?),
                    role: word("role", &role, Role::parse)?,
                    content,
                    attachments,
                    are_images_refused: is_refused == Some(true),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(
            (claim.purpose != Purpose::Answer || !messages.is_empty()).then_some(Context {
                reserved_tokens,
                window,
                messages,
            }),
        )
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

    /// Whether a writer still holds its reply, and whether somebody asked to stop: a look that writes nothing.
    pub async fn hold_on_reply(&self, claim: &Claim) -> Result<Hold> {
        let stop_asked = sqlx::query_scalar!(
            r#"
            select stop_requested_at is not null as "stop_asked!"
            from replies
            where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("looking at a reply")?;
        Ok(hold(stop_asked))
    }

    /// Puts a failed attempt back into the queue, to rest for a while, and pays for what it cost. `None` when the claim
    /// was lost, or when somebody asked to stop: nobody waits for another attempt then.
    pub async fn requeue_reply(
        &self,
        claim: &Claim,
        failure: Failure,
        usage: &Usage,
        rest: Duration,
    ) -> Result<Option<Wake>> {
        let job = sqlx::query_scalar!(
            r#"
            with released as (
                update replies
                set state = 'queued', fence = null, lease_until = null, failure = $4,
                    input_tokens = coalesce(input_tokens, 0) + $6, output_tokens = coalesce(output_tokens, 0) + $7,
                    cached_tokens = coalesce(cached_tokens, 0) + $8
                where id = $2 and fence = $3 and state = 'streaming' and stop_requested_at is null
                    and (select acting_as($1))
                returning id
            ),
            paid as materialized (
                select id, pay_for_attempt(id, $6 + $7) from released
            ),
            cleared as (
                -- Void from now on: the next attempt starts anew, and there may be none.
                delete from reply_parts p using released where p.reply_id = released.id and (select acting_as($1))
            ),
            forgotten as (
                delete from reply_thoughts t using released where t.reply_id = released.id and (select acting_as($1))
            )
            update jobs set run_at = now() + make_interval(secs => $5), last_error = $4
            from paid
            where jobs.reply_id = paid.id and (select acting_as($1))
            returning jobs.id
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            failure.word(),
            rest.as_secs_f64(),
            i64::from(usage.input_tokens),
            i64::from(usage.output_tokens),
            i64::from(usage.cached_tokens),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("putting a reply back")?;
        Ok(job.map(|id| Wake {
            job_id: id.into(),
            chat_id: Some(claim.chat_id),
            after_seconds: Wake::whole_seconds(rest),
        }))
    }

    /// Puts a reply back into the queue as it was before it was claimed, for no model was asked. `None` when the claim was
    /// lost, or when somebody asked to stop.
    pub async fn put_back_reply(&self, claim: &Claim) -> Result<Option<Wake>> {
        let job = sqlx::query_scalar!(
            r#"
            with released as (
                -- The attempt's number is spent, for it was told; of those that are allowed it is none.
                update replies
                set state = 'queued', fence = null, lease_until = null, earlier_attempts = earlier_attempts + 1
                where id = $2 and fence = $3 and state = 'streaming' and stop_requested_at is null
                    and (select acting_as($1))
                returning id
            )
            update jobs set run_at = now()
            from released
            where jobs.reply_id = released.id and (select acting_as($1))
            returning jobs.id
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("putting a reply back unasked")?;
        Ok(job.map(|id| Wake {
            job_id: id.into(),
            chat_id: Some(claim.chat_id),
            after_seconds: 0,
        }))
    }

    /// Ends a reply: its message with the chat's next seq, its state, its job and its partial text in one statement.
    /// `None` when the claim was lost; then nothing was changed.
    pub async fn end_reply(&self, claim: &Claim, ending: &Ending) -> Result<Option<Ended>> {
        self.end_reply_with(claim, ending, &Remarks::default()).await
    }

    /// The same, with what stands beside what the reply says.
    pub async fn end_reply_with(&self, claim: &Claim, ending: &Ending, remarks: &Remarks) -> Result<Option<Ended>> {
        let usage = ending.usage();
        let (state, failure) = ending.state();
        let told;
        let (role, message_type, content) = match ending {
            Ending::Completed { text, .. }
            | Ending::Templated { text, .. }
            | Ending::Stopped { text, .. }
            | Ending::CutOff { text, .. } => (
                Role::Assistant,
                MessageType::Text,
                Some(text.as_str()).filter(|text| !is_blank(text)),
            ),
            Ending::Failed { failure, .. } => {
                told = match remarks.rest {
                    Some(rest) => failure.told_to_user_to_wait(rest).into(),
                    None => Cow::Borrowed(failure.told_to_user()),
                };
                // Nobody asked for a follow-up, so nobody is told that there is none.
                let told = Some(&*told).filter(|_| claim.purpose != Purpose::FollowUp);
                (Role::System, MessageType::Error, told)
            }
        };
        let mut metadata = match claim.purpose {
            _ if role == Role::System => json!({}),
            Purpose::Answer => json!({}),
            Purpose::Welcome => json!({ "type": "welcome", "actions": WELCOME_ACTIONS }),
            Purpose::FollowUp => json!({ "type": "follow_up", "trigger": claim.trigger }),
        };
        if let Some(failure) = failure {
            metadata["reason"] = json!(failure);
        }
        if !remarks.omitted.is_empty() {
            metadata["omitted"] = json!(remarks.omitted);
        }
        let rest = remarks.rest.map(|rest| rest.min(LONGEST_REST));
        let is_a_models = ending.said().is_some();
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
                    retry_at = date_trunc('second', now() + make_interval(secs => $15)), model = $6, input_tokens = coalesce(r.input_tokens, 0) + $7,
                    output_tokens = coalesce(r.output_tokens, 0) + $8, cached_tokens = coalesce(r.cached_tokens, 0) + $9
                from place
                where r.chat_id = place.id and r.id = $2 and r.fence = $3 and r.state = 'streaming'
                    and (select acting_as($1))
                returning r.id, r.chat_id, r.version, r.attempt, r.retry_at
            ),
            settled as materialized (
                -- Before the inboxes, as when it was admitted.
                select id, chat_id, version, attempt, retry_at, settle_reply(id, $7 + $8) from ended
            ),
            earlier as materialized (
                -- What an answer that is written again replaces. Where it fails, what was said stays.
                select m.chat_id, m.seq
                from settled
                join messages m on m.id = settled.id and m.chat_id = settled.chat_id
                where settled.version > 1 and (select acting_as($1))
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, active_at = now(),
                    last_number = c.last_number + case when earlier.seq is null then 1 else 0 end,
                    last_message_seq = case when earlier.seq is null then c.last_seq + 1 else c.last_message_seq end,
                    last_message_at = case when earlier.seq is null then now() else c.last_message_at end
                from settled
                left join earlier on true
                where c.id = settled.chat_id and $12::text is not null and (earlier.seq is null or $4 <> 'failed')
                    and (select acting_as($1))
                returning
                    c.id, c.last_seq, c.last_number, settled.id as reply_id, earlier.seq as earlier_seq,
                    -- Spelt as in an event.
                    jsonb_strip_nulls(jsonb_build_object(
                        'retryAt', to_char(settled.retry_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                    )) as remarks
            ),
            stored as (
                insert into messages (
                    chat_id, seq, id, number, changed_seq, role, type, content, metadata, usage, reasoning
                )
                select id, last_seq, reply_id, last_number, last_seq, $10, $11, $12, $13 || remarks, $14, $16
                from taken
                where earlier_seq is null
                returning messages as message
            ),
            kept as (
                insert into message_versions (
                    message_id, version, role, type, content, metadata, usage, reason, created_at
                )
                select m.id, m.version, m.role, m.type, m.content, m.metadata, m.usage, 'regenerated',
                    coalesce((select max(replaced_at) from message_versions where message_id = m.id), m.created_at)
                from taken
                join messages m on m.chat_id = taken.id and m.seq = taken.earlier_seq
                where (select acting_as($1))
            ),
            replaced as (
                update messages m
                set changed_seq = taken.last_seq, role = $10, type = $11, content = $12, metadata = $13, usage = $14,
                    reasoning = $16, version = m.version + 1
                from taken
                where m.chat_id = taken.id and m.seq = taken.earlier_seq and (select acting_as($1))
                returning m as message
            ),
            cleared as (
                delete from reply_parts p using ended where p.reply_id = ended.id and (select acting_as($1))
            ),
            forgotten as (
                delete from reply_thoughts t using ended where t.reply_id = ended.id and (select acting_as($1))
            ),
            done as (
                delete from jobs using ended where jobs.reply_id = ended.id and (select acting_as($1))
            ),
            told as materialized (
                select tell(
                    settled.chat_id, taken.last_seq,
                    case
                        when taken.id is null then 'reply.ended'
                        when taken.earlier_seq is null then 'message.created'
                        else 'message.updated'
                    end,
                    taken.reply_id,
                    jsonb_strip_nulls(jsonb_build_object(
                        'messageId', settled.id, 'attempt', settled.attempt, 'state', $4::text, 'reason', $5::text,
                        'retryAt', settled.retry_at
                    ))
                ) as user_id
                from settled
                left join taken on true
            )
            select
                ended.chat_id, ended.retry_at,
                coalesce(
                    (select message_json(message) from stored), (select message_json(message) from replaced)
                ) as "stored?: Json<MessageRow>",
                array(select user_id from told) as "audience!: Vec<String>",
                (
                    select j.id
                    from replies waiting
                    join jobs j on j.reply_id = waiting.id
                    where waiting.chat_id = ended.chat_id and waiting.state = 'queued'
                    order by waiting.prompt_seq
                    limit 1
                ) as "next_job?: Uuid",
                (
                    select string_to_array(current_setting('backtalk.announced', true), ',')::uuid[]
                    where (select count(*) from told) >= 0
                ) as "announced: Vec<Uuid>"
            from ended
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            state.word(),
            failure.map(Failure::word),
            usage.model,
            i64::from(usage.input_tokens),
            i64::from(usage.output_tokens),
            i64::from(usage.cached_tokens),
            role.word(),
            message_type.word(),
            content,
            metadata,
            is_a_models.then(|| json!(usage)),
            rest.map(|rest| rest.as_secs_f64()),
            remarks.reasoning.as_deref().filter(|_| is_a_models),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("ending a reply")?;
        row.map(|row| {
            Ok(Ended {
                message: row.stored.map(|stored| stored.0.try_into()).transpose()?,
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                webhooks: announced(row.announced, claim.chat_id),
                retry_at: row.retry_at,
                wake: row.next_job.map(|job| Wake {
                    job_id: job.into(),
                    chat_id: Some(claim.chat_id),
                    after_seconds: 0,
                }),
            })
        })
        .transpose()
    }

    /// The reply that is not over: of the chat, or the one named. The outer `None` is for a stranger.
    pub async fn open_reply(
        &self,
        me: &UserId,
        chat: ChatId,
        reply: Option<MessageId>,
    ) -> Result<Option<Option<RunningReply>>> {
        let row = sqlx::query!(
            r#"
            select r.id as "id?", r.state as "state?", r.attempt as "attempt?"
            from members m
            left join lateral (
                -- Served by replies_open, or replies_pkey.
                select id, state, attempt from replies
                where chat_id = m.chat_id and state in ('queued', 'streaming') and ($3::uuid is null or id = $3)
                order by prompt_seq
                limit 1
            ) as r on true
            where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
            reply.map(MessageId::uuid),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("looking for a running reply")?;
        row.map(|row| match (row.id, row.state, row.attempt) {
            (Some(id), Some(state), Some(attempt)) => Ok(Some(RunningReply {
                message_id: id.into(),
                state: word("reply state", &state, ReplyState::parse)?,
                attempt,
                text: String::new(),
                is_thinking: false,
                reasoning: None,
            })),
            _ => Ok(None),
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
        attempt: i32,
        offset: usize,
    ) -> Result<Option<Progress>> {
        let had = Had {
            attempt,
            offset,
            thoughts: 0,
        };
        self.reply_progress_beyond(me, chat, reply, had).await
    }

    /// How far a reply has come, and its text and thoughts beyond what the reader had, if that is still the same attempt.
    /// `None` for a stranger.
    pub async fn reply_progress_beyond(
        &self,
        me: &UserId,
        chat: ChatId,
        reply: MessageId,
        had: Had,
    ) -> Result<Option<Progress>> {
        let row = sqlx::query!(
            r#"
            select
                r.state, r.attempt, r.attempt > r.earlier_attempts as "has_begun!", r.failure, r.retry_at,
                seen.bytes as "seen!", said.start, said.text,
                seen.thoughts as "seen_thoughts!", thought.is_heard as "is_thought!", thought.start as thought_start,
                thought.text as thought_text,
                r.state not in ('queued', 'streaming') and exists (
                    -- Of the reply's last attempt: no earlier answer that was left as it was, and no text without a model.
                    select 1 from messages m
                    where m.id = r.id and m.type = 'TEXT' and m.usage is not null
                        and (
                            m.created_at = r.ended_at
                            or exists (
                                select 1 from message_versions v where v.message_id = m.id and v.replaced_at = r.ended_at
                            )
                        )
                ) as "is_said!",
                (
                    select message_json(m) from messages m where m.id = r.id
                ) as "message?: Json<MessageRow>"
            from replies r
            cross join lateral (
                select
                    case when r.attempt = $4 then $5 else 0 end as bytes, case when r.attempt = $4 then $6 else 0 end as thoughts
            ) as seen
            cross join lateral (
                -- From the part on in which the reader stopped: the writer may have written it again, and longer.
                select min(p.byte_offset) as start, string_agg(p.text, '' order by p.byte_offset) as text
                from reply_parts p
                where p.reply_id = r.id and p.attempt = r.attempt
                    and p.byte_offset + octet_length(p.text) > seen.bytes
                    and p.byte_offset >= coalesce((
                        select max(byte_offset) from reply_parts
                        where reply_id = r.id and attempt = r.attempt and byte_offset < seen.bytes
                    ), 0)
            ) as said
            cross join lateral (
                select
                    min(t.byte_offset) filter (where is_new) as start,
                    string_agg(t.text, '' order by t.byte_offset) filter (where is_new) as text, count(*) > 0 as is_heard
                from reply_thoughts t
                cross join lateral (
                    select
                        t.byte_offset + octet_length(t.text) > seen.thoughts
                        and t.byte_offset >= coalesce((
                            select max(byte_offset) from reply_thoughts
                            where reply_id = r.id and attempt = r.attempt and byte_offset < seen.thoughts
                        ), 0) as is_new
                ) as part
                where t.reply_id = r.id and t.attempt = r.attempt
            ) as thought
            where r.id = $3 and r.chat_id = $2 and (select acting_as($1))
                and exists (select 1 from members where chat_id = $2 and user_id = $1)
            "#,
            me.as_str(),
            chat.uuid(),
            reply.uuid(),
            had.attempt,
            i32::try_from(had.offset).unwrap_or(i32::MAX),
            i32::try_from(had.thoughts).unwrap_or(i32::MAX),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a reply's progress")?;
        row.map(|row| {
            let bytes = |number: i32| usize::try_from(number).unwrap_or(0);
            let message: Option<Message> = row.message.map(|message| message.0.try_into()).transpose()?;
            // Once it is over, its message has the text, and the parts are gone.
            let whole = message.as_ref().filter(|_| row.is_said);
            let seen = bytes(row.seen);
            let (start, mut text) = match whole {
                Some(message) => (0, message.content.clone()),
                None => (bytes(row.start.unwrap_or(row.seen)), row.text.unwrap_or_default()),
            };
            let had = forget(&mut text, seen.saturating_sub(start));
            let thoughts = row.is_thought.then(|| {
                let seen = bytes(row.seen_thoughts);
                let start = bytes(row.thought_start.unwrap_or(row.seen_thoughts));
                let mut text = row.thought_text.unwrap_or_default();
                let had = forget(&mut text, seen.saturating_sub(start));
                Thoughts {
                    text,
                    offset: start + had,
                }
            });
            Ok(Progress {
                state: word("reply state", &row.state, ReplyState::parse)?,
                attempt: row.attempt,
                has_begun: row.has_begun,
                failure: row.failure.as_deref().and_then(Failure::parse),
                text,
                offset: start + had,
                thoughts,
                retry_at: row.retry_at,
                message,
            })
        })
        .transpose()
    }
}

struct SeizedRow {
    id: Uuid,
    chat_id: Uuid,
    kind: String,
    purpose: String,
    trigger: Option<String>,
    asked_by: String,
    org_id: Option<String>,
    prompt_seq: i64,
    attempt: i32,
    attempt_of_version: i32,
    text: String,
    input: i64,
    output: i64,
}

impl SeizedRow {
    fn seized(self, fence: Fence) -> Result<Seized> {
        let tokens = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Seized {
            claim: Claim {
                reply_id: self.id.into(),
                chat_id: self.chat_id.into(),
                kind: word("chat kind", &self.kind, Kind::parse)?,
                purpose: word("purpose", &self.purpose, Purpose::parse)?,
                trigger: self.trigger,
                asked_by: user_id(&self.asked_by)?,
                organisation: self.org_id,
                prompt_seq: seq(self.prompt_seq)?,
                attempt: self.attempt,
                attempt_of_version: self.attempt_of_version,
                fence,
            },
            text: self.text,
            input_tokens: tokens(self.input),
            output_tokens: tokens(self.output),
        })
    }
}

/// Takes away so many bytes from the beginning, or up to the next whole character. How many those were.
fn forget(text: &mut String, bytes: usize) -> usize {
    let had = (bytes..=text.len()).find(|at| text.is_char_boundary(*at));
    let had = had.unwrap_or(text.len());
    text.drain(..had);
    had
}

pub(super) fn hold(stop_asked: Option<bool>) -> Hold {
    match stop_asked {
        None => Hold::Lost,
        Some(false) => Hold::Held,
        Some(true) => Hold::StopAsked,
    }
}
