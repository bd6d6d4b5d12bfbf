//! Settings as they are found in the environment; what is missing or odd is named in one sentence.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One sentence for whoever deploys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Where settings come from: the process environment, or a table in tests.
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment<'_> {
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &str, what: &str) -> Result<String, ConfigError> {
        self.optional(name)
            .ok_or_else(|| ConfigError::new(format!("{name} is not set: it must name {what}.")))
    }

    /// Refuses what is set and would not be heeded. `why`: what makes it so.
    pub fn refuse_unheeded(&self, name: &str, why: &str) -> Result<(), ConfigError> {
        match self.optional(name) {
            None => Ok(()),
            Some(_) => Err(ConfigError::new(format!("{name} is set, though {why}."))),
        }
    }

    pub fn parsed<T: FromStr>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| ConfigError::new(format!("{name} is {text:?}, which is not a number."))),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy + fmt::Display>(
        &self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Option<T>,
        all: &[T],
    ) -> Result<T, ConfigError> {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        parse(&text).ok_or_else(|| {
            let words: Vec<_> = all.iter().map(T::to_string).collect();
            ConfigError::new(format!("{name} is {text:?}: use one of {}.", words.join(", ")))
        })
    }

    /// A number of tokens; `none` is no limit.
    pub fn tokens(&self, name: &str, default: Option<i64>) -> Result<Option<i64>, ConfigError> {
        match self.optional(name).as_deref() {
            None => Ok(default),
            Some("none") => Ok(None),
            Some(text) => match text.parse() {
                Ok(tokens) if tokens >= 0 => Ok(Some(tokens)),
                _ => Err(ConfigError::new(format!(
                    "{name} is {text:?}: use a number of tokens, or none for no limit."
                ))),
            },
        }
    }

    pub fn seconds(&self, name: &str, default: u64) -> Result<Duration, ConfigError> {
        let seconds: f64 = self.parsed(name, default as f64)?;
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| ConfigError::new(format!("{name} is {seconds}, but must be more than 0 seconds.")))
    }
}

/// What follows `ssm:`, if it can be the name of a parameter.
pub fn parameter_name(name: &str) -> Result<&str, &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if name.starts_with('/') && name.chars().all(is_name) {
        Ok(name)
    } else {
        Err("begins with \"ssm:\", and no name of an SSM parameter, such as /backtalk/model-key, follows")
    }
}
