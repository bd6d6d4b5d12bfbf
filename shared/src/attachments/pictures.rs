//! What a model is shown of a message's attachments. An image that cannot be had costs the model a line of text, and
//! nobody their reply.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;
use url::Url;

use super::{Attachments, Bucket};
use crate::domain::text::AttachmentUrl;
use crate::models::Image;

/// How long one image is waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Fetched side by side. A function's memory is small, and an image is not.
const AT_ONCE: usize = 4;
const UNREADABLE: &str = "[an image that could not be read]";
const UNSUPPORTED: &str = "[a file that is no PNG, JPEG, GIF or WebP image]";

/// What the bytes are is nothing that models are shown.
#[derive(Debug, thiserror::Error)]
#[error("it is no PNG, JPEG, GIF or WebP")]
struct Unsupported;

/// What became of one attachment.
enum Shown {
    Image(Image),
    Note(String),
}

impl Attachments {
    /// The images that a message's attachments show, and a line for each that the model cannot be shown: a missing one, or
    /// one of a host that is not ours to ask.
    pub async fn for_model(&self, attachments: &Value) -> (Vec<Image>, Vec<String>) {
        let all = attachments.as_array().map(Vec::as_slice).unwrap_or_default();
        // Boxed, for the compiler cannot tell that a stream of borrowing futures may move between threads.
        let looks: Vec<_> = all.iter().map(|attachment| self.shown(attachment).boxed()).collect();
        let shown: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        let mut images = Vec::new();
        let mut notes = Vec::new();
        for one in shown {
            match one {
                Shown::Image(image) => images.push(image),
                Shown::Note(note) => notes.push(note),
            }
        }
        (images, notes)
    }

    async fn shown(&self, attachment: &Value) -> Shown {
        let url = attachment["url"].as_str().unwrap_or_default();
        let web = Url::parse(url).ok().filter(|url| url.scheme() == "https");
        if let Some(web) = &web
            && !self.may_fetch_from(web)
        {
            return Shown::Note(format!("[image: {url}]"));
        }
        let fetched = timeout(FETCH_TIMEOUT, async {
            match web {
                Some(web) => self.fetch_from_web(web).await,
                None => self.fetch_from_bucket(url).await,
            }
        });
        let fetched = fetched.await.context("it took too long").flatten();
        match fetched {
            Ok(image) => Shown::Image(image),
            Err(error) => {
                warn!(error = format!("{error:#}"), "an image cannot be shown to the model");
                let note = if error.is::<Unsupported>() {
                    UNSUPPORTED
                } else {
                    UNREADABLE
                };
                Shown::Note(note.to_owned())
            }
        }
    }

    fn may_fetch_from(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.config.hosts.iter().any(|allowed| allowed == host)
    }

    async fn fetch_from_bucket(&self, url: &str) -> anyhow::Result<Image> {
        let url = AttachmentUrl::parse(url).map_err(anyhow::Error::msg)?;
        let key = self.key_of(&url).context("it is not in our bucket")?;
        let Bucket { name, client } = self.bucket.as_ref().context("there is no bucket")?;
        let object = client.get_object().bucket(name).key(key).send().await?;
        let length = object.content_length().and_then(|length| u64::try_from(length).ok());
        let parts = stream::unfold(object.body, |mut body| async move {
            let part = body.next().await?;
            Some((part.map_err(anyhow::Error::from), body))
        });
        image(self.limited(length, parts).await?)
    }

    async fn fetch_from_web(&self, url: Url) -> anyhow::Result<Image> {
        // Addresses may hold secrets of their owners, and errors are logged.
        let answer = self.http.get(url).send().await.map_err(reqwest::Error::without_url)?;
        ensure!(answer.status() == reqwest::StatusCode::OK, "status {}", answer.status());
        let length = answer.content_length();
        let parts = answer
            .bytes_stream()
            .map_err(|error| anyhow::Error::from(error.without_url()));
        image(self.limited(length, parts).await?)
    }

    /// A whole body, unless it is over the limit, whatever it says of its length.
    async fn limited(
        &self,
        length: Option<u64>,
        parts: impl Stream<Item = anyhow::Result<Bytes>> + Send,
    ) -> anyhow::Result<Bytes> {
        let most = usize::try_from(self.config.max_bytes).unwrap_or(usize::MAX);
        let fits = |length: usize| length <= most;
        ensure!(
            length.is_none_or(|length| usize::try_from(length).is_ok_and(fits)),
            "it is over {most} bytes"
        );
        let mut body = BytesMut::new();
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.try_next().await? {
            ensure!(fits(body.len() + part.len()), "it is over {most} bytes");
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }
}

/// An image of the kind that its bytes are, whatever its sender or its host says: phones call a JPEG a PNG, and hosts call
/// either a stream of bytes.
fn image(bytes: Bytes) -> anyhow::Result<Image> {
    let mime_type = sniffed(&bytes).ok_or(Unsupported)?.to_owned();
    Ok(Image { mime_type, bytes })
}

/// What the first bytes of a file say (WHATWG MIME Sniffing, section 6.1).
fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
