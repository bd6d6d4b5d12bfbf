//! Uploads: announced, sent with a message, shown to the chat's members, and forgotten once no message shows them. How
//! many messages do is counted by triggers (migration 0020).

use std::time::Duration;

use serde_json::Value;

use super::rows::word;
use super::{Doing, Result, Store};
use domain::attachment::Upload;
use domain::ids::{AttachmentId, ChatId, MessageId, UserId};
use domain::text::{ClientId, FileName, MimeType};

/// How long an upload may wait to be sent. It is well below [`UNUSED_FOR`], so that none is deleted while it is sent.
const SENT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an upload is kept that no message shows.
pub const UNUSED_FOR: Duration = Duration::from_secs(25 * 60 * 60);

/// What a sender may attach.
#[derive(Debug)]
pub struct Attachable {
    /// The message is stored already, with its attachments: this is a retry.
    pub is_sent: bool,
    /// Those of the asked uploads that are the sender's.
    pub uploads: Vec<Upload>,
    /// Those of them that a message shows.
    pub shown: Vec<AttachmentId>,
}

impl Store {
    /// Announces an upload.
    pub async fn announce_upload(&self, me: &UserId, upload: &Upload) -> Result<()> {
        sqlx::query!(
            r#"
            insert into attachments (id, owner_id, object_key, mime_type, size, file_name)
            select $2, $1, $3, $4, $5, $6
            where (select acting_as($1))
            "#,
            me.as_str(),
            upload.id.uuid(),
            upload.key(),
            upload.mime_type.as_str(),
            upload.size,
            upload.file_name.as_ref().map(FileName::as_str),
        )
        .execute(&self.pool)
        .await
        .doing("announcing an upload")?;
        Ok(())
    }

    /// Which of these uploads may go with a message. Served by attachments_pkey and messages_client_id.
    pub async fn attachable(
        &self,
        me: &UserId,
        chat: ChatId,
        client_id: &ClientId,
        uploads: &[AttachmentId],
    ) -> Result<Attachable> {
        let ids: Vec<_> = uploads.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query!(
            r#"
            select
                known.is_sent as "is_sent!",
                a.id as "id?", a.mime_type as "mime_type?", a.size as "size?", a.file_name,
                a.uses > 0 as "is_shown?"
            from (
                select exists (
                    select 1 from messages where chat_id = $2 and sender_id = $1 and client_id = $3
                ) as is_sent
                where (select acting_as($1))
            ) as known
            left join attachments a on a.owner_id = $1 and a.id = any ($4)
                and (a.uses > 0 or a.unused_since > now() - make_interval(secs => $5))
            "#,
            me.as_str(),
            chat.uuid(),
            client_id.as_str(),
            &ids,
            SENT_WITHIN.as_secs_f64(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for uploads")?;
        let is_sent = rows.first().is_some_and(|row| row.is_sent);
        let shown = rows
            .iter()
            .filter(|row| row.is_shown == Some(true))
            .filter_map(|row| row.id);
        let shown = shown.map(Into::into).collect();
        let uploads = rows.into_iter().filter_map(|row| {
            let (id, mime_type, size) = (row.id?, row.mime_type?, row.size?);
            Some(upload(id.into(), &mime_type, size, row.file_name.as_deref()))
        });
        Ok(Attachable {
            is_sent,
            shown,
            uploads: uploads.collect::<Result<_>>()?,
        })
    }

    /// What a message shows at a place, counted from 0; `None` also for a stranger.
    pub async fn shown_attachment(
        &self,
        me: &UserId,
        chat: ChatId,
        message: MessageId,
        place: i32,
    ) -> Result<Option<Value>> {
        let shown = sqlx::query_scalar!(
            r#"
            select m.attachments -> $4::integer
            from members me
            join messages m on m.chat_id = me.chat_id
            where me.user_id = $1 and me.chat_id = $2 and m.id = $3 and m.seq > me.visible_after
                and (select acting_as($1))
            "#,
            me.as_str(),
            chat.uuid(),
            message.uuid(),
            place,
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading an attachment")?;
        Ok(shown.flatten())
    }

    /// Uploads that no message has shown for [`UNUSED_FOR`], longest unused first, and erased ones that can be sent no
    /// more. Served by attachments_unused and erased_uploads_expires_at.
    pub async fn unused_uploads(&self, most: i64) -> Result<Vec<AttachmentId>> {
        let ids = sqlx::query_scalar!(
            r#"
            select id as "id!" from (
                (
                    select id from attachments
                    where uses = 0 and unused_since < now() - make_interval(secs => $1)
                    order by unused_since
                    limit $2
                )
                union all
                (select id from erased_uploads where expires_at < now() order by expires_at limit $2)
            ) as deletable
            limit $2
            "#,
            UNUSED_FOR.as_secs_f64(),
            most,
        )
        .fetch_all(&self.pool)
        .await
        .doing("looking for unused uploads")?;
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Forgets uploads whose objects are deleted.
    pub async fn forget_uploads(&self, uploads: &[AttachmentId]) -> Result<u64> {
        let ids: Vec<_> = uploads.iter().map(|id| id.uuid()).collect();
        let count = sqlx::query_scalar!(
            r#"
            with forgotten as (
                delete from attachments where id = any ($1) and uses = 0 returning id
            ),
            gone as (
                delete from erased_uploads where id = any ($1) and expires_at < now() returning id
            )
            select (select count(*) from forgotten) + (select count(*) from gone) as "count!"
            "#,
            &ids
        )
        .fetch_one(&self.pool)
        .await
        .doing("forgetting uploads")?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

fn upload(id: AttachmentId, mime_type: &str, size: i64, file_name: Option<&str>) -> Result<Upload> {
    Ok(Upload {
        id,
        mime_type: word("media type", mime_type, |text| MimeType::parse(text).ok())?,
        size,
        file_name: file_name
            .map(|name| word("file name", name, |text| FileName::parse(text).ok()))
            .transpose()?,
    })
}
