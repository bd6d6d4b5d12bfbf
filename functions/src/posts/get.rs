//! `GET /api/posts/{postId}`

use app::App;
use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use domain::rate::RateClass;
use lambda_http::http::Method;

use super::fields::OnePost;
use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new(Method::GET, "/api/posts/{postId}", "getPost", "A post of mine")
        .for_people(RateClass::Read)
        .of_post()
        .answers::<OnePost>(200, "The post.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = app.caller(&request, RateClass::Read).await?;
    let post = app.store.post(&caller.id, request.post_id()?).await?;
    ok(&OnePost {
        post: post.ok_or(Error::NotFound("post"))?,
    })
}
