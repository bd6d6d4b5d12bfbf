//! Who calls: a bearer token, verified here, the same locally and deployed. The algorithm is pinned by configuration, so
//! neither `alg: none` nor a public key used as an HMAC secret gets anywhere.

mod jwks;

use chrono::DateTime;
use jsonwebtoken::{DecodingKey, TokenData, Validation, decode, decode_header};
use serde::Deserialize;

use self::jwks::Jwks;
use crate::config::{TokenConfig, TokenKey};
use crate::domain::characters::is_blank;
use crate::domain::ids::UserId;
use crate::domain::person::{Caller, CallerRole};
use crate::error::Error;

/// Clocks differ a little.
const LEEWAY_SECONDS: u64 = 5;
/// A verified token is a few hundred bytes; one far beyond that is not worth parsing.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
const MAX_NAME_CHARS: usize = 200;
const MAX_IMAGE_CHARS: usize = 2048;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    name: Option<String>,
    picture: Option<String>,
    role: Option<String>,
    #[serde(alias = "orgId")]
    org_id: Option<String>,
}

pub struct Authenticator {
    validation: Validation,
    keys: Keys,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}

enum Keys {
    Secret(DecodingKey),
    Jwks(Box<Jwks>),
}

impl Authenticator {
    #[must_use]
    pub fn new(config: &TokenConfig, http: reqwest::Client) -> Self {
        let mut validation = Validation::new(config.algorithm);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let keys = match &config.key {
            TokenKey::Secret(secret) => Keys::Secret(DecodingKey::from_secret(secret.expose().as_bytes())),
            TokenKey::Jwks(url) => Keys::Jwks(Box::new(Jwks::at(url.clone(), http))),
        };
        Self { validation, keys }
    }

    /// The caller that an `Authorization` header proves.
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller, Error> {
        let header = authorization.ok_or(Error::Unauthenticated("is missing"))?;
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Error::Unauthenticated(
                "is missing: the Authorization header must say `Bearer` and the token",
            ))?;
        self.verified(token).await
    }

    async fn verified(&self, token: &str) -> Result<Caller, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::Unauthenticated("is too long"));
        }
        let header = decode_header(token).map_err(|_| Error::Unauthenticated("is not a signed JWT"))?;
        let data: TokenData<Claims> = match &self.keys {
            Keys::Secret(key) => decode(token, key, &self.validation),
            Keys::Jwks(keys) => {
                let kid = header.kid.ok_or(Error::Unauthenticated("names no key id"))?;
                let key = keys.by_id(&kid).await?;
                decode(token, &key, &self.validation)
            }
        }
        .map_err(|error| Error::Unauthenticated(reason(error.kind())))?;
        caller_from(data.claims)
    }
}

/// In words that help an honest client and tell a forger nothing new.
fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "has expired",
        ErrorKind::ImmatureSignature => "is not valid yet",
        ErrorKind::InvalidIssuer => "is from another issuer",
        ErrorKind::InvalidAudience => "is for another audience",
        ErrorKind::InvalidAlgorithm => "is signed with another algorithm than is configured",
        ErrorKind::MissingRequiredClaim(_) => "lacks one of the claims exp, iss, aud, sub",
        _ => "is not validly signed",
    }
}

fn caller_from(claims: Claims) -> Result<Caller, Error> {
    let id = UserId::parse(&claims.sub).ok_or(Error::Unauthenticated("has no usable `sub`"))?;
    let role = match claims.role.as_deref() {
        // Supabase signs these for whole applications, not for people.
        Some("anon" | "service_role") => {
            return Err(Error::Unauthenticated("belongs to an application, not to a person"));
        }
        Some("agent") => CallerRole::Agent,
        _ => CallerRole::Person,
    };
    let text = |value: Option<String>, max: usize| {
        value
            .map(|text| text.trim().to_owned())
            .filter(|text| !is_blank(text) && text.chars().count() <= max && !text.chars().any(char::is_control))
    };
    Ok(Caller {
        name: text(claims.name, MAX_NAME_CHARS).unwrap_or_else(|| claims.sub.chars().take(MAX_NAME_CHARS).collect()),
        image: text(claims.picture, MAX_IMAGE_CHARS),
        org_id: text(claims.org_id, UserId::MAX_CHARS),
        role,
        token_expires_at: DateTime::from_timestamp(claims.exp, 0)
            .ok_or(Error::Unauthenticated("has an `exp` out of range"))?,
        id,
    })
}
