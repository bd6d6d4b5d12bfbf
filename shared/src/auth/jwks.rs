//! The public keys of whoever signs tokens: fetched when they are first needed, and again before a withdrawn one has been
//! good for too long.

use std::collections::HashMap;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};
use tokio::sync::Mutex;
use tracing::warn;

use crate::error::Error;
use crate::moment::Moment;

/// A key that its signer has withdrawn is good no longer than this, or than the answer's `max-age` where that is shorter.
const JWKS_GOOD_FOR: Duration = Duration::from_secs(10 * 60);
/// A `max-age` of nothing is no storm of requests.
const JWKS_GOOD_FOR_AT_LEAST: Duration = Duration::from_secs(30);
/// While the signer does not answer, the keys that it last gave are good: its outage is not one of ours. But not for ever,
/// for one of them may have been withdrawn meanwhile.
const JWKS_OUTLIVE_FOR: Duration = Duration::from_secs(60 * 60);
/// An unknown key id makes us fetch the keys anew, soon at first, for a signer may have a new key, and later the less often
/// the more often it was for nothing: forged ids must not become a storm of requests.
const JWKS_UNKNOWN_AFTER: Duration = Duration::from_secs(1);
const JWKS_UNKNOWN_AFTER_AT_MOST: Duration = Duration::from_secs(30);
/// After a fetch that failed, while there are keys that may be outlived. Each try may take [`JWKS_TIMEOUT`].
const JWKS_RETRY_AFTER_AT_LEISURE: Duration = Duration::from_secs(30);
/// The same where a token waits for it. Until then nobody is called a stranger: we cannot know.
const JWKS_RETRY_AFTER: Duration = Duration::from_secs(2);
const JWKS_TIMEOUT: Duration = Duration::from_secs(3);

fn stranger() -> Error {
    Error::Unauthenticated("is signed with an unknown key")
}

pub(super) struct Jwks {
    url: String,
    http: reqwest::Client,
    known: StdMutex<Known>,
    /// Held while fetching, so that many requests wait for one answer.
    fetching: Mutex<()>,
}

struct Known {
    keys: HashMap<String, DecodingKey>,
    /// How often they were given.
    times: u64,
    /// When they were given, and for how long.
    given: Option<(Moment, Duration)>,
    /// The last fetch that failed, if none has succeeded since.
    failed: Option<Moment>,
    /// How long an unknown id waits for the next fetch.
    unknown_after: Duration,
}

struct Answer {
    keys: HashMap<String, DecodingKey>,
    good_for: Duration,
}

impl Jwks {
    pub(super) fn at(url: String, http: reqwest::Client) -> Self {
        Self {
            url,
            http,
            known: StdMutex::new(Known {
                keys: HashMap::new(),
                times: 0,
                given: None,
                failed: None,
                unknown_after: JWKS_UNKNOWN_AFTER,
            }),
            fetching: Mutex::default(),
        }
    }

    pub(super) async fn by_id(&self, kid: &str) -> Result<DecodingKey, Error> {
        let times = {
            let known = self.known();
            if let Some(key) = known.good(kid) {
                return Ok(key);
            }
            // Whoever may go on with it does not wait for another's try.
            if let (Some(key), Err(_)) = (known.outlived(kid), known.may_be_renewed(kid)) {
                return Ok(key);
            }
            known.times
        };
        // In a request and not beside it: a process that is frozen after its answer would never have the next keys.
        let _one = self.fetching.lock().await;
        let is_renewed_by_another = self.known().times != times;
        if is_renewed_by_another {
            return self.known().keys.get(kid).cloned().ok_or_else(stranger);
        }
        let renewed = self.renew(kid).await;
        let mut known = self.known();
        if let Err(error) = renewed {
            // Nobody is called a stranger before the signer has said so.
            return known.outlived(kid).ok_or(Error::Unavailable(error));
        }
        let key = known.keys.get(kid).cloned();
        known.unknown_after = match key {
            Some(_) => JWKS_UNKNOWN_AFTER,
            None => (known.unknown_after * 2).min(JWKS_UNKNOWN_AFTER_AT_MOST),
        };
        key.ok_or_else(stranger)
    }

    /// Fetches the keys, unless that was done a moment ago.
    async fn renew(&self, kid: &str) -> anyhow::Result<()> {
        self.known().may_be_renewed(kid)?;
        let fetched = fetch(&self.url, &self.http).await;
        let mut known = self.known();
        match fetched {
            Ok(Answer { keys, good_for }) => {
                known.keys = keys;
                known.times += 1;
                known.given = Some((Moment::now(), good_for));
                known.failed = None;
                Ok(())
            }
            Err(error) => {
                warn!(%error, "the signer's keys could not be fetched");
                known.failed = Some(Moment::now());
                Err(error)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn within(&self, kid: &str, age: impl FnOnce(Duration) -> Duration) -> Option<DecodingKey> {
        let (at, good_for) = self.given?;
        let key = self.keys.get(kid)?;
        (at.elapsed() < age(good_for)).then(|| key.clone())
    }

    fn may_be_renewed(&self, kid: &str) -> anyhow::Result<()> {
        let retry_after = match self.outlived(kid) {
            Some(_) => JWKS_RETRY_AFTER_AT_LEISURE,
            None => JWKS_RETRY_AFTER,
        };
        anyhow::ensure!(
            self.failed.is_none_or(|at| at.elapsed() >= retry_after),
            "the signer's keys could not be fetched a moment ago"
        );
        anyhow::ensure!(
            self.given.is_none_or(|(at, _)| at.elapsed() >= self.unknown_after),
            "the signer's keys were fetched a moment ago, without one that a token names"
        );
        Ok(())
    }

    fn good(&self, kid: &str) -> Option<DecodingKey> {
        self.within(kid, |good_for| good_for)
    }

    /// Good only as long as the signer does not answer.
    fn outlived(&self, kid: &str) -> Option<DecodingKey> {
        self.within(kid, |_| JWKS_OUTLIVE_FOR)
    }
}

async fn fetch(url: &str, http: &reqwest::Client) -> anyhow::Result<Answer> {
    let answer = http.get(url).timeout(JWKS_TIMEOUT).send().await?.error_for_status()?;
    let good_for = good_for(answer.headers());
    let set: JwkSet = answer.json().await?;
    // A key that we cannot read is no reason to refuse the others.
    let keys = set
        .keys
        .iter()
        .filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)))
        .collect();
    Ok(Answer { keys, good_for })
}

/// By what the answer says of itself, within our own bounds.
fn good_for(headers: &HeaderMap) -> Duration {
    let texts = headers.get_all(CACHE_CONTROL).into_iter();
    let texts: Vec<&str> = texts.filter_map(|value| value.to_str().ok()).collect();
    let directives = texts.iter().flat_map(|text| text.split(','));
    let seconds = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => Some(0),
            "max-age" => value.trim().trim_matches('"').parse::<u64>().ok(),
            _ => None,
        }
    });
    let Some(seconds) = seconds.min() else {
        return JWKS_GOOD_FOR;
    };
    // How long a cache on the way has had it.
    let age = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.saturating_sub(age.unwrap_or(0))).clamp(JWKS_GOOD_FOR_AT_LEAST, JWKS_GOOD_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_good_as_long_as_their_answer_says_within_bounds() {
        for (control, age, seconds) in [
            (None, None, 600),
            (Some("public"), None, 600),
            (Some("public, max-age=120, must-revalidate"), None, 120),
            (Some("Max-Age=\"120\""), Some("50"), 70),
            (Some("max-age=120"), Some("500"), 30),
            (Some("max-age=0"), None, 30),
            (Some("no-store"), None, 30),
            (Some("max-age=300, no-cache"), None, 30),
            (Some("max-age=86400"), None, 600),
            (Some("max-age=18446744073709551616"), None, 600),
            (Some("max-age=-1, s-maxage=5"), Some("x"), 600),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CACHE_CONTROL, control), (AGE, age)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().expect("a header"));
                }
            }
            assert_eq!(good_for(&headers).as_secs(), seconds, "{control:?}, {age:?}");
        }
    }
}
