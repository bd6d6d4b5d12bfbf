//! What a token claims, once its signature is known to be good. Each claim is read by itself, so that one which nobody asks
//! for may be anything; a refusal names the claim and never what it says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::auth::TokenConfig;
use crate::error::Error;
use domain::characters::is_blank;
use domain::ids::UserId;
use domain::person::{Caller, CallerRole};

const MAX_NAME_CHARS: usize = 200;
const MAX_IMAGE_CHARS: usize = 2048;

/// Supabase signs tokens of these roles for whole applications, not for people.
const OF_APPLICATIONS: [&str; 2] = ["anon", "service_role"];

/// As they were signed: what is not asked for is not even read.
pub(super) struct Claims(HashMap<String, Box<RawValue>>);

/// A claim that a token has.
struct Claim<'a> {
    name: &'a str,
    /// None: it is JSON that cannot be read, such as half a character.
    value: Option<Value>,
}

impl Claims {
    /// `payload` is what was signed, decoded.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Error> {
        let claims = serde_json::from_slice(payload);
        claims
            .map(Self)
            .map_err(|_| refused("holds no claims: it is no JSON object"))
    }

    /// Who calls, if the token is for us, by the right issuer, and good now.
    pub(super) fn caller(&self, config: &TokenConfig, now: DateTime<Utc>) -> Result<Caller, Error> {
        self.check_issuer(&config.issuer)?;
        let expires_at = self.check_times(f64::from(config.leeway_seconds), now)?;
        self.check_audience(config)?;
        let sub = self.required("sub")?;
        let id = sub.as_text().and_then(UserId::parse);
        let id = id.ok_or_else(|| sub.refused("no text of 1 to 255 characters without control characters"))?;
        let role = self.role(config)?;
        let shown = |names: &[String], max: usize| {
            let mut claims = names.iter().filter_map(|name| self.find(name));
            claims.find_map(|claim| usable(claim.as_text()?, max))
        };
        Ok(Caller {
            name: shown(&config.claims.name, MAX_NAME_CHARS)
                .unwrap_or_else(|| id.as_str().chars().take(MAX_NAME_CHARS).collect()),
            image: shown(&config.claims.picture, MAX_IMAGE_CHARS),
            org_id: self.organisation(&config.claims.organisation)?,
            role,
            token_expires_at: expires_at,
            id,
        })
    }

    fn check_issuer(&self, expected: &str) -> Result<(), Error> {
        let issuer = self.required("iss")?;
        let text = issuer.as_text().ok_or_else(|| issuer.refused("no text"))?;
        if text == expected {
            return Ok(());
        }
        // The difference that people look for longest.
        if text.trim_end_matches('/') == expected.trim_end_matches('/') {
            return Err(refused(
                "is from another issuer: its `iss` and JWT_ISSUER differ by a slash at the end",
            ));
        }
        Err(refused("is from another issuer, by its `iss`"))
    }

    /// When it expires. Times are numbers of seconds, which may have fractions (RFC 7519, section 2).
    fn check_times(&self, leeway: f64, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let now = seconds_of(now);
        let claim = self.required("exp")?;
        let expires = claim.seconds()?;
        let expires_at = at(expires).ok_or_else(|| claim.refused("out of range"))?;
        if now >= expires + leeway {
            return Err(refused("has expired, by its `exp`"));
        }
        if let Some(claim) = self.find("nbf")
            && now + leeway < claim.seconds()?
        {
            return Err(refused("is not valid yet, by its `nbf`"));
        }
        Ok(expires_at)
    }

    /// Whether it is for us, or where tokens do not say so, whether it was given to a client of ours.
    fn check_audience(&self, config: &TokenConfig) -> Result<(), Error> {
        let audience = self.find("aud");
        let audiences = audience.as_ref().map(Claim::texts).transpose()?;
        let is_for = |audiences: &[String], one: &String| audiences.contains(one);
        let is_for_a_client = match (&config.audience, audiences) {
            (Some(_), None) => return Err(refused("lacks the claim `aud`")),
            (Some(expected), Some(audiences)) if !is_for(&audiences, expected) => {
                return Err(refused("is for another audience, by its `aud`"));
            }
            // Who finds an audience must be in it (RFC 7519, section 4.1.3). An identity token's is the client.
            (None, Some(audiences)) if config.clients.iter().any(|client| is_for(&audiences, client)) => true,
            (None, Some(_)) => return Err(refused("is for another audience, by its `aud`")),
            (Some(_), Some(_)) | (None, None) => false,
        };
        if config.clients.is_empty() {
            return Ok(());
        }
        let claims: Vec<_> = ["client_id", "azp"].iter().filter_map(|name| self.find(name)).collect();
        if claims.is_empty() && !is_for_a_client {
            return Err(refused("lacks the claim `client_id` or `azp`"));
        }
        for claim in claims {
            let client = claim.as_text().ok_or_else(|| claim.refused("no text"))?;
            if !config.clients.iter().any(|known| known == client) {
                return Err(refused(format!("was given to another client, by its `{}`", claim.name)));
            }
        }
        Ok(())
    }

    fn role(&self, config: &TokenConfig) -> Result<CallerRole, Error> {
        let claim = config.claims.role.iter().find_map(|name| self.find(name));
        let roles = claim.as_ref().map(Claim::roles).transpose()?.unwrap_or_default();
        // Also where the site's own roles are in another claim.
        let usual = self
            .find("role")
            .and_then(|claim| claim.roles().ok())
            .unwrap_or_default();
        if roles
            .iter()
            .chain(&usual)
            .any(|role| OF_APPLICATIONS.contains(&role.as_str()))
        {
            return Err(refused("belongs to an application, not to a person, by its `role`"));
        }
        Ok(if roles.contains(&config.agent_role) {
            CallerRole::Agent
        } else {
            CallerRole::Person
        })
    }

    /// Never left out because it is odd: who is of none may be let in where who is of another is not.
    fn organisation(&self, names: &[String]) -> Result<Option<String>, Error> {
        let Some(claim) = names.iter().find_map(|name| self.find(name)) else {
            return Ok(None);
        };
        let value = match &claim.value {
            // Keycloak lists them.
            Some(Value::Array(all)) => match all.as_slice() {
                [] => return Ok(None),
                [one] => Some(one),
                _ => return Err(claim.refused("more than one")),
            },
            value => value.as_ref(),
        };
        let text = value
            .and_then(text_of)
            .ok_or_else(|| claim.refused("no text and no whole number"))?;
        if is_blank(&text) {
            return Ok(None);
        }
        let usable = usable(&text, UserId::MAX_CHARS);
        usable
            .map(Some)
            .ok_or_else(|| claim.refused("too long, or has control characters"))
    }

    fn required<'a>(&self, name: &'a str) -> Result<Claim<'a>, Error> {
        self.find(name)
            .ok_or_else(|| refused(format!("lacks the claim `{name}`")))
    }

    /// By its name, or by a path whose steps are parted by dots. A name may have dots itself, so the whole is looked for
    /// first. What is null is not there.
    fn find<'a>(&self, path: &'a str) -> Option<Claim<'a>> {
        let read = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
        let value = match self.0.get(path) {
            Some(raw) => read(raw),
            None => Some(steps(path).find_map(|(first, rest)| {
                let outer = self.0.get(first).and_then(|raw| read(raw))?;
                inside(outer.as_object()?, rest).cloned()
            })?),
        };
        (value != Some(Value::Null)).then_some(Claim { name: path, value })
    }
}

fn steps(path: &str) -> impl Iterator<Item = (&str, &str)> {
    path.match_indices('.').map(|(dot, _)| (&path[..dot], &path[dot + 1..]))
}

fn inside<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    object
        .get(path)
        .or_else(|| steps(path).find_map(|(first, rest)| inside(object.get(first)?.as_object()?, rest)))
}

impl Claim<'_> {
    fn refused(&self, why: &str) -> Error {
        refused(format!("has a claim `{}` that is {why}", self.name))
    }

    fn as_text(&self) -> Option<&str> {
        self.value.as_ref()?.as_str()
    }

    fn seconds(&self) -> Result<f64, Error> {
        let seconds = self.value.as_ref().and_then(Value::as_f64);
        seconds.ok_or_else(|| self.refused("no number"))
    }

    /// One text, or several.
    fn texts(&self) -> Result<Vec<String>, Error> {
        match &self.value {
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(all)) => Ok(all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            _ => Err(self.refused("no text and no list of texts")),
        }
    }

    /// A set, of which some signers write the only one without its brackets.
    fn roles(&self) -> Result<Vec<String>, Error> {
        let all = match &self.value {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let roles = all.iter().filter(|role| !role.is_null()).map(text_of);
        let roles: Option<Vec<_>> = roles.collect();
        roles
            .filter(|_| self.value.is_some())
            .ok_or_else(|| self.refused("no text and no list of texts"))
    }
}

/// Of an id or a name that is written as a number, too. One that only fits a floating-point number is none: two ids would
/// become the same.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

fn usable(text: &str, max: usize) -> Option<String> {
    let text = text.trim();
    let is_usable = !is_blank(text) && text.chars().count() <= max && !text.chars().any(char::is_control);
    is_usable.then(|| text.to_owned())
}

fn seconds_of(moment: DateTime<Utc>) -> f64 {
    moment.timestamp_millis() as f64 / 1000.0
}

fn at(seconds: f64) -> Option<DateTime<Utc>> {
    // A number beyond what the cast holds becomes the last that it does, which is no date.
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::Unauthenticated(why.into())
}
