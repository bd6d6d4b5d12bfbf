//! The job that writes a reply.

use domain::ids::JobId;
use domain::reply::Wake;
use store::replies::ClaimOutcome;

use crate::replies::engine::Engine;
use crate::replies::write::{Attempt, abandon, stop_seized, write};

/// Writes the reply if it may be written now. What is to be woken next: this job again, or the chat's next reply.
pub(super) async fn run(engine: &Engine, job_id: JobId) -> store::Result<Vec<Wake>> {
    let config = &engine.settings.replies;
    Ok(
        match engine
            .store
            .try_claim_reply(job_id, config.lease, config.attempts)
            .await?
        {
            ClaimOutcome::Claimed(claim) => next(write(engine, &claim, None).await)?,
            // Its own: another that is abandoned has a job that ends it.
            ClaimOutcome::Exhausted { reply_id } => match engine
                .store
                .seize_abandoned_reply(Some(reply_id), config.attempts, config.lease)
                .await?
            {
                Some(seized) => next(abandon(engine, seized).await)?,
                None => Vec::new(),
            },
            ClaimOutcome::StopAsked {
                chat_id,
                reply_id,
                asked_by,
            } => match engine
                .store
                .seize_stopped_reply(&asked_by, chat_id, reply_id, config.lease)
                .await?
            {
                Some(seized) => next(stop_seized(engine, seized).await)?,
                None => Vec::new(),
            },
            ClaimOutcome::Later { after_seconds } => vec![Wake {
                job_id,
                chat_id: None,
                after_seconds,
            }],
            ClaimOutcome::Behind | ClaimOutcome::Over => Vec::new(),
        },
    )
}

fn next(attempt: Attempt) -> store::Result<Vec<Wake>> {
    match attempt {
        Attempt::Over { wake, .. } => Ok(wake.into_iter().collect()),
        Attempt::Requeued { wake, .. } | Attempt::PutBack { wake } => Ok(vec![wake]),
        Attempt::Lost => Ok(Vec::new()),
        Attempt::Broken(error) => Err(error),
    }
}
