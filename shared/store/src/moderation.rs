//! What is to be known before a moderation hook is asked: it judges what is new, where the speaker may speak.

use super::rows::word;
use super::{Doing, Result, Store};
use domain::chat::Kind;
use domain::ids::{ChatId, MessageId, UserId};
use domain::message::Edit;
use domain::text::ClientId;

impl Store {
    /// In what kind of chat a message would be new. `None` for a stranger, and for a retry of what was accepted: members_pkey,
    /// chats_pkey, messages_client_id.
    pub async fn would_say(&self, me: &UserId, chat: ChatId, client_id: &ClientId) -> Result<Option<Kind>> {
        let kind = sqlx::query_scalar!(
            r#"
            select c.kind
            from members m
            join chats c on c.id = m.chat_id
            where m.chat_id = $2 and m.user_id = $1 and (select acting_as($1))
                and not exists (
                    select 1 from messages where chat_id = $2 and sender_id = $1 and client_id = $3
                )
            "#,
            me.as_str(),
            chat.uuid(),
            client_id.as_str(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("looking for an earlier send")?;
        kind.map(|kind| word("chat kind", &kind, Kind::parse)).transpose()
    }

    /// In what kind of chat an edit would say something else. `None` where it changes nothing, or where it is not theirs to
    /// make.
    pub async fn would_change(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        edit: &Edit,
    ) -> Result<Option<Kind>> {
        let kind = sqlx::query_scalar!(
            r#"
            select c.kind
            from members
            join chats c on c.id = members.chat_id
            join messages m on m.chat_id = c.id
            where members.chat_id = $2 and members.user_id = $1 and (select acting_as($1))
                and m.id = $3 and m.sender_id = $1 and m.deleted_at is null and m.content <> $4
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            edit.text(),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("looking for an earlier edit")?;
        kind.map(|kind| word("chat kind", &kind, Kind::parse)).transpose()
    }
}
