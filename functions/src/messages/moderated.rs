//! Asks the site's moderation hook, where there is one, before anything is stored. No connection is held meanwhile.
//!
//! What was accepted once is not judged again: a retry of it gets its first answer. The hook may say no to a retry whose
//! first try is being stored at that moment, so whatever is not allowed is looked for once more.

use backtalk_http::Result;
use backtalk_http::error::Error;
use capabilities::{ModerationHook, Reads};
use domain::chat::Kind;
use domain::ids::{ChatId, MessageId, UserId};
use domain::message::{Draft, Edit};
use hooks::moderation::{Action, Utterance, Verdict};
use serde_json::{Map, Value, json};

/// What somebody is about to say.
#[derive(Clone, Copy)]
pub(super) enum Saying<'a> {
    New(&'a Draft),
    Changed(MessageId, &'a Edit),
}

pub(super) async fn moderated(
    reads: &Reads,
    hook: &ModerationHook,
    sender: &UserId,
    chat_id: ChatId,
    saying: Saying<'_>,
) -> Result<()> {
    let Some(moderation) = &hook.0 else {
        return Ok(());
    };
    let Some(kind) = saying.is_new(reads, sender, chat_id).await? else {
        return Ok(());
    };
    if !moderation.covers(kind) {
        return Ok(());
    }
    let refusal = match moderation.judge(&saying.as_utterance(sender, chat_id, kind)).await {
        Verdict::Allowed => return Ok(()),
        Verdict::Refused(refused) => Error::MessageRefused(refused),
        Verdict::Unknown => Error::ModerationUnavailable,
    };
    match saying.is_new(reads, sender, chat_id).await? {
        None => Ok(()),
        Some(_) => Err(refusal),
    }
}

impl Saying<'_> {
    /// In what kind of chat it would be new; `None` where there is nothing to judge.
    async fn is_new(self, reads: &Reads, sender: &UserId, chat_id: ChatId) -> store::Result<Option<Kind>> {
        match self {
            Self::New(draft) => reads.store.would_say(sender, chat_id, &draft.client_id).await,
            Self::Changed(message, edit) => reads.store.would_change(sender, chat_id, message, edit).await,
        }
    }

    fn as_utterance<'a>(&'a self, sender_id: &'a UserId, chat_id: ChatId, kind: Kind) -> Utterance<'a> {
        match self {
            Self::New(draft) => Utterance {
                action: Action::Send,
                chat_id,
                kind,
                sender_id,
                message_id: None,
                content: draft.text(),
                attachments: json!(draft.attachments),
                mentions: &draft.mentions,
                reply_to: draft.reply_to,
                metadata: draft.metadata.clone().into_value(),
            },
            Self::Changed(message_id, edit) => Utterance {
                action: Action::Edit,
                chat_id,
                kind,
                sender_id,
                message_id: Some(*message_id),
                content: edit.text(),
                attachments: json!([]),
                mentions: edit.mentions.as_deref().unwrap_or_default(),
                reply_to: None,
                metadata: Value::Object(Map::new()),
            },
        }
    }
}
