//! Full-text search over one's own messages. How it finds them is told in migrations 0044 and 0078.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::types::Json;

use super::rows::{MessageRow, user_id, word};
use super::{Doing, Result, Store};
use domain::chat::Kind;
use domain::ids::{ChatId, MessageId, UserId};
use domain::limits::PageSize;
use domain::page::{Kept, Page};
use domain::person::Person;
use domain::search::{ChatOfResult, MATCH_BEGINS, MATCH_ENDS, SearchResult, SnippetPiece};
use domain::text::SearchText;

/// Where a page of results ended: newest first, ids telling apart what was sent in the same microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    pub created_at: DateTime<Utc>,
    pub message_id: MessageId,
}

#[derive(Debug)]
pub struct SearchPage {
    pub results: Vec<SearchResult>,
    pub next: Option<SearchCursor>,
}

#[derive(Debug, Deserialize)]
struct ResultRow {
    message: MessageRow,
    kind: String,
    title: Option<String>,
    user: Option<PersonRow>,
    marked: String,
}

#[derive(Debug, Deserialize)]
struct PersonRow {
    id: String,
    name: String,
    image: Option<String>,
}

impl Store {
    /// What I can see that matches, newest first. `None` where `chat` is not mine.
    pub async fn search(
        &self,
        me: &UserId,
        text: &SearchText,
        chat: Option<ChatId>,
        after: Option<SearchCursor>,
        size: PageSize,
    ) -> Result<Option<SearchPage>> {
        let row = sqlx::query!(
            r#"
            select
                $3::uuid is null or exists (
                    select 1 from members where chat_id = $3 and user_id = $1
                ) as "is_mine!",
                (
                    select coalesce(jsonb_agg(jsonb_build_object(
                        'message', message_json(m), 'kind', c.kind, 'title', c.title,
                        'user', (
                            select jsonb_build_object('id', p.id, 'name', p.name, 'image', p.image)
                            from people p
                            where c.kind = 'direct'
                                and p.id = case when c.direct_low = $1 then c.direct_high else c.direct_low end
                        ),
                        'marked', search_snippet(m.content, $2, $7, $8)
                    ) order by found.created_at desc, found.id desc), '[]')
                    from search_query($2) as query
                    cross join lateral search_messages(query, $3, $4, $5, $6) as found
                    -- The policies apply to what was found, too.
                    join messages m on m.chat_id = found.chat_id and m.seq = found.seq
                    join chats c on c.id = m.chat_id
                ) as "results!: Json<Vec<ResultRow>>"
            where (select acting_as($1))
            "#,
            me.as_str(),
            text.as_str(),
            chat.map(ChatId::uuid),
            after.map(|cursor| cursor.created_at),
            after.map(|cursor| cursor.message_id.uuid()),
            i32::try_from(size.rows_and_one()).unwrap_or(i32::MAX),
            MATCH_BEGINS.to_string(),
            MATCH_ENDS.to_string(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("searching messages")?;
        if !row.is_mine {
            return Ok(None);
        }
        let found = row.results.0.into_iter().map(SearchResult::try_from);
        let Page {
            items: results,
            has_more,
        } = Page::of(found.collect::<Result<_>>()?, size, Kept::First);
        let next = results.last().filter(|_| has_more).map(|last| SearchCursor {
            created_at: last.message.created_at,
            message_id: last.message.id,
        });
        Ok(Some(SearchPage { results, next }))
    }
}

impl TryFrom<ResultRow> for SearchResult {
    type Error = super::Error;

    fn try_from(row: ResultRow) -> Result<Self> {
        let user = row.user.map(|person| {
            Ok(Person {
                id: user_id(&person.id)?,
                name: person.name,
                image: person.image,
            })
        });
        let message: domain::message::Message = row.message.try_into()?;
        Ok(Self {
            chat: ChatOfResult {
                id: message.chat_id,
                kind: word("chat kind", &row.kind, Kind::parse)?,
                title: row.title,
                user: user.transpose()?,
            },
            message,
            snippet: SnippetPiece::pieces(&row.marked),
        })
    }
}
