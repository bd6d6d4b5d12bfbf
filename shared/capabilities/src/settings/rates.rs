//! How fast a person may go, per class of routes.

use domain::rate::{RateClass, RateLimit};
use foundation::environment::{ConfigError, Environment};

/// Each as `QUOTA/SECONDSs`, or `none`.
#[derive(Clone, Debug)]
pub struct RateConfig {
    /// `RATE_LIMIT_SEND`: messages that may be answered; default 120/60s.
    send: Option<RateLimit>,
    /// `RATE_LIMIT_WRITE`: whatever else changes something; default 300/60s.
    write: Option<RateLimit>,
    /// `RATE_LIMIT_STREAM`: streams opened, and tickets for them; default 120/60s.
    stream: Option<RateLimit>,
    /// `RATE_LIMIT_READ`: reads and polls; default 600/60s, twenty times what a page polls that is looked at.
    read: Option<RateLimit>,
    /// `RATE_LIMIT_SEARCH`: searches, and chats marked unread from a message on; default 30/60s. One may take the database
    /// the better part of a second.
    search: Option<RateLimit>,
    /// `RATE_LIMIT_UPLOAD`: uploads announced; default 30/60s.
    upload: Option<RateLimit>,
    /// `RATE_LIMIT_NOTICE`: notices of one agent; default 1200/60s.
    notice: Option<RateLimit>,
}

impl RateConfig {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let limit = |name: &str, default: &str| {
            let text = env.optional(name).unwrap_or_else(|| default.to_owned());
            match text.as_str() {
                "none" => Ok(None),
                text => text.parse().map(Some).map_err(|()| {
                    ConfigError::new(format!("{name} is {text:?}: use a limit such as 120/60s, or none."))
                }),
            }
        };
        Ok(Self {
            send: limit("RATE_LIMIT_SEND", "120/60s")?,
            write: limit("RATE_LIMIT_WRITE", "300/60s")?,
            stream: limit("RATE_LIMIT_STREAM", "120/60s")?,
            read: limit("RATE_LIMIT_READ", "600/60s")?,
            search: limit("RATE_LIMIT_SEARCH", "30/60s")?,
            upload: limit("RATE_LIMIT_UPLOAD", "30/60s")?,
            notice: limit("RATE_LIMIT_NOTICE", "1200/60s")?,
        })
    }

    #[must_use]
    pub fn limit(&self, class: RateClass) -> Option<RateLimit> {
        match class {
            RateClass::Send => self.send,
            RateClass::Write => self.write,
            RateClass::Stream => self.stream,
            RateClass::Read => self.read,
            RateClass::Search => self.search,
            RateClass::Upload => self.upload,
            RateClass::Notice => self.notice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_limited_unless_it_is_said_otherwise() {
        let config = RateConfig::read(&Environment(&|_| None)).expect("defaults");
        for class in RateClass::ALL {
            assert!(config.limit(*class).is_some(), "{class}");
        }
        let none = RateConfig::read(&Environment(&|_| Some("none".into()))).expect("no limits");
        for class in RateClass::ALL {
            assert_eq!(none.limit(*class), None, "{class}");
        }
    }
}
