//! The inbox: what happened, per person and contiguous by version. Written by the `tell` function of the schema; read by
//! event streams, and by polls that only want to know whether there is anything new.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{EndRow, MessageRow, seq, user_id, word};
use super::{Doing, Result, Store};
use domain::event::{Event, EventType};
use domain::ids::{ChatId, MessageId, UserId};
use domain::inbox::InboxHead;
use domain::message::Reacting;
use domain::reply::{ReplyState, RunningReply};
use domain::unread::Receipt;

/// What a person's inbox holds after a cursor.
#[derive(Debug)]
pub struct News {
    /// Where the inbox stands now.
    pub version: i64,
    /// The cursor is older than what the inbox keeps, or not from this inbox: the chats must be read anew.
    pub is_lost: bool,
    /// Where to go on: past everything that was looked at, of other chats too.
    pub next: i64,
    /// In order, the events of each version: a reply's message comes with its end.
    pub events: Vec<(i64, Vec<Event>)>,
    /// Replies to this person that are being written, with no text.
    pub running: Vec<(ChatId, RunningReply)>,
}

#[derive(Debug, Deserialize)]
struct NewsRow {
    version: i64,
    event: String,
    chat_id: Uuid,
    seq: Option<i64>,
    data: Option<Value>,
    created_at: DateTime<Utc>,
    message: Option<MessageRow>,
    end: Option<EndRow>,
}

/// The `data` of a `read`, as the statements that move read positions write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadRow {
    user_id: String,
    read_seq: i64,
    /// Null for somebody who never read.
    read_at: Option<DateTime<Utc>>,
    /// Absent from what older versions wrote.
    delivered_seq: Option<i64>,
}

/// The `data` of a `reaction.changed`; which reactions there are now is read from the message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReactionRow {
    user_id: String,
    emoji: String,
    is_added: bool,
}

#[derive(Debug, Deserialize)]
struct RunningRow {
    id: Uuid,
    chat_id: Uuid,
    attempt: i32,
}

impl Store {
    /// How far a person's inbox has come. 0 for somebody we never met.
    pub async fn inbox_version(&self, me: &UserId) -> Result<i64> {
        Ok(self.inbox_head(me).await?.version)
    }

    /// Where a person's inbox stands: one look-up in inbox_heads_pkey.
    pub async fn inbox_head(&self, me: &UserId) -> Result<InboxHead> {
        let head = sqlx::query_as!(
            InboxHead,
            r#"
            select version, begun_at::text || ' ' || xmin::text as "epoch!"
            from inbox_heads
            where user_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading an inbox's version")?;
        Ok(head.unwrap_or_default())
    }

    /// What happened after a version, of one chat or of all: a range of inbox_pkey, at most `most` rows of it.
    ///
    /// A message is told as it is now: whoever is late gets the edited text at once, and the edit again.
    pub async fn news(&self, me: &UserId, after: i64, chat: Option<ChatId>, most: i64) -> Result<News> {
        let row = sqlx::query!(
            r#"
            with head as (
                select version from inbox_heads where user_id = $1 and (select acting_as($1))
            ),
            page as materialized (
                select version, event, chat_id, seq, message_id, data, created_at
                from inbox
                where user_id = $1 and version > $2 and (select acting_as($1))
                order by version
                limit $4
            )
            select
                coalesce((select version from head), 0) as "version!",
                (select min(version) from inbox where user_id = $1 and (select acting_as($1))) as oldest,
                (select max(version) from page) as last,
                (
                    select coalesce(jsonb_agg(jsonb_build_object(
                        'version', page.version, 'event', page.event, 'chat_id', page.chat_id, 'seq', page.seq,
                        'data', page.data, 'created_at', page.created_at,
                        'message', (
                            select message_json(m) from messages m
                            where m.id = page.message_id and m.chat_id = page.chat_id and m.seq > mine.visible_after
                        ),
                        -- As the end itself said: the reply may have been opened again since.
                        'end', case when page.data ? 'state' then page.data end
                    ) order by page.version), '[]')
                    from page
                    left join members mine on mine.chat_id = page.chat_id and mine.user_id = $1
                    where ($3::uuid is null or page.chat_id = $3)
                        -- Of a chat that one is not in any more, only that one is not.
                        and (
                            mine.user_id is not null or page.event = 'chat.deleted'
                            or page.event = 'member.removed' and page.data ->> 'userId' = $1
                        )
                        -- Where somebody reads shows that they are there.
                        and not (page.event = 'read' and page.data ->> 'userId' in (select blocked_with($1)))
                ) as "news!: Json<Vec<NewsRow>>",
                (
                    select coalesce(jsonb_agg(jsonb_build_object('id', id, 'chat_id', chat_id, 'attempt', attempt)), '[]')
                    from replies
                    where asked_by = $1 and state = 'streaming' and ($3::uuid is null or chat_id = $3)
                        and (select acting_as($1))
                ) as "running!: Json<Vec<RunningRow>>"
            "#,
            me.as_str(),
            after,
            chat.map(ChatId::uuid),
            most,
        )
        .fetch_one(&self.pool)
        .await
        .doing("reading an inbox")?;
        let is_lost = after > row.version || row.oldest.map_or(row.version, |oldest| oldest - 1) > after;
        let mut events = Vec::new();
        for news in row.news.0 {
            events.push((news.version, told(news)?));
        }
        let running = row.running.0.into_iter().map(|reply| {
            let running = RunningReply {
                message_id: MessageId::from(reply.id),
                state: ReplyState::Streaming,
                attempt: reply.attempt,
                text: String::new(),
                is_thinking: false,
                reasoning: None,
            };
            (ChatId::from(reply.chat_id), running)
        });
        Ok(News {
            version: row.version,
            is_lost,
            next: row.last.unwrap_or(after),
            events,
            running: running.collect(),
        })
    }

    /// Forgets what is older than the inbox keeps, at most so many rows a call; a cursor from before must read its chats
    /// anew. Served by inbox_created_at.
    pub async fn trim_inboxes(&self, keep: Duration, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            -- By their places, which are in one order with the index: rows of the same time lie side by side.
            delete from inbox
            where ctid = any (array(
                select ctid from inbox
                where created_at < now() - make_interval(secs => $1)
                order by created_at
                limit $2
            ))
            "#,
            keep.as_secs_f64(),
            most,
        )
        .execute(&self.pool)
        .await
        .doing("trimming inboxes")?;
        Ok(done.rows_affected())
    }
}

/// The events of one row: a reply's message brings its end along.
fn told(row: NewsRow) -> Result<Vec<Event>> {
    let event_type = word("event", &row.event, EventType::parse)?;
    let chat_id = ChatId::from(row.chat_id);
    let Some(message) = row.message else {
        return Ok(match (event_type, row.data) {
            // Its chat is gone, and `chat.deleted` follows; or it is of before one joined anew.
            (
                EventType::MessageCreated
                | EventType::MessageUpdated
                | EventType::MessageDeleted
                | EventType::ReactionChanged,
                _,
            ) => Vec::new(),
            (EventType::Read, Some(data)) => {
                let text = data.to_string();
                let read: ReadRow = word("read position", &text, |text| serde_json::from_str(text).ok())?;
                let receipt = Receipt {
                    user_id: user_id(&read.user_id)?,
                    read_seq: seq(read.read_seq)?,
                    read_at: read.read_at,
                    delivered_seq: seq(read.delivered_seq.unwrap_or(read.read_seq))?,
                };
                vec![Event::read(chat_id, &receipt, row.created_at)]
            }
            (EventType::ReplyEnded, _) => {
                let ended = row.end.map(TryInto::try_into).transpose()?;
                ended
                    .map(|ended| Event::reply_ended(chat_id, &ended))
                    .into_iter()
                    .collect()
            }
            (_, data) => vec![Event {
                event_type,
                chat_id,
                seq: row.seq.filter(|at| *at > 0).map(seq).transpose()?,
                at: Some(row.created_at),
                data: data.unwrap_or_else(|| json!({})),
            }],
        });
    };
    let message = message.try_into()?;
    if event_type == EventType::ReactionChanged {
        let text = row.data.unwrap_or_default().to_string();
        let reaction: ReactionRow = word("reaction", &text, |text| serde_json::from_str(text).ok())?;
        let reacting = if reaction.is_added {
            Reacting::Add
        } else {
            Reacting::Remove
        };
        return Ok(vec![Event {
            seq: row.seq.map(seq).transpose()?,
            ..Event::reaction_changed(
                &message,
                &user_id(&reaction.user_id)?,
                &reaction.emoji,
                reacting,
                row.created_at,
            )
        }]);
    }
    let mut events = vec![Event {
        event_type,
        seq: row.seq.map(seq).transpose()?,
        at: Some(row.created_at),
        ..Event::message_created(&message)
    }];
    if let Some(end) = row.end {
        events.push(Event::reply_ended(chat_id, &end.try_into()?));
    }
    Ok(events)
}
