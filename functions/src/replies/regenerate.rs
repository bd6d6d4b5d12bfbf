//! `POST /api/chat/{chatId}/regenerate`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, StreamFormat, created, event_stream, ok};
use capabilities::{Models, Reads};
use domain::ids::{ChatId, MessageId};
use domain::person::Caller;
use domain::reply::ReplyHandle;
use domain::text::ClientId;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use store::replies::{Regeneration, Which};
use uploads::Attachments;

use super::engine::{Endings, Engine};
use super::stream::{Streamed, stream};
use super::terms::terms;
use crate::openapi::{Operation, StreamedReply, quota_exceeded};

#[derive(JsonSchema, Serialize)]
struct ReplyRegenerated {
    reply: ReplyHandle,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnswerToWriteAgain {
    /// The newest one unless it is said.
    pub message_id: Option<MessageId>,
    /// Your own name for this wish: a retry with the same one is the same, for as long as the answer is there.
    pub client_id: Option<ClientId>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("regenerateReply", "Has an answer written again")
        .for_people()
        .in_chat()
        .in_dialect()
        .may_read::<AnswerToWriteAgain>()
        .answers::<ReplyRegenerated>(201, "It will be; it comes as events.")
        .answers::<ReplyRegenerated>(200, "It was asked for before by this `clientId`.")
        .streams::<StreamedReply>("With `Accept: text/event-stream`, the answer as it is written.")
        .refuses([
            Error::NotFound(""),
            Error::ReplyRunning,
            Error::key_reused("/clientId"),
            quota_exceeded(),
        ])
}

pub async fn handle(
    reads: Reads,
    delivery: Delivery,
    queue: Queue,
    models: Models,
    uploads: Attachments,
    request: Request,
) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let stream_format = request.stream_format()?;
    let mut fields = request.fields_or_none()?;
    let message = fields.optional("messageId", |text: String| {
        MessageId::parse(&text).ok_or_else(|| "must be the id of an answer, a UUID".to_owned())
    });
    let client_id = fields.optional("clientId", |text: String| ClientId::parse(&text));
    fields.finish()?;
    let wants_stream = stream_format == StreamFormat::UiMessageStream || request.accepts_event_stream();
    let regenerate = Regenerate {
        which: message.map_or(Which::Newest, Which::Answer),
        client_id,
        streamed: wants_stream.then_some(stream_format),
    };
    let endings = Endings::for_caller(&reads, delivery, queue, models.policy.clone());
    let engine = Engine::new(endings, models, uploads, reads.deadline());
    regenerate.answered(engine, reads, &request, caller, chat_id).await
}

/// Which answer is to be written again, and how the request for it is answered.
pub(crate) struct Regenerate<'a> {
    pub(crate) which: Which<'a>,
    pub(crate) client_id: Option<ClientId>,
    /// In which dialect the new answer streams in the response, if it does.
    pub(crate) streamed: Option<StreamFormat>,
}

impl Regenerate<'_> {
    pub(crate) async fn answered(
        self,
        engine: Engine,
        reads: Reads,
        request: &Request,
        caller: Caller,
        chat_id: ChatId,
    ) -> Result<Response> {
        let claim_for = self.streamed.map(|_| reads.settings.replies.lease);
        let terms = terms(&engine.settings, &engine.policy, caller.org_id.as_deref());
        let regeneration = reads
            .store
            .regenerate_reply(&caller, chat_id, self.which, self.client_id.as_ref(), claim_for, &terms)
            .await?;
        let (reply, claim, wake, is_new) = match regeneration {
            Regeneration::Opened(reopened) => (reopened.reply, reopened.claim, Some(reopened.wake), true),
            Regeneration::Known(reply) => (reply, None, None, false),
            Regeneration::KeyReused => return Err(Error::key_reused("/clientId")),
            Regeneration::Busy => return Err(Error::ReplyRunning),
            Regeneration::Exhausted(exhausted) => return Err(Error::QuotaExceeded(exhausted)),
            Regeneration::NothingToRegenerate => return Err(Error::NotFound("answer that could be written again")),
            Regeneration::NoSuchChat => return Err(Error::NotFound("chat")),
        };
        if let Some(stream_format) = self.streamed {
            let (reader, response) = event_stream(stream_format);
            let request_id = request.id().to_owned();
            // A task of its own: the reply outlives this response, whatever its reader does.
            tokio::spawn(telemetry::in_current_request(async move {
                let streamed = Streamed {
                    chat_id,
                    reply: reply.id,
                    claim,
                };
                tokio::join!(
                    engine.queue.wake(wake.as_slice()),
                    stream(&engine, &reads, &caller.id, &streamed, &reader, &request_id)
                );
            }));
            return Ok(response);
        }
        engine.queue.wake(wake.as_slice()).await;
        let answer = ReplyRegenerated { reply };
        if is_new { created(&answer) } else { ok(&answer) }
    }
}
