//! `GET /api/usage`

use lambda_http::http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use shared::app::App;
use shared::domain::budget::Balance;
use shared::domain::rate::RateClass;
use shared::http::{Request, Response, Result, ok};

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
struct Usage {
    #[serde(flatten)]
    person: Balance,
    /// Of whoever's token names one.
    organisation: Option<Balance>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new(Method::GET, "/api/usage", "getUsage", "Tokens used, reserved and left")
        .for_people(RateClass::Read)
        .answers::<Usage>(200, "My budget, and that of my organisation.")
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let balances = app.store.balances(&caller, &app.config.budget).await?;
    ok(&Usage {
        person: balances.person,
        organisation: balances.organisation,
    })
}
