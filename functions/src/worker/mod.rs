//! SQS → `worker`: runs the jobs that wake-ups name, and stores the notices that agents put on the queue. One bad or failing
//! message never holds its batch up. What nothing can be done with is buried at once, with the reason; what may yet be done
//! comes again.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use backtalk_http::{Result, json_of};
use capabilities::{Jobs, Models};
use domain::ids::JobId;
use domain::job::JobKind;
use domain::notice::QueuedNotice;
use domain::reply::Wake;
use futures_util::FutureExt;
use futures_util::future::join_all;
use hooks::webhooks::Webhooks;
use pusher::Delivery;
use queue::Queue;
use queue::{WakeUp, Woken};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use telemetry::log_request;
use tracing::{Instrument, error, info_span, warn};
use uploads::Attachments;

use crate::replies::engine::{Endings, Engine};

mod delete_chat;
mod erase;
mod follow_up;
mod notice;
mod reply;
mod webhook;

/// What SQS hands over.
#[derive(Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records", default)]
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes {
    /// Of the request that left this work behind.
    #[serde(rename = "AWSTraceHeader")]
    trace: Option<String>,
}

/// Which messages SQS is to hand over again; the others are done.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// What a queue message asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    /// To go on with a job.
    Job(JobId),
    /// To tell somebody something.
    Notice(Map<String, Value>),
}

/// A message that must come again: after its visibility timeout, and in the end to the dead-letter queue.
#[derive(Debug)]
struct Undone;

pub async fn handle(
    jobs: Jobs,
    delivery: Delivery,
    queue: Queue,
    models: Models,
    uploads: Attachments,
    webhooks: Webhooks,
    batch: Batch,
) -> Result<BatchResponse> {
    let endings = Endings::for_jobs(&jobs, delivery, queue, models.policy.clone());
    let engine = Engine::new(endings, models, uploads, jobs.deadline());
    let outcomes = join_all(batch.records.iter().map(|record| {
        let (engine, webhooks) = (engine.clone(), webhooks.clone());
        async move {
            let began = Instant::now();
            let job = info_span!("job", trace = record.attributes.trace);
            let running = AssertUnwindSafe(run(&engine, &webhooks, record).boxed())
                .catch_unwind()
                .instrument(job.clone());
            let (outcome, request_log) = telemetry::with_request_log(record.attributes.trace.clone(), running).await;
            let _job = job.entered();
            let outcome = outcome.unwrap_or_else(|_| {
                error!(sqs_message = record.message_id, "a job panicked");
                Err(Undone)
            });
            log_request!(
                request_log,
                began,
                sqs_message = record.message_id,
                done = outcome.is_ok(),
                "worked off"
            );
            outcome
        }
    }))
    .await;
    let failed = batch
        .records
        .into_iter()
        .zip(outcomes)
        .filter(|(_, outcome)| outcome.is_err());
    Ok(BatchResponse {
        batch_item_failures: failed
            .map(|(record, _)| BatchItemFailure {
                item_identifier: record.message_id,
            })
            .collect(),
    })
}

async fn run(engine: &Engine, webhooks: &Webhooks, record: &Record) -> std::result::Result<(), Undone> {
    let job_id = match asked_by(record) {
        Ok(Asked::Job(job_id)) => job_id,
        Ok(Asked::Notice(notice)) => {
            return match notice::run(engine, &record.message_id, notice).await {
                Ok(()) => Ok(()),
                Err(notice::Failed::ForNow) => Err(Undone),
                Err(notice::Failed::ForGood(reason)) => send_to_dead_letter_queue(engine, record, &reason).await,
            };
        }
        Err(reason) => return send_to_dead_letter_queue(engine, record, &reason).await,
    };
    let wakes = run_by_kind(engine, webhooks, job_id).await.map_err(|error| {
        error!(job = %job_id, %error, "a job failed");
        Undone
    })?;
    match engine.queue.wake(&wakes).await {
        Woken::Nothing | Woken::Sent => Ok(()),
        // This wake-up is the only trace on the queue of what is still to be done.
        Woken::Refused => Err(Undone),
    }
}

/// What is to be woken next.
async fn run_by_kind(engine: &Engine, webhooks: &Webhooks, job_id: JobId) -> store::Result<Vec<Wake>> {
    match engine.store.job_kind(job_id).await? {
        None => Ok(Vec::new()),
        Some(JobKind::Reply | JobKind::Welcome) => reply::run(engine, job_id).await,
        Some(JobKind::FollowUp) => follow_up::run(engine, job_id).await,
        Some(JobKind::Erase) => erase::run(engine, job_id).await,
        Some(JobKind::DeleteChat) => delete_chat::run(engine, job_id).await,
        Some(JobKind::Webhook) => webhook::run(engine, webhooks, job_id).await,
        // A notice is stored when it comes, and leaves no job.
        Some(kind @ JobKind::Notice) => {
            warn!(job = %job_id, %kind, "nothing runs jobs of this kind");
            Ok(Vec::new())
        }
    }
}

/// Puts a message among the dead letters, so that it does not come again. Where that cannot be, it comes again until SQS
/// itself puts it there.
async fn send_to_dead_letter_queue(engine: &Engine, record: &Record, reason: &str) -> std::result::Result<(), Undone> {
    warn!(sqs_message = record.message_id, reason, "a queue message is refused");
    let body = record.body.as_deref().unwrap_or_default();
    if engine
        .queue
        .send_to_dead_letter_queue(&record.message_id, body, reason)
        .await
    {
        Ok(())
    } else {
        Err(Undone)
    }
}

/// What a message asks for, or why nothing can be done with it.
fn asked_by(record: &Record) -> std::result::Result<Asked, String> {
    let body = record.body.as_deref().ok_or("it has no body")?;
    let value = json_of(body.as_bytes()).map_err(|error| error.detail)?;
    let version = value.get("v").and_then(Value::as_u64);
    if version != Some(WakeUp::VERSION.into()) {
        return Err(format!(
            "its version is {}, and only {} is known",
            value.get("v").unwrap_or(&Value::Null),
            WakeUp::VERSION
        ));
    }
    if value.get("notice").is_some() {
        let queued: QueuedNotice =
            serde_json::from_value(value).map_err(|error| format!("its notice cannot be read: {error}"))?;
        return Ok(Asked::Notice(queued.notice));
    }
    let wake_up: WakeUp =
        serde_json::from_value(value).map_err(|error| format!("it is neither a wake-up nor a notice: {error}"))?;
    JobId::parse(&wake_up.job_id)
        .map(Asked::Job)
        .ok_or_else(|| "its jobId is no id".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> std::result::Result<Asked, String> {
        asked_by(&Record {
            message_id: "m".into(),
            body: Some(body.into()),
            attributes: Attributes::default(),
        })
    }

    #[test]
    fn a_wake_up_of_this_version_names_its_job_and_nothing_else_does() {
        let job = JobId::fresh();
        let body = serde_json::to_string(&WakeUp::of(job)).expect("JSON");
        assert_eq!(asked(&body), Ok(Asked::Job(job)));
        for odd in [
            "",
            "{}",
            "null",
            r#"{"v":2,"jobId":"x"}"#,
            r#"{"v":1,"jobId":7}"#,
            r#"{"v":1,"jobId":"x"}"#,
        ] {
            assert!(asked(odd).is_err(), "{odd}");
        }
        let newer = asked(&body.replace("\"v\":1", "\"v\":2"));
        assert_eq!(newer, Err("its version is 2, and only 1 is known".to_owned()));
    }

    #[test]
    fn a_notice_is_told_from_a_wake_up() {
        let notice = asked(r#"{"v":1,"notice":{"userId":"anna"}}"#).expect("a notice");
        assert!(matches!(notice, Asked::Notice(fields) if fields["userId"] == "anna"));
        let twice = asked(r#"{"v":1,"notice":{"userId":"anna","userId":"ben"}}"#);
        assert!(twice.is_err_and(|reason| reason.contains("the same key twice")));
        for odd in [r#"{"v":1,"notice":[]}"#, r#"{"v":2,"notice":{}}"#, r#"{"notice":{}}"#] {
            assert!(asked(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn records_without_a_body_and_batches_without_records_are_read() {
        let batch: Batch = serde_json::from_str(r#"{"Records":[{"messageId":"a"}],"other":1}"#).expect("a batch");
        assert_eq!(batch.records.len(), 1);
        assert!(
            serde_json::from_str::<Batch>("{}")
                .expect("an empty batch")
                .records
                .is_empty()
        );
    }
}
