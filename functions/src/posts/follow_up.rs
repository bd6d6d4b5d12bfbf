//! `POST /api/posts/{postId}/follow-up`: the assistant is to speak of a text that is not saved.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, accepted, parsed};
use capabilities::Reads;
use domain::post::FOLLOWED_UP_ABOVE;
use domain::text::{PostText, Trigger};
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;
use store::posts::FollowUp;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
struct FollowUpAccepted {
    /// Whether the text is long enough for the assistant to speak of it.
    scheduled: bool,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct FollowUpToAskFor {
    pub post_content: PostText,
    /// What caused it; `edit` unless it is said.
    pub trigger: Option<Trigger>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("followUp", "The assistant is to speak of a text that is not saved")
        .for_people()
        .of_post()
        .reads::<FollowUpToAskFor>()
        .answers::<FollowUpAccepted>(202, "It will, where the text is long enough to speak of.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, queue: Queue, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let post_id = request.post_id()?;
    let mut fields = request.fields()?;
    let longest = reads.settings.limits.post_bytes;
    let text = fields.required("postContent", |text: String| PostText::parse(&text, longest));
    let trigger = fields.optional("trigger", |text: String| Trigger::parse(&text));
    fields.finish()?;

    let (text, trigger) = (parsed(text), trigger.unwrap_or_else(Trigger::edit));
    if text.as_str().chars().count() <= FOLLOWED_UP_ABOVE {
        reads
            .store
            .post(&caller.id, post_id)
            .await?
            .ok_or(Error::NotFound("post"))?;
        return accepted(&FollowUpAccepted { scheduled: false });
    }
    let quiet = reads.settings.replies.follow_up_quiet;
    match reads.store.follow_up(&caller, post_id, &text, &trigger, quiet).await? {
        FollowUp::Scheduled(wake) => {
            queue.wake(wake.as_slice()).await;
            accepted(&FollowUpAccepted { scheduled: true })
        }
        FollowUp::NoSuchPost => Err(Error::NotFound("post")),
    }
}
