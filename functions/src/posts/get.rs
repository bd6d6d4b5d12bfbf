//! `GET /api/posts/{postId}`

use shared::app::App;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, ok};

use super::fields::OnePost;

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let post = app.store.post(&caller.id, request.post_id()?).await?;
    ok(&OnePost {
        post: post.ok_or(Error::NotFound("post"))?,
    })
}
