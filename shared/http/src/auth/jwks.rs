//! The public keys of whoever signs tokens: fetched when they are first needed, and again before a withdrawn one has been
//! good for too long.

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};
use tokio::sync::Mutex;
use tracing::warn;

use super::forged;
use super::keys::KeySet;
use crate::error::Error;
use foundation::moment::Moment;

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
    Error::Unauthenticated("is signed with an unknown key".into())
}

pub(super) struct Jwks {
    url: String,
    algorithm: Algorithm,
    http: reqwest::Client,
    known: StdMutex<Known>,
    /// Held while fetching, so that many requests wait for one answer.
    fetching: Mutex<()>,
}

struct Known {
    keys: Arc<KeySet>,
    /// How many fetches were begun, and which of them gave the keys.
    begun: u64,
    given_by: u64,
    /// When they were given, and for how long.
    given: Option<(Moment, Duration)>,
    /// The last fetch that failed, if none has succeeded since.
    failed: Option<Moment>,
    /// How long an unknown key waits for the next fetch.
    unknown_after: Duration,
}

struct Answer {
    keys: KeySet,
    good_for: Duration,
}

/// What keys say of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Signed,
    /// The key that it names has not signed it.
    Forged,
    /// It names none of them, or none at all, and none that it may mean has signed it: its key may be a newer one.
    Unknown,
}

/// Why the signer is not asked now.
struct NotAsked {
    wait: Duration,
    why: anyhow::Error,
}

impl NotAsked {
    /// Nobody is called a stranger before the signer has said so.
    fn error(self) -> Error {
        Error::KeysUnavailable {
            // Rounded up, so that the next try comes when it is allowed.
            retry_after_seconds: self.wait.as_secs() + 1,
            cause: self.why,
        }
    }
}

impl Jwks {
    pub(super) fn at(url: String, algorithm: Algorithm, http: reqwest::Client) -> Self {
        Self {
            url,
            algorithm,
            http,
            known: StdMutex::new(Known {
                keys: Arc::default(),
                begun: 0,
                given_by: 0,
                given: None,
                failed: None,
                unknown_after: JWKS_UNKNOWN_AFTER,
            }),
            fetching: Mutex::default(),
        }
    }

    /// Whether one of the signer's keys has signed a token that names this one, or none.
    pub(super) async fn check(
        &self,
        key_id: Option<&str>,
        is_signed_by: impl Fn(&DecodingKey) -> bool,
    ) -> Result<(), Error> {
        let of = |keys: &KeySet| verdict(keys, key_id, &is_signed_by);
        let (good, spare, begun, given_by) = {
            let known = self.known();
            (known.good(), known.outlived(), known.begun, known.given_by)
        };
        if let Some(told) = good.as_deref().and_then(|keys| of(keys).told()) {
            return told;
        }
        let spare = spare.map_or(Verdict::Unknown, |keys| of(&keys));
        // Whoever may go on with what is known does not wait for another's try.
        if let Some(told) = spare.told()
            && self.known().may_be_renewed(spare).is_err()
        {
            return told;
        }
        // In a request and not beside it: a process that is frozen after its answer would never have the next keys.
        let _one = self.fetching.lock().await;
        let (keys, now_given_by) = {
            let known = self.known();
            (Arc::clone(&known.keys), known.given_by)
        };
        if now_given_by != given_by {
            if let Some(told) = of(&keys).told() {
                return told;
            }
            // What was asked before the token came does not prove that its key is unknown, but that one was withdrawn.
            if now_given_by > begun || spare != Verdict::Unknown {
                return Err(stranger());
            }
        }
        if let Err(not_asked) = self.renew(spare).await {
            return spare.told().unwrap_or_else(|| Err(not_asked.error()));
        }
        let keys = Arc::clone(&self.known().keys);
        let verdict = of(&keys);
        let mut known = self.known();
        known.unknown_after = match verdict {
            Verdict::Unknown => (known.unknown_after * 2).min(JWKS_UNKNOWN_AFTER_AT_MOST),
            Verdict::Signed | Verdict::Forged => JWKS_UNKNOWN_AFTER,
        };
        verdict.told().unwrap_or_else(|| Err(stranger()))
    }

    /// Fetches the keys, unless that was done a moment ago. `spare`: what those say that may be outlived.
    async fn renew(&self, spare: Verdict) -> Result<(), NotAsked> {
        let turn = {
            let mut known = self.known();
            known.may_be_renewed(spare)?;
            known.begun += 1;
            known.begun
        };
        let fetched = fetch(&self.url, self.algorithm, &self.http).await;
        let mut known = self.known();
        match fetched {
            Ok(Answer { keys, good_for }) => {
                known.keys = Arc::new(keys);
                known.given_by = turn;
                known.given = Some((Moment::now(), good_for));
                known.failed = None;
                Ok(())
            }
            Err(why) => {
                warn!(error = format!("{why:#}"), "the signer's keys could not be fetched");
                known.failed = Some(Moment::now());
                let wait = JWKS_RETRY_AFTER;
                Err(NotAsked { wait, why })
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(keys: &KeySet, key_id: Option<&str>, is_signed_by: &impl Fn(&DecodingKey) -> bool) -> Verdict {
    let candidates = keys.candidates(key_id);
    if candidates.keys.into_iter().any(is_signed_by) {
        Verdict::Signed
    } else if candidates.are_named {
        Verdict::Forged
    } else {
        Verdict::Unknown
    }
}

impl Verdict {
    /// What is to be answered, if that is known.
    fn told(self) -> Option<Result<(), Error>> {
        match self {
            Self::Signed => Some(Ok(())),
            Self::Forged => Some(Err(forged())),
            Self::Unknown => None,
        }
    }
}

impl Known {
    fn within(&self, age: impl FnOnce(Duration) -> Duration) -> Option<Arc<KeySet>> {
        let (at, good_for) = self.given?;
        (at.elapsed() < age(good_for)).then(|| Arc::clone(&self.keys))
    }

    fn may_be_renewed(&self, spare: Verdict) -> Result<(), NotAsked> {
        let retry_after = match spare {
            Verdict::Signed | Verdict::Forged => JWKS_RETRY_AFTER_AT_LEISURE,
            Verdict::Unknown => JWKS_RETRY_AFTER,
        };
        let unless = |last: Option<Moment>, pause: Duration, why: &'static str| {
            let wait = pause.saturating_sub(last.map_or(pause, |at| at.elapsed()));
            let why = || anyhow::Error::msg(why);
            if wait.is_zero() {
                Ok(())
            } else {
                Err(NotAsked { wait, why: why() })
            }
        };
        unless(
            self.failed,
            retry_after,
            "the signer's keys could not be fetched a moment ago",
        )?;
        unless(
            self.given.map(|(at, _)| at),
            self.unknown_after,
            "the signer's keys were fetched a moment ago, without one that may have signed a token",
        )
    }

    fn good(&self) -> Option<Arc<KeySet>> {
        self.within(|good_for| good_for)
    }

    /// Good only as long as the signer does not answer.
    fn outlived(&self) -> Option<Arc<KeySet>> {
        self.within(|_| JWKS_OUTLIVE_FOR)
    }
}

async fn fetch(url: &str, algorithm: Algorithm, http: &reqwest::Client) -> anyhow::Result<Answer> {
    let answer = http.get(url).timeout(JWKS_TIMEOUT).send().await?;
    let status = answer.status();
    // We follow nobody elsewhere.
    anyhow::ensure!(status.is_success(), "JWT_JWKS_URL answers {status}");
    let good_for = good_for(answer.headers());
    let body = answer.bytes().await?;
    let keys = KeySet::read(&body, algorithm).context("JWT_JWKS_URL answers with no set of keys")?;
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
