//! The bucket of uploads. People's devices send to it and read from it directly, by addresses that are signed here; only
//! what a model is shown passes through us ([`pictures`]).

mod bucket;
mod config;
mod pictures;

pub use config::AttachmentConfig;
pub use pictures::{AN_IMAGE, Pictures, Room, Shown, UNREADABLE};

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws::SdkConfig;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;
use tracing::warn;

use self::bucket::{Bucket, encoded};
use domain::attachment::{UPLOAD_WITHIN, Upload};
use domain::ids::AttachmentId;
use domain::message::{Attachment, AttachmentType};
use domain::text::AttachmentUrl;
use foundation::PartError as Error;

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
        let bucket = config.bucket.as_ref();
        let bucket = bucket.map(|name| Bucket::new(aws, name.clone(), config.is_path_style));
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
            url: AttachmentUrl::of_object(self.bucket()?.name(), &upload.key()),
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
        (self.bucket.as_ref()?.name() == bucket).then_some(key)
    }

    /// Lets a device send an upload once, of this type and size alone: what lies there already is not replaced (412).
    pub async fn signed_upload(&self, upload: &Upload) -> Result<SignedUpload, Error> {
        let now = SystemTime::now();
        let headers = BTreeMap::from([
            ("content-type".to_owned(), upload.mime_type.as_str().to_owned()),
            // A signed address is good for more than one request.
            ("if-none-match".to_owned(), "*".to_owned()),
        ]);
        let url = self
            .bucket()?
            .to_put(&upload.key(), &headers, upload.size, now, UPLOAD_WITHIN)
            .await
            .map_err(Error::Unavailable)?;
        Ok(SignedUpload {
            method: "PUT",
            url,
            headers,
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
        let now = SystemTime::now();
        let disposition = disposition(file_name);
        let mut shown_as = vec![("response-content-disposition", disposition.as_str())];
        shown_as.extend(mime_type.map(|mime_type| ("response-content-type", mime_type)));
        let url = self
            .bucket()?
            .to_get(&Upload::key_of(id), &shown_as, now, SHOWN_FOR)
            .await
            .map_err(Error::Unavailable)?;
        Ok(View {
            url,
            expires_at: Some(DateTime::from(now + SHOWN_FOR)),
        })
    }

    /// Which of these uploads were announced and never made, so far as S3 says so within [`LOOK_TIMEOUT`]. One that it says
    /// nothing of counts as made: while S3 is down or slow, people go on talking, and what is missing then is a line of text
    /// to the model and a broken image to people, as an image is that was deleted.
    pub async fn missing(&self, uploads: &[AttachmentId]) -> Vec<AttachmentId> {
        let Some(bucket) = &self.bucket else { return Vec::new() };
        let looks = uploads.iter().map(|id| async move {
            let key = Upload::key_of(*id);
            match timeout(LOOK_TIMEOUT, bucket.has(&key)).await {
                Ok(Ok(true)) => None,
                Ok(Ok(false)) => Some(*id),
                Ok(Err(error)) => {
                    warn!(
                        error = format!("{error:#}"),
                        "S3 does not say whether an upload is there"
                    );
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
        let keys: Vec<_> = uploads.iter().map(|id| Upload::key_of(*id)).collect();
        let kept = timeout(DELETE_TIMEOUT, bucket.delete(&keys)).await??;
        anyhow::ensure!(kept == 0, "S3 kept {kept} of {} objects", uploads.len());
        Ok(())
    }

    fn bucket(&self) -> Result<&Bucket, Error> {
        self.bucket
            .as_ref()
            .ok_or(Error::NotConfigured("Uploads are not set up here."))
    }
}

/// RFC 6266: shown in place, and saved under its owner's name for it.
fn disposition(file_name: Option<&str>) -> String {
    let Some(name) = file_name else {
        return "inline".to_owned();
    };
    // Less than RFC 8187's attr-char stays as it is.
    format!("inline; filename*=UTF-8''{}", encoded(name))
}

#[cfg(test)]
mod tests;
