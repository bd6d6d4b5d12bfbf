//! `GET /api/posts/{postId}`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;

use super::fields::OnePost;
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("getPost", "A post of mine")
        .for_people()
        .of_post()
        .answers::<OnePost>(200, "The post.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let post = reads.store.post(&caller.id, request.post_id()?).await?;
    ok(&OnePost {
        post: post.ok_or(Error::NotFound("post"))?,
    })
}
