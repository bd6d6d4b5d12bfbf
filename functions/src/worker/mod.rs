//! SQS → `worker`: runs the jobs that wake-ups name. One bad or failing wake-up never holds its batch up.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use shared::app::App;
use shared::domain::ids::JobId;
use shared::domain::job::JobKind;
use shared::domain::reply::Wake;
use shared::http::Result;
use shared::observed;
use shared::queue::{WakeUp, Woken};
use shared::store;
use tracing::{Instrument, error, info_span, warn};

mod erase;
mod follow_up;
mod reply;

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

/// A wake-up that must come again: after its visibility timeout, and in the end to the dead-letter queue.
#[derive(Debug)]
struct Undone;

pub async fn handle(app: App, batch: Batch) -> Result<BatchResponse> {
    let outcomes = join_all(batch.records.iter().map(|record| {
        let app = app.clone();
        async move {
            let job = info_span!("job", trace = record.attributes.trace);
            let running = AssertUnwindSafe(run(&app, record)).catch_unwind();
            let (outcome, _times) = observed::gathering(record.attributes.trace.clone(), running.instrument(job)).await;
            outcome.unwrap_or_else(|_| {
                error!(message = record.message_id, "a job panicked");
                Err(Undone)
            })
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

async fn run(app: &App, record: &Record) -> std::result::Result<(), Undone> {
    let job_id = job_named_by(record).ok_or_else(|| {
        warn!(message = record.message_id, "a queue message is no wake-up of ours");
        Undone
    })?;
    let wakes = run_by_kind(app, job_id).await.map_err(|error| {
        error!(job = %job_id, %error, "a job failed");
        Undone
    })?;
    match app.queue.wake(&wakes).await {
        Woken::Nothing | Woken::Sent => Ok(()),
        // This wake-up is the only trace on the queue of what is still to be done.
        Woken::Refused => Err(Undone),
    }
}

/// What is to be woken next.
async fn run_by_kind(app: &App, job_id: JobId) -> store::Result<Vec<Wake>> {
    match app.store.job_kind(job_id).await? {
        None => Ok(Vec::new()),
        Some(JobKind::Reply | JobKind::Welcome) => reply::run(app, job_id).await,
        Some(JobKind::FollowUp) => follow_up::run(app, job_id).await,
        Some(JobKind::Erase) => erase::run(app, job_id).await,
        Some(kind) => {
            warn!(job = %job_id, %kind, "nothing runs jobs of this kind");
            Ok(Vec::new())
        }
    }
}

fn job_named_by(record: &Record) -> Option<JobId> {
    let wake_up: WakeUp = serde_json::from_str(record.body.as_deref()?).ok()?;
    (wake_up.v == WakeUp::VERSION)
        .then(|| JobId::parse(&wake_up.job_id))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(body: &str) -> Option<JobId> {
        job_named_by(&Record {
            message_id: "m".into(),
            body: Some(body.into()),
            attributes: Attributes::default(),
        })
    }

    #[test]
    fn a_wake_up_of_this_version_names_its_job_and_nothing_else_does() {
        let job = JobId::fresh();
        let body = serde_json::to_string(&WakeUp::of(job)).expect("JSON");
        assert_eq!(named(&body), Some(job));
        for odd in [
            "",
            "{}",
            "null",
            r#"{"v":2,"jobId":"x"}"#,
            r#"{"v":1,"jobId":7}"#,
            r#"{"v":1,"jobId":"x"}"#,
        ] {
            assert_eq!(named(odd), None, "{odd}");
        }
        assert_eq!(named(&body.replace("\"v\":1", "\"v\":2")), None);
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
