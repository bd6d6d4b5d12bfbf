//! Notices: what agents tell people of their tasks.

use serde::Deserialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{MessageRow, priority, seq, user_id, word};
use super::webhooks::announced;
use super::{Doing, Error, Result, Store, lost_a_race};
use domain::ids::{ChatId, MessageId, Seq, UserId};
use domain::limits::PageSize;
use domain::message::{Message, MessageType, Role};
use domain::notice::{NoticeDraft, TaskMessage, TaskMessages};
use domain::page::{Kept, Page};
use domain::person::{Organisations, UnknownPeople};
use domain::reply::Wake;
use domain::text::{OrganisationId, TaskId};

/// Two who send the first notice of somebody unknown at once may meet; the second finds what the first has made.
const SEND_TRIES: usize = 3;

/// What came of a notice.
#[derive(Debug)]
pub enum NoticeOutcome {
    Sent(Box<Notified>),
    NoSuchPerson,
    /// The person is known to be of another organisation than the one that tells them.
    BeyondOrganisation,
    /// The person's task of this name is another organisation's.
    OtherOrganisation,
    /// Its key was used for another notice of the task.
    KeyReused,
}

/// A notice that is stored, and all that its events need.
#[derive(Debug)]
pub struct Notified {
    pub message: Message,
    /// Whether it was stored by an earlier call with the same key.
    pub is_replay: bool,
    /// Whether the task had no chat before.
    pub opens_chat: bool,
    /// Who must learn of it; empty on a replay.
    pub audience: Vec<UserId>,
    pub webhooks: Vec<Wake>,
}

/// What `send_notice_once` of the schema gives.
#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Row {
    Stored(Box<Stored>),
    Known(Box<Stored>),
    NoSuchPerson,
    BeyondOrganisation,
    OtherOrganisation,
    OtherContent,
}

#[derive(Debug, Deserialize)]
struct Stored {
    message: MessageRow,
    audience: Vec<String>,
    is_new_chat: bool,
}

impl Store {
    /// Stores a notice in its person's chat of the task, which is made on demand, or finds the one that its key names: one
    /// statement, one round trip.
    pub async fn send_notice(
        &self,
        draft: &NoticeDraft,
        unknown: UnknownPeople,
        organisations: Organisations,
    ) -> Result<NoticeOutcome> {
        for _ in 1..SEND_TRIES {
            match self.try_to_notify(draft, unknown, organisations).await {
                Err(error) if lost_a_race(&error, &["messages_notice_key"]) => {}
                outcome => return outcome.doing("sending a notice")?,
            }
        }
        self.try_to_notify(draft, unknown, organisations)
            .await
            .doing("sending a notice")?
    }

    async fn try_to_notify(
        &self,
        draft: &NoticeDraft,
        unknown: UnknownPeople,
        organisations: Organisations,
    ) -> std::result::Result<Result<NoticeOutcome>, sqlx::Error> {
        let fingerprint = draft.fingerprint();
        let row = sqlx::query!(
            r#"
            with sent as materialized (
                select case
                    when $13 and beyond_organisation($1, $2, $3)
                    then jsonb_build_object('outcome', 'beyond_organisation')
                    else send_notice_once($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                end as outcome
            )
            select
                outcome as "outcome!: Json<Row>",
                (
                    select string_to_array(current_setting('backtalk.announced', true), ',')::uuid[]
                    where (select count(outcome) from sent) > 0
                ) as "announced: Vec<Uuid>"
            from sent
            "#,
            draft.user_id.as_str(),
            draft.task_id.as_str(),
            draft.organisation.as_ref().map(OrganisationId::as_str),
            MessageId::fresh().uuid(),
            ChatId::fresh().uuid(),
            draft.message_type.word(),
            draft.content.as_str(),
            draft.data.clone().into_value(),
            draft.priority.rank(),
            draft.key.as_ref().map(|key| key.as_str()),
            unknown == UnknownPeople::Create,
            fingerprint.as_bytes(),
            organisations != Organisations::Open,
        )
        .fetch_one(&self.pool)
        .await?;
        let (stored, is_replay) = match row.outcome.0 {
            Row::Stored(stored) => (stored, false),
            Row::Known(stored) => (stored, true),
            Row::NoSuchPerson => return Ok(Ok(NoticeOutcome::NoSuchPerson)),
            Row::BeyondOrganisation => return Ok(Ok(NoticeOutcome::BeyondOrganisation)),
            Row::OtherOrganisation => return Ok(Ok(NoticeOutcome::OtherOrganisation)),
            Row::OtherContent => return Ok(Ok(NoticeOutcome::KeyReused)),
        };
        Ok((|| {
            let message: Message = stored.message.try_into()?;
            Ok(NoticeOutcome::Sent(Box::new(Notified {
                webhooks: announced(row.announced, message.chat_id),
                message,
                is_replay,
                opens_chat: stored.is_new_chat,
                audience: stored.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
            })))
        })())
    }

    /// The newest messages of my task, ascending, or those before a seq: chats_task, then a range of messages_pkey. A task
    /// of which nobody has told me anything has none.
    pub async fn task_messages(
        &self,
        me: &UserId,
        task: &TaskId,
        before: Option<Seq>,
        size: PageSize,
    ) -> Result<TaskMessages> {
        let rows = sqlx::query!(
            r#"
            select
                page.id, page.type as message_type, page.chat_id, page.seq, page.role, page.content, page.metadata,
                page.priority, page.reply_to, page.created_at,
                page.sender_id is not distinct from $1 or page.read_at is not null or page.seq <= m.read_seq as "read!",
                case when page.type = 'CLARIFICATION' then page.answered_by is null end as open
            from chats c
            join members m on m.chat_id = c.id and m.user_id = $1
            cross join lateral (
                select * from messages
                where chat_id = c.id and seq < $3 and deleted_at is null
                order by seq desc
                limit $4
            ) as page
            where c.owner_id = $1 and c.task_id = $2 and c.kind = 'task' and (select acting_as($1))
            order by page.seq desc
            "#,
            me.as_str(),
            task.as_str(),
            before.map_or(i64::MAX, Seq::value),
            size.rows_and_one(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading a task's messages")?;
        let messages = rows.into_iter().rev().map(|row| {
            Ok::<_, Error>(TaskMessage {
                id: row.id.into(),
                message_type: word("message type", &row.message_type, MessageType::parse)?,
                chat_id: row.chat_id.into(),
                seq: seq(row.seq)?,
                role: word("role", &row.role, Role::parse)?,
                content: row.content,
                data: row.metadata,
                priority: priority(row.priority)?,
                read: row.read,
                open: row.open,
                reply_to: row.reply_to.map(Into::into),
                created_at: row.created_at,
            })
        });
        let Page { items, has_more } = Page::of(messages.collect::<Result<_>>()?, size, Kept::Last);
        Ok(TaskMessages {
            messages: items,
            has_more,
        })
    }
}
