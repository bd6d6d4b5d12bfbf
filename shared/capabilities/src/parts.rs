//! The capabilities, and what each is made of.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use backtalk_http::Request;
use backtalk_http::auth::{Authenticator, TokenConfig};
use backtalk_http::error::Error;
use domain::ids::UserId;
use domain::person::Caller;
use domain::rate::RateClass;
use foundation::deadline::Deadline;
use futures_util::FutureExt;
use hooks::moderation::{Moderation, ModerationSettings};
use hooks::webhooks::{WebhookConfig, Webhooks};
use models::ApiKey;
use models::assistants::config::AssistantsConfig;
use models::assistants::{Assistants, ReplyPolicy};
use parameters::Variables;
use pusher::{Delivery, PusherSettings};
use queue::Queue;
use store::config::DatabaseConfig;
use store::{DbRole, ReadAgain, Store};
use uploads::{AttachmentConfig, Attachments};

use crate::settings::{Settings, WebSettings};
use crate::{Capability, Grant, Start, StartError};

/// Who calls, and what the database shows them: rows are read and written under row-level security.
#[derive(Clone, Debug)]
pub struct Reads {
    pub store: Store,
    pub settings: Arc<Settings>,
    authenticator: Arc<Authenticator>,
    deadline: Deadline,
}

impl Reads {
    /// When what this invocation does has to end.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Who calls, as the bearer token proves, and may go ahead: it spends one request of the route's class.
    pub async fn caller(&self, request: &Request) -> Result<Caller, Error> {
        let caller = self.authenticator.caller(request.authorization()).await?;
        telemetry::caller(&caller.id);
        if let Some(class) = request.class() {
            self.spend(request, &caller.id, class).await?;
        }
        Ok(caller)
    }

    /// Spends one request of `class`, for whom another proof than a token names.
    pub async fn spend(&self, request: &Request, caller: &UserId, class: RateClass) -> Result<(), Error> {
        let Some(limit) = self.settings.rates.limit(class) else {
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

const DATABASE: &[&str] = &["DATABASE_URL", "DATABASE_CA", "DATABASE_PASSWORD"];

impl Capability for Reads {
    const GRANT: Grant = Grant {
        capability: "reads",
        variables: &[
            "DATABASE_URL",
            "DATABASE_CA",
            "DATABASE_PASSWORD",
            "JWT_ALGORITHM",
            "JWT_SECRET",
            "JWT_JWKS_URL",
            "JWT_ISSUER",
            "JWT_AUDIENCE",
        ],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let tokens = start.read(TokenConfig::read)?;
        Ok(Self {
            store: database(start, DbRole::App).await?,
            settings: Arc::new(start.read(Settings::read)?),
            authenticator: Arc::new(Authenticator::new(&tokens, start.http()?)),
            deadline: Deadline::of(start.read(WebSettings::read)?.function_time),
        })
    }

    fn invoked(&self, deadline: Deadline) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }
}

/// The database as its owner has it, for work that nobody calls for: what the queue and the schedule begin.
#[derive(Clone, Debug)]
pub struct Jobs {
    pub store: Store,
    pub settings: Arc<Settings>,
    deadline: Deadline,
}

impl Jobs {
    /// When what this invocation does has to end.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

impl Capability for Jobs {
    const GRANT: Grant = Grant {
        capability: "jobs",
        variables: DATABASE,
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        Ok(Self {
            store: database(start, DbRole::Owner).await?,
            settings: Arc::new(start.read(Settings::read)?),
            deadline: Deadline::of(start.read(WebSettings::read)?.function_time),
        })
    }

    fn invoked(&self, deadline: Deadline) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }
}

/// Where its address or password is kept in SSM, they are read anew once the database refuses us.
async fn database(start: &Start, role: DbRole) -> Result<Store, StartError> {
    let config = start.read(DatabaseConfig::read)?;
    let read_again: Option<ReadAgain> = if DatabaseConfig::SECRETS.iter().any(|name| start.is_kept(name)) {
        let aws_now = start.aws().clone();
        Some(Arc::new(move || {
            let aws_now = aws_now.clone();
            async move {
                let variables = Variables::of_process(async || aws_now).await?;
                Ok(variables.read(DatabaseConfig::read)?)
            }
            .boxed()
        }))
    } else {
        None
    };
    Ok(Store::connect_reading_again(&config, role, read_again)?)
}

impl Capability for Delivery {
    const GRANT: Grant = Grant {
        capability: "delivery",
        variables: &["PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET", "PUSHER_CLUSTER"],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        Ok(Self::new(start.read(PusherSettings::read)?, start.http()?))
    }
}

impl Capability for Queue {
    const GRANT: Grant = Grant {
        capability: "queue",
        variables: &["SQS_QUEUE_URL"],
        actions: &["sqs:SendMessage"],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let url = start.read(|env| env.required("SQS_QUEUE_URL", "the SQS queue that wakes the worker"))?;
        let dead_letters = start.read(|env| Ok(env.optional("SQS_DEAD_LETTER_QUEUE_URL")))?;
        Ok(Self::new(aws_sdk_sqs::Client::new(start.aws()), url, dead_letters))
    }
}

impl Capability for Attachments {
    const GRANT: Grant = Grant {
        capability: "uploads",
        variables: &["ATTACHMENTS_BUCKET", "ATTACHMENT_HOSTS"],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let config = start.read(AttachmentConfig::read)?;
        Ok(Self::new(&config, start.aws(), start.http()?))
    }
}

/// The site's own hook, where one is configured.
#[derive(Clone, Debug)]
pub struct ModerationHook(pub Option<Moderation>);

impl Capability for ModerationHook {
    const GRANT: Grant = Grant {
        capability: "moderation",
        variables: &["MODERATION_URL", "MODERATION_SECRET"],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let http = start.http()?;
        let settings = start.read(ModerationSettings::read)?;
        Ok(Self(settings.map(|settings| Moderation::new(settings, http))))
    }
}

impl Capability for Webhooks {
    const GRANT: Grant = Grant {
        capability: "webhooks",
        variables: &[],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let config = start.read(WebhookConfig::read)?;
        Ok(Self::new(&config, start.aws())?)
    }
}

impl Capability for ReplyPolicy {
    const GRANT: Grant = Grant {
        capability: "reply policy",
        variables: &["MODEL_PROVIDER", "MODEL_NAME", "MODEL_OVERRIDES", "SYSTEM_PROMPT"],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        Ok(start.read(Self::read)?)
    }
}

/// The models that answer, and the policy by which they are asked.
#[derive(Clone, Debug)]
pub struct Models {
    pub policy: ReplyPolicy,
    assistants: Arc<Assistants>,
}

impl Deref for Models {
    type Target = Assistants;

    fn deref(&self) -> &Assistants {
        &self.assistants
    }
}

impl Capability for Models {
    const GRANT: Grant = Grant {
        capability: "models",
        variables: &[
            "MODEL_PROVIDER",
            "MODEL_NAME",
            "MODEL_URL",
            "MODEL_KEY",
            "MODEL_OVERRIDES",
            "SYSTEM_PROMPT",
        ],
        actions: &[],
    };

    async fn make(start: &Start) -> Result<Self, StartError> {
        let config = start.read(AssistantsConfig::read)?;
        let names = config.parameters();
        let keys: BTreeMap<_, _> = if names.is_empty() {
            BTreeMap::new()
        } else {
            let client = parameters::Client::new(start.aws());
            let values = parameters::read(&client, &names).await?;
            let key = |(name, value): (String, foundation::secret::Secret)| (name, ApiKey::new(value.expose()));
            values.into_iter().map(key).collect()
        };
        Ok(Self {
            policy: start.read(ReplyPolicy::read)?,
            assistants: Arc::new(Assistants::new(&config, &keys)?),
        })
    }
}
