//! A hook of the site's own that sees what a person wants to say before it is accepted; off unless it is configured.
//!
//! Its request is signed as Standard Webhooks says (`webhook-id`, `webhook-timestamp`, `webhook-signature`), so that any
//! of their libraries checks it. It answers `{"allow": true}` or `{"allow": false, "reason"?, "code"?}`. Whatever else it
//! does is a failure, and the configuration says what follows from that.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use tracing::warn;
use uuid::Uuid;

use crate::domain::chat::Kind;
use crate::domain::ids::{ChatId, MessageId, UserId};

/// More than any answer of the hook needs.
const MOST_BYTES: usize = 16 * 1024;
const MOST_REASON_CHARS: usize = 200;
const MOST_CODE_CHARS: usize = 64;
const REASON: &str = "This message was not accepted.";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModerationSettings {
    /// `MODERATION_URL`.
    pub url: Url,
    pub secret: SigningSecret,
    /// `MODERATION_TIMEOUT_MS`: for the whole of its answer; default 1000.
    pub timeout: Duration,
    pub on_failure: OnFailure,
    /// `MODERATION_KINDS`: of which chats; by default all that people write in.
    pub kinds: Vec<Kind>,
}

/// `MODERATION_ON_FAILURE`: what becomes of a message that the hook has not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Accept,
    Reject,
}

/// `MODERATION_SECRET`: `whsec_` and the key in base64, or any other text as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Standard Webhooks asks for 24 bytes at least.
    pub const LEAST_BYTES: usize = 24;

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = match text.strip_prefix("whsec_") {
            Some(encoded) => BASE64_STANDARD.decode(encoded).ok()?,
            None => text.as_bytes().to_vec(),
        };
        (key.len() >= Self::LEAST_BYTES).then_some(Self(key))
    }

    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What somebody wants to say.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Utterance<'a> {
    pub action: Action,
    pub chat_id: ChatId,
    pub kind: Kind,
    pub sender_id: &'a UserId,
    /// Of an edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    pub content: &'a str,
    pub attachments: Value,
    pub mentions: &'a [UserId],
    pub reply_to: Option<MessageId>,
    pub metadata: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Send,
    Edit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Refused(Refused),
    /// The hook did not judge, and the configuration says not to go on without it.
    Unknown,
}

/// Why, in words for the sender and perhaps a word for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: String,
    pub code: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    allow: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Moderation {
    settings: ModerationSettings,
    http: reqwest::Client,
}

impl Moderation {
    /// `http` must not follow redirects: they would carry what people say, signed, to a stranger.
    #[must_use]
    pub fn new(settings: ModerationSettings, http: reqwest::Client) -> Self {
        Self { settings, http }
    }

    /// Whether the hook wants to see what is said in chats of this kind.
    #[must_use]
    pub fn covers(&self, kind: Kind) -> bool {
        self.settings.kinds.contains(&kind)
    }

    /// Waits at most [`ModerationSettings::timeout`].
    pub async fn judge(&self, utterance: &Utterance<'_>) -> Verdict {
        match self.ask(utterance).await {
            Ok(Answer { allow: true, .. }) => Verdict::Allowed,
            Ok(answer) => Verdict::Refused(Refused {
                reason: answer
                    .reason
                    .and_then(|reason| shown(&reason))
                    .unwrap_or_else(|| REASON.to_owned()),
                code: answer.code.filter(|code| is_word(code)),
            }),
            Err(error) => {
                let on_failure = self.settings.on_failure;
                // The address may carry a key of the hook's.
                warn!(chat = %utterance.chat_id, ?on_failure, error = format!("{:#}", without_url(error)), "the moderation hook failed");
                match on_failure {
                    OnFailure::Accept => Verdict::Allowed,
                    OnFailure::Reject => Verdict::Unknown,
                }
            }
        }
    }

    async fn ask(&self, utterance: &Utterance<'_>) -> anyhow::Result<Answer> {
        let body = serde_json::to_string(utterance)?;
        let id = format!("msg_{}", Uuid::now_v7().simple());
        let timestamp = Utc::now().timestamp();
        let mut response = self
            .http
            .post(self.settings.url.clone())
            .timeout(self.settings.timeout)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.settings.secret.sign(&id, timestamp, &body))
            .body(body)
            .send()
            .await?;
        let status = response.status();
        ensure!(status.is_success(), "it answers {status}");
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            ensure!(
                answer.len() + chunk.len() <= MOST_BYTES,
                "its answer is over {MOST_BYTES} bytes"
            );
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).context("its answer is no verdict")
    }
}

fn without_url(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<reqwest::Error>() {
        Ok(error) => error.without_url().into(),
        Err(error) => error,
    }
}

/// A reason as one line for people: bounded, without control characters. `None` where nothing is left.
fn shown(reason: &str) -> Option<String> {
    let line: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST_REASON_CHARS)
        .collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn is_word(code: &str) -> bool {
    (1..=MOST_CODE_CHARS).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
