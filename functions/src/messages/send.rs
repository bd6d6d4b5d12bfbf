//! `POST /api/chat/{chatId}/messages`

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Fields, Request, Response, Result, StreamFormat, created, event_stream, ok, parsed};
use capabilities::{Models, ModerationHook, Reads};
use domain::event::{Event, Outgoing};
use domain::ids::{MessageId, UserId};
use domain::limits::Limits;
use domain::message::{Attachment, AttachmentType, Draft, Message};
use domain::reply::ReplyHandle;
use domain::text::{AttachmentUrl, ClientId, Content, ContentOrNone, FileName, Metadata, MimeType};
use foundation::faults;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use store::messages::{SendOutcome, Sent};
use store::replies::Which;
use uploads::Attachments;

use super::attachments::with_own_uploads;
use super::mentions::{named, not_members};
use super::moderated::{Saying, moderated};
use super::ui_message::{self, Asked, Places};
use crate::openapi::{Operation, StreamedReply, message_refused, quota_exceeded};
use crate::replies::engine::{Endings, Engine};
use crate::replies::regenerate::Regenerate;
use crate::replies::stream::{Streamed, stream};
use crate::replies::terms::terms;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageSent<'a> {
    message: &'a Message,
    reply: Option<ReplyHandle>,
    /// `null`: Pusher is not configured, or there was nobody to tell.
    pusher_sent: Option<bool>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageToSend {
    /// Your own name for it: a retry with the same one is the same message, and must ask for the same.
    pub client_id: ClientId,
    /// Required unless there are attachments: then it may be absent or blank.
    pub content: Option<ContentOrNone>,
    #[schemars(length(max = Limits::DEFAULT.attachments))]
    pub attachments: Option<Vec<AttachmentToSend>>,
    /// Who is named; members of a channel or direct chat.
    #[schemars(length(max = Limits::DEFAULT.mentions), extend("uniqueItems" = true))]
    pub mentions: Option<Vec<UserId>>,
    /// A message of this chat.
    pub reply_to: Option<MessageId>,
    pub metadata: Option<Metadata>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachmentToSend {
    #[schemars(rename = "type")]
    pub attachment_type: AttachmentType,
    pub url: AttachmentUrl,
    /// Of an upload, what was announced stands.
    pub mime_type: Option<MimeType>,
    #[schemars(range(min = 0, max = i64::MAX))]
    pub size: Option<i64>,
    pub file_name: Option<FileName>,
}

/// Our own body, or in its dialect that of Vercel's AI SDK.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub enum SendBody {
    Native(MessageToSend),
    AiSdk(ui_message::UiMessages),
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    sending("sendMessage", "Says something in a chat")
}

/// The same by the path that frontends of one assistant know.
#[must_use]
pub fn operation_of_the_singular() -> Operation {
    let summary = "Says something in a chat: the same as `sendMessage`";
    sending("sendMessageToAssistant", summary)
}

fn sending(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .for_people()
        .in_chat()
        .in_dialect()
        .reads::<SendBody>()
        .answers::<MessageSent<'_>>(201, "It is stored. In AI chats the answer comes as events.")
        .answers::<MessageSent<'_>>(200, "It was sent before by this `clientId`; the same message again.")
        .streams::<StreamedReply>(
            "With `Accept: text/event-stream` in an AI chat, the answer as it is written: `data:` is \
            an Event in one line, and `reply.ended` always the last.",
        )
        .refuses([
            Error::NotFound(""),
            Error::Conflict(""),
            Error::Blocked,
            Error::ReplyRunning,
            Error::ModerationUnavailable,
            message_refused(),
            Error::key_reused("/clientId"),
            Error::NotUploaded(Vec::new()),
            quota_exceeded(),
        ])
}

pub async fn handle(
    reads: Reads,
    delivery: Delivery,
    queue: Queue,
    models: Models,
    uploads: Attachments,
    hook: ModerationHook,
    request: Request,
) -> Result<Response> {
    let sender = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let stream_format = request.stream_format()?;
    let endings = Endings::for_caller(&reads, delivery, queue, models.policy.clone());
    let engine = Engine::new(endings, models, uploads, reads.deadline());
    let (fields, places) = match asked(&request, stream_format)? {
        Asked::ToSend { fields, places } => (fields, places),
        Asked::ToRegenerate { named, client_id } => {
            let regenerate = Regenerate {
                which: named.as_deref().map_or(Which::Newest, Which::Named),
                client_id,
                streamed: Some(stream_format),
            };
            return regenerate.answered(engine, reads, &request, sender, chat_id).await;
        }
    };
    let draft = draft(fields, &reads).map_err(|error| places.restored(error))?;
    let draft = with_own_uploads(&reads, &engine.uploads, &sender, chat_id, draft)
        .await
        .map_err(|error| places.restored(error))?;
    let wants_stream = stream_format == StreamFormat::UiMessageStream || request.accepts_event_stream();
    let claim_for = wants_stream.then_some(reads.settings.replies.lease);

    moderated(&reads, &hook, &sender.id, chat_id, Saying::New(&draft)).await?;
    let terms = terms(&reads.settings, &engine.policy, sender.org_id.as_deref());
    let sent = match reads
        .store
        .send_message(&sender, chat_id, &draft, claim_for, &terms)
        .await?
    {
        SendOutcome::Sent(sent) => *sent,
        SendOutcome::NothingToReplyTo => {
            return Err(Error::Invalid(vec![FieldError::at(
                "/replyTo",
                "replyTo must be a message of this chat",
            )]));
        }
        SendOutcome::NotMembers(strangers) => return Err(not_members(&strangers)),
        SendOutcome::Blocked => return Err(Error::Blocked),
        SendOutcome::Busy => return Err(Error::ReplyRunning),
        SendOutcome::Exhausted(exhausted) => return Err(Error::QuotaExceeded(exhausted)),
        SendOutcome::KeyReused => return Err(places.restored(Error::key_reused("/clientId"))),
        SendOutcome::ClientIdTaken => return Err(Error::Conflict("This clientId was used before you joined anew.")),
        SendOutcome::NoSuchChat => return Err(Error::NotFound("chat")),
    };
    faults::point("sent", chat_id);
    if let Some(reply) = sent.reply.filter(|_| wants_stream) {
        let (reader, response) = event_stream(stream_format);
        let request_id = request.id().to_owned();
        // A task of its own: the reply outlives this response, whatever its reader does.
        tokio::spawn(telemetry::in_current_request(async move {
            reader.send(&Event::message_created(&sent.message));
            let streamed = Streamed {
                chat_id,
                reply: reply.id,
                claim: sent.claim.clone(),
            };
            tokio::join!(
                tell(&engine, &sent),
                stream(&engine, &reads, &sender.id, &streamed, &reader, &request_id)
            );
        }));
        return Ok(response);
    }
    let pusher_sent = tell(&engine, &sent).await;
    let answer = MessageSent {
        message: &sent.message,
        reply: sent.reply,
        pusher_sent,
    };
    if sent.is_replay { ok(&answer) } else { created(&answer) }
}

/// Wakes the worker and tells the chat's people, side by side. Whether Pusher took it.
async fn tell(engine: &Engine, sent: &Sent) -> Option<bool> {
    let chat = sent.message.chat_id;
    let mut news = sent
        .withheld
        .outgoing(&sent.message, &sent.audience, Event::message_created);
    news.extend(sent.replaced.iter().map(|ended| Outgoing {
        event: Event::reply_ended(chat, ended),
        audience: sent.audience.clone(),
    }));
    let wakes: Vec<_> = sent.wake.iter().chain(&sent.webhooks).copied().collect();
    let (_woken, pushed) = tokio::join!(engine.queue.wake(&wakes), engine.delivery.publish(&news));
    pushed
}

/// What the body asks for, in the client's dialect.
fn asked(request: &Request, stream_format: StreamFormat) -> Result<Asked> {
    match stream_format {
        StreamFormat::UiMessageStream => ui_message::read(request),
        StreamFormat::Events => Ok(Asked::ToSend {
            fields: request.fields()?,
            places: Places::default(),
        }),
    }
}

fn draft(mut fields: Fields, reads: &Reads) -> Result<Draft> {
    let limits = &reads.settings.limits;
    let client_id = fields.required("clientId", |text: String| ClientId::parse(&text));
    let metadata = fields.optional("metadata", |object: Map<String, Value>| {
        Metadata::parse(object, limits.metadata_bytes)
    });
    let reply_to = fields.optional("replyTo", |text: String| {
        MessageId::parse(&text).ok_or_else(|| "must be the id of a message, a UUID".to_owned())
    });
    let mentions = fields.list("mentions", limits.mentions, named());
    let attachments = fields.objects("attachments", limits.attachments, attachment);
    // An image needs no words.
    let content = if attachments.is_empty() {
        fields.required("content", |text: String| Content::parse(&text, limits.content_bytes))
    } else {
        let content = fields.optional("content", |text: String| Content::or_none(&text, limits.content_bytes));
        content.flatten()
    };
    fields.finish()?;
    Ok(Draft {
        client_id: parsed(client_id),
        content,
        attachments,
        mentions,
        reply_to,
        metadata: metadata.unwrap_or_default(),
    })
}

fn attachment(fields: &mut Fields) -> Option<Attachment> {
    let attachment_type = fields.required("type", |text: String| {
        AttachmentType::parse(&text).ok_or_else(|| "must be image".to_owned())
    });
    let url = fields.required("url", |text: String| AttachmentUrl::parse(&text));
    let mime_type = fields.optional("mimeType", |text: String| MimeType::parse(&text));
    let size = fields.optional("size", |bytes: i64| {
        if bytes >= 0 {
            Ok(bytes)
        } else {
            Err("must be 0 or more bytes".to_owned())
        }
    });
    let file_name = fields.optional("fileName", |text: String| FileName::parse(&text));
    Some(Attachment {
        attachment_type: attachment_type?,
        url: url?,
        mime_type,
        size,
        file_name,
    })
}
