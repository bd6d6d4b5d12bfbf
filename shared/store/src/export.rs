//! Everything of one person, page by page: what they are entitled to be given. It acts for the system.
//!
//! Not in it: what only makes things work (inbox, tickets, jobs, holds, rates, presence), and what others said in chats
//! with them.

use serde_json::{Map, Value, json};
use sqlx::types::Json;

use super::{Doing, Result, Store};
use domain::ids::UserId;
use domain::page::{Kept, Page};
use domain::wire_enum;

/// Lambda answers with 6 MB at most; a message is far from the rest.
const BYTES_A_PAGE: usize = 3 * 1024 * 1024;
const ROWS_A_PAGE: i64 = 500;

/// What is exported, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Person,
    Membership,
    Message,
    /// What the AI and agents said to them alone.
    Answer,
    Version,
    Reaction,
    Mention,
    Block,
    Reply,
    Usage,
    Post,
    Attachment,
}
wire_enum!(Section {
    Person = "person",
    Membership = "membership",
    Message = "message",
    Answer = "answer",
    Version = "version",
    Reaction = "reaction",
    Mention = "mention",
    Block = "block",
    Reply = "reply",
    Usage = "usage",
    Post = "post",
    Attachment = "attachment",
});

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCursor {
    section: Section,
    /// The last row's key; empty before the first.
    key: String,
}

impl ExportCursor {
    pub const START: Self = Self {
        section: Section::Person,
        key: String::new(),
    };

    #[must_use]
    pub fn written(&self) -> String {
        format!("{} {}", self.section, self.key)
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (section, key) = text.split_once(' ')?;
        Some(Self {
            section: Section::parse(section)?,
            key: key.to_owned(),
        })
    }
}

#[derive(Debug)]
pub struct ExportPage {
    /// Each `{type, data}`.
    pub lines: Vec<Value>,
    pub next: Option<ExportCursor>,
}

struct LineRow {
    key: String,
    line: Json<Map<String, Value>>,
}

/// `$rows` gives each row's `key` and `line`; `$1` is the person, `$2` the last key or null, `$3` how many.
macro_rules! lines {
    ($store:ident, $person:ident, $after:expr, $rows:tt) => {
        sqlx::query_as!(LineRow, $rows, $person.as_str(), $after, ROWS_A_PAGE)
            .fetch_all(&$store.pool)
            .await
            .doing("exporting a person")?
    };
}

impl Store {
    /// What comes after a place, of one kind; none where we never met them.
    pub async fn export(&self, person: &UserId, after: &ExportCursor) -> Result<ExportPage> {
        let rows = self.rows_of(person, after).await?;
        let has_all = i64::try_from(rows.len()).is_ok_and(|found| found < ROWS_A_PAGE);
        let (keys, found): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|row| {
                let fields = row.line.0.into_iter().map(|(name, value)| (camel_case(&name), value));
                let line = json!({"type": after.section.word(), "data": Map::from_iter(fields)});
                (row.key, line)
            })
            .unzip();
        let Page { items: lines, has_more } = Page::within(found, usize::MAX, BYTES_A_PAGE, Kept::First);
        let is_whole = has_all && !has_more;
        let next = match keys.into_iter().take(lines.len()).next_back() {
            Some(key) if !is_whole => Some(ExportCursor {
                section: after.section,
                key,
            }),
            _ => {
                let mut sections = Section::ALL
                    .iter()
                    .skip_while(|section| **section != after.section)
                    .skip(1);
                sections.next().map(|section| ExportCursor {
                    section: *section,
                    key: String::new(),
                })
            }
        };
        Ok(ExportPage { lines, next })
    }

    async fn rows_of(&self, person: &UserId, after: &ExportCursor) -> Result<Vec<LineRow>> {
        let key = Some(after.key.as_str()).filter(|key| !key.is_empty());
        Ok(match after.section {
            Section::Person => lines!(
                self,
                person,
                key,
                r#"
                select id as "key!", to_jsonb(p) as "line!: Json<Map<String, Value>>"
                from people p
                where id = $1 and ($2::text is null or id > $2)
                limit $3
            "#
            ),
            // members_user
            Section::Membership => lines!(
                self,
                person,
                key,
                r#"
                select
                    m.chat_id::text as "key!",
                    to_jsonb(m) || jsonb_build_object('kind', c.kind, 'title', c.title)
                        as "line!: Json<Map<String, Value>>"
                from members m
                join chats c on c.id = m.chat_id
                where m.user_id = $1 and ($2::text is null or m.chat_id > $2::text::uuid)
                order by m.chat_id
                limit $3
            "#
            ),
            // messages_said_by
            Section::Message => lines!(
                self,
                person,
                key,
                r#"
                select id::text as "key!", to_jsonb(m) - 'request_hash' as "line!: Json<Map<String, Value>>"
                from messages m
                where sender_id = $1 and ($2::text is null or id > $2::text::uuid)
                order by id
                limit $3
            "#
            ),
            // chats_owner, messages_pkey
            Section::Answer => lines!(
                self,
                person,
                key,
                r#"
                select m.id::text as "key!", to_jsonb(m) - 'request_hash' as "line!: Json<Map<String, Value>>"
                from chats c
                join messages m on m.chat_id = c.id
                where c.owner_id = $1 and c.kind in ('assistant', 'post', 'task') and m.sender_id is distinct from $1
                    and ($2::text is null or m.id > $2::text::uuid)
                order by m.id
                limit $3
            "#
            ),
            Section::Version => lines!(
                self,
                person,
                key,
                r#"
                select
                    v.message_id || '/' || lpad(v.version::text, 10, '0') as "key!",
                    to_jsonb(v) as "line!: Json<Map<String, Value>>"
                from messages m
                join message_versions v on v.message_id = m.id
                left join chats c on c.id = m.chat_id and c.kind in ('assistant', 'post', 'task')
                where (m.sender_id = $1 or c.owner_id = $1)
                    and ($2::text is null or v.message_id || '/' || lpad(v.version::text, 10, '0') > $2 collate "C")
                order by (v.message_id || '/' || lpad(v.version::text, 10, '0')) collate "C"
                limit $3
            "#
            ),
            // reactions_user
            Section::Reaction => lines!(
                self,
                person,
                key,
                r#"
                select
                    message_id || '/' || emoji as "key!",
                    to_jsonb(r) as "line!: Json<Map<String, Value>>"
                from reactions r
                where user_id = $1 and ($2::text is null or message_id || '/' || emoji > $2 collate "C")
                order by (message_id || '/' || emoji) collate "C"
                limit $3
            "#
            ),
            // mentions_user
            Section::Mention => lines!(
                self,
                person,
                key,
                r#"
                select
                    chat_id || '/' || lpad(seq::text, 19, '0') as "key!",
                    to_jsonb(n) as "line!: Json<Map<String, Value>>"
                from mentions n
                where user_id = $1 and ($2::text is null or chat_id || '/' || lpad(seq::text, 19, '0') > $2 collate "C")
                order by (chat_id || '/' || lpad(seq::text, 19, '0')) collate "C"
                limit $3
            "#
            ),
            // blocks_pkey
            Section::Block => lines!(
                self,
                person,
                key,
                r#"
                select blocked as "key!", to_jsonb(b) as "line!: Json<Map<String, Value>>"
                from blocks b
                where blocker = $1 and ($2::text is null or blocked > $2)
                order by blocked
                limit $3
            "#
            ),
            // replies_asked_by
            Section::Reply => lines!(
                self,
                person,
                key,
                r#"
                select id::text as "key!", to_jsonb(r) - 'fence' as "line!: Json<Map<String, Value>>"
                from replies r
                where asked_by = $1 and ($2::text is null or id > $2::text::uuid)
                order by id
                limit $3
            "#
            ),
            // budgets_pkey
            Section::Usage => lines!(
                self,
                person,
                key,
                r#"
                select
                    extract(epoch from period_start)::bigint::text as "key!",
                    to_jsonb(b) as "line!: Json<Map<String, Value>>"
                from budgets b
                where subject = 'person' and subject_id = $1
                    and ($2::text is null or extract(epoch from period_start)::bigint > $2::text::bigint)
                order by period_start
                limit $3
            "#
            ),
            // posts_owner
            Section::Post => lines!(
                self,
                person,
                key,
                r#"
                select id::text as "key!", to_jsonb(p) - 'request_hash' as "line!: Json<Map<String, Value>>"
                from posts p
                where owner_id = $1 and ($2::text is null or id > $2::text::uuid)
                order by id
                limit $3
            "#
            ),
            // attachments_owner
            Section::Attachment => lines!(
                self,
                person,
                key,
                r#"
                select id::text as "key!", to_jsonb(a) as "line!: Json<Map<String, Value>>"
                from attachments a
                where owner_id = $1 and ($2::text is null or id > $2::text::uuid)
                order by id
                limit $3
            "#
            ),
        })
    }
}

/// A column's name as our JSON writes it.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_fields_are() {
        for (column, field) in [("id", "id"), ("client_id", "clientId"), ("last_seen_at", "lastSeenAt")] {
            assert_eq!(camel_case(column), field);
        }
    }

    #[test]
    fn a_cursor_survives_the_round_trip_and_nonsense_is_refused() {
        let cursor = ExportCursor {
            section: Section::Reaction,
            key: "0192/👍 x".to_owned(),
        };
        assert_eq!(ExportCursor::parse(&cursor.written()), Some(cursor));
        assert_eq!(
            ExportCursor::parse(&ExportCursor::START.written()),
            Some(ExportCursor::START)
        );
        for odd in ["", "person", "nobody x"] {
            assert_eq!(ExportCursor::parse(odd), None, "{odd}");
        }
    }
}
