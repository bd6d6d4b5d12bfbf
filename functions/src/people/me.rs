//! `GET /api/me`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::person::Person;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    user: Person,
    unread_total: i64,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("getMe", "Me, and how much I have not read")
        .for_people()
        .answers::<Me>(200, "As my token says.")
        .refuses([Error::NotFound("")])
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    reads.store.upsert_user(&caller).await?;
    let me = reads.store.me(&caller.id).await?.ok_or(Error::NotFound("person"))?;
    ok(&Me {
        user: me.person,
        unread_total: me.unread_total,
    })
}
