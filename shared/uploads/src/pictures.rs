//! What a model is shown of a conversation's attachments. An image that cannot be had costs the model a line of text, and
//! nobody their reply.
//!
//! Images are the only thing that a function holds of which a few fill its memory, and a worker answers many at once. So
//! those of one prompt have a limit together, and those of all prompts another: who comes late waits until a model has
//! taken the images of those before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use futures_util::{FutureExt, Stream, TryStreamExt};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use url::Url;

use super::Attachments;
use domain::text::AttachmentUrl;
use models::Image;

/// How long the images of a prompt are waited for, all together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the images of one prompt together. Gemini takes requests of 20 MB, and base64 makes 19 of these.
const MOST_OF_A_PROMPT: usize = 14 * 1024 * 1024;
/// Of the images of all prompts that wait for a model. Each is held once as it is and once in a request's base64, so they
/// take 117 MB of the 512 that a function has.
const MOST_AT_ONCE: usize = 48 * 1024 * 1024;
/// What stands for an image that there was, but that is not shown.
pub const AN_IMAGE: &str = "[an image]";
/// The same, of one that could not be read.
pub const UNREADABLE: &str = "[an image that could not be read]";
const UNSUPPORTED: &str = "[a file that is no PNG, JPEG, GIF or WebP image]";

/// What the bytes are is nothing that models are shown.
#[derive(Debug, thiserror::Error)]
#[error("it is no PNG, JPEG, GIF or WebP")]
struct Unsupported;

/// What became of one attachment.
#[derive(Debug)]
pub enum Shown {
    Image(Image),
    Note(String),
}

/// What a prompt shows of its attachments, in their order.
#[derive(Debug)]
pub struct Pictures {
    pub shown: Vec<Shown>,
    pub room: Room,
}

/// Room in memory that the images of a prompt take. To be kept as long as they are.
#[derive(Debug)]
pub struct Room {
    _taken: Option<OwnedSemaphorePermit>,
}

/// Room for the images of all prompts of this process, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_AT_ONCE)))
    }

    async fn take(&self, bytes: usize) -> Room {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        Room {
            // It is never closed.
            _taken: Arc::clone(&self.0).acquire_many_owned(permits).await.ok(),
        }
    }
}

impl Room {
    /// Gives back what turned out not to be needed.
    fn shrink_to(&mut self, bytes: usize) {
        if let Some(taken) = &mut self._taken {
            drop(taken.split(taken.num_permits().saturating_sub(bytes)));
        }
    }
}

/// Where an attachment is to be had.
enum Source {
    /// Of our bucket, where it is so many bytes at most.
    Bucket(usize),
    Web(Url),
    /// Nowhere.
    Note(String),
}

/// How much of a body is read.
#[derive(Clone, Copy)]
enum Most<'a> {
    Bytes(usize),
    /// That, and what the others of the prompt leave.
    Shared(usize, &'a AtomicUsize),
}

impl Attachments {
    /// The images that attachments show, the most important first, and a line for each that the model cannot be shown: a
    /// missing one, one that is too much beside those before it, or one of a host that is not ours to ask. `most`: how many
    /// bytes the provider takes of them all.
    pub async fn pictures(&self, attachments: &[&Value], most: usize) -> Pictures {
        let room_for_all = MOST_OF_A_PROMPT.min(most);
        let most = self.most_bytes();
        let mut left = room_for_all;
        let sources: Vec<_> = attachments
            .iter()
            .map(|attachment| match self.source(attachment) {
                Source::Bucket(bytes) if bytes > left => Source::Note(AN_IMAGE.to_owned()),
                Source::Bucket(bytes) => {
                    left -= bytes;
                    Source::Bucket(bytes)
                }
                source => source,
            })
            .collect();
        // Of those elsewhere nobody knows the size before they come: they share what is left.
        let elsewhere = sources.iter().filter(|source| matches!(source, Source::Web(_))).count();
        let elsewhere = most.saturating_mul(elsewhere).min(left);
        let mut room = self.memory.take(room_for_all - left + elsewhere).await;
        let shared = AtomicUsize::new(elsewhere);
        let deadline = Instant::now() + FETCH_TIMEOUT;
        // Boxed, for the compiler cannot tell that borrowing futures may move between threads.
        let looks = attachments.iter().zip(sources).map(|(attachment, source)| {
            let most = match &source {
                Source::Bucket(bytes) => Most::Bytes(*bytes),
                Source::Web(_) | Source::Note(_) => Most::Shared(most, &shared),
            };
            self.shown(attachment, source, most, deadline).boxed()
        });
        let shown = join_all(looks).await;
        room.shrink_to(shown.iter().map(Shown::bytes).sum());
        Pictures { shown, room }
    }

    /// Of one image.
    fn most_bytes(&self) -> usize {
        usize::try_from(self.config.max_bytes).unwrap_or(usize::MAX)
    }

    fn source(&self, attachment: &Value) -> Source {
        let url = attachment["url"].as_str().unwrap_or_default();
        match Url::parse(url).ok().filter(|url| url.scheme() == "https") {
            Some(web) if self.may_fetch_from(&web) => Source::Web(web),
            Some(_) => Source::Note(format!("[image: {url}]")),
            None => {
                // What was announced is what was signed for.
                let announced = attachment["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                let most = self.most_bytes();
                Source::Bucket(announced.unwrap_or(most).min(most))
            }
        }
    }

    async fn shown(&self, attachment: &Value, source: Source, most: Most<'_>, deadline: Instant) -> Shown {
        let fetched = timeout_at(deadline, async {
            match source {
                Source::Note(note) => Ok(Shown::Note(note)),
                Source::Web(web) => self.fetch_from_web(web, most).await.map(Shown::Image),
                Source::Bucket(_) => {
                    let url = attachment["url"].as_str().unwrap_or_default();
                    self.fetch_from_bucket(url, most).await.map(Shown::Image)
                }
            }
        });
        let fetched = fetched.await.context("it took too long").flatten();
        fetched.unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "an image cannot be shown to the model");
            let note = if error.is::<Unsupported>() {
                UNSUPPORTED
            } else {
                UNREADABLE
            };
            Shown::Note(note.to_owned())
        })
    }

    fn may_fetch_from(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.config.hosts.iter().any(|allowed| allowed == host)
    }

    async fn fetch_from_bucket(&self, url: &str, most: Most<'_>) -> anyhow::Result<Image> {
        let url = AttachmentUrl::parse(url).map_err(anyhow::Error::msg)?;
        let key = self.key_of(&url).context("it is not in our bucket")?;
        let bucket = self.bucket.as_ref().context("there is no bucket")?;
        let object = bucket.get(key).await?;
        image(most.read_of(object).await?)
    }

    async fn fetch_from_web(&self, url: Url, most: Most<'_>) -> anyhow::Result<Image> {
        // Addresses may hold secrets of their owners, and errors are logged.
        let answer = self.http.get(url).send().await.map_err(reqwest::Error::without_url)?;
        ensure!(answer.status() == reqwest::StatusCode::OK, "status {}", answer.status());
        image(most.read_of(answer).await?)
    }
}

impl Shown {
    fn bytes(&self) -> usize {
        match self {
            Self::Image(image) => image.bytes.len(),
            Self::Note(_) => 0,
        }
    }
}

impl Most<'_> {
    async fn read_of(self, answer: reqwest::Response) -> anyhow::Result<Bytes> {
        let length = answer.content_length();
        let parts = answer.bytes_stream();
        let parts = parts.map_err(|error| anyhow::Error::from(error.without_url()));
        self.read(length, parts).await
    }

    /// A whole body, unless it is over the limit, whatever it says of its length.
    async fn read(
        self,
        length: Option<u64>,
        parts: impl Stream<Item = anyhow::Result<Bytes>> + Send,
    ) -> anyhow::Result<Bytes> {
        let (Self::Bytes(most) | Self::Shared(most, _)) = self;
        let length = length.map(usize::try_from).transpose()?;
        ensure!(length.is_none_or(|length| length <= most), "it is over {most} bytes");
        // At once, where it is known: growing would hold it twice.
        let mut body = BytesMut::with_capacity(length.unwrap_or(0));
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.try_next().await? {
            ensure!(body.len() + part.len() <= most, "it is over {most} bytes");
            if let Self::Shared(_, left) = self {
                let has_room = left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(part.len())
                    })
                    .is_ok();
                ensure!(has_room, "it is too much beside the others");
            }
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
