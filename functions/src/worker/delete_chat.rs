//! The job that deletes what is left of a large chat, in batches: what one run leaves the next one does. Each batch finds its
//! work by looking at what is left, so that a run may be ended anywhere, and two may be at it at once.

use std::time::Duration;

use domain::ids::JobId;
use domain::job::JobClaimOutcome;
use domain::reply::Wake;
use tracing::info;

use crate::replies::engine::Engine;

/// Longer than a run takes; a run that died is found by the sweeper after it.
const LEASE: Duration = Duration::from_secs(120);
const MESSAGES_A_BATCH: i32 = 500;
const BATCHES_A_RUN: usize = 100;

pub(super) async fn run(engine: &Engine, job_id: JobId) -> store::Result<Vec<Wake>> {
    let again = |after_seconds| {
        vec![Wake {
            job_id,
            chat_id: None,
            after_seconds,
        }]
    };
    let job = match engine.store.try_claim_job(job_id, LEASE).await? {
        JobClaimOutcome::Claimed(job) => job,
        JobClaimOutcome::Later { after_seconds } => return Ok(again(after_seconds)),
        JobClaimOutcome::Over => return Ok(Vec::new()),
    };
    let Some(chat) = job.chat_id else { return Ok(Vec::new()) };
    for _ in 0..BATCHES_A_RUN {
        if !engine.store.empty_chat(chat, MESSAGES_A_BATCH).await? {
            info!(%chat, "a deleted chat is gone");
            return Ok(Vec::new());
        }
    }
    engine.store.rest_job(&job, Duration::ZERO, None).await?;
    Ok(again(0))
}
