//! Tokens for development, signed with the stack's own secret: what the site would do in production.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use clap::Args;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use crate::console::say;
use crate::instance;

const THIRTY_DAYS: i64 = 30 * 24 * 60 * 60;

/// Print a token for a person or an agent.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Who it is for: the token's `sub`, which is the user's id.
    id: String,
    /// `agent` for a program that sends notices, whatever `JWT_AGENT_ROLE` calls it.
    #[arg(long)]
    role: Option<String>,
    /// The organisation, in the claim of `JWT_ORGANISATION_CLAIM` [default: `org_id`].
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

/// The variables that say which claims a token has.
pub(crate) const SHAPE: [&str; 6] = [
    "JWT_CLIENT_ID",
    "JWT_ROLE_CLAIM",
    "JWT_AGENT_ROLE",
    "JWT_ORGANISATION_CLAIM",
    "JWT_NAME_CLAIM",
    "JWT_PICTURE_CLAIM",
];

/// What signs tokens, and what they say of themselves.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) secret: String,
    pub(crate) issuer: String,
    /// `none`: tokens have no audience.
    pub(crate) audience: String,
    /// Those of [`SHAPE`] that are set.
    pub(crate) shape: BTreeMap<String, String>,
}

impl Signer {
    pub(crate) fn token(&self, bearer: Bearer<'_>, lifetime_seconds: i64) -> Result<String> {
        let now = Utc::now().timestamp();
        let mut claims = Map::new();
        for (name, value) in [
            ("sub", json!(bearer.id)),
            ("iss", json!(self.issuer)),
            ("iat", json!(now)),
            ("exp", json!(now + lifetime_seconds)),
        ] {
            claims.insert(name.to_owned(), value);
        }
        if self.audience != "none" {
            claims.insert("aud".to_owned(), json!(self.audience));
        }
        if let Some(client) = self.first_of("JWT_CLIENT_ID") {
            claims.insert("client_id".to_owned(), json!(client));
        }
        let role = bearer.role.map(|role| match self.shape.get("JWT_AGENT_ROLE") {
            Some(agent) if role == "agent" => agent,
            _ => role,
        });
        for (variable, usual, value) in [
            ("JWT_NAME_CLAIM", "name", Some(bearer.name)),
            ("JWT_PICTURE_CLAIM", "picture", bearer.picture),
            ("JWT_ROLE_CLAIM", "role", role),
            ("JWT_ORGANISATION_CLAIM", "org_id", bearer.org),
        ] {
            if let Some(value) = value {
                put(&mut claims, self.first_of(variable).unwrap_or(usual), value);
            }
        }
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        encode(&Header::default(), &claims, &key).context("a token cannot be signed")
    }

    /// What a list between commas begins with: it is as good as what follows.
    fn first_of(&self, variable: &str) -> Option<&str> {
        let mut parts = self.shape.get(variable)?.split(',').map(str::trim);
        parts.find(|part| !part.is_empty())
    }

    /// The demo people's, by the names of their variables.
    pub(crate) fn demo_tokens(&self) -> Result<Vec<(String, String)>> {
        DEMO.iter()
            .map(|(name, bearer)| Ok(((*name).to_owned(), self.token(*bearer, THIRTY_DAYS)?)))
            .collect()
    }
}

/// Puts a claim where its path says. A name such as `https://example.com/roles` is no path.
fn put(claims: &mut Map<String, Value>, path: &str, value: &str) {
    let is_name = path.contains(['/', ':']);
    match path.split_once('.').filter(|_| !is_name) {
        None => {
            claims.insert(path.to_owned(), json!(value));
        }
        Some((first, rest)) => {
            let outer = claims.entry(first).or_insert_with(|| json!({}));
            if !outer.is_object() {
                *outer = json!({});
            }
            if let Value::Object(outer) = outer {
                put(outer, rest, value);
            }
        }
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
        let shape = SHAPE.iter().filter_map(|name| exported.get_key_value(*name));
        say(Signer {
            secret,
            issuer,
            audience,
            shape: shape.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
        .token(self.bearer(), self.expires_in)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    /// What a token says, whose signature and end are right.
    fn claims_of(bearer: Bearer<'_>, lifetime_seconds: i64) -> Result<Value, jsonwebtoken::errors::ErrorKind> {
        claims_by("backtalk", &[], bearer, lifetime_seconds)
    }

    fn claims_by(
        audience: &str,
        shape: &[(&str, &str)],
        bearer: Bearer<'_>,
        lifetime_seconds: i64,
    ) -> Result<Value, jsonwebtoken::errors::ErrorKind> {
        let shape = shape
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let signer = Signer {
            secret: "s".repeat(32),
            issuer: "backtalk-local".into(),
            audience: audience.into(),
            shape: shape.collect(),
        };
        let token = signer.token(bearer, lifetime_seconds).unwrap();
        let mut validation = Validation::default();
        validation.set_issuer(&["backtalk-local"]);
        validation.set_audience(&["backtalk"]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        validation.leeway = 0;
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

    #[test]
    fn a_token_has_its_claims_where_the_stack_looks_for_them() {
        let cleo = asked("cleo --org acme --role agent --name Cleo --picture https://x/y.png");
        let shape = [
            ("JWT_CLIENT_ID", "web, ios"),
            ("JWT_ROLE_CLAIM", "app_metadata.role,role"),
            ("JWT_AGENT_ROLE", "Bot"),
            ("JWT_ORGANISATION_CLAIM", "https://example.com/org"),
            ("JWT_NAME_CLAIM", "app_metadata.shown.name"),
        ];
        let shaped = claims_by("none", &shape, cleo.bearer(), 8).unwrap();
        assert_eq!(
            shaped["app_metadata"],
            json!({"role": "Bot", "shown": {"name": "Cleo"}})
        );
        assert_eq!(shaped["https://example.com/org"], "acme");
        assert_eq!(
            (&shaped["client_id"], &shaped["picture"]),
            (&json!("web"), &json!("https://x/y.png"))
        );
        for absent in ["aud", "role", "org_id", "name"] {
            assert_eq!(shaped.get(absent), None);
        }
        // What is no agent keeps its name.
        let editor = claims_by("none", &shape, asked("cleo --role editor").bearer(), 8).unwrap();
        assert_eq!(editor["app_metadata"]["role"], "editor");
    }
}
