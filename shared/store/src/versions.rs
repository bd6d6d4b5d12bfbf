//! What messages said before.

use sqlx::types::Json;

use super::{Doing, Result, Store};
use domain::ids::{ChatId, MessageId, UserId};
use domain::limits::PageSize;
use domain::message::MessageVersion;
use domain::page::{Kept, Page};

#[derive(Debug)]
pub struct VersionPage {
    /// Newest first.
    pub versions: Vec<MessageVersion>,
    pub has_more: bool,
}

impl Store {
    /// The earlier versions of a message: of the AI's answers for every member, of a person's own words for themselves and
    /// for those who run the channel. `None` for everybody else. A range of message_versions_pkey.
    pub async fn versions(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        before: Option<i32>,
        size: PageSize,
    ) -> Result<Option<VersionPage>> {
        let page = sqlx::query_scalar!(
            r#"
            select
                (
                    select coalesce(jsonb_agg(to_jsonb(page) order by page.version desc), '[]')
                    from (
                        select * from message_versions
                        where message_id = m.id and version < coalesce($4, 2147483647)
                        order by version desc
                        limit $5
                    ) as page
                ) as "versions!: Json<Vec<MessageVersion>>"
            from members
            join messages m on m.chat_id = members.chat_id
            where members.chat_id = $2 and members.user_id = $1 and m.id = $3 and m.seq > members.visible_after
                and (select acting_as($1))
                and (m.role <> 'user' or m.sender_id = $1 or members.role in ('owner', 'admin'))
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            before,
            size.rows_and_one(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("listing a message's versions")?;
        Ok(page.map(|Json(found)| {
            let Page { items, has_more } = Page::of(found, size, Kept::First);
            VersionPage {
                versions: items,
                has_more,
            }
        }))
    }
}
