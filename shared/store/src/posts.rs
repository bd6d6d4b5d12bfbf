//! Posts with their AI chats, and what the assistant is to know of them. How a post, its chat and its welcome are made in one
//! statement, and how edits become one follow-up, is told in migration 0050.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::deletion::deletion;
use super::rows::{user_id, word};
use super::{Doing, Result, Store, lost_a_race};
use domain::budget::BudgetPolicy;
use domain::ids::{ChatId, JobId, MessageId, PostId, UserId};
use domain::limits::PageSize;
use domain::page::{Kept, Page};
use domain::person::Caller;
use domain::post::{FOLLOWED_UP_ABOVE, Post, PostChange, PostDraft, PostStatus};
use domain::reply::{Allowance, Claim, Wake};
use domain::text::{AuthProviderId, ClientId, PostText, ProviderName, Trigger};
use domain::tokens;

/// How much of each earlier post a welcome looks at.
const SENT_CHARS: i32 = 300;

/// Whoever loses the race for a `clientId` finds the winner's post with the next look.
const CREATE_TRIES: usize = 3;

/// Where a page of posts ended: newest first, ids telling apart what was created in the same microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostCursor {
    pub created_at: DateTime<Utc>,
    pub post_id: PostId,
}

#[derive(Debug)]
pub struct PostPage {
    pub posts: Vec<Post>,
    pub next: Option<PostCursor>,
}

/// A post that is there.
#[derive(Debug)]
pub struct Created {
    pub post: Post,
    /// `None` where an earlier call with the same `clientId` has made it.
    pub wake: Option<Wake>,
}

/// What came of changing a post.
#[derive(Debug)]
pub enum PostUpdated {
    Made {
        post: Box<Post>,
        /// The follow-up, if no other edit has scheduled it already.
        wake: Option<Wake>,
    },
    /// It is published.
    IsSent,
    /// It does not get there from where it is.
    NotFrom(PostStatus),
    NoSuchPost,
}

/// What came of asking for a follow-up.
#[derive(Debug, PartialEq, Eq)]
pub enum FollowUp {
    Scheduled(Option<Wake>),
    NoSuchPost,
}

/// A post that is gone, and with it its chat.
#[derive(Debug, PartialEq, Eq)]
pub struct PostGone {
    pub chat_id: ChatId,
    pub audience: Vec<UserId>,
    pub at: DateTime<Utc>,
    /// What is left of a large chat.
    pub wake: Option<Wake>,
}

/// What came of a worker's reach for a follow-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUpClaimOutcome {
    /// It is a reply now, with the same job.
    Opened,
    /// The post is still being edited, or a reply is being written.
    Later { after_seconds: i32 },
    /// There is nothing to follow up any more.
    Over,
}

/// A post as the assistant of its chat is shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostInView {
    /// What it says now; for a follow-up, what it said when that was opened.
    pub content: String,
    pub providers: Vec<String>,
    pub status: PostStatus,
    pub owner: UserId,
    pub owner_name: String,
    /// The beginnings of the owner's last three published posts, newest first; for a welcome alone.
    pub sent: Vec<String>,
    /// Somebody waits for this reply to be over.
    pub is_waited_for: bool,
}

#[derive(Debug, Deserialize)]
struct CreatedRow {
    post: PostRow,
    chat_id: Uuid,
    is_new: bool,
}

#[derive(Debug, Deserialize)]
struct PostRow {
    id: Uuid,
    content: String,
    providers: Vec<String>,
    auth_provider_ids: Vec<String>,
    status: String,
    client_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
}

impl PostRow {
    fn with_chat(self, chat: Uuid) -> Result<Post> {
        Ok(Post {
            id: self.id.into(),
            chat_id: chat.into(),
            content: self.content,
            providers: self.providers,
            auth_provider_ids: self.auth_provider_ids,
            status: word("post status", &self.status, PostStatus::parse)?,
            client_id: self.client_id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            sent_at: self.sent_at,
        })
    }
}

impl Store {
    /// Makes a post with its chat and its welcome, or finds the one that the same `clientId` has made: one statement. `None`
    /// where that asked for another post. The welcome reserves its tokens like a reply; where there is no budget, it reserves none.
    pub async fn create_post(
        &self,
        owner: &Caller,
        draft: &PostDraft,
        client_id: Option<&ClientId>,
        welcome: Allowance,
        budget: &BudgetPolicy,
    ) -> Result<Option<Created>> {
        for _ in 1..CREATE_TRIES {
            match self.try_to_create_post(owner, draft, client_id, welcome, budget).await {
                Err(error) if lost_a_race(&error, &["posts_client_id"]) => {}
                outcome => return outcome.doing("creating a post")?,
            }
        }
        self.try_to_create_post(owner, draft, client_id, welcome, budget)
            .await
            .doing("creating a post")?
    }

    async fn try_to_create_post(
        &self,
        owner: &Caller,
        draft: &PostDraft,
        client_id: Option<&ClientId>,
        welcome: Allowance,
        budget: &BudgetPolicy,
    ) -> std::result::Result<Result<Option<Created>>, sqlx::Error> {
        let job_id = JobId::fresh();
        let providers = texts(&draft.providers, ProviderName::as_str);
        let auth_provider_ids = texts(&draft.auth_provider_ids, AuthProviderId::as_str);
        let fingerprint = draft.fingerprint();
        let made = sqlx::query_scalar!(
            r#"
            select create_post_once(
                $2, $3, $4, $5, $1, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
            ) as "made: Json<CreatedRow>"
            where (select acting_as($1))
            "#,
            owner.id.as_str(),
            PostId::fresh().uuid(),
            ChatId::fresh().uuid(),
            MessageId::fresh().uuid(),
            job_id.uuid(),
            owner.org_id.as_deref(),
            client_id.map(ClientId::as_str),
            draft.content.as_str(),
            &providers,
            &auth_provider_ids,
            i64::from(welcome.instruction),
            i64::from(welcome.output),
            budget.person_limit,
            budget.organisation_limit,
            budget.period.word(),
            fingerprint.as_bytes(),
        )
        .fetch_one(&self.pool)
        .await?;
        let Some(Json(CreatedRow { post, chat_id, is_new })) = made else {
            return Ok(Ok(None));
        };
        Ok(post.with_chat(chat_id).map(|post| {
            Some(Created {
                wake: is_new.then_some(Wake {
                    job_id,
                    chat_id: Some(post.chat_id),
                    after_seconds: 0,
                }),
                post,
            })
        }))
    }

    /// My posts, newest first; of one status, if it is named. Served by posts_owner.
    pub async fn posts(
        &self,
        me: &UserId,
        status: Option<PostStatus>,
        after: Option<PostCursor>,
        size: PageSize,
    ) -> Result<PostPage> {
        let rows = sqlx::query!(
            r#"
            select
                p.id, c.id as chat_id, p.content, p.providers, p.auth_provider_ids, p.status, p.client_id, p.created_at,
                p.updated_at, p.sent_at
            from posts p
            join chats c on c.post_id = p.id
            where p.owner_id = $1 and ($2::text is null or p.status = $2)
                and ($3::timestamptz is null or (p.created_at, p.id) < ($3, $4::uuid)) and (select acting_as($1))
            order by p.created_at desc, p.id desc
            limit $5
            "#,
            me.as_str(),
            status.map(PostStatus::word),
            after.map(|cursor| cursor.created_at),
            after.map(|cursor| cursor.post_id.uuid()),
            size.rows_and_one(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("listing posts")?;
        let posts = rows
            .into_iter()
            .map(|row| {
                let post = PostRow {
                    id: row.id,
                    content: row.content,
                    providers: row.providers,
                    auth_provider_ids: row.auth_provider_ids,
                    status: row.status,
                    client_id: row.client_id,
                    created_at: row.created_at,
                    updated_at: row.updated_at,
                    sent_at: row.sent_at,
                };
                post.with_chat(row.chat_id)
            })
            .collect::<Result<Vec<_>>>()?;
        let Page { items: posts, has_more } = Page::of(posts, size, Kept::First);
        let next = posts.last().filter(|_| has_more).map(|last| PostCursor {
            created_at: last.created_at,
            post_id: last.id,
        });
        Ok(PostPage { posts, next })
    }

    /// One of my posts.
    pub async fn post(&self, me: &UserId, post: PostId) -> Result<Option<Post>> {
        let row = sqlx::query!(
            r#"
            select to_jsonb(p) as "post!: Json<PostRow>", c.id as chat_id
            from posts p
            join chats c on c.post_id = p.id
            where p.id = $2 and p.owner_id = $1 and (select acting_as($1))
            "#,
            me.as_str(),
            post.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a post")?;
        row.map(|row| row.post.0.with_chat(row.chat_id)).transpose()
    }

    /// Changes a post: all or nothing. A text that is new and long enough is followed up after `quiet`, one follow-up for all
    /// edits until then.
    pub async fn update_post(
        &self,
        me: &Caller,
        post: PostId,
        change: &PostChange,
        quiet: Duration,
    ) -> Result<PostUpdated> {
        let job_id = JobId::fresh();
        let trigger = Trigger::edit();
        let providers = change
            .providers
            .as_deref()
            .map(|names| texts(names, ProviderName::as_str));
        let auth_provider_ids = change
            .auth_provider_ids
            .as_deref()
            .map(|ids| texts(ids, AuthProviderId::as_str));
        let comes_from = texts(change.status.map_or(&[], PostStatus::comes_from), |status| {
            status.word()
        });
        let row = sqlx::query!(
            r#"
            with place as materialized (
                -- The chat before its post, as by whoever opens a follow-up or deletes.
                select c.id
                from posts p
                join chats c on c.post_id = p.id
                where p.id = $2 and p.owner_id = $1 and (select acting_as($1))
                for no key update of c
            ),
            before as materialized (
                -- Locked after its chat: what another edit has written meanwhile is seen here.
                select
                    p.id, p.content, p.status,
                    p.status = 'SENT' and (
                        p.content <> coalesce($3, p.content) or p.providers <> coalesce($4, p.providers)
                        or p.auth_provider_ids <> coalesce($5, p.auth_provider_ids)
                    ) as is_sent
                from posts p
                join place on true
                where p.id = $2 and (select acting_as($1))
                for no key update of p
            ),
            changed as (
                update posts p
                set content = coalesce($3, p.content), providers = coalesce($4, p.providers),
                    auth_provider_ids = coalesce($5, p.auth_provider_ids), status = coalesce($6, p.status),
                    sent_at = case when $6 = 'SENT' then coalesce(p.sent_at, now()) else p.sent_at end,
                    updated_at = now()
                from before
                where p.id = before.id and not before.is_sent
                    and ($6::text is null or $6 = before.status or before.status = any($7)) and (select acting_as($1))
                returning p as post, before.content <> p.content and char_length(p.content) > $8 as is_to_be_followed_up
            ),
            scheduled as materialized (
                select schedule_follow_up(place.id, $9, null, $10, $11, $12) as is_first
                from changed
                join place on true
                where changed.is_to_be_followed_up
            )
            select
                place.id as chat_id, before.status, before.is_sent as "is_sent!",
                (select to_jsonb(post) from changed) as "post?: Json<PostRow>",
                (select is_first from scheduled) as is_first
            from place
            join before on true
            "#,
            me.id.as_str(),
            post.uuid(),
            change.content.as_ref().map(PostText::as_str),
            providers.as_deref(),
            auth_provider_ids.as_deref(),
            change.status.map(PostStatus::word),
            &comes_from,
            i32::try_from(FOLLOWED_UP_ABOVE).unwrap_or(i32::MAX),
            job_id.uuid(),
            trigger.as_str(),
            me.org_id.as_deref(),
            quiet.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("changing a post")?;
        let Some(row) = row else {
            return Ok(PostUpdated::NoSuchPost);
        };
        let Some(Json(post)) = row.post else {
            return Ok(if row.is_sent {
                PostUpdated::IsSent
            } else {
                PostUpdated::NotFrom(word("post status", &row.status, PostStatus::parse)?)
            });
        };
        Ok(PostUpdated::Made {
            post: Box::new(post.with_chat(row.chat_id)?),
            wake: row.is_first.filter(|is_first| *is_first).map(|_| Wake {
                job_id,
                chat_id: Some(row.chat_id.into()),
                after_seconds: Wake::whole_seconds(quiet),
            }),
        })
    }

    /// Has a text followed up that is not saved, after `quiet`: with the edits of the same post, it is one follow-up, of what
    /// came last.
    pub async fn follow_up(
        &self,
        me: &Caller,
        post: PostId,
        text: &PostText,
        trigger: &Trigger,
        quiet: Duration,
    ) -> Result<FollowUp> {
        let job_id = JobId::fresh();
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id
                from posts p
                join chats c on c.post_id = p.id
                where p.id = $2 and p.owner_id = $1 and (select acting_as($1))
                for no key update of c
            )
            select id as chat_id, schedule_follow_up(id, $3, $4, $5, $6, $7) as "is_first!" from place
            "#,
            me.id.as_str(),
            post.uuid(),
            job_id.uuid(),
            text.as_str(),
            trigger.as_str(),
            me.org_id.as_deref(),
            quiet.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("scheduling a follow-up")?;
        Ok(row.map_or(FollowUp::NoSuchPost, |row| {
            FollowUp::Scheduled(row.is_first.then_some(Wake {
                job_id,
                chat_id: Some(row.chat_id.into()),
                after_seconds: Wake::whole_seconds(quiet),
            }))
        }))
    }

    /// For which organisation a follow-up was asked for; the outer `None`: it is done.
    pub async fn organisation_of_follow_up(&self, job: JobId) -> Result<Option<Option<String>>> {
        sqlx::query_scalar!(
            "select payload ->> 'org' from jobs where id = $1 and state = 'waiting'",
            job.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a follow-up")
    }

    /// Makes a reply of a follow-up that is due, if there is something to follow up: see `open_follow_up` in migration 0079.
    pub async fn open_follow_up(
        &self,
        job: JobId,
        allowance: Allowance,
        quiet: Duration,
        budget: &BudgetPolicy,
    ) -> Result<FollowUpClaimOutcome> {
        let row = sqlx::query!(
            r#"
            select outcome as "outcome!", after_seconds
            from open_follow_up($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            "#,
            job.uuid(),
            MessageId::fresh().uuid(),
            i32::try_from(FOLLOWED_UP_ABOVE + 1).unwrap_or(i32::MAX),
            quiet.as_secs_f64(),
            i64::from(allowance.instruction),
            i64::from(allowance.output),
            i64::from(allowance.context),
            i64::from(tokens::MOST_OF_AN_IMAGE),
            budget.person_limit,
            budget.organisation_limit,
            budget.period.word(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("opening a follow-up")?;
        word("outcome", &row.outcome, |outcome| match outcome {
            "opened" => Some(FollowUpClaimOutcome::Opened),
            "later" => Some(FollowUpClaimOutcome::Later {
                after_seconds: row.after_seconds.unwrap_or(1),
            }),
            "over" => Some(FollowUpClaimOutcome::Over),
            _ => None,
        })
    }

    /// The post of the chat in which a reply is written. `None` when it or the claim is gone.
    pub async fn post_in_view(&self, claim: &Claim) -> Result<Option<PostInView>> {
        let row = sqlx::query!(
            r#"
            select
                coalesce(j.payload ->> 'text', p.content) as "content!", p.providers, p.status, p.owner_id,
                owner.name as owner_name,
                array(
                    -- posts_sent: three rows.
                    select left(sent.content, $4) from posts sent
                    where r.purpose = 'welcome' and sent.owner_id = p.owner_id and sent.status = 'SENT' and sent.id <> p.id
                    order by sent.sent_at desc
                    limit 3
                ) as "sent!: Vec<String>",
                exists (
                    select 1 from replies waiting
                    where waiting.chat_id = r.chat_id and waiting.state = 'queued' and waiting.id <> r.id
                ) as "is_waited_for!"
            from replies r
            join chats c on c.id = r.chat_id
            join posts p on p.id = c.post_id
            join people owner on owner.id = p.owner_id
            left join jobs j on j.reply_id = r.id
            where r.id = $2 and r.fence = $3 and (select acting_as($1))
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            SENT_CHARS,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a reply's post")?;
        row.map(|row| {
            Ok(PostInView {
                content: row.content,
                providers: row.providers,
                status: word("post status", &row.status, PostStatus::parse)?,
                owner: user_id(&row.owner_id)?,
                owner_name: row.owner_name,
                sent: row.sent,
                is_waited_for: row.is_waited_for,
            })
        })
        .transpose()
    }

    /// Deletes a post with its chat and all that hangs on it, as [`Store::delete_chat`] does. `None` for a stranger.
    pub async fn delete_post(&self, owner: &UserId, post: PostId) -> Result<Option<PostGone>> {
        let job = JobId::fresh();
        let row = sqlx::query!(
            r#"
            with mine as materialized (
                select p.id, c.id as chat_id
                from posts p
                join chats c on c.post_id = p.id
                where p.id = $2 and p.owner_id = $1 and (select acting_as($1))
            ),
            gone as materialized (
                -- The chat before its post: it is the post's no more when that goes.
                select mine.chat_id, dissolved.told, dissolved.is_left_to_job
                from mine
                cross join lateral dissolve_chat(mine.chat_id, $3) as dissolved
                where dissolved.told is not null
            ),
            removed as (
                delete from posts p using mine, gone
                where p.id = mine.id and gone.chat_id = mine.chat_id and p.owner_id = $1 and (select acting_as($1))
            )
            select
                chat_id as "chat_id!", told as "audience!: Vec<String>", is_left_to_job as "is_left_to_job!", now() as "at!"
            from gone
            "#,
            owner.as_str(),
            post.uuid(),
            job.uuid(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("deleting a post")?;
        row.map(|row| {
            Ok(PostGone {
                chat_id: row.chat_id.into(),
                audience: row.audience.iter().map(|id| user_id(id)).collect::<Result<_>>()?,
                at: row.at,
                wake: row.is_left_to_job.then(|| deletion(job, row.chat_id.into())),
            })
        })
        .transpose()
    }
}

fn texts<T>(items: &[T], text: impl Fn(&T) -> &str) -> Vec<String> {
    items.iter().map(|item| text(item).to_owned()).collect()
}
