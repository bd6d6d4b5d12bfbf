//! How tokens are checked, and which of their claims say who calls.

use jsonwebtoken::Algorithm;

use foundation::environment::{ConfigError, Environment};
use foundation::secret::Secret;

#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// `JWT_ALGORITHM`: `HS256`, `RS256`, `PS256`, `ES256` or `EdDSA`. A token signed in another way is refused.
    pub algorithm: Algorithm,
    pub key: TokenKey,
    /// `JWT_ISSUER`: the `iss` that tokens must have, to the letter.
    pub issuer: String,
    /// `JWT_AUDIENCE`: the `aud` that tokens must have. `none`: tokens have none, and `JWT_CLIENT_ID` is checked instead.
    pub audience: Option<String>,
    /// `JWT_CLIENT_ID`: comma-separated; the `client_id` or `azp` of tokens must be one of them. Required where tokens have
    /// no audience; else, when it is not set, nobody looks at these claims.
    pub clients: Vec<String>,
    /// `JWT_LEEWAY_SECONDS`: how far the signer's clock may be off, up to 60; default 5.
    pub leeway_seconds: u32,
    pub claims: ClaimNames,
    /// `JWT_AGENT_ROLE`: which role makes an agent; default `agent`.
    pub agent_role: String,
}

#[derive(Clone, Debug)]
pub enum TokenKey {
    /// `JWT_SECRET`, of 32 bytes at least.
    Secret(Secret),
    /// `JWT_JWKS_URL`.
    Jwks(String),
}

/// Which claims say what. Each is a name such as `role`, `cognito:groups` or `https://example.com/roles`, or a path such as
/// `app_metadata.role`; of several, separated by commas, the first that a token has is read.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    /// `JWT_ROLE_CLAIM`; default `role`.
    pub role: Vec<String>,
    /// `JWT_ORGANISATION_CLAIM`; default `org_id,orgId`.
    pub organisation: Vec<String>,
    /// `JWT_NAME_CLAIM`; default `name`.
    pub name: Vec<String>,
    /// `JWT_PICTURE_CLAIM`; default `picture`.
    pub picture: Vec<String>,
}

impl TokenConfig {
    /// Clocks differ a little.
    const LEEWAY_SECONDS: u32 = 5;
    const MAX_LEEWAY_SECONDS: u32 = 60;
    const ALGORITHMS: &str = "HS256, RS256, PS256, ES256 or EdDSA";

    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let algorithms = Self::ALGORITHMS;
        let name = env.required("JWT_ALGORITHM", &format!("how tokens are signed: {algorithms}"))?;
        let algorithm = match name.as_str() {
            "HS256" => Algorithm::HS256,
            "RS256" => Algorithm::RS256,
            "PS256" => Algorithm::PS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            other => {
                return Err(ConfigError::new(format!(
                    "JWT_ALGORITHM is {other:?}: use {algorithms}."
                )));
            }
        };
        let clients = listed(env, "JWT_CLIENT_ID", "");
        let audience = env.required("JWT_AUDIENCE", "for whom tokens are issued (`aud`), or say none")?;
        let audience = Some(audience).filter(|audience| audience != "none");
        if audience.is_none() && clients.is_empty() {
            return Err(ConfigError::new(
                "JWT_CLIENT_ID is not set, though JWT_AUDIENCE=none: it must name the clients whose tokens are taken \
                 (`client_id` or `azp`).",
            ));
        }
        Ok(Self {
            algorithm,
            key: TokenKey::read(env, algorithm, &name)?,
            issuer: env.required("JWT_ISSUER", "who issues tokens (`iss`)")?,
            audience,
            clients,
            leeway_seconds: leeway(env)?,
            claims: ClaimNames::read(env)?,
            agent_role: env.optional("JWT_AGENT_ROLE").unwrap_or_else(|| "agent".into()),
        })
    }
}

impl TokenKey {
    fn read(env: &Environment<'_>, algorithm: Algorithm, name: &str) -> Result<Self, ConfigError> {
        if algorithm != Algorithm::HS256 {
            env.refuse_unheeded(
                "JWT_SECRET",
                &format!("with JWT_ALGORITHM={name} tokens are checked by the keys at JWT_JWKS_URL alone"),
            )?;
            let url = env.required("JWT_JWKS_URL", "the address of the signer's public keys")?;
            return Ok(Self::Jwks(url));
        }
        let secret = env.required("JWT_SECRET", "the secret that signs tokens")?;
        // RFC 7518, section 3.2: a key of the hash's size or larger.
        if secret.len() < 32 {
            return Err(ConfigError::new(
                "JWT_SECRET is too short: HS256 needs 32 bytes at least.",
            ));
        }
        env.refuse_unheeded(
            "JWT_JWKS_URL",
            "with JWT_ALGORITHM=HS256 tokens are checked by JWT_SECRET alone",
        )?;
        Ok(Self::Secret(Secret::new(secret)))
    }
}

impl ClaimNames {
    fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let names = |variable: &str, default: &str| {
            let names = listed(env, variable, default);
            if names.is_empty() {
                return Err(ConfigError::new(format!("{variable} names no claim.")));
            }
            Ok(names)
        };
        Ok(Self {
            role: names("JWT_ROLE_CLAIM", "role")?,
            organisation: names("JWT_ORGANISATION_CLAIM", "org_id,orgId")?,
            name: names("JWT_NAME_CLAIM", "name")?,
            picture: names("JWT_PICTURE_CLAIM", "picture")?,
        })
    }
}

fn listed(env: &Environment<'_>, variable: &str, default: &str) -> Vec<String> {
    let text = env.optional(variable).unwrap_or_else(|| default.to_owned());
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn leeway(env: &Environment<'_>) -> Result<u32, ConfigError> {
    let most = TokenConfig::MAX_LEEWAY_SECONDS;
    let seconds = env.parsed("JWT_LEEWAY_SECONDS", TokenConfig::LEEWAY_SECONDS)?;
    if seconds > most {
        return Err(ConfigError::new(format!(
            "JWT_LEEWAY_SECONDS is {seconds}: use 0 to {most}, for clocks that differ by more must be set right."
        )));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("JWT_ISSUER", "site"),
        ("JWT_AUDIENCE", "chat"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<TokenConfig, ConfigError> {
        let value = |name: &str| {
            let mut all = changes.iter().chain(GOOD);
            all.find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        TokenConfig::read(&Environment(&value))
    }

    #[test]
    fn what_is_not_set_is_as_it_was() {
        let config = read(&[]).expect("good settings");
        assert_eq!((config.audience.as_deref(), config.leeway_seconds), (Some("chat"), 5));
        assert_eq!(config.clients, [""; 0]);
        assert_eq!(
            (config.claims.role, config.claims.organisation),
            (vec!["role".to_owned()], vec!["org_id".to_owned(), "orgId".to_owned()])
        );
        assert_eq!(config.agent_role, "agent");
    }

    #[test]
    fn claims_are_named_or_reached_by_a_path() {
        let config = read(&[
            (
                "JWT_ROLE_CLAIM",
                "app_metadata.role, https://example.com/roles ,cognito:groups",
            ),
            ("JWT_AGENT_ROLE", "Backtalk.Agent"),
        ])
        .expect("good settings");
        assert_eq!(
            config.claims.role,
            ["app_metadata.role", "https://example.com/roles", "cognito:groups"]
        );
        assert_eq!(config.agent_role, "Backtalk.Agent");
        let error = read(&[("JWT_NAME_CLAIM", " , ")]).expect_err("no claim").to_string();
        assert_eq!(error, "JWT_NAME_CLAIM names no claim.");
    }

    #[test]
    fn without_an_audience_clients_are_named() {
        let none = ("JWT_AUDIENCE", "none");
        let error = read(&[none]).expect_err("nothing is checked").to_string();
        assert!(
            error.starts_with("JWT_CLIENT_ID is not set, though JWT_AUDIENCE=none"),
            "{error}"
        );
        let config = read(&[none, ("JWT_CLIENT_ID", "web, ios")]).expect("good settings");
        assert_eq!(
            (config.audience, config.clients),
            (None, vec!["web".into(), "ios".into()])
        );
    }

    #[test]
    fn clocks_differ_by_a_minute_at_most() {
        for (text, seconds) in [("0", 0), ("60", 60)] {
            let config = read(&[("JWT_LEEWAY_SECONDS", text)]).expect(text);
            assert_eq!(config.leeway_seconds, seconds);
        }
        for (text, says) in [
            ("61", "JWT_LEEWAY_SECONDS is 61: use 0 to 60"),
            ("-1", "JWT_LEEWAY_SECONDS is \"-1\""),
            ("soon", "JWT_LEEWAY_SECONDS is \"soon\""),
        ] {
            let error = read(&[("JWT_LEEWAY_SECONDS", text)]).expect_err(text).to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn each_algorithm_of_public_keys_needs_their_address() {
        for name in ["RS256", "PS256", "ES256", "EdDSA"] {
            let keys = [
                ("JWT_ALGORITHM", name),
                ("JWT_SECRET", ""),
                ("JWT_JWKS_URL", "https://keys"),
            ];
            assert!(matches!(read(&keys).expect(name).key, TokenKey::Jwks(_)));
            let error = read(&keys[..2]).expect_err(name).to_string();
            assert!(error.contains("JWT_JWKS_URL is not set"), "{error}");
            let error = read(&[keys[0], keys[2]]).expect_err(name).to_string();
            assert!(
                error.contains(&format!("JWT_SECRET is set, though with JWT_ALGORITHM={name}")),
                "{error}"
            );
        }
    }
}
