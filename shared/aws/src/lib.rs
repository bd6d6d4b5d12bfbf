//! AWS, so far as functions need it: what its clients go by, and requests that are signed here.
//!
//! A function's credentials are in its environment, where Lambda puts them for as long as the process lives. So no chain of
//! providers is linked, which would bring clients of its own. By hand, `aws configure export-credentials` writes whatever the
//! AWS CLI knows into an environment.

mod client;
mod endpoint;
mod service;

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

pub use aws_types::SdkConfig;
use foundation::environment::Environment;

pub use self::service::{Error, Service};

/// A refusal is not retried at length: the sweeper is the retry, and the sender waits.
const ATTEMPTS: u32 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// What the clients of AWS go by, as the process's environment says.
#[must_use]
pub fn settings() -> SdkConfig {
    settings_of(&Environment(&|name| env::var(name).ok()))
}

fn settings_of(env: &Environment<'_>) -> SdkConfig {
    let is = |name| {
        env.optional(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let region = env
        .optional("AWS_REGION")
        .or_else(|| env.optional("AWS_DEFAULT_REGION"));
    let mut settings = common()
        .region(region.map(Region::new))
        .use_fips(is("AWS_USE_FIPS_ENDPOINT"))
        .use_dual_stack(is("AWS_USE_DUALSTACK_ENDPOINT"))
        .credentials_provider(SharedCredentialsProvider::new(OfEnvironment(credentials(env))))
        .service_config(Endpoints::of(env));
    settings.set_endpoint_url(env.optional(ENDPOINT));
    settings.build()
}

/// An AWS of a test's own, which takes any credentials.
#[must_use]
pub fn at(endpoint: &str) -> SdkConfig {
    common()
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "secret", None, None, "test",
        )))
        .build()
}

fn common() -> aws_types::sdk_config::Builder {
    let connecting = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(connecting)
        .sleep_impl(TokioSleep::new())
        .http_client(client::Client::default())
}

/// Those that Lambda gives a process.
#[derive(Debug)]
struct OfEnvironment(Option<Credentials>);

fn credentials(env: &Environment<'_>) -> Option<Credentials> {
    Some(Credentials::new(
        env.optional("AWS_ACCESS_KEY_ID")?,
        env.optional("AWS_SECRET_ACCESS_KEY")?,
        env.optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    ))
}

impl ProvideCredentials for OfEnvironment {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.0.clone().ok_or_else(|| {
            CredentialsError::not_loaded(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; \
                 `aws configure export-credentials --format env` prints them",
            )
        }))
    }
}

/// `AWS_ENDPOINT_URL_SQS` and its like, which are one service's.
#[derive(Debug)]
struct Endpoints(HashMap<String, String>);

impl Endpoints {
    const SERVICES: [&str; 4] = ["SQS", "SSM", "S3", "BEDROCK_RUNTIME"];

    fn of(env: &Environment<'_>) -> Self {
        let named = Self::SERVICES.map(|service| format!("{ENDPOINT}_{service}"));
        let set = named
            .into_iter()
            .filter_map(|name| Some((name.clone(), env.optional(&name)?)));
        Self(set.collect())
    }
}

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace(' ', "_");
        self.0.get(&format!("{}_{service}", key.env())).cloned()
    }
}

#[cfg(test)]
mod tests;
