//! `POST /api/me/presence`: the heartbeat of people without Pusher, whose connections tell it otherwise.

use shared::app::App;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, no_content};

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    request.fields_or_none(&app)?.finish()?;
    app.store.meet(&caller).await?;
    app.store.saw(&caller.id, None).await?;
    Ok(no_content())
}
