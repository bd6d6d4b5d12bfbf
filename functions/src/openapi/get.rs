//! `GET /api/openapi.json`: the contract, for everybody.

use std::sync::LazyLock;

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, not_modified, ok, tagged};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lambda_http::http::HeaderValue;
use lambda_http::http::header::CACHE_CONTROL;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Operation;

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

static TAG: LazyLock<String> = LazyLock::new(|| {
    let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(DOCUMENT));
    format!("\"{digest}\"")
});

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("getOpenapi", "This document")
        .answers_once::<serde_json::Map<String, serde_json::Value>>("OpenAPI 3.1.")
}

pub async fn handle(request: Request) -> Result<Response> {
    if request.has(&TAG) {
        return Ok(public(not_modified(&TAG)));
    }
    let document: &RawValue = serde_json::from_str(DOCUMENT).map_err(|error| Error::Internal(error.into()))?;
    Ok(public(tagged(ok(&document)?, &TAG)))
}

/// It is the same for everybody, and changes with a deployment alone.
fn public(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}
