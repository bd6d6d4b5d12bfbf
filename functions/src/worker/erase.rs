//! The job that erases a person, in bites: what one run leaves the next one does.

use std::time::Duration;

use domain::ids::JobId;
use domain::job::JobClaimOutcome;
use domain::reply::Wake;
use store::erasure::ErasureStep;
use tracing::{info, warn};

use crate::replies::engine::Engine;

/// Longer than a run takes; a run that died is found by the sweeper after it.
const LEASE: Duration = Duration::from_secs(120);
const STEPS_A_RUN: usize = 20;
/// When to try again what S3 would not delete.
const REST: Duration = Duration::from_secs(60);

pub(super) async fn run(engine: &Engine, job_id: JobId) -> store::Result<Vec<Wake>> {
    let job = match engine.store.try_claim_job(job_id, LEASE).await? {
        JobClaimOutcome::Claimed(job) => job,
        JobClaimOutcome::Later { after_seconds } => {
            return Ok(vec![Wake {
                job_id,
                chat_id: None,
                after_seconds,
            }]);
        }
        JobClaimOutcome::Over => return Ok(Vec::new()),
    };
    for _ in 0..STEPS_A_RUN {
        match engine.store.erase_some(&job).await? {
            ErasureStep::Taken(news) => {
                engine.delivery.publish(&news).await;
            }
            ErasureStep::Uploads(unused) => {
                // First the objects, then what we know of them.
                if engine.uploads.are_stored()
                    && let Err(error) = engine.uploads.delete(&unused).await
                {
                    let error = format!("{error:#}");
                    warn!(
                        error,
                        uploads = unused.len(),
                        "objects of an erased person are kept for now"
                    );
                    engine.store.rest_job(&job, REST, Some(&error)).await?;
                    return Ok(vec![again(job_id, REST)]);
                }
                engine.store.erase_uploads(&job, &unused).await?;
            }
            ErasureStep::Last => {
                info!(job = %job_id, "a person is erased");
                return Ok(Vec::new());
            }
        }
    }
    engine.store.rest_job(&job, Duration::ZERO, None).await?;
    Ok(vec![again(job_id, Duration::ZERO)])
}

fn again(job_id: JobId, after: Duration) -> Wake {
    Wake {
        job_id,
        chat_id: None,
        after_seconds: Wake::whole_seconds(after),
    }
}
