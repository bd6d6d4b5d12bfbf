//! The variables that a function is set up by: the process's own, those in `SETTINGS`, and secrets that are kept in the
//! parameter store of AWS Systems Manager. They are read when a function starts, and then never again in that process, but for
//! where the database is, once it refuses us.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use aws::{SdkConfig, Service};
use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use foundation::causes;
use foundation::environment::{ConfigError, Environment, parameter_name};
use foundation::secret::Secret;

/// How long a start waits for one call.
const PATIENCE: Duration = Duration::from_secs(5);
/// SSM gives ten parameters a call.
const BATCH: usize = 10;

/// What begins the value of a variable that is kept in SSM: `ssm:/path`.
const KEPT: &str = "ssm:";

/// A JSON object of further variables, for whoever can set one only.
const SETTINGS: &str = "SETTINGS";

/// The process's environment, with what `SETTINGS` adds, and secrets in the places where it says under which names they are
/// kept.
pub struct Variables {
    values: BTreeMap<String, String>,
    /// Those of `SETTINGS`.
    further: BTreeSet<String>,
    /// Those that are kept in SSM, and may be others there by now.
    kept: BTreeSet<String>,
}

impl Variables {
    /// `aws` is asked for when something is kept there.
    pub async fn of_process(aws: impl AsyncFnOnce() -> SdkConfig) -> Result<Self, VariableError> {
        let text = |text: OsString| text.into_string().ok();
        let of_process = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        let mut variables = Self::with_settings(of_process.collect())?;
        let kept = variables.kept()?;
        if !kept.is_empty() {
            variables.kept = kept.keys().cloned().collect();
            variables.fill(&Client::new(&aws().await), kept).await?;
        }
        Ok(variables)
    }

    fn with_settings(mut values: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let settings = values.remove(SETTINGS).filter(|text| !text.trim().is_empty());
        let settings: Map<String, Value> = match settings {
            None => Map::new(),
            // What it says may be a secret, so it is not repeated.
            Some(text) => serde_json::from_str(&text)
                .map_err(|_| ConfigError::new(format!("{SETTINGS} is not an object in JSON.")))?,
        };
        let further = settings.keys().cloned().collect();
        for (name, value) in settings {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => {
                    return Err(ConfigError::new(format!(
                        "{SETTINGS} has a {name} that is no text and no number."
                    )));
                }
            };
            if values.get(&name).is_some_and(|set| !set.trim().is_empty()) {
                return Err(ConfigError::new(format!(
                    "{name} is set by itself and in {SETTINGS}: one must go."
                )));
            }
            values.insert(name, value);
        }
        Ok(Self {
            values,
            further,
            kept: BTreeSet::new(),
        })
    }

    /// The variables that are kept in SSM, and under which names.
    fn kept(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let kept = self.values.iter().filter_map(|(variable, value)| {
            let name = parameter_name(value.strip_prefix(KEPT)?);
            Some(match name {
                Ok(name) => Ok((variable.clone(), name.to_owned())),
                Err(why) => Err(ConfigError::new(format!("{variable} {why}."))),
            })
        });
        kept.collect()
    }

    async fn fill(&mut self, client: &Client, kept: BTreeMap<String, String>) -> Result<(), ParameterError> {
        let values = read(client, &kept.values().map(String::as_str).collect()).await?;
        for (variable, name) in kept {
            if let Some(value) = values.get(&name) {
                self.values.insert(variable, value.expose().to_owned());
            }
        }
        Ok(())
    }

    /// These alone.
    #[must_use]
    pub fn of(values: BTreeMap<String, String>) -> Self {
        Self {
            values,
            further: BTreeSet::new(),
            kept: BTreeSet::new(),
        }
    }

    /// For whoever reads settings.
    pub fn read<T>(&self, read: impl FnOnce(&Environment<'_>) -> T) -> T {
        read(&Environment(&|name| self.values.get(name).cloned()))
    }

    /// Whether a variable's value is kept in SSM, where it may change while this process runs.
    #[must_use]
    pub fn is_kept(&self, variable: &str) -> bool {
        self.kept.contains(variable)
    }

    /// Refuses a name in `SETTINGS` that is none of the `known`, and that no other variable refers to as `env:NAME`.
    pub fn refuse_unknown(&self, known: &[&str]) -> Result<(), ConfigError> {
        let is_meant = |name: &str| {
            let reference = format!("env:{name}\"");
            known.contains(&name) || self.values.values().any(|value| value.contains(&reference))
        };
        match self.further.iter().find(|name| !is_meant(name)) {
            None => Ok(()),
            Some(name) => Err(ConfigError::new(format!(
                "{SETTINGS} names {name}, which is no setting."
            ))),
        }
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a secret is missing: {0}")]
    Parameter(#[from] ParameterError),
}

/// Names the parameters, and never says what is in them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{names} cannot be read from SSM: {why}")]
pub struct ParameterError {
    names: String,
    why: String,
}

/// The parameter store.
#[derive(Clone, Debug)]
pub struct Client(Service);

impl Client {
    /// Connects to nothing.
    #[must_use]
    pub fn new(aws: &SdkConfig) -> Self {
        Self(Service::new(aws, "ssm"))
    }

    /// Those of these names that there are. <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
    async fn parameters(&self, names: &[String]) -> Result<Vec<Parameter>, String> {
        let because = |error: &dyn std::error::Error| causes(error);
        let body = json!({"Names": names, "WithDecryption": true}).to_string();
        let request = Request::post(self.0.endpoint().map_err(|error| because(&error))?)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "AmazonSSM.GetParameters")
            .body(Bytes::from(body))
            .map_err(|error| because(&error))?;
        let answer = self.0.send(&request).await.map_err(|error| because(&error))?;
        let answer: Parameters = answer.json().await.map_err(|error| because(&error.without_url()))?;
        Ok(answer.parameters)
    }
}

/// What SSM answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameters {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

/// The parameters' values, decrypted. One that is not there is an error.
pub async fn read(client: &Client, names: &BTreeSet<&str>) -> Result<BTreeMap<String, Secret>, ParameterError> {
    read_within(PATIENCE, client, names).await
}

async fn read_within(
    patience: Duration,
    client: &Client,
    names: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Secret>, ParameterError> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut values = BTreeMap::new();
    for batch in names.chunks(BATCH) {
        let failed = |why: String| ParameterError {
            names: batch.join(", "),
            why,
        };
        let answer = timeout(patience, client.parameters(batch))
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(failed)?;
        for Parameter { name, value } in answer {
            values.insert(name, Secret::new(value));
        }
        let missing: Vec<_> = batch
            .iter()
            .filter(|name| !values.contains_key(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(ParameterError {
                names: missing.join(", "),
                why: "there is no such parameter".into(),
            });
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
