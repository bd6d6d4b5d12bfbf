//! A notice that an agent has put on the queue. Whoever may put messages there is trusted as an agent of any organisation.

use backtalk_http::Fields;
use backtalk_http::error::Error;
use domain::notice::NoticeDraft;
use domain::text::ClientId;
use serde_json::{Map, Value};
use store::notices::NoticeOutcome;
use tracing::{error, info};

use crate::notices::{draft, tell};

use crate::replies::engine::Engine;

/// Why a notice is not stored.
#[derive(Debug, PartialEq)]
pub(super) enum Failed {
    /// It may be, when the message comes again.
    ForNow,
    ForGood(String),
}

/// Stores a notice, and tells of it. SQS may bring a message twice: without a key of the sender's, the message's own id is
/// one.
pub(super) async fn run(engine: &Engine, message_id: &str, notice: Map<String, Value>) -> Result<(), Failed> {
    let draft = draft(Fields::of_object(notice), &engine.settings).map_err(|error| Failed::ForGood(reason(&error)))?;
    let draft = NoticeDraft {
        key: draft.key.or_else(|| ClientId::parse(&format!("sqs:{message_id}")).ok()),
        ..draft
    };
    let config = &engine.settings.people;
    let outcome = engine
        .store
        .send_notice(&draft, config.unknown, config.organisations)
        .await;
    match outcome {
        Ok(NoticeOutcome::Sent(notified)) => {
            if !notified.is_replay {
                let pushed = tell(&engine.delivery, &engine.queue, &notified).await;
                info!(sqs_message = message_id, chat = %notified.message.chat_id, ?pushed, "a notice came by the queue");
            }
            Ok(())
        }
        Ok(NoticeOutcome::KeyReused) => Err(Failed::ForGood(
            "its key was used before, for another notice of this task".to_owned(),
        )),
        Ok(NoticeOutcome::NoSuchPerson) => Err(Failed::ForGood("there is no such person".to_owned())),
        Ok(NoticeOutcome::BeyondOrganisation) => {
            Err(Failed::ForGood("the person is of another organisation".to_owned()))
        }
        Ok(NoticeOutcome::OtherOrganisation) => Err(Failed::ForGood(
            "the person's task belongs to another organisation".to_owned(),
        )),
        Err(error) => {
            error!(sqs_message = message_id, %error, "a notice is not stored");
            Err(Failed::ForNow)
        }
    }
}

/// Which fields are wrong.
fn reason(error: &Error) -> String {
    match error {
        Error::Invalid(errors) => {
            let details: Vec<_> = errors.iter().map(|error| error.detail.as_str()).collect();
            details.join("; ")
        }
        other => other.to_string(),
    }
}
