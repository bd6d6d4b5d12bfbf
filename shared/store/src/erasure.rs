//! The erasure of one person, bite by bite. What they said loses its content and its sender and keeps its place, so that
//! others' history stays readable and their counts right; what was theirs alone goes wholly.
//!
//! Each bite does what it finds, commits, and says who must learn of it: it may be ended at any time and begun again, and
//! two may be taken at once. It acts for the system, whom no policy binds; locks are taken in the order of every statement:
//! chat, messages, members, inboxes.
//!
//! Whoever holds a token may go on while they are erased: what they do is found by a later bite. Only what they did before
//! the last bite's lock on their own row is erased; whoever comes then is somebody new.

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use super::connections::no_answer;
use super::jobs::has_job;
use super::rows::{MessageRow, WithheldRow, people, seq, user_id};
use super::{Doing, Result, Store};
use domain::attachment::UPLOADED_WITHIN;
use domain::event::{Event, EventType, Outgoing};
use domain::ids::{AttachmentId, ChatId, JobId, UserId};
use domain::job::ClaimedJob;
use domain::message::{Message, Reacting};
use domain::reply::Wake;
use domain::withheld::Withheld;

/// Rows that a bite looks at where each is a statement of its own.
const ROWS_A_BITE: i64 = 100;
/// Messages of a chat that go in one statement.
const MESSAGES_AT_ONCE: i32 = 500;
/// Rows of an inbox that go in one statement.
const ROWS_AT_ONCE: i64 = 2_000;
/// Rows of others' inboxes that are looked through in one statement.
const ROWS_LOOKED_THROUGH: i64 = 10_000;
/// A row of an inbox may be as much older than its commit: longer than any statement of ours takes.
const COMMITTED_WITHIN_SECONDS: f64 = 60.0;

/// What a bite has done.
#[derive(Debug)]
pub enum ErasureStep {
    /// Something was erased, and these are to be told.
    Taken(Vec<Outgoing>),
    /// These objects are to be deleted next, and then their rows with [`Store::erase_uploads`].
    Uploads(Vec<AttachmentId>),
    /// Nothing of the person is left.
    Last,
}

impl Store {
    /// Asks for somebody's erasure: the job that does it, new or old. `None` for somebody we never met.
    pub async fn ask_for_erasure(&self, person: &UserId) -> Result<Option<Wake>> {
        let job = sqlx::query_scalar!(
            r#"
            insert into jobs (id, kind, payload)
            select $2, 'erase', jsonb_build_object('userId', id) from people where id = $1
            on conflict ((payload ->> 'userId')) where kind = 'erase' do update set state = 'waiting'
            returning id
            "#,
            person.as_str(),
            JobId::fresh().uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("asking for an erasure")?;
        Ok(job.map(|id| Wake {
            job_id: id.into(),
            chat_id: None,
            after_seconds: 0,
        }))
    }

    /// Erases a little of the person that a job names: first what they have alone, then what they said, what they did with
    /// what others said, where they are, what others were told of them, and at last themselves and the job.
    pub async fn erase_some(&self, job: &ClaimedJob) -> Result<ErasureStep> {
        let person = &whose(job)?;
        // Somebody else has it, or has done it: then whoever is there by that name is somebody new.
        if !has_job(&self.pool, job).await? {
            return Ok(ErasureStep::Last);
        }
        if self.erase_chats_of_their_own(person).await? {
            return Ok(ErasureStep::Taken(Vec::new()));
        }
        if let Some(news) = self.erase_messages(person).await? {
            return Ok(ErasureStep::Taken(news));
        }
        if let Some(news) = self.erase_reactions(person).await? {
            return Ok(ErasureStep::Taken(news));
        }
        if let Some(news) = self.erase_mentions(person).await? {
            return Ok(ErasureStep::Taken(news));
        }
        if let Some(news) = self.erase_memberships(person).await? {
            return Ok(ErasureStep::Taken(news));
        }
        if self.erase_name_in_chats(person).await? {
            return Ok(ErasureStep::Taken(Vec::new()));
        }
        let uploads = self.uploads_of(person).await?;
        if !uploads.is_empty() {
            return Ok(ErasureStep::Uploads(uploads));
        }
        if self.erase_inbox(person).await?
            || self.erase_name_in_inboxes(job.id, person).await?
            || !self.erase_person(job, person).await?
        {
            return Ok(ErasureStep::Taken(Vec::new()));
        }
        Ok(ErasureStep::Last)
    }

    /// Chats with the AI and of tasks, those in which nobody else is left, and what is left of those that they deleted: a
    /// batch of what hangs on one chat, and the chat once nothing does. Whether there was any.
    async fn erase_chats_of_their_own(&self, person: &UserId) -> Result<bool> {
        let was_any = sqlx::query_scalar!(
            r#"
            with own as materialized (
                (
                    -- chats_owner
                    select id from chats
                    where owner_id = $1 and kind in ('assistant', 'post', 'task')
                    limit 1
                )
                union all
                (
                    -- members_user, members_pkey
                    select m.chat_id
                    from members m
                    where m.user_id = $1 and not exists (
                        select 1 from members other where other.chat_id = m.chat_id and other.user_id <> $1
                    )
                    limit 1
                )
                union all
                (
                    -- jobs_delete_chats_of
                    select chat_id from jobs where kind = 'delete_chat' and payload ->> 'userId' = $1 limit 1
                )
                limit 1
            ),
            held as materialized (
                select c.id from chats c join own on own.id = c.id for update of c
            ),
            emptied as materialized (
                select empty_chat(held.id, $2) from held
                -- Somebody may have come while the chat was waited for.
                where not exists (select 1 from members_now(held.id) as present (user_id) where present.user_id <> $1)
            )
            select exists (select 1 from held) and (select count(*) from emptied) >= 0 as "was_any!"
            "#,
            person.as_str(),
            MESSAGES_AT_ONCE,
        )
        .fetch_one(&self.pool)
        .await
        .doing("erasing somebody's own chats")?;
        Ok(was_any)
    }

    /// What they said in chats with others. Served by messages_said_by.
    async fn erase_messages(&self, person: &UserId) -> Result<Option<Vec<Outgoing>>> {
        let rows = sqlx::query!(
            "select chat_id, id from messages where sender_id = $1 order by id limit $2",
            person.as_str(),
            ROWS_A_BITE,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for somebody's messages")?;
        let mut news = Vec::new();
        for row in &rows {
            news.extend(self.erase_message(person, row.chat_id, row.id).await?);
        }
        Ok((!rows.is_empty()).then_some(news))
    }

    /// As by a deletion of their own, and without their name. One that they had deleted loses its name alone.
    async fn erase_message(&self, person: &UserId, chat: Uuid, message: Uuid) -> Result<Vec<Outgoing>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select id from chats where id = $2 for update
            ),
            named as materialized (
                select m.chat_id, m.seq, m.deleted_at is not null as is_deleted
                from messages m
                join place on place.id = m.chat_id
                where m.id = $3 and m.sender_id = $1
                for update of m
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1
                from named
                where c.id = named.chat_id and not named.is_deleted
                returning c.id, c.last_seq, named.seq
            ),
            changed as (
                update messages m
                set changed_seq = coalesce(taken.last_seq, m.changed_seq), sender_id = null, client_id = null,
                    request_hash = null, content = '', reasoning = null, metadata = '{}', attachments = '[]', mentions = '{}',
                    deleted_at = coalesce(m.deleted_at, now())
                from named
                left join taken on true
                where m.chat_id = named.chat_id and m.seq = named.seq
                returning m.chat_id, m.seq, m.id
            ),
            stripped as materialized (
                select strip_message(chat_id, seq, id) from changed
            ),
            readers as materialized (
                select r.user_id, r.read_seq
                from members r
                join taken on taken.id = r.chat_id
                where r.user_id <> $1
                order by r.user_id
                for update of r
            ),
            uncounted as (
                update members r
                set uncounted = r.uncounted + 1
                from taken
                join readers on readers.read_seq < taken.seq
                where r.chat_id = taken.id and r.user_id = readers.user_id
                returning r.user_id
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'message.deleted', $3, null) as user_id
                from taken
                where (select count(*) from uncounted) >= 0 and (select count(*) from stripped) > 0
            )
            select
                array(select user_id from told) as "audience!: Vec<String>",
                case
                    when (select count(*) from told) >= 0 then withheld(changed.chat_id, changed.seq)
                end as "withheld!: Json<WithheldRow>",
                case
                    when (select count(*) from told) >= 0 then message_now(changed.chat_id, changed.seq)
                end as "message!: Json<MessageRow>"
            from changed
            "#,
            person.as_str(),
            chat,
            message,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("erasing a message")?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let message: Message = row.message.0.try_into()?;
        let withheld: Withheld = row.withheld.0.try_into()?;
        Ok(withheld.outgoing(&message, &people(&row.audience)?, Event::message_changed))
    }

    /// Their reactions to what others said. Served by reactions_user.
    async fn erase_reactions(&self, person: &UserId) -> Result<Option<Vec<Outgoing>>> {
        let rows = sqlx::query!(
            r#"
            select m.chat_id, m.id, r.emoji
            from reactions r
            join messages m on m.id = r.message_id
            where r.user_id = $1
            limit $2
            "#,
            person.as_str(),
            ROWS_A_BITE,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for somebody's reactions")?;
        let mut news = Vec::new();
        for row in &rows {
            news.extend(self.erase_reaction(person, row.chat_id, row.id, &row.emoji).await?);
        }
        Ok((!rows.is_empty()).then_some(news))
    }

    async fn erase_reaction(
        &self,
        person: &UserId,
        chat: Uuid,
        message: Uuid,
        emoji: &str,
    ) -> Result<Option<Outgoing>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select id from chats where id = $2 for update
            ),
            removed as (
                delete from reactions r using place
                where r.message_id = $3 and r.emoji = $4 and r.user_id = $1
                returning r.message_id
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1
                from removed
                where c.id = $2
                returning c.id, c.last_seq
            ),
            changed as (
                update messages m
                set changed_seq = taken.last_seq
                from taken
                where m.chat_id = taken.id and m.id = $3
                returning m.chat_id, m.seq
            ),
            told as materialized (
                select tell(
                    taken.id, taken.last_seq, 'reaction.changed', $3,
                    jsonb_build_object('userId', $1::text, 'emoji', $4::text, 'isAdded', false)
                ) as user_id
                from taken
                where (select count(*) from changed) > 0
            )
            select
                array(select user_id from told) as "audience!: Vec<String>", now() as "at!",
                case
                    when (select count(*) from told) >= 0 then withheld(changed.chat_id, changed.seq)
                end as "withheld!: Json<WithheldRow>",
                case
                    when (select count(*) from told) >= 0 then message_now(changed.chat_id, changed.seq)
                end as "message!: Json<MessageRow>"
            from changed
            "#,
            person.as_str(),
            chat,
            message,
            emoji,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("erasing a reaction")?;
        let Some(row) = row else { return Ok(None) };
        let message: Message = row.message.0.try_into()?;
        let withheld: Withheld = row.withheld.0.try_into()?;
        let event = Event::reaction_changed(&message, person, emoji, Reacting::Remove, row.at);
        Ok(outgoing(event, withheld.seeing(&people(&row.audience)?)))
    }

    /// Where others have named them. Served by mentions_user.
    async fn erase_mentions(&self, person: &UserId) -> Result<Option<Vec<Outgoing>>> {
        let rows = sqlx::query!(
            "select chat_id, seq from mentions where user_id = $1 limit $2",
            person.as_str(),
            ROWS_A_BITE,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for where somebody is named")?;
        let mut news = Vec::new();
        for row in &rows {
            news.extend(self.erase_mention(person, row.chat_id, row.seq).await?);
        }
        Ok((!rows.is_empty()).then_some(news))
    }

    async fn erase_mention(&self, person: &UserId, chat: Uuid, place: i64) -> Result<Vec<Outgoing>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select id from chats where id = $2 for update
            ),
            removed as (
                delete from mentions n using place
                where n.chat_id = place.id and n.seq = $3 and n.user_id = $1
                returning n.chat_id
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1
                from removed
                where c.id = removed.chat_id
                returning c.id, c.last_seq
            ),
            changed as (
                update messages m
                set changed_seq = taken.last_seq, mentions = array_remove(m.mentions, $1)
                from taken
                where m.chat_id = taken.id and m.seq = $3
                returning m.chat_id, m.seq, m.id
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'message.updated', changed.id, null) as user_id
                from taken
                join changed on changed.chat_id = taken.id
            )
            select
                array(select user_id from told) as "audience!: Vec<String>",
                case
                    when (select count(*) from told) >= 0 then withheld(changed.chat_id, changed.seq)
                end as "withheld!: Json<WithheldRow>",
                case
                    when (select count(*) from told) >= 0 then message_now(changed.chat_id, changed.seq)
                end as "message!: Json<MessageRow>"
            from changed
            "#,
            person.as_str(),
            chat,
            place,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("erasing a mention")?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let message: Message = row.message.0.try_into()?;
        let withheld: Withheld = row.withheld.0.try_into()?;
        Ok(withheld.outgoing(&message, &people(&row.audience)?, Event::message_changed))
    }

    /// Takes them out of the chats that they share. Served by members_user.
    async fn erase_memberships(&self, person: &UserId) -> Result<Option<Vec<Outgoing>>> {
        let chats = sqlx::query_scalar!(
            "select chat_id from members where user_id = $1 limit $2",
            person.as_str(),
            ROWS_A_BITE,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for somebody's memberships")?;
        let mut news = Vec::new();
        for chat in &chats {
            news.extend(self.hand_over(person, *chat).await?);
            news.extend(self.erase_membership(person, *chat).await?);
        }
        Ok((!chats.is_empty()).then_some(news))
    }

    /// A channel keeps an owner: an admin before the others, and who has been there longest.
    async fn hand_over(&self, person: &UserId, chat: Uuid) -> Result<Option<Outgoing>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id
                from chats c
                join members m on m.chat_id = c.id
                where c.id = $2 and c.kind = 'channel' and m.user_id = $1 and m.role = 'owner'
                for update of c
            ),
            heir as materialized (
                select m.chat_id, m.user_id
                from members m
                join place on place.id = m.chat_id
                where m.user_id <> $1
                order by m.role = 'admin' desc, m.joined_at, m.user_id
                limit 1
                for update of m
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, updated_at = now(), owner_id = heir.user_id
                from heir
                where c.id = heir.chat_id
                returning c.id, c.last_seq, heir.user_id
            ),
            changed as (
                update members m
                set role = case when m.user_id = taken.user_id then 'owner' else 'admin' end
                from taken
                where m.chat_id = taken.id and m.user_id in (taken.user_id, $1)
                returning m.user_id
            ),
            news as materialized (
                select jsonb_build_object(
                    'members', jsonb_build_array(jsonb_build_object('userId', user_id, 'role', 'owner')), 'by', null
                ) as data
                from taken
                where (select count(*) from changed) > 0
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'chat.updated', null, news.data) as user_id
                from taken
                cross join news
            )
            select
                taken.last_seq as "last_seq!", news.data as "data!", now() as "at!",
                array(select user_id from told) as "audience!: Vec<String>"
            from taken
            cross join news
            "#,
            person.as_str(),
            chat,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("handing a channel over")?;
        row.map_or(Ok(None), |row| {
            let at_seq = Some(seq(row.last_seq)?);
            let event = Event::chat_changed(EventType::ChatUpdated, ChatId::from(chat), at_seq, row.at, row.data);
            Ok(outgoing(event, people(&row.audience)?))
        })
    }

    async fn erase_membership(&self, person: &UserId, chat: Uuid) -> Result<Option<Outgoing>> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select id, kind from chats where id = $2 for update
            ),
            gone as (
                delete from members m using place
                -- The last one goes with the chat, and an owner when another has it.
                where m.chat_id = place.id and m.user_id = $1 and (m.role <> 'owner' or place.kind <> 'channel')
                    and exists (select 1 from members_now(place.id) as present (user_id) where present.user_id <> $1)
                returning m.chat_id
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, updated_at = now(), owner_id = nullif(c.owner_id, $1),
                    direct_low = nullif(c.direct_low, $1), direct_high = nullif(c.direct_high, $1)
                from gone
                where c.id = gone.chat_id
                returning c.id, c.last_seq
            ),
            told as materialized (
                select tell(
                    taken.id, taken.last_seq, 'member.removed', null, jsonb_build_object('userId', $1::text, 'by', null)
                ) as user_id
                from taken
            )
            select
                taken.last_seq as "last_seq!", now() as "at!", array(select user_id from told) as "audience!: Vec<String>"
            from taken
            "#,
            person.as_str(),
            chat,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("erasing a membership")?;
        row.map_or(Ok(None), |row| {
            let data = json!({"userId": person, "by": null});
            let at_seq = Some(seq(row.last_seq)?);
            let event = Event::chat_changed(EventType::MemberRemoved, ChatId::from(chat), at_seq, row.at, data);
            Ok(outgoing(event, people(&row.audience)?))
        })
    }

    /// Chats that name them though they are not in them. Served by chats_owner, chats_direct_pair, chats_direct_high.
    async fn erase_name_in_chats(&self, person: &UserId) -> Result<bool> {
        let done = sqlx::query!(
            r#"
            with named as materialized (
                (select id from chats where owner_id = $1 limit $2)
                union
                (select id from chats where kind = 'direct' and direct_low = $1 limit $2)
                union
                (select id from chats where direct_high = $1 limit $2)
            ),
            held as materialized (
                select c.id from chats c join named on named.id = c.id order by c.id for update of c
            )
            update chats c
            set owner_id = nullif(c.owner_id, $1), direct_low = nullif(c.direct_low, $1),
                direct_high = nullif(c.direct_high, $1)
            from held
            where c.id = held.id
            "#,
            person.as_str(),
            ROWS_A_BITE,
        )
        .execute(&self.pool)
        .await
        .doing("erasing a name in chats")?;
        Ok(done.rows_affected() > 0)
    }

    /// What others were told of them is told without them: of a reaction, how the message is now; of all else, that the chat
    /// has changed. Goes through inbox_created_at once, and notes in the job how far. Whether there is more.
    async fn erase_name_in_inboxes(&self, job: JobId, person: &UserId) -> Result<bool> {
        let has_more = sqlx::query_scalar!(
            r#"
            with done as materialized (
                select coalesce((payload ->> 'inboxesUpTo')::timestamptz, '-infinity') as up_to from jobs where id = $2
            ),
            next as materialized (
                select max(created_at) as up_to, count(*) as rows from (
                    select inbox.created_at
                    from inbox
                    where inbox.created_at > (select up_to from done)
                    order by inbox.created_at
                    limit $3
                ) as part
            ),
            noted as (
                update jobs
                set payload = payload || jsonb_build_object('inboxesUpTo', next.up_to)
                from next
                where id = $2 and next.up_to is not null
            ),
            forgotten as (
                select forget_in_inboxes($1, done.up_to, next.up_to) as rows from done cross join next
            )
            select next.rows = $3 and coalesce(forgotten.rows, 0) >= 0 as "has_more!" from next cross join forgotten
            "#,
            person.as_str(),
            job.uuid(),
            ROWS_LOOKED_THROUGH,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("erasing a name in inboxes")?;
        // Without its job it is done.
        Ok(has_more.unwrap_or(false))
    }

    /// What they uploaded. No message shows it any more.
    async fn uploads_of(&self, person: &UserId) -> Result<Vec<AttachmentId>> {
        let ids = sqlx::query_scalar!(
            "select id from attachments where owner_id = $1 order by id limit $2",
            person.as_str(),
            ROWS_A_BITE,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for somebody's uploads")?;
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Forgets uploads whose objects are deleted.
    pub async fn erase_uploads(&self, job: &ClaimedJob, uploads: &[AttachmentId]) -> Result<()> {
        let person = whose(job)?;
        let ids: Vec<Uuid> = uploads.iter().map(|id| id.uuid()).collect();
        sqlx::query!(
            r#"
            with gone as (
                delete from attachments where owner_id = $1 and id = any ($2)
                returning id, created_at + make_interval(secs => $3) as expires_at
            )
            insert into erased_uploads (id, expires_at)
            select id, expires_at from gone where expires_at > now()
            "#,
            person.as_str(),
            &ids,
            UPLOADED_WITHIN.as_secs_f64(),
        )
        .execute(&self.pool)
        .await
        .doing("erasing uploads")?;
        Ok(())
    }

    /// A part of their inbox: nobody tells them anything any more. Whether there was any.
    async fn erase_inbox(&self, person: &UserId) -> Result<bool> {
        let done = sqlx::query!(
            r#"
            delete from inbox
            where user_id = $1 and version in (
                select version from inbox where user_id = $1 order by version limit $2
            )
            "#,
            person.as_str(),
            ROWS_AT_ONCE,
        )
        .execute(&self.pool)
        .await
        .doing("erasing an inbox")?;
        Ok(done.rows_affected() > 0)
    }

    /// Themselves, with all that hangs on them, and the job; unless they have said or joined something meanwhile, for
    /// then there is another bite to take. What they were blocked by, their posts and tickets go by their foreign keys.
    async fn erase_person(&self, job: &ClaimedJob, person: &UserId) -> Result<bool> {
        let mut lease = self.pool.lease().await.doing("erasing a person")?;
        let bound = lease.bound();
        let erasing = timeout(bound, Self::erase_person_on(&mut lease, job, person));
        let is_done = erasing
            .await
            .unwrap_or_else(|_| Err(no_answer(bound)).doing("erasing a person"))?;
        lease.give_back();
        Ok(is_done)
    }

    async fn erase_person_on(connection: &mut PgConnection, job: &ClaimedJob, person: &UserId) -> Result<bool> {
        let mut transaction = connection.begin().await.doing("erasing a person")?;
        // Whoever stores something in their name waits for this row, and then finds them gone.
        sqlx::query!("select 1 as one from people where id = $1 for update", person.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .doing("erasing a person")?;
        if !has_job(&mut *transaction, job).await? {
            // Now, and not when the connection is next used: the row is locked.
            transaction.rollback().await.doing("erasing a person")?;
            return Ok(true);
        }
        let is_rid = sqlx::query_scalar!(
            r#"
            select not exists (select 1 from messages where sender_id = $1)
                and not exists (select 1 from members where user_id = $1)
                and not exists (select 1 from chats where owner_id = $1)
                and not exists (select 1 from chats where kind = 'direct' and direct_low = $1)
                and not exists (select 1 from chats where direct_high = $1)
                and not exists (select 1 from reactions where user_id = $1)
                and not exists (select 1 from mentions where user_id = $1)
                and not exists (select 1 from jobs where kind = 'delete_chat' and payload ->> 'userId' = $1)
                and not exists (select 1 from attachments where owner_id = $1) as "is_rid!"
            "#,
            person.as_str(),
        )
        .fetch_one(&mut *transaction)
        .await
        .doing("erasing a person")?;
        if !is_rid {
            transaction.rollback().await.doing("erasing a person")?;
            return Ok(false);
        }
        // What began before this lock and was told after its window was looked through.
        sqlx::query!(
            "select forget_in_inboxes($1, now() - make_interval(secs => $2), 'infinity')",
            person.as_str(),
            COMMITTED_WITHIN_SECONDS,
        )
        .fetch_one(&mut *transaction)
        .await
        .doing("erasing a name in inboxes")?;
        // What was reserved for them goes back to their organisation.
        sqlx::query!(
            r#"select count(settle_reply(reply_id, 0)) as "settled!" from holds where person_id = $1"#,
            person.as_str()
        )
        .fetch_one(&mut *transaction)
        .await
        .doing("releasing somebody's budget")?;
        sqlx::query!(
            r#"
            with budget as (
                delete from budgets where subject = 'person' and subject_id = $1
            ),
            budget_limit as (
                delete from budget_limits where subject = 'person' and subject_id = $1
            ),
            rate as (
                delete from rate_limits where user_id = $1
            ),
            stream as (
                delete from open_streams where user_id = $1
            ),
            -- With them: a job that outlived them would erase whoever comes back by that name.
            job as (
                delete from jobs where kind = 'erase' and payload ->> 'userId' = $1
            )
            delete from people where id = $1
            "#,
            person.as_str(),
        )
        .execute(&mut *transaction)
        .await
        .doing("erasing a person")?;
        transaction.commit().await.doing("erasing a person")?;
        Ok(true)
    }
}

/// Whom a job is to erase.
fn whose(job: &ClaimedJob) -> Result<UserId> {
    user_id(job.payload.get("userId").and_then(Value::as_str).unwrap_or_default())
}

/// News for those who are told of it, if anybody is.
fn outgoing(event: Event, audience: Vec<UserId>) -> Option<Outgoing> {
    (!audience.is_empty()).then_some(Outgoing { event, audience })
}
