//! `GET /api/usage`

use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::budget::Balance;
use schemars::JsonSchema;
use serde::Serialize;

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
    Operation::new("getUsage", "Tokens used, reserved and left")
        .for_people()
        .answers::<Usage>(200, "My budget, and that of my organisation.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let balances = reads.store.balances(&caller, &reads.settings.budget).await?;
    ok(&Usage {
        person: balances.person,
        organisation: balances.organisation,
    })
}
