//! A hook of the site's own that sees what a person wants to say before it is accepted; off unless it is configured.
//!
//! Its request is signed as Standard Webhooks says (`webhook-id`, `webhook-timestamp`, `webhook-signature`), so that any
//! of their libraries checks it. It answers `{"allow": true}` or `{"allow": false, "reason"?, "code"?}`. Whatever else it
//! does is a failure, and the configuration says what follows from that.

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::Utc;
use foundation::environment::{ConfigError, Environment};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;
use uuid::Uuid;

use crate::signing::SigningSecret;

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId, UserId};
use domain::moderation::Refused;

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

impl ModerationSettings {
    pub fn read(env: &Environment<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(address) = env.optional("MODERATION_URL") else {
            env.refuse_unheeded("MODERATION_SECRET", "MODERATION_URL is not: nobody would be asked")?;
            return Ok(None);
        };
        let url = Url::parse(&address)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()));
        let secret = env.required(
            "MODERATION_SECRET",
            "the secret that signs what MODERATION_URL is asked",
        )?;
        let kinds = env
            .optional("MODERATION_KINDS")
            .unwrap_or_else(|| "direct,channel,assistant,post".into());
        let kinds = kinds.split(',').map(|kind| {
            let kind = kind.trim();
            Kind::parse(kind)
                .ok_or_else(|| ConfigError::new(format!("MODERATION_KINDS has {kind:?}, which is no kind of chat.")))
        });
        Ok(Some(Self {
            // Not repeated: it may carry a key.
            url: url.ok_or_else(|| ConfigError::new("MODERATION_URL is not an http:// or https:// address."))?,
            secret: SigningSecret::parse(&secret).ok_or_else(|| {
                ConfigError::new(format!(
                    "MODERATION_SECRET must be whsec_ and a key in base64, or a text, of {} bytes at least.",
                    SigningSecret::LEAST_BYTES
                ))
            })?,
            timeout: Duration::from_millis(env.parsed("MODERATION_TIMEOUT_MS", 1000)?),
            on_failure: match env.optional("MODERATION_ON_FAILURE").as_deref() {
                None | Some("accept") => OnFailure::Accept,
                Some("reject") => OnFailure::Reject,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "MODERATION_ON_FAILURE is {other:?}: use accept or reject."
                    )));
                }
            },
            kinds: kinds.collect::<Result<_, _>>()?,
        }))
    }
}

/// `MODERATION_ON_FAILURE`: what becomes of a message that the hook has not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Accept,
    Reject,
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
