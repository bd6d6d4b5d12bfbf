//! What capabilities are made of: the variables of the process, and clients that several of them share.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use foundation::environment::{ConfigError, Environment};
use parameters::{ParameterError, VariableError, Variables};
use tokio::sync::OnceCell;

use crate::settings::KNOWN;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] store::Error),
    #[error("the HTTP client cannot be made: {0}")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("a model's key is missing: {0}")]
    ModelKey(#[from] ParameterError),
}

#[derive(Debug)]
pub struct Start {
    variables: Variables,
    aws: OnceCell<SdkConfig>,
    http: OnceLock<reqwest::Client>,
}

impl Start {
    /// By the process's own variables; secrets that are kept in SSM are read, and names in `SETTINGS` that mean nothing refused.
    pub async fn of_process() -> Result<Self, StartError> {
        let known_aws = OnceCell::new();
        let variables = Variables::of_process(async || known_aws.get_or_init(aws).await.clone()).await?;
        variables.refuse_unknown(KNOWN)?;
        Ok(Self {
            variables,
            aws: known_aws,
            http: OnceLock::new(),
        })
    }

    /// By these variables alone.
    #[must_use]
    pub fn of(variables: BTreeMap<String, String>, aws: SdkConfig) -> Self {
        Self {
            variables: Variables::of(variables),
            aws: OnceCell::new_with(Some(aws)),
            http: OnceLock::new(),
        }
    }

    pub fn read<T>(&self, read: impl FnOnce(&Environment<'_>) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
        self.variables.read(read)
    }

    /// Whether a variable's value is kept in SSM, where it may change while this process runs.
    pub(crate) fn is_kept(&self, variable: &str) -> bool {
        self.variables.is_kept(variable)
    }

    pub(crate) async fn aws(&self) -> &SdkConfig {
        self.aws.get_or_init(aws).await
    }

    /// The client of all who need no settings of their own. It follows no redirects, which would carry a signature or a key to a
    /// stranger.
    pub(crate) fn http(&self) -> Result<reqwest::Client, reqwest::Error> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

/// What the clients of AWS go by.
pub async fn aws() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        // A refusal is not retried at length: the sweeper is the retry, and the sender waits.
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_millis(700))
                .build(),
        )
        .load()
        .await
}
