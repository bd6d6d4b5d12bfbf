//! The job that follows up the edits of a post: it waits until the post is left alone, and then becomes a reply.

use domain::ids::JobId;
use domain::reply::Wake;
use store::posts::FollowUpClaimOutcome;

use super::reply;
use crate::replies::engine::Engine;
use crate::replies::terms;

/// What is to be woken next: this job again, or the chat's next reply.
pub(super) async fn run(engine: &Engine, job_id: JobId) -> store::Result<Vec<Wake>> {
    let Some(organisation) = engine.store.organisation_of_follow_up(job_id).await? else {
        return Ok(Vec::new());
    };
    let allowance = terms::of_follow_up(&engine.policy, organisation.as_deref());
    let quiet = engine.settings.replies.follow_up_quiet;
    match engine
        .store
        .open_follow_up(job_id, allowance, quiet, &engine.settings.budget)
        .await?
    {
        FollowUpClaimOutcome::Opened => reply::run(engine, job_id).await,
        FollowUpClaimOutcome::Later { after_seconds } => Ok(vec![Wake {
            job_id,
            chat_id: None,
            after_seconds,
        }]),
        FollowUpClaimOutcome::Over => Ok(Vec::new()),
    }
}
