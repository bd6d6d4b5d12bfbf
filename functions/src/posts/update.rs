//! `PATCH /api/posts/{postId}`: what it says, where it goes and how far it has come. A new text is followed up by the
//! assistant once it is left alone.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::limits::Limits;
use domain::post::{PostChange, PostStatus};
use domain::text::{AuthProviderId, PostText, ProviderName};
use queue::Queue;
use schemars::JsonSchema;
use store::posts::PostUpdated;

use super::fields::{OnePost, auth_provider_ids, content, providers};
use super::list::one_of_all;
use crate::openapi::Operation;

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostChanges {
    pub content: Option<PostText>,
    #[schemars(length(max = Limits::DEFAULT.providers), extend("uniqueItems" = true))]
    pub providers: Option<Vec<ProviderName>>,
    #[schemars(length(max = Limits::DEFAULT.providers), extend("uniqueItems" = true))]
    pub auth_provider_ids: Option<Vec<AuthProviderId>>,
    pub status: Option<PostStatus>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("updatePost", "Changes a post")
        .describe("A new text is followed up by the assistant once it is left alone.")
        .for_people()
        .of_post()
        .reads::<PostChanges>()
        .answers::<OnePost>(200, "The post as it is now.")
        .refuses([Error::NotFound(""), Error::Conflict("")])
}

pub async fn handle(reads: Reads, queue: Queue, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let post_id = request.post_id()?;
    let mut fields = request.fields()?;
    let change = PostChange {
        content: content(&mut fields, "content", &reads),
        providers: providers(&mut fields, &reads),
        auth_provider_ids: auth_provider_ids(&mut fields, &reads),
        status: fields.optional("status", |text: String| PostStatus::parse(&text).ok_or_else(one_of_all)),
    };
    fields.finish()?;

    let quiet = reads.settings.replies.follow_up_quiet;
    match reads.store.update_post(&caller, post_id, &change, quiet).await? {
        PostUpdated::Made { post, wake } => {
            queue.wake(wake.as_slice()).await;
            ok(&OnePost { post: *post })
        }
        PostUpdated::IsSent => Err(Error::Conflict("This post is published: it stays as it is.")),
        PostUpdated::NotFrom(PostStatus::Sent) => {
            Err(Error::Conflict("This post is published: its status stays SENT."))
        }
        PostUpdated::NotFrom(_) => Err(Error::Conflict(
            "A post does not get to this status from the one it has.",
        )),
        PostUpdated::NoSuchPost => Err(Error::NotFound("post")),
    }
}
