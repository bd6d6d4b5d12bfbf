//! What a handler has at hand: made once a process, cheap to clone; and how long its invocation may go on.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws::SdkConfig;
use futures_util::FutureExt;

use crate::config::Config;
use backtalk_http::auth::Authenticator;
use backtalk_http::error::Error;
use backtalk_http::{Context, Request};
use domain::ids::UserId;
use domain::person::Caller;
use domain::rate::RateClass;
use foundation::deadline::Deadline;
use foundation::environment::ConfigError;
use hooks::moderation::Moderation;
use hooks::webhooks::Webhooks;
use models::ApiKey;
use models::assistants::Assistants;
use parameters::{self, ParameterError, VariableError, Variables};
use pusher::Delivery;
use queue::Queue;
use store::config::DatabaseConfig;
use store::{Acting, ReadAgain, Store};
use uploads::Attachments;

pub mod config;
#[cfg(test)]
mod recipes;

#[derive(Clone, Debug)]
pub struct App {
    parts: Arc<Parts>,
    deadline: Deadline,
}

#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub store: Store,
    pub queue: Queue,
    pub delivery: Delivery,
    pub assistants: Assistants,
    pub moderation: Option<Moderation>,
    pub authenticator: Authenticator,
    pub attachments: Attachments,
    pub webhooks: Webhooks,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("DATABASE_URL cannot be read: {0}")]
    DatabaseUrl(#[source] sqlx::Error),
    #[error("the HTTP client cannot be made: {0}")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("a model's key is missing: {0}")]
    ModelKey(#[from] ParameterError),
}

impl App {
    /// Reads the configuration and makes every part; connects to nothing but what is needed to know the AWS account, and to
    /// SSM for keys that are kept there.
    pub async fn start(acting: Acting) -> Result<Self, StartError> {
        let aws = aws::settings();
        let variables = Variables::of_process(async || aws.clone()).await?;
        let config = variables.read(Config::read)?;
        variables.all_read()?;
        let keys = model_keys(&config, &aws).await?;
        let is_kept = DatabaseConfig::SECRETS.iter().any(|name| variables.is_kept(name));
        let read_again = is_kept.then(|| read_again(aws.clone()));
        let store = Store::connect_reading_again(&config.database, acting, read_again);
        Self::on(store.map_err(StartError::DatabaseUrl)?, config, &aws, &keys)
    }

    /// Makes every part, and connects to nothing. `keys`: those of models that are kept elsewhere, by name.
    pub fn of(
        config: Config,
        aws: &SdkConfig,
        keys: &BTreeMap<String, ApiKey>,
        acting: Acting,
    ) -> Result<Self, StartError> {
        let store = Store::connect(&config.database, acting).map_err(StartError::DatabaseUrl)?;
        Self::on(store, config, aws, keys)
    }

    fn on(store: Store, config: Config, aws: &SdkConfig, keys: &BTreeMap<String, ApiKey>) -> Result<Self, StartError> {
        // A redirected request would carry a signature or a key to a stranger.
        let http = tls::client()?
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let queue = Queue::new(
            aws_sdk_sqs::Client::new(aws),
            config.queue_url.clone(),
            config.dead_letter_queue_url.clone(),
        );
        let delivery = Delivery::new(config.pusher.clone(), http.clone());
        let assistants = Assistants::new(&config.assistants, keys)?;
        let moderation = config
            .moderation
            .clone()
            .map(|settings| Moderation::new(settings, http.clone()));
        let attachments = Attachments::new(&config.attachments, aws, http.clone());
        let webhooks = Webhooks::new(&config.webhooks, aws)?;
        let authenticator = Authenticator::new(&config.tokens, http);
        let deadline = Deadline::of(config.function_time);
        let parts = Parts {
            config,
            store,
            queue,
            delivery,
            assistants,
            moderation,
            authenticator,
            attachments,
            webhooks,
        };
        Ok(Self {
            parts: Arc::new(parts),
            deadline,
        })
    }

    /// The same for work that must end by then.
    #[must_use]
    pub fn until(&self, deadline: Deadline) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            deadline,
        }
    }

    /// When what this invocation does has to end.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

impl App {
    /// Who calls, as the bearer token proves, and may go ahead: it spends one request of `class`.
    pub async fn caller(&self, request: &Request, class: RateClass) -> Result<Caller, Error> {
        let caller = self.authenticator.caller(request.authorization()).await?;
        telemetry::caller(&caller.id);
        self.spend(request, &caller.id, class).await?;
        Ok(caller)
    }

    /// Spends one request of `class`, for whom another proof than a token names.
    pub async fn spend(&self, request: &Request, caller: &UserId, class: RateClass) -> Result<(), Error> {
        let Some(limit) = self.config.rates.limit(class) else {
            return Ok(());
        };
        let spent = self.store.spend_rate(caller, class, limit).await?;
        request.has_spent(spent);
        if spent.is_allowed {
            Ok(())
        } else {
            Err(Error::RateLimited(spent))
        }
    }
}

impl Context for App {
    fn invoked(&self, deadline: u64) -> Self {
        self.until(Deadline::told(deadline, self.config.function_time))
    }

    fn cors_origins(&self) -> &[String] {
        &self.config.cors_origins
    }

    fn most_body_bytes(&self) -> usize {
        self.config.limits.body_bytes
    }
}

/// What the clients of AWS go by.
pub async fn aws() -> SdkConfig {
    aws::settings()
}

/// Where the database is by now, of what the process was told of it and what SSM keeps.
fn read_again(aws: SdkConfig) -> ReadAgain {
    Arc::new(move || {
        let aws = aws.clone();
        async move {
            let variables = Variables::of_process(async || aws).await?;
            Ok(variables.read(DatabaseConfig::read)?)
        }
        .boxed()
    })
}

/// The keys that are kept in SSM for some alone; it is not asked when there are none.
async fn model_keys(config: &Config, aws: &SdkConfig) -> Result<BTreeMap<String, ApiKey>, ParameterError> {
    let names = config.assistants.parameters();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let values = parameters::read(&parameters::Client::new(aws), &names).await?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (name, ApiKey::new(value.expose())))
        .collect())
}
