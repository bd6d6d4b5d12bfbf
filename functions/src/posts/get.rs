//! `GET /api/posts/{postId}`

use lambda_http::http::Method;
use shared::app::App;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, ok};

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
    let caller = request.caller(&app, RateClass::Read).await?;
    let post = app.store.post(&caller.id, request.post_id()?).await?;
    ok(&OnePost {
        post: post.ok_or(Error::NotFound("post"))?,
    })
}
