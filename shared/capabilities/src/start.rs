//! What capabilities are made of: the variables of the process, and clients that several of them share.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws::SdkConfig;
use foundation::environment::{ConfigError, Environment};
use parameters::{ParameterError, VariableError, Variables};

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
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("a model's key is missing: {0}")]
    ModelKey(#[from] ParameterError),
}

#[derive(Debug)]
pub struct Start {
    variables: Variables,
    aws: OnceLock<SdkConfig>,
    http: OnceLock<reqwest::Client>,
}

impl Start {
    /// By the process's own variables; secrets that are kept in SSM are read, and names in `SETTINGS` that mean nothing refused.
    pub async fn of_process() -> Result<Self, StartError> {
        let known_aws = OnceLock::new();
        let variables = Variables::of_process(async || known_aws.get_or_init(aws::settings).clone()).await?;
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
            aws: OnceLock::from(aws),
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

    pub(crate) fn aws(&self) -> &SdkConfig {
        self.aws.get_or_init(aws::settings)
    }

    /// The client of all who need no settings of their own. It follows no redirects, which would carry a signature or a key to a
    /// stranger.
    pub(crate) fn http(&self) -> Result<reqwest::Client, StartError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = tls::client()?
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}
