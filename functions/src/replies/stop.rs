//! `POST /api/chat/{chatId}/stop`

use std::time::Duration;

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use domain::ids::{ChatId, MessageId, UserId};
use domain::reply::ReplyState;
use models::assistants::ReplyPolicy;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::engine::Endings;
use super::write::{Attempt, stop_seized};
use crate::openapi::Operation;

/// A writer looks for our wish three times a second. One that has not obeyed by then is gone, or hangs: the reply is taken
/// from it, and ends with what is stored.
const WRITER_OBEYS_WITHIN: Duration = Duration::from_millis(700);
const LOOK_EVERY: Duration = Duration::from_millis(60);

#[derive(JsonSchema, Serialize)]
struct RepliesStopped {
    /// Ids of the replies that are over by this. Empty where nothing ran, or what ran was complete before.
    stopped: Vec<MessageId>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplyToStop {
    /// Whatever is being written or waits unless it is said.
    pub message_id: Option<MessageId>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("stopReply", "Stops an answer")
        .describe("What was written stays.")
        .for_people()
        .in_chat()
        .may_read::<ReplyToStop>()
        .answers::<RepliesStopped>(200, "What is over by this.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(
    reads: Reads,
    delivery: Delivery,
    queue: Queue,
    policy: ReplyPolicy,
    request: Request,
) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut fields = request.fields_or_none()?;
    let reply = fields.optional("messageId", |text: String| {
        MessageId::parse(&text).ok_or_else(|| "must be the id of a message, a UUID".to_owned())
    });
    fields.finish()?;

    let stopping = reads
        .store
        .stop_replies(&caller.id, chat_id, reply)
        .await?
        .ok_or(Error::NotFound("chat"))?;
    let news: Vec<_> = stopping
        .stopped
        .iter()
        .map(|ended| Outgoing {
            event: Event::reply_ended(chat_id, ended),
            audience: stopping.audience.clone(),
        })
        .collect();
    let endings = Endings::for_caller(&reads, delivery, queue, policy);
    let mut stopped: Vec<_> = stopping.stopped.iter().map(|ended| ended.message_id).collect();
    let (_woken, _pushed, running) = tokio::join!(
        endings.queue.wake(stopping.wake.as_slice()),
        endings.delivery.publish(&news),
        async {
            match stopping.asked {
                Some(reply) => stop_running(&endings, &caller.id, chat_id, reply).await,
                None => Ok(None),
            }
        }
    );
    stopped.extend(running?);
    ok(&RepliesStopped { stopped })
}

/// Waits for the writer to stop, and stops in its place if it does not. The reply, if it was stopped and not completed.
async fn stop_running(endings: &Endings, me: &UserId, chat: ChatId, reply: MessageId) -> Result<Option<MessageId>> {
    let until = Instant::now() + WRITER_OBEYS_WITHIN;
    loop {
        match endings.store.reply_progress(me, chat, reply, 0, usize::MAX).await? {
            None => return Ok(None),
            Some(progress) if progress.state.is_over() => {
                return Ok((progress.state == ReplyState::Stopped).then_some(reply));
            }
            Some(_) if Instant::now() < until => sleep(LOOK_EVERY).await,
            Some(_) => break,
        }
    }
    let lease = endings.settings.replies.lease;
    let Some(seized) = endings.store.seize_stopped_reply(me, chat, reply, lease).await? else {
        // It ended in this very moment.
        let progress = endings.store.reply_progress(me, chat, reply, 0, usize::MAX).await?;
        return Ok(progress
            .filter(|progress| progress.state == ReplyState::Stopped)
            .map(|_| reply));
    };
    match stop_seized(endings, seized).await {
        Attempt::Over { wake, .. } => {
            endings.queue.wake(wake.as_slice()).await;
            Ok(Some(reply))
        }
        Attempt::Broken(error) => Err(error.into()),
        Attempt::Requeued { .. } | Attempt::PutBack { .. } | Attempt::Lost => Ok(None),
    }
}
