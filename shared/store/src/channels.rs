//! Channels: opened, and who is in them. Each statement locks the chat's row first, then memberships, so that roles and
//! numbers are those of the moment; who comes and goes takes a seq.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::chats::OPEN_TRIES;
use super::rows::{people, seq};
use super::{Doing, Result, Store, lost_a_race};
use domain::chat::{History, MemberRole};
use domain::event::{Event, EventType, Outgoing};
use domain::fingerprint::IdempotencyKey;
use domain::ids::{ChatId, UserId};
use domain::text::Title;

/// What came of opening a channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Channel {
    Opened {
        chat_id: ChatId,
        audience: Vec<UserId>,
    },
    /// An earlier request with the same key has opened it.
    Known(ChatId),
    /// The key was used for another chat.
    KeyReused,
    /// Nothing is opened where one of the people is not known.
    Unknown(Vec<UserId>),
    /// Nor where the owner and one of them have a block between them.
    Blocked(Vec<UserId>),
}

/// What came of a change to who is in a channel.
#[derive(Debug)]
pub enum Membership {
    /// Nobody has to be told where nothing changed.
    Changed(Option<Outgoing>),
    Unknown(Vec<UserId>),
    /// The caller and these have a block between them.
    Blocked(Vec<UserId>),
    NoSuchMember,
    /// The channel would have more members than it may.
    Full,
    /// The owner cannot go, or be less than owner, before somebody else is.
    OwnerStays,
    NotAllowed,
    NotAChannel,
    NoSuchChat,
}

/// A change as its statement tells it.
struct Changed {
    at_seq: i64,
    at: DateTime<Utc>,
    data: Value,
    audience: Vec<String>,
}

impl Changed {
    fn news(self, event_type: EventType, chat: ChatId) -> Result<Outgoing> {
        Ok(Outgoing {
            event: Event::chat_changed(event_type, chat, Some(seq(self.at_seq)?), self.at, self.data),
            audience: people(&self.audience)?,
        })
    }
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a UserId>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

impl Store {
    /// Makes people known who have not signed in yet.
    pub async fn create_placeholder_users(&self, ids: &[UserId]) -> Result<()> {
        sqlx::query!("select introduce($1)", &texts(ids))
            .execute(&self.pool)
            .await
            .doing("introducing people")?;
        Ok(())
    }

    /// Opens a channel of the owner and others, who all learn of it. Of the requests that have the same key, one does.
    pub async fn open_channel(
        &self,
        owner: &UserId,
        org_id: Option<&str>,
        title: &Title,
        others: &[UserId],
        key: Option<&IdempotencyKey>,
    ) -> Result<Channel> {
        for _ in 1..OPEN_TRIES {
            match self.try_to_open_channel(owner, org_id, title, others, key).await {
                // The twin committed first: a fresh look finds its chat.
                Err(error) if lost_a_race(&error, &["chat_keys_pkey"]) => {}
                outcome => return outcome.doing("opening a channel")?,
            }
        }
        self.try_to_open_channel(owner, org_id, title, others, key)
            .await
            .doing("opening a channel")?
    }

    async fn try_to_open_channel(
        &self,
        owner: &UserId,
        org_id: Option<&str>,
        title: &Title,
        others: &[UserId],
        key: Option<&IdempotencyKey>,
    ) -> std::result::Result<Result<Channel>, sqlx::Error> {
        let chat_id = ChatId::fresh();
        let row = sqlx::query!(
            r#"
            with known as materialized (
                select chat_id, request_hash = $7 as is_same from chat_keys
                where owner_id = $1 and client_id = $6 and (select acting_as($1))
            ),
            wanted as materialized (
                select distinct id from unnest(array_append($5::text[], $1)) as named (id)
            ),
            unknown as materialized (
                select id from wanted where not exists (select 1 from people where people.id = wanted.id)
            ),
            blocked as materialized (
                select id from wanted where id in (select blocked_with($1))
            ),
            opened as (
                insert into chats (id, kind, title, owner_id, org_id)
                select $2, 'channel', $3, $1, $4
                where not exists (select 1 from unknown) and not exists (select 1 from blocked)
                    and not exists (select 1 from known) and (select acting_as($1))
                returning id
            ),
            keyed as (
                insert into chat_keys (owner_id, client_id, chat_id, request_hash)
                select $1, $6, id, $7 from opened where $6::text is not null
            ),
            joined as (
                insert into members (chat_id, user_id, role)
                select opened.id, wanted.id, case when wanted.id = $1 then 'owner' else 'member' end
                from opened
                cross join wanted
                -- No column of the row: to show one, its policy would look for memberships that are only being made.
                returning true as is_in
            ),
            told as materialized (
                select tell($2, 0, 'chat.updated', null, null) as user_id
                from (select count(*) as people from joined) as everyone
                where everyone.people > 0
            )
            select
                array(select id from unknown) as "unknown!: Vec<String>",
                array(select id from blocked) as "blocked!: Vec<String>",
                array(select user_id from told) as "audience!: Vec<String>",
                (select chat_id from known) as known, (select is_same from known) as is_same
            "#,
            owner.as_str(),
            chat_id.uuid(),
            title.as_str(),
            org_id,
            &texts(others),
            key.map(|key| key.client_id.as_str()),
            key.map(|key| key.asked.as_bytes()),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match (row.known, row.is_same) {
            (Some(known), Some(true)) => Ok(Channel::Known(known.into())),
            (Some(_), _) => Ok(Channel::KeyReused),
            (None, _) if !row.blocked.is_empty() => people(&row.blocked).map(Channel::Blocked),
            (None, _) if !row.unknown.is_empty() => people(&row.unknown).map(Channel::Unknown),
            (None, _) => people(&row.audience).map(|audience| Channel::Opened { chat_id, audience }),
        })
    }

    /// Adds people to a channel, all or none; those who are in it stay as they are. A newcomer has read everything up to
    /// their joining.
    pub async fn add_members(
        &self,
        me: &UserId,
        chat: ChatId,
        newcomers: &[UserId],
        role: MemberRole,
        most: usize,
        history: History,
    ) -> Result<Membership> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id, c.kind = 'channel' as is_channel, m.role = 'owner' or m.role = 'admin' and $4 = 'member' as may
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                for update of c, m
            ),
            allowed as materialized (
                select id from place where is_channel and may
            ),
            wanted as materialized (
                select distinct id from unnest($3::text[]) as named (id)
            ),
            unknown as materialized (
                select id from wanted where not exists (select 1 from people where people.id = wanted.id)
            ),
            present as materialized (
                -- As of now: the chat's row may have been waited for.
                select present.user_id from allowed cross join lateral members_now(allowed.id) as present (user_id)
            ),
            newcomers as materialized (
                select people.id, people.name, people.image
                from wanted
                join people on people.id = wanted.id
                where not exists (select 1 from present where present.user_id = people.id)
            ),
            blocked as materialized (
                select id from newcomers where id in (select blocked_with($1))
            ),
            room as materialized (
                select (select count(*) from present) + (select count(*) from newcomers) <= $5 as is_enough
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, updated_at = now()
                from allowed, room
                where c.id = allowed.id and room.is_enough and exists (select 1 from newcomers)
                    and not exists (select 1 from unknown) and not exists (select 1 from blocked)
                    and (select acting_as($1))
                returning c.id, c.last_seq, c.last_number
            ),
            joined as (
                insert into members (
                    chat_id, user_id, role, read_seq, read_number, delivered_seq, joined_seq, visible_after
                )
                select
                    taken.id, newcomers.id, $4, taken.last_seq, taken.last_number, taken.last_seq, taken.last_seq,
                    case when $6 then taken.last_seq else 0 end
                from taken
                cross join newcomers
                returning true as is_in
            ),
            news as materialized (
                select jsonb_build_object(
                    'members', jsonb_agg(jsonb_build_object(
                        'userId', newcomers.id, 'name', newcomers.name, 'image', newcomers.image, 'role', $4::text,
                        'readSeq', taken.last_seq, 'readAt', null, 'deliveredSeq', taken.last_seq
                    ) order by newcomers.id),
                    'by', $1::text
                ) as data
                from taken
                cross join newcomers
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'member.added', null, news.data) as user_id
                from taken
                cross join news
                where (select count(*) from joined) > 0
            )
            select
                place.is_channel as "is_channel!", place.may as "may!", room.is_enough as "is_enough!",
                array(select id from unknown) as "unknown!: Vec<String>",
                array(select id from blocked) as "blocked!: Vec<String>",
                taken.last_seq as "last_seq?", news.data as "data?", now() as "at!",
                array(select user_id from told) as "audience!: Vec<String>"
            from place
            cross join room
            cross join news
            left join taken on true
            "#,
            me.as_str(),
            chat.uuid(),
            &texts(newcomers),
            role.word(),
            i64::try_from(most).unwrap_or(i64::MAX),
            history == History::SinceJoin,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("adding members")?;
        let Some(row) = row else {
            return Ok(Membership::NoSuchChat);
        };
        Ok(match (row.last_seq, row.data) {
            _ if !row.is_channel => Membership::NotAChannel,
            _ if !row.may => Membership::NotAllowed,
            _ if !row.blocked.is_empty() => Membership::Blocked(people(&row.blocked)?),
            _ if !row.unknown.is_empty() => Membership::Unknown(people(&row.unknown)?),
            _ if !row.is_enough => Membership::Full,
            (Some(at_seq), Some(data)) => {
                let changed = Changed {
                    at_seq,
                    at: row.at,
                    data,
                    audience: row.audience,
                };
                Membership::Changed(Some(changed.news(EventType::MemberAdded, chat)?))
            }
            _ => Membership::Changed(None),
        })
    }

    /// Takes somebody out of a channel, or oneself. They learn of it as the last thing they learn of this chat.
    pub async fn remove_member(&self, me: &UserId, chat: ChatId, member: &UserId) -> Result<Membership> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id, c.kind = 'channel' as is_channel, $3 = $1 or m.role in ('owner', 'admin') as may
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                for update of c, m
            ),
            named as materialized (
                select r.user_id, r.role = 'owner' as is_owner
                from members r
                join place on place.id = r.chat_id
                where r.user_id = $3 and (select acting_as($1))
                for update of r
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, updated_at = now()
                from place, named
                where c.id = place.id and place.is_channel and place.may and not named.is_owner and (select acting_as($1))
                returning c.id, c.last_seq, jsonb_build_object('userId', $3::text, 'by', $1::text) as data
            ),
            gone as (
                delete from members m using taken
                where m.chat_id = taken.id and m.user_id = $3 and (select acting_as($1))
                returning true as is_gone
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'member.removed', null, taken.data, array[$3]) as user_id
                from taken
                where (select count(*) from gone) > 0
            )
            select
                place.is_channel as "is_channel!", place.may as "may!", named.is_owner as "is_owner?",
                taken.last_seq as "last_seq?", taken.data as "data?", now() as "at!",
                array(select user_id from told) as "audience!: Vec<String>"
            from place
            left join named on true
            left join taken on true
            "#,
            me.as_str(),
            chat.uuid(),
            member.as_str(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("removing a member")?;
        let Some(row) = row else {
            return Ok(Membership::NoSuchChat);
        };
        Ok(match (row.last_seq, row.data, row.is_owner) {
            _ if !row.is_channel => Membership::NotAChannel,
            _ if !row.may => Membership::NotAllowed,
            (Some(at_seq), Some(data), _) => {
                let changed = Changed {
                    at_seq,
                    at: row.at,
                    data,
                    audience: row.audience,
                };
                Membership::Changed(Some(changed.news(EventType::MemberRemoved, chat)?))
            }
            (_, _, Some(_)) if me == member => Membership::OwnerStays,
            (_, _, Some(_)) => Membership::NotAllowed,
            (_, _, None) => Membership::NoSuchMember,
        })
    }

    /// Changes what a member may do. Whoever is made the owner takes the place of the one who says so, and that one becomes an
    /// admin.
    pub async fn change_role(
        &self,
        me: &UserId,
        chat: ChatId,
        member: &UserId,
        role: MemberRole,
    ) -> Result<Membership> {
        let row = sqlx::query!(
            r#"
            with place as materialized (
                select c.id, c.kind = 'channel' as is_channel, m.role = 'owner' as may
                from members m
                join chats c on c.id = m.chat_id
                where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                for update of c, m
            ),
            named as materialized (
                -- An owner cannot leave, so nobody is made one by somebody with whom they have a block.
                select r.user_id, r.role, $4 = 'owner' and blocked_between($1, $3) as is_blocked
                from members r
                join place on place.id = r.chat_id
                where r.user_id = $3 and (select acting_as($1))
                for update of r
            ),
            taken as (
                update chats c
                set last_seq = c.last_seq + 1, updated_at = now(),
                    owner_id = case when $4 = 'owner' then $3 else c.owner_id end
                from place, named
                where c.id = place.id and place.is_channel and place.may and $3 <> $1 and named.role <> $4
                    and not named.is_blocked and (select acting_as($1))
                returning c.id, c.last_seq
            ),
            changed as (
                update members m
                set role = case when m.user_id = $3 then $4 else 'admin' end
                from taken
                where m.chat_id = taken.id and (m.user_id = $3 or m.user_id = $1 and $4 = 'owner')
                    and (select acting_as($1))
                returning m.user_id, m.role
            ),
            news as materialized (
                select jsonb_build_object(
                    'members', jsonb_agg(jsonb_build_object('userId', user_id, 'role', role) order by user_id),
                    'by', $1::text
                ) as data
                from changed
            ),
            told as materialized (
                select tell(taken.id, taken.last_seq, 'chat.updated', null, news.data) as user_id
                from taken
                cross join news
            )
            select
                place.is_channel as "is_channel!", place.may as "may!", named.user_id is not null as "is_member!",
                coalesce(named.is_blocked, false) as "is_blocked!",
                taken.last_seq as "last_seq?", news.data as "data?", now() as "at!",
                array(select user_id from told) as "audience!: Vec<String>"
            from place
            cross join news
            left join named on true
            left join taken on true
            "#,
            me.as_str(),
            chat.uuid(),
            member.as_str(),
            role.word(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("changing a member's role")?;
        let Some(row) = row else {
            return Ok(Membership::NoSuchChat);
        };
        Ok(match (row.last_seq, row.data) {
            _ if !row.is_channel => Membership::NotAChannel,
            _ if !row.may => Membership::NotAllowed,
            _ if !row.is_member => Membership::NoSuchMember,
            (Some(at_seq), Some(data)) => {
                let changed = Changed {
                    at_seq,
                    at: row.at,
                    data,
                    audience: row.audience,
                };
                Membership::Changed(Some(changed.news(EventType::ChatUpdated, chat)?))
            }
            _ if row.is_blocked => Membership::Blocked(vec![member.clone()]),
            _ if me == member && role != MemberRole::Owner => Membership::OwnerStays,
            _ => Membership::Changed(None),
        })
    }
}
