//! `POST /api/chat-messages`

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, created, ok};
use capabilities::Reads;
use domain::ids::{MessageId, UserId};
use domain::message::MessageType;
use domain::notice::{NoticeDraft, Priority};
use domain::person::{Caller, CallerRole};
use domain::text::{ClientId, Content, Metadata, OrganisationId, TaskId};
use lambda_http::http::HeaderName;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use store::notices::NoticeOutcome;

use super::draft::types;
use super::{draft, tell};
use crate::openapi::Operation;

/// The field `key` as a header.
const KEY: &str = "idempotency-key";

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct NoticeSent {
    success: bool,
    /// Whether this call has pushed it: not where Pusher is not configured or did not take it, nor when it was sent before.
    pusher_sent: bool,
    database_stored: bool,
    message_id: MessageId,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoticeToSend {
    pub user_id: UserId,
    pub task_id: TaskId,
    #[schemars(rename = "type", with = "String", extend("enum" = types()))]
    pub message_type: MessageType,
    pub content: Content,
    pub data: Option<Metadata>,
    /// Whose task it is; that of the agent's token unless it is said.
    pub org_id: Option<OrganisationId>,
    /// `normal` unless it is said.
    pub priority: Option<Priority>,
    /// Your own name for it: a retry with the same one is the same notice of this task.
    pub key: Option<ClientId>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("sendNotice", "Tells one person of one task")
        .describe("For agents: tokens with `role: agent`.")
        .for_people()
        .header::<ClientId>("Idempotency-Key", "The field `key` as a header.")
        .reads::<NoticeToSend>()
        .answers::<NoticeSent>(201, "It is stored.")
        .answers::<NoticeSent>(200, "It was sent before by this key.")
        .refuses([
            Error::NotFound(""),
            Error::Forbidden(""),
            Error::Conflict(""),
            Error::key_reused("/key"),
        ])
}

pub async fn handle(reads: Reads, delivery: Delivery, queue: Queue, request: Request) -> Result<Response> {
    let agent = reads.caller(&request).await?;
    if agent.role != CallerRole::Agent {
        return Err(Error::Forbidden("Only agents send notices."));
    }
    let draft = draft(request.fields()?, &reads.settings)?;
    let draft = of_agent(with_key(draft, &request)?, &agent)?;
    let config = &reads.settings.people;
    let outcome = reads
        .store
        .send_notice(&draft, config.unknown, config.organisations)
        .await?;
    let notified = match outcome {
        NoticeOutcome::Sent(notified) => *notified,
        NoticeOutcome::KeyReused => return Err(Error::key_reused("/key")),
        // Whom another organisation has is none of this one's business.
        NoticeOutcome::NoSuchPerson | NoticeOutcome::BeyondOrganisation => return Err(Error::NotFound("person")),
        NoticeOutcome::OtherOrganisation => {
            return Err(Error::Conflict("This person's task belongs to another organisation."));
        }
    };
    let pushed = if notified.is_replay {
        None
    } else {
        tell(&delivery, &queue, &notified).await
    };
    let answer = NoticeSent {
        success: true,
        pusher_sent: pushed == Some(true),
        database_stored: true,
        message_id: notified.message.id,
    };
    if notified.is_replay {
        ok(&answer)
    } else {
        created(&answer)
    }
}

/// The key from the header, for senders who put it there.
fn with_key(draft: NoticeDraft, request: &Request) -> Result<NoticeDraft> {
    let Some(header) = request.header(HeaderName::from_static(KEY)) else {
        return Ok(draft);
    };
    // The draft of the header's standard has it in quotes.
    let text = header
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(header);
    let invalid = |detail: String| Error::Invalid(vec![FieldError::parameter("Idempotency-Key", detail)]);
    let key = ClientId::parse(text).map_err(invalid)?;
    match draft.key {
        Some(other) if other != key => Err(invalid("must be the same as key, or absent".to_owned())),
        _ => Ok(NoticeDraft {
            key: Some(key),
            ..draft
        }),
    }
}

/// An agent of an organisation speaks for that one alone.
fn of_agent(draft: NoticeDraft, agent: &Caller) -> Result<NoticeDraft> {
    let own = agent.org_id.as_deref().map(OrganisationId::parse).transpose();
    let own = own.map_err(|_| Error::Forbidden("Your token's org_id is not one that we take."))?;
    match (own, &draft.organisation) {
        (Some(own), Some(named)) if own != *named => Err(Error::Forbidden("You are an agent of another organisation.")),
        (Some(own), _) => Ok(NoticeDraft {
            organisation: Some(own),
            ..draft
        }),
        (None, _) => Ok(draft),
    }
}
