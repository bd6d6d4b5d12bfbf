//! `DELETE /api/posts/{postId}`: with its chat, and whatever is being written there.

use shared::app::App;
use shared::domain::event::{Event, Outgoing};
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, no_content};

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let gone = app.store.delete_post(&caller.id, request.post_id()?).await?;
    let gone = gone.ok_or(Error::NotFound("post"))?;
    app.delivery
        .publish(&[Outgoing {
            event: Event::chat_deleted(gone.chat_id, gone.at),
            audience: gone.audience,
        }])
        .await;
    Ok(no_content())
}
