//! `POST /api/attachments`: announces an upload. The bytes go from the device to S3, by the signed address in the answer.

use backtalk_http::error::Error;
use backtalk_http::{Fields, Request, Response, Result, created, parsed};
use capabilities::Reads;
use domain::attachment::Upload;
use domain::ids::AttachmentId;
use domain::message::{Attachment, AttachmentType};
use domain::text::{FileName, MimeType};
use schemars::JsonSchema;
use serde::Serialize;
use uploads::{AttachmentConfig, Attachments, SignedUpload};

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AnnouncedUpload")]
struct Announced {
    /// As it goes into a message.
    attachment: Attachment,
    upload: SignedUpload,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachmentToUpload {
    #[schemars(rename = "type")]
    pub attachment_type: AttachmentType,
    /// By default PNG, JPEG, GIF and WebP are taken.
    pub mime_type: MimeType,
    /// In bytes; by default 5 MiB are the most.
    #[schemars(range(min = 1, max = i64::MAX))]
    pub size: i64,
    pub file_name: Option<FileName>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("createAttachment", "Announces an upload")
        .for_people()
        .reads::<AttachmentToUpload>()
        .answers::<Announced>(
            201,
            "The attachment as it goes into a message, and where and how to send the file.",
        )
        .refuses([Error::NotConfigured("")])
}

pub async fn handle(reads: Reads, uploads: Attachments, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let upload = upload(request.fields()?, uploads.config())?;
    let signed = uploads.signed_upload(&upload).await?;
    reads.store.upsert_user(&caller).await?;
    reads.store.announce_upload(&caller.id, &upload).await?;
    created(&Announced {
        attachment: uploads.attachment(&upload)?,
        upload: signed,
    })
}

fn upload(mut fields: Fields, config: &AttachmentConfig) -> Result<Upload> {
    fields.required("type", |text: String| {
        AttachmentType::parse(&text).ok_or_else(|| "must be image".to_owned())
    });
    let mime_type = fields.required("mimeType", |text: String| {
        let mime_type = MimeType::parse(&text)?;
        if config.types.contains(&mime_type) {
            Ok(mime_type)
        } else {
            let types: Vec<_> = config.types.iter().map(MimeType::as_str).collect();
            Err(format!("must be one of {}", types.join(", ")))
        }
    });
    let size = fields.required("size", |bytes: i64| {
        if (1..=config.max_bytes).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("must be 1 to {} bytes", config.max_bytes))
        }
    });
    let file_name = fields.optional("fileName", |text: String| FileName::parse(&text));
    fields.finish()?;
    Ok(Upload {
        id: AttachmentId::fresh(),
        mime_type: parsed(mime_type),
        size: parsed(size),
        file_name,
    })
}
