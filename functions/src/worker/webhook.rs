//! The job that tells an organisation's webhook of an event.

use std::time::Duration;

use domain::ids::JobId;
use domain::job::ClaimedJob;
use domain::reply::Wake;
use domain::webhook::{WebhookCall, WebhookClaimOutcome, WebhookEvent};
use hooks::webhooks::Webhooks;
use store::webhooks::WebhookEnd;
use tracing::{info, warn};

use crate::replies::engine::Engine;

/// How much longer than its answer may take an event is held: a worker that is gone by then is dead.
const MARGIN: Duration = Duration::from_secs(20);
/// What is kept of why an event was not taken.
const MOST_REASON_CHARS: usize = 500;

/// Delivers the event if it comes next. What is to be woken: this one again, or the chat's next one for the same webhook.
pub(super) async fn run(engine: &Engine, webhooks: &Webhooks, job_id: JobId) -> store::Result<Vec<Wake>> {
    let config = webhooks.config();
    let call = match engine.store.try_claim_webhook(job_id, config.timeout + MARGIN).await? {
        WebhookClaimOutcome::Claimed(call) => call,
        WebhookClaimOutcome::Later { job, after_seconds } => {
            return Ok(vec![Wake {
                job_id: job,
                chat_id: None,
                after_seconds,
            }]);
        }
        WebhookClaimOutcome::Behind | WebhookClaimOutcome::Over => return Ok(Vec::new()),
    };
    if is_gone(&call) {
        info!(job = %job_id, event = %call.event, "what a webhook was to be told is gone");
        return end(engine, &call.job, WebhookEnd::Delivered).await;
    }
    let Err(error) = webhooks.deliver(&call).await else {
        return end(engine, &call.job, WebhookEnd::Delivered).await;
    };
    let why: String = format!("{error:#}").chars().take(MOST_REASON_CHARS).collect();
    let attempt = call.job.attempt;
    if attempt >= config.attempts {
        warn!(job = %job_id, attempt, why, "a webhook's event is parked");
        return end(engine, &call.job, WebhookEnd::Parked(&why)).await;
    }
    let rest = config.rest_after(attempt);
    info!(job = %job_id, attempt, why, rest = rest.as_secs(), "a webhook did not take an event");
    let is_ours = engine.store.rest_job(&call.job, rest, Some(&why)).await?;
    Ok(is_ours
        .then(|| Wake {
            job_id,
            chat_id: Some(call.chat_id),
            after_seconds: Wake::whole_seconds(rest),
        })
        .into_iter()
        .collect())
}

async fn end(engine: &Engine, job: &ClaimedJob, end: WebhookEnd<'_>) -> store::Result<Vec<Wake>> {
    Ok(engine.store.end_webhook(job, end).await?.into_iter().collect())
}

/// Retention has taken what was said before it was told: it is not to be told any more.
fn is_gone(call: &WebhookCall) -> bool {
    call.message.is_none() && call.event != WebhookEvent::ReplyEnded
}
