//! Where Pusher is, and what its requests are signed with.

use std::fmt;

use foundation::environment::{ConfigError, Environment};

/// Where the application lives and what it signs with.
#[derive(Clone, PartialEq, Eq)]
pub struct PusherSettings {
    pub app_id: String,
    pub key: String,
    pub secret: String,
    pub host: String,
    pub port: u16,
    /// Whether to speak TLS; only a server on this machine may do without.
    pub tls: bool,
}

impl PusherSettings {
    /// An application at Pusher itself, e.g. in the cluster `eu`.
    #[must_use]
    pub fn hosted(app_id: &str, key: &str, secret: &str, cluster: &str) -> Self {
        Self {
            app_id: app_id.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            host: format!("api-{cluster}.pusher.com"),
            port: 443,
            tls: true,
        }
    }

    pub fn read(env: &Environment<'_>) -> Result<Option<Self>, ConfigError> {
        let names = ["PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET"];
        let [app_id, key, secret] = names.map(|name| env.optional(name));
        let (Some(app_id), Some(key), Some(secret)) = (&app_id, &key, &secret) else {
            let is_set = |(_, value): &(&str, &Option<String>)| value.is_some();
            let some: Vec<_> = names.into_iter().zip([&app_id, &key, &secret]).collect();
            return match (
                some.iter().find(|pair| is_set(pair)),
                some.iter().find(|pair| !is_set(pair)),
            ) {
                (Some((set, _)), Some((missing, _))) => Err(ConfigError::new(format!(
                    "{missing} is not set, though {set} is: Pusher needs both."
                ))),
                _ => {
                    let why = "PUSHER_APP_ID, PUSHER_KEY and PUSHER_SECRET are not";
                    env.refuse_unheeded("PUSHER_HOST", why).map(|()| None)
                }
            };
        };
        if let Some(host) = env.optional("PUSHER_HOST") {
            env.refuse_unheeded("PUSHER_CLUSTER", "PUSHER_HOST says where Pusher is")?;
            let tls = match env.optional("PUSHER_SCHEME").as_deref() {
                None | Some("https") => true,
                Some("http") => false,
                Some(other) => {
                    return Err(ConfigError::new(format!(
                        "PUSHER_SCHEME is {other:?}: use https or http."
                    )));
                }
            };
            let port = env.parsed("PUSHER_PORT", if tls { 443 } else { 80 })?;
            return Ok(Some(Self {
                app_id: app_id.clone(),
                key: key.clone(),
                secret: secret.clone(),
                host,
                port,
                tls,
            }));
        }
        let cluster = env.required(
            "PUSHER_CLUSTER",
            "the Pusher cluster, or PUSHER_HOST a server of one's own",
        )?;
        Ok(Some(Self::hosted(app_id, key, secret, &cluster)))
    }
}

impl fmt::Debug for PusherSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PusherSettings")
            .field("app_id", &self.app_id)
            .field("key", &self.key)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
