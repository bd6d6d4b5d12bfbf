//! `GET /api/usage`

use serde::Serialize;
use shared::app::App;
use shared::domain::budget::Balance;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, ok};

#[derive(Serialize)]
struct Usage {
    #[serde(flatten)]
    person: Balance,
    /// Of whoever's token names one.
    organisation: Option<Balance>,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let balances = app.store.balances(&caller, &app.config.budget).await?;
    ok(&Usage {
        person: balances.person,
        organisation: balances.organisation,
    })
}
