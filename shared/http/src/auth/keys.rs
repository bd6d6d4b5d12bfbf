//! A signer's set of public keys (RFC 7517), each read by itself: one that we cannot use is no reason to do without the
//! others.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::warn;

#[cfg(test)]
mod tests;

/// A token that does not say which key has signed it is tried with so many at most. Signers have a few.
const MOST_TRIED: usize = 16;

/// RFC 7518, section 3.3, and what the library takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Of a coordinate of P-256, and of a key of Ed25519.
const COORDINATE_BYTES: usize = 32;

/// Some signers pad, which RFC 7515 does not; what no key can be is found out by its length.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The keys of a set that can check tokens of the algorithm that is configured.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// Why a key is left out.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    /// It is for something else, as it says itself.
    OfOtherUse,
    Odd(&'static str),
}
use Unusable::{Odd, OfOtherUse};

/// The keys that may have signed a token.
pub(super) struct Candidates<'a> {
    pub(super) keys: Vec<&'a DecodingKey>,
    /// Whether they are of the very id that the token names, so that no other key can be meant.
    pub(super) are_named: bool,
}

impl KeySet {
    /// Fails where it is no set of keys at all.
    pub(super) fn read(body: &[u8], algorithm: Algorithm) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Box<RawValue>>,
        }
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let Set { keys: entries } = serde_json::from_slice(body)?;
        let mut keys = Vec::new();
        let mut odd = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            match Key::read(entry, algorithm) {
                Ok(key) => keys.push(key),
                Err(OfOtherUse) => {}
                Err(Odd(why)) => odd.push(format!("{place} {why}")),
            }
        }
        if !odd.is_empty() {
            let (skipped, all) = (odd.len(), entries.len());
            // Ten tell enough.
            odd.truncate(10);
            warn!(
                skipped,
                all,
                odd = odd.join(", "),
                "keys of the signer's set cannot be used"
            );
        }
        if keys.is_empty() {
            warn!(
                all = entries.len(),
                ?algorithm,
                "the signer has no key for the algorithm of JWT_ALGORITHM"
            );
        }
        Ok(Self { keys })
    }

    /// Those of the id that a token names, or else those without one. A token without an id may be of any.
    pub(super) fn candidates(&self, id: Option<&str>) -> Candidates<'_> {
        let (without_id, with_id): (Vec<_>, Vec<_>) = self.keys.iter().partition(|key| key.id.is_none());
        let mut keys = without_id;
        let mut are_named = false;
        match id {
            None => keys.extend(with_id),
            Some(id) => {
                let named = with_id.into_iter().filter(|key| key.id.as_deref() == Some(id));
                let named: Vec<_> = named.collect();
                if !named.is_empty() {
                    (keys, are_named) = (named, true);
                }
            }
        }
        Candidates {
            keys: keys.into_iter().map(|key| &key.key).take(MOST_TRIED).collect(),
            are_named,
        }
    }
}

impl Key {
    fn read(entry: &RawValue, algorithm: Algorithm) -> Result<Self, Unusable> {
        let Ok(Value::Object(jwk)) = serde_json::from_str(entry.get()) else {
            return Err(Odd("is no object"));
        };
        let (kind, curve) = match algorithm.family() {
            AlgorithmFamily::Rsa => ("RSA", None),
            AlgorithmFamily::Ec => ("EC", Some("P-256")),
            AlgorithmFamily::Ed => ("OKP", Some("Ed25519")),
            // A secret is never published.
            AlgorithmFamily::Hmac => return Err(OfOtherUse),
        };
        is_one_of(&jwk, "kty", &[kind], Odd("has no text as kty"))?;
        if let Some(curve) = curve {
            is_one_of(&jwk, "crv", &[curve], Odd("has no text as crv"))?;
        }
        is_meant_for(&jwk, algorithm)?;
        // Whoever has read them signs as they please.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| jwk.contains_key(*name))
        {
            return Err(Odd("has private parts"));
        }
        let id = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Odd("has no text as kid")),
        };
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => rsa(&jwk),
            AlgorithmFamily::Ec => elliptic(&jwk),
            AlgorithmFamily::Ed | AlgorithmFamily::Hmac => edwards(&jwk),
        };
        let key = key.ok_or(Odd("has no readable parts, or of another size"))?;
        Ok(Self { id, key })
    }
}

/// By what it says of itself in `use`, `key_ops` and `alg`, none of which it must have.
fn is_meant_for(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<(), Unusable> {
    let has = |name: &str| jwk.get(name).is_some_and(|value| !value.is_null());
    if has("use") {
        is_one_of(jwk, "use", &["sig"], Odd("has no text as use"))?;
    }
    if has("alg") {
        is_one_of(jwk, "alg", names(algorithm), Odd("has no text as alg"))?;
    }
    match jwk.get("key_ops") {
        None | Some(Value::Null) => Ok(()),
        // A set of one, as some write it.
        Some(Value::String(operation)) if operation == "verify" => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(Value::String(_) | Value::Array(_)) => Err(OfOtherUse),
        Some(_) => Err(Odd("has no list as key_ops")),
    }
}

fn is_one_of(jwk: &Map<String, Value>, name: &str, wanted: &[&str], odd: Unusable) -> Result<(), Unusable> {
    match jwk.get(name) {
        Some(Value::String(text)) if wanted.contains(&text.as_str()) => Ok(()),
        Some(Value::String(_)) => Err(OfOtherUse),
        _ => Err(odd),
    }
}

/// What an algorithm is called in headers and keys.
pub(super) fn names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::HS256 => &["HS256"],
        Algorithm::RS256 => &["RS256"],
        Algorithm::PS256 => &["PS256"],
        Algorithm::ES256 => &["ES256"],
        // RFC 9864 has named the one curve of it that there is here.
        Algorithm::EdDSA => &["EdDSA", "Ed25519"],
        // None else can be configured.
        _ => &[],
    }
}

fn rsa(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
    let is_odd = e.last().is_some_and(|byte| byte % 2 == 1);
    // With an exponent of one a message is its own signature.
    (RSA_BITS.contains(&bits) && is_odd && e != [1]).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}

fn elliptic(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let coordinate = |name: &str| {
        let number = number(jwk, name)?;
        // Some signers write numbers where octets belong, without the zeros that these begin with.
        let mut octets = vec![0; COORDINATE_BYTES.checked_sub(number.len())?];
        octets.extend(number);
        Some(BASE64_URL_SAFE_NO_PAD.encode(octets))
    };
    DecodingKey::from_ec_components(&coordinate("x")?, &coordinate("y")?).ok()
}

fn edwards(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let x = octets(jwk, "x").filter(|x| x.len() == COORDINATE_BYTES)?;
    DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(x)).ok()
}

/// Without the zeros before it, of which some signers write one (RFC 7518, section 6.3.1.1).
fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let octets = octets(jwk, name)?;
    let zeros = octets.iter().take_while(|byte| **byte == 0).count();
    Some(octets[zeros..].to_vec())
}

/// Base64url, or what some signers write in its place: padded, in lines, or of the other alphabet.
fn octets(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = jwk.get(name)?.as_str()?;
    let text: String = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    LENIENT.decode(text).ok()
}
