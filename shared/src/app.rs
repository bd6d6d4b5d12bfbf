//! What a handler has at hand: made once a process, cheap to clone.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::attachments::Attachments;
use crate::auth::Authenticator;
use crate::config::{Config, ConfigError};
use crate::delivery::Delivery;
use crate::models::{self, Model};
use crate::queue::Queue;
use crate::store::{Acting, Store};

#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub store: Store,
    pub queue: Queue,
    pub delivery: Delivery,
    pub model: Arc<dyn Model>,
    pub authenticator: Authenticator,
    pub attachments: Attachments,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
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
    #[error("the model cannot be used: {0}")]
    Model(String),
}

impl App {
    /// Reads the configuration and makes every part; connects to nothing but what is needed to know the AWS account.
    pub async fn start(acting: Acting) -> Result<Self, StartError> {
        let config = Config::from_process()?;
        // A redirected request would carry a signature or a key to a stranger.
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let store = Store::connect(&config.database, acting).map_err(StartError::DatabaseUrl)?;
        // A refusal is not retried at length: the sweeper is the retry, and the sender waits.
        let aws = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_millis(700))
                    .build(),
            )
            .load()
            .await;
        let queue = Queue::new(aws_sdk_sqs::Client::new(&aws), config.queue_url.clone());
        let delivery = Delivery::new(config.pusher.clone(), http.clone());
        let model = models::from_settings(&config.model).map_err(|error| StartError::Model(error.to_string()))?;
        let attachments = Attachments::new(&config.attachments, &aws, http.clone());
        let authenticator = Authenticator::new(&config.tokens, http);
        Ok(Self(Arc::new(Parts {
            config,
            store,
            queue,
            delivery,
            model,
            authenticator,
            attachments,
        })))
    }
}
