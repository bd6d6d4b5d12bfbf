//! `GET /api/me`

use serde::Serialize;
use shared::app::App;
use shared::domain::person::Person;
use shared::domain::rate::RateClass;
use shared::error::Error;
use shared::http::{Request, Response, Result, ok};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    user: Person,
    unread_total: i64,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    app.store.meet(&caller).await?;
    let me = app.store.me(&caller.id).await?.ok_or(Error::NotFound("person"))?;
    ok(&Me {
        user: me.person,
        unread_total: me.unread_total,
    })
}
