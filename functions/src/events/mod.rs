//! What happens, as it happens, without Pusher: `/api/chat/stream` and its tickets.

pub mod asyncapi;
pub mod stream;
pub mod ticket;

use std::time::Duration;

use backtalk_http::Result;
use backtalk_http::error::Error;
use chrono::{DateTime, Utc};

/// How long a token is still good for. Elsewhere one may be a few seconds late; a stream that it opened would end at once.
fn time_left(token_expires_at: DateTime<Utc>) -> Result<Duration> {
    (token_expires_at - Utc::now())
        .to_std()
        .map_err(|_| Error::Unauthenticated("has expired".into()))
}
