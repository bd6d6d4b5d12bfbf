//! Secrets that are kept in the parameter store of AWS Systems Manager. They are read when a function starts, and then
//! never again in that process.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use tokio::time::timeout;

use crate::config::Secret;

/// How long a start waits for one call.
const PATIENCE: Duration = Duration::from_secs(5);
/// SSM gives ten parameters a call.
const BATCH: usize = 10;

/// Names the parameters, and never says what is in them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{names} cannot be read from SSM: {why}")]
pub struct ParameterError {
    names: String,
    why: String,
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
        let asked = client
            .get_parameters()
            .set_names(Some(batch.to_vec()))
            .with_decryption(true)
            .send();
        let answer = timeout(patience, asked)
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|error| failed(reason(&error)))?;
        for parameter in answer.parameters() {
            if let (Some(name), Some(value)) = (parameter.name(), parameter.value()) {
                values.insert(name.to_owned(), Secret::new(value));
            }
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

/// The service's code, where it has answered, else what came between.
fn reason<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug>(
    error: &aws_sdk_ssm::error::SdkError<E, R>,
) -> String {
    if let Some(code) = error.code() {
        return code.to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
