//! The bucket of uploads. People's devices send to it and read from it directly, by addresses that are signed here; only
//! what a model is shown passes through us ([`pictures`]).

mod config;
mod pictures;

pub use config::AttachmentConfig;
pub use pictures::{AN_IMAGE, Pictures, Room, Shown, UNREADABLE};

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;
use tracing::warn;

use domain::attachment::{UPLOAD_WITHIN, Upload};
use domain::ids::AttachmentId;
use domain::message::{Attachment, AttachmentType};
use domain::text::AttachmentUrl;
use foundation::{PartError as Error, causes};

/// How long an address that was given out shows its image.
const SHOWN_FOR: Duration = Duration::from_secs(5 * 60);
/// How long a message waits for S3 to say whether its images are there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long we wait for S3 to delete.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Attachments {
    config: AttachmentConfig,
    bucket: Option<Bucket>,
    http: reqwest::Client,
    memory: pictures::Memory,
}

#[derive(Clone, Debug)]
struct Bucket {
    name: String,
    client: Client,
}

/// Where and how an upload is sent.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedUpload {
    pub method: &'static str,
    pub url: String,
    /// To be sent as they are: the media type, and that nothing may lie there yet. The body must have the announced size,
    /// which is signed too.
    pub headers: BTreeMap<String, String>,
    pub expires_at: DateTime<Utc>,
}

/// Where an image can be seen.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    pub url: String,
    /// `null`: not soon.
    pub expires_at: Option<DateTime<Utc>>,
}

impl View {
    /// Of an image that is everybody's.
    #[must_use]
    pub fn on_the_web(url: &AttachmentUrl) -> Self {
        Self {
            url: url.as_str().to_owned(),
            expires_at: None,
        }
    }
}

impl Attachments {
    /// `http` must follow no redirects: they would lead away from the hosts that may be asked.
    #[must_use]
    pub fn new(config: &AttachmentConfig, aws: &SdkConfig, http: reqwest::Client) -> Self {
        let bucket = config.bucket.as_ref().map(|name| Bucket {
            name: name.clone(),
            client: Client::from_conf(Builder::from(aws).force_path_style(config.is_path_style).build()),
        });
        Self {
            config: config.clone(),
            bucket,
            http,
            memory: pictures::Memory::new(),
        }
    }

    /// What may be uploaded.
    #[must_use]
    pub fn config(&self) -> &AttachmentConfig {
        &self.config
    }

    /// An upload as it goes into a message.
    pub fn attachment(&self, upload: &Upload) -> Result<Attachment, Error> {
        Ok(Attachment {
            attachment_type: AttachmentType::Image,
            url: AttachmentUrl::of_object(&self.bucket()?.name, &upload.key()),
            mime_type: Some(upload.mime_type.clone()),
            size: Some(upload.size),
            file_name: upload.file_name.clone(),
        })
    }

    /// Which upload lies there, if it is one of our bucket.
    #[must_use]
    pub fn upload_at(&self, url: &AttachmentUrl) -> Option<AttachmentId> {
        self.key_of(url).and_then(Upload::id_of)
    }

    fn key_of<'a>(&self, url: &'a AttachmentUrl) -> Option<&'a str> {
        let (bucket, key) = url.object()?;
        (self.bucket.as_ref()?.name == bucket).then_some(key)
    }

    /// Lets a device send an upload once, of this type and size alone: what lies there already is not replaced (412).
    pub async fn signed_upload(&self, upload: &Upload) -> Result<SignedUpload, Error> {
        let bucket = self.bucket()?;
        let now = SystemTime::now();
        let request = bucket
            .client
            .put_object()
            .bucket(&bucket.name)
            .key(upload.key())
            .content_type(upload.mime_type.as_str())
            .content_length(upload.size)
            // A signed address is good for more than one request.
            .if_none_match("*")
            .presigned(signed_for(UPLOAD_WITHIN, now)?)
            .await
            .map_err(|error| Error::Unavailable(error.into()))?;
        Ok(SignedUpload {
            method: "PUT",
            url: request.uri().to_owned(),
            headers: to_be_set(&request),
            expires_at: DateTime::from(now + UPLOAD_WITHIN),
        })
    }

    /// Lets a browser show an object.
    pub async fn signed_view(
        &self,
        id: AttachmentId,
        mime_type: Option<&str>,
        file_name: Option<&str>,
    ) -> Result<View, Error> {
        let bucket = self.bucket()?;
        let now = SystemTime::now();
        let request = bucket
            .client
            .get_object()
            .bucket(&bucket.name)
            .key(Upload::key_of(id))
            .set_response_content_type(mime_type.map(str::to_owned))
            .response_content_disposition(disposition(file_name))
            .presigned(signed_for(SHOWN_FOR, now)?)
            .await
            .map_err(|error| Error::Unavailable(error.into()))?;
        Ok(View {
            url: request.uri().to_owned(),
            expires_at: Some(DateTime::from(now + SHOWN_FOR)),
        })
    }

    /// Which of these uploads were announced and never made, so far as S3 says so within [`LOOK_TIMEOUT`]. One that it says
    /// nothing of counts as made: while S3 is down or slow, people go on talking, and what is missing then is a line of text
    /// to the model and a broken image to people, as an image is that was deleted.
    pub async fn missing(&self, uploads: &[AttachmentId]) -> Vec<AttachmentId> {
        let Some(bucket) = &self.bucket else { return Vec::new() };
        let looks = uploads.iter().map(|id| async move {
            let look = bucket
                .client
                .head_object()
                .bucket(&bucket.name)
                .key(Upload::key_of(*id));
            match timeout(LOOK_TIMEOUT, look.send()).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Some(*id),
                Ok(Err(error)) => {
                    warn!(error = causes(&error), "S3 does not say whether an upload is there");
                    None
                }
                Err(_) => {
                    warn!("S3 took too long to say whether an upload is there");
                    None
                }
            }
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Whether there is a bucket.
    #[must_use]
    pub fn are_stored(&self) -> bool {
        self.bucket.is_some()
    }

    /// Deletes what was uploaded, at most 1,000 at once; what is not there is deleted, too.
    pub async fn delete(&self, uploads: &[AttachmentId]) -> anyhow::Result<()> {
        if uploads.is_empty() {
            return Ok(());
        }
        let bucket = self.bucket()?;
        let objects = uploads
            .iter()
            .map(|id| ObjectIdentifier::builder().key(Upload::key_of(*id)).build());
        let objects = Delete::builder()
            .set_objects(Some(objects.collect::<Result<_, _>>()?))
            .quiet(true)
            .build()?;
        let request = bucket
            .client
            .delete_objects()
            .bucket(&bucket.name)
            .delete(objects)
            .send();
        let answer = timeout(DELETE_TIMEOUT, request).await??;
        anyhow::ensure!(
            answer.errors().is_empty(),
            "S3 kept {} of {} objects",
            answer.errors().len(),
            uploads.len()
        );
        Ok(())
    }

    fn bucket(&self) -> Result<&Bucket, Error> {
        self.bucket
            .as_ref()
            .ok_or(Error::NotConfigured("Uploads are not set up here."))
    }
}

fn signed_for(duration: Duration, now: SystemTime) -> Result<PresigningConfig, Error> {
    PresigningConfig::builder()
        .start_time(now)
        .expires_in(duration)
        .build()
        .map_err(|error| Error::Broken(error.into()))
}

/// Every HTTP client tells the length of its body by itself, and browsers let nobody else.
fn to_be_set(request: &PresignedRequest) -> BTreeMap<String, String> {
    request
        .headers()
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// RFC 6266: shown in place, and saved under its owner's name for it.
fn disposition(file_name: Option<&str>) -> String {
    let Some(name) = file_name else {
        return "inline".to_owned();
    };
    // RFC 8187's attr-char, and no more.
    let encoded: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("inline; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests;
