//! Who calls: a bearer token, verified here, the same locally and deployed. The algorithm is pinned by configuration, so
//! neither `alg: none` nor a public key used as an HMAC secret gets anywhere.

mod claims;
mod config;
mod jwks;
mod keys;

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{DecodingKey, crypto};
use serde_json::Value;
use serde_json::value::RawValue;

use self::claims::Claims;
pub use self::config::{ClaimNames, TokenConfig, TokenKey};
use self::jwks::Jwks;
use crate::error::Error;
use domain::person::Caller;

/// A verified token is a few hundred bytes; one far beyond that is not worth parsing.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

pub struct Authenticator {
    config: TokenConfig,
    keys: Keys,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

enum Keys {
    Secret(DecodingKey),
    Jwks(Box<Jwks>),
}

/// A token in its parts (RFC 7515, section 3.1), of which nothing is known to be true.
struct Parts<'a> {
    header: HashMap<String, Box<RawValue>>,
    payload: Vec<u8>,
    /// What is signed: header and payload as they came.
    signed: &'a str,
    signature: &'a str,
}

impl Authenticator {
    #[must_use]
    pub fn new(config: &TokenConfig, http: reqwest::Client) -> Self {
        let keys = match &config.key {
            TokenKey::Secret(secret) => Keys::Secret(DecodingKey::from_secret(secret.expose().as_bytes())),
            TokenKey::Jwks(url) => Keys::Jwks(Box::new(Jwks::at(url.clone(), config.algorithm, http))),
        };
        Self {
            config: config.clone(),
            keys,
        }
    }

    /// The caller that an `Authorization` header proves.
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller, Error> {
        let header = authorization.ok_or(Error::Unauthenticated("is missing".into()))?;
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Error::Unauthenticated(
                "is missing: the Authorization header must say `Bearer` and the token".into(),
            ))?;
        self.verified(token).await
    }

    async fn verified(&self, token: &str) -> Result<Caller, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::Unauthenticated("is too long".into()));
        }
        let parts = Parts::of(token).ok_or_else(|| unreadable(token))?;
        self.check_header(&parts)?;
        // Not the token but the configuration says how; a key of another kind verifies nothing.
        let is_signed_by = |key: &DecodingKey| {
            crypto::verify(parts.signature, parts.signed.as_bytes(), key, self.config.algorithm).unwrap_or(false)
        };
        match &self.keys {
            Keys::Secret(key) if is_signed_by(key) => {}
            Keys::Secret(_) => return Err(forged()),
            Keys::Jwks(keys) => keys.check(parts.key_id()?.as_deref(), is_signed_by).await?,
        }
        Claims::read(&parts.payload)?.caller(&self.config, Utc::now())
    }

    fn check_header(&self, parts: &Parts<'_>) -> Result<(), Error> {
        // RFC 7515, section 4.1.11: what must be understood and is not. We understand no extension.
        if parts.header.contains_key("crit") {
            return Err(Error::Unauthenticated(
                "has a header `crit`: no extension is known here".into(),
            ));
        }
        let is_ours = match parts.header("alg") {
            Some(Value::String(name)) => keys::names(self.config.algorithm).contains(&name.as_str()),
            _ => false,
        };
        if !is_ours {
            return Err(Error::Unauthenticated(
                "is signed with another algorithm than is configured, by its header `alg`".into(),
            ));
        }
        Ok(())
    }
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: serde_json::from_slice(&decoded(header)?).ok()?,
            payload: decoded(payload)?,
            signed,
            signature,
        })
    }

    fn header(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.header.get(name)?.get()).ok()
    }

    fn key_id(&self) -> Result<Option<String>, Error> {
        if !self.header.contains_key("kid") {
            return Ok(None);
        }
        match self.header("kid") {
            Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            _ => Err(Error::Unauthenticated("has a header `kid` that is no text".into())),
        }
    }
}

fn unreadable(token: &str) -> Error {
    // RFC 7516, section 3.1. Session tokens of some libraries look so, which only the site itself can read.
    let is_encrypted = token.split('.').count() == 5;
    Error::Unauthenticated(if is_encrypted {
        "is encrypted (JWE): a signed one is needed (JWS)".into()
    } else {
        "is not a signed JWT".into()
    })
}

/// Nothing more, for it may be a forger who reads it.
fn forged() -> Error {
    Error::Unauthenticated("is not validly signed".into())
}
