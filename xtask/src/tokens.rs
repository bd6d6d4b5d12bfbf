//! Tokens for development, signed with the stack's own secret: what the site would do in production.

use anyhow::{Context, Result, bail};
use chrono::Utc;
use clap::Args;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

use crate::console::say;
use crate::instance;

const THIRTY_DAYS: i64 = 30 * 24 * 60 * 60;

/// Print a token for a person or an agent.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Who it is for: the token's `sub`, which is the user's id.
    id: String,
    /// `agent` for a program that sends notices.
    #[arg(long)]
    role: Option<String>,
    /// The organisation: the token's `org_id`.
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// The name that others see [default: the id].
    #[arg(long)]
    name: Option<String>,
    /// The address of the picture that others see.
    #[arg(long, value_name = "URL")]
    picture: Option<String>,
    /// How long it is good for; a negative number makes one that has expired.
    #[arg(long, value_name = "SECONDS", default_value_t = THIRTY_DAYS, allow_negative_numbers = true)]
    expires_in: i64,
    /// Which stack it is for.
    #[arg(long, default_value = instance::DEFAULT)]
    instance: String,
}

/// Who a token is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) picture: Option<&'a str>,
    pub(crate) role: Option<&'a str>,
    pub(crate) org: Option<&'a str>,
}

/// Anna, Ben and their agent.
pub(crate) const DEMO: [(&str, Bearer<'static>); 3] = [
    (
        "ANNA_TOKEN",
        Bearer {
            id: "anna",
            name: "Anna Berger",
            picture: None,
            role: None,
            org: None,
        },
    ),
    (
        "BEN_TOKEN",
        Bearer {
            id: "ben",
            name: "Ben Okafor",
            picture: None,
            role: None,
            org: None,
        },
    ),
    (
        "AGENT_TOKEN",
        Bearer {
            id: "agent",
            name: "Agent",
            picture: None,
            role: Some("agent"),
            org: None,
        },
    ),
];

/// What signs tokens, and what they say of themselves.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) secret: String,
    pub(crate) issuer: String,
    pub(crate) audience: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<&'a str>,
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl Signer {
    pub(crate) fn token(&self, bearer: Bearer<'_>, lifetime_seconds: i64) -> Result<String> {
        let now = Utc::now().timestamp();
        let claims = Claims {
            sub: bearer.id,
            name: bearer.name,
            picture: bearer.picture,
            role: bearer.role,
            org_id: bearer.org,
            iss: &self.issuer,
            aud: &self.audience,
            iat: now,
            exp: now + lifetime_seconds,
        };
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        encode(&Header::default(), &claims, &key).context("a token cannot be signed")
    }

    /// The demo people's, by the names of their variables.
    pub(crate) fn demo_tokens(&self) -> Result<Vec<(String, String)>> {
        DEMO.iter()
            .map(|(name, bearer)| Ok(((*name).to_owned(), self.token(*bearer, THIRTY_DAYS)?)))
            .collect()
    }
}

impl Token {
    /// A demo person is who they are, but for what is said otherwise.
    fn bearer(&self) -> Bearer<'_> {
        let demo = DEMO
            .iter()
            .map(|(_, bearer)| *bearer)
            .find(|bearer| bearer.id == self.id);
        Bearer {
            id: &self.id,
            name: self.name.as_deref().or(demo.map(|demo| demo.name)).unwrap_or(&self.id),
            picture: self.picture.as_deref().or(demo.and_then(|demo| demo.picture)),
            role: self.role.as_deref().or(demo.and_then(|demo| demo.role)),
            org: self.org.as_deref(),
        }
    }

    pub(crate) fn run(&self) -> Result<()> {
        let exported = instance::read_state(&self.instance)?.exported;
        let [Some(secret), Some(issuer), Some(audience)] =
            ["JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"].map(|name| exported.get(name).cloned())
        else {
            bail!(
                "the stack `{}` was never started: it has no secret to sign with",
                self.instance
            );
        };
        say(Signer {
            secret,
            issuer,
            audience,
        }
        .token(self.bearer(), self.expires_in)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::{Value, json};

    use super::*;

    /// What a token says, whose signature and end are right.
    fn claims_of(bearer: Bearer<'_>, lifetime_seconds: i64) -> Result<Value, jsonwebtoken::errors::ErrorKind> {
        let signer = Signer {
            secret: "s".repeat(32),
            issuer: "backtalk-local".into(),
            audience: "backtalk".into(),
        };
        let token = signer.token(bearer, lifetime_seconds).unwrap();
        let mut validation = Validation::default();
        validation.set_issuer(&["backtalk-local"]);
        validation.set_audience(&["backtalk"]);
        let key = DecodingKey::from_secret(signer.secret.as_bytes());
        decode::<Value>(&token, &key, &validation)
            .map(|data| data.claims)
            .map_err(jsonwebtoken::errors::Error::into_kind)
    }

    #[derive(Debug, clap::Parser)]
    struct Asked {
        #[command(flatten)]
        token: Token,
    }

    fn asked(line: &str) -> Token {
        let words = std::iter::once("token").chain(line.split(' '));
        <Asked as clap::Parser>::try_parse_from(words).unwrap().token
    }

    #[test]
    fn a_token_says_who_for_whom_and_until_when() {
        let claims = claims_of(DEMO[2].1, 60).unwrap();
        assert_eq!(claims["sub"], "agent");
        assert_eq!(claims["role"], "agent");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        for absent in ["picture", "org_id"] {
            assert_eq!(claims.get(absent), None);
        }
        assert_ne!(claims["name"], json!(""));
    }

    #[test]
    fn a_token_says_what_it_is_told_to() {
        let token = asked("cleo --org acme --role agent --name Cleo --picture https://x/y.png --expires-in 8");
        let claims = claims_of(token.bearer(), token.expires_in).unwrap();
        for (claim, value) in [
            ("sub", "cleo"),
            ("org_id", "acme"),
            ("role", "agent"),
            ("name", "Cleo"),
            ("picture", "https://x/y.png"),
        ] {
            assert_eq!(claims[claim], value);
        }
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 8);
        // A demo person stays who they are.
        let anna = claims_of(asked("anna --org acme").bearer(), 60).unwrap();
        assert_eq!(
            (&anna["name"], &anna["org_id"]),
            (&json!("Anna Berger"), &json!("acme"))
        );
        let late = asked("anna --expires-in -60");
        assert_eq!(
            claims_of(late.bearer(), late.expires_in),
            Err(jsonwebtoken::errors::ErrorKind::ExpiredSignature)
        );
    }
}
