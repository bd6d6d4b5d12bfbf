//! `cargo xtask up`: all parts together, and the words that say they are ready.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::console::{say, seconds};
use crate::functions::{self, Counts};
use crate::gateway::Gateway;
use crate::instance::{self, Instance};
use crate::overrides::Overrides;
use crate::postgres::{self, Data};
use crate::supervise::{Interrupted, Supervisor, supervise};
use crate::tokens::{self, Signer};
use crate::{migrate, model, processes, pusher, queue, tools, web};

/// Start everything on this machine, until Ctrl-C.
///
/// Parts can be replaced by real ones: DATABASE_URL; SQS_QUEUE_URL with AWS_ENDPOINT_URL and the keys of AWS in variables;
/// PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET and PUSHER_CLUSTER or PUSHER_HOST; MODEL_PROVIDER, MODEL_URL, MODEL_KEY and
/// MODEL_NAME. All other settings of the functions are passed on to them as they are.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Which stack: each has its own data, ports, secrets and people.
    #[arg(long, default_value = instance::DEFAULT)]
    name: String,
    /// Answer with the scripted model instead of a real one.
    #[arg(long)]
    no_model: bool,
    /// Deliver by event stream and polling alone.
    #[arg(long)]
    no_pusher: bool,
    /// Where the API listens [default: 9100 for the default stack if it is free, else any].
    #[arg(long)]
    port: Option<u16>,
    /// Do not build and serve the web page.
    #[arg(long)]
    no_web: bool,
    /// Show no logs; they are in .local/NAME/logs all the same.
    #[arg(long)]
    quiet: bool,
    /// How many processes of a function, as in `send-message=2,worker=1`.
    #[arg(long, env = "BACKTALK_PROCESSES", default_value = "", hide_default_value = true)]
    processes: Counts,
}

/// What to start, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) data: Data,
    pub(crate) model: bool,
    pub(crate) pusher: bool,
    pub(crate) web: bool,
    pub(crate) port: Option<u16>,
    pub(crate) counts: Counts,
    /// What the functions are told beside what they need.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Up {
    pub(crate) async fn run(self) -> Result<()> {
        let started = Instant::now();
        let mut instance = Instance::take(&self.name)?;
        let outcome = supervise(&mut instance, self.quiet, async |instance, supervisor| -> Result<()> {
            let plan = Plan {
                data: Data::Kept,
                model: !self.no_model,
                pusher: !self.no_pusher,
                web: !self.no_web,
                port: self.port,
                counts: self.processes,
                settings: BTreeMap::new(),
            };
            let exports = start(instance, supervisor, plan).await?;
            welcome(&exports, &instance.env_file(), started.elapsed());
            pending().await
        })
        .await;
        instance.remove_env()?;
        match outcome {
            Err(error) if error.is::<Interrupted>() => {
                say("everything is ended");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Starts all parts; writes and answers what a client of the stack needs when all of them answer.
pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    plan: Plan,
) -> Result<BTreeMap<String, String>> {
    instance.remove_env()?;
    let overrides = Overrides::of_process();
    let other_queue = queue::replaced(&overrides)?;
    let http = http()?;
    tools::python().await?;
    let signer = signer(instance, &overrides)?;
    let gateway = Gateway::choose(instance, plan.port)?;

    let database = match overrides.get("DATABASE_URL") {
        Some(url) => {
            say("database: the one of DATABASE_URL");
            url.to_owned()
        }
        None => {
            say("database: starting Postgres");
            postgres::start(instance, supervisor, plan.data).await?
        }
    };
    say("functions: building");
    let built = build::functions(Profile::Debug).await?;
    say("database: applying migrations");
    migrate::apply(&built, &database).await?;

    let queue = match other_queue {
        Some(settings) => {
            say("queue: the one of SQS_QUEUE_URL; nothing here takes its messages to the worker");
            settings
        }
        None => {
            say("queue: starting ministack");
            let workers = plan.counts.of("worker");
            queue::start(instance, supervisor, &http, &gateway.invoke_url(), workers).await?
        }
    };
    let pusher = match pusher::replaced(&overrides) {
        _ if !plan.pusher => BTreeMap::new(),
        Some(settings) => {
            say("pusher: the one of PUSHER_APP_ID");
            settings
        }
        None => {
            say("pusher: starting sockudo");
            pusher::start(instance, supervisor, &http, &gateway).await?
        }
    };
    let model = match model::replaced(&overrides) {
        _ if !plan.model => model::scripted(),
        Some(settings) => {
            say(format_args!(
                "model: the one of MODEL_PROVIDER ({})",
                settings["MODEL_PROVIDER"]
            ));
            settings
        }
        None => {
            say("model: starting SmolLM2");
            let mut settings = model::start(instance, supervisor, &http).await?;
            // Which may be asked for less, or waited for longer.
            settings.extend(overrides.starting_with("MODEL_"));
            settings
        }
    };

    // Also when what follows fails: the next attempt has the same ports and secrets.
    instance.save()?;

    let mut settings: BTreeMap<String, String> = [
        ("DATABASE_URL", database.as_str()),
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET", &signer.secret),
        ("JWT_ISSUER", &signer.issuer),
        ("JWT_AUDIENCE", &signer.audience),
        // Whoever listens at a desk does so there.
        ("WEBHOOK_TARGETS", overrides.get("WEBHOOK_TARGETS").unwrap_or("any")),
        ("LOG", overrides.get("LOG").unwrap_or("info")),
        ("LOG_FORMAT", overrides.get("LOG_FORMAT").unwrap_or("text")),
        ("NO_PROXY", overrides.get("NO_PROXY").unwrap_or("127.0.0.1,localhost")),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.extend(queue.into_iter().chain(pusher).chain(model));
    settings.extend(overrides.starting_with("ATTACHMENTS_BUCKET"));
    settings.extend(signer.shape.clone());
    settings.extend(plan.settings);

    say("functions: starting");
    gateway.start(supervisor, &http).await?;
    let without = overrides.unwanted(&settings);
    functions::start(supervisor, &http, &gateway, &built, &plan.counts, &settings, &without).await?;

    let mut exports = exports(instance, &gateway, &signer, &settings)?;
    meet(&http, &exports).await?;
    if plan.web
        && let Some(url) = web::start(instance, supervisor, &http, &exports).await?
    {
        exports.insert("WEB_URL".into(), url);
    }
    instance.write_env(&exports)?;
    Ok(exports)
}

/// A client for what runs here.
pub(crate) fn http() -> Result<reqwest::Client> {
    // A proxy for the world is none for this machine.
    let client = reqwest::Client::builder().no_proxy();
    Ok(client.connect_timeout(Duration::from_secs(2)).build()?)
}

fn signer(instance: &mut Instance, overrides: &Overrides) -> Result<Signer> {
    let secret = match overrides.get("JWT_SECRET") {
        Some(secret) => secret.to_owned(),
        None => instance.secret("jwt", 32)?,
    };
    Ok(Signer {
        secret,
        issuer: overrides.get("JWT_ISSUER").unwrap_or("backtalk-local").to_owned(),
        audience: overrides.get("JWT_AUDIENCE").unwrap_or("backtalk").to_owned(),
        shape: tokens::SHAPE
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), overrides.get(name)?.to_owned())))
            .collect(),
    })
}

/// What the env file says: all that a client, a test or another program needs to drive the stack.
fn exports(
    instance: &Instance,
    gateway: &Gateway,
    signer: &Signer,
    settings: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    const SETTINGS: [&str; 16] = [
        "DATABASE_URL",
        "SQS_QUEUE_URL",
        "SQS_DEAD_LETTER_QUEUE_URL",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "PUSHER_APP_ID",
        "PUSHER_KEY",
        "PUSHER_SECRET",
        "PUSHER_HOST",
        "PUSHER_PORT",
        "PUSHER_SCHEME",
        "MODEL_PROVIDER",
        "MODEL_URL",
    ];
    let mut exports: BTreeMap<String, String> = SETTINGS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), settings.get(*name)?.clone())))
        .chain(signer.shape.clone())
        .chain(signer.demo_tokens()?)
        .collect();
    for (name, value) in [
        ("API_URL", gateway.url()),
        ("INVOKE_URL", gateway.invoke_url()),
        ("JWT_SECRET", signer.secret.clone()),
        ("JWT_ISSUER", signer.issuer.clone()),
        ("JWT_AUDIENCE", signer.audience.clone()),
        (
            "PROCESSES_FILE",
            processes::file(&instance.directory).display().to_string(),
        ),
    ] {
        exports.insert(name.to_owned(), value);
    }
    Ok(exports)
}

/// People are known from their first request; these make theirs now, so that each can be written to at once.
async fn meet(http: &reqwest::Client, exports: &BTreeMap<String, String>) -> Result<()> {
    for name in ["ANNA_TOKEN", "BEN_TOKEN", "AGENT_TOKEN"] {
        let me = format!("{}/api/me", exports["API_URL"]);
        let answer = http
            .get(me)
            .bearer_auth(&exports[name])
            .timeout(Duration::from_secs(30))
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "GET /api/me with {name} answers {status}: {text}");
    }
    Ok(())
}

fn welcome(exports: &BTreeMap<String, String>, env_file: &Path, took: Duration) {
    let env = std::env::current_dir()
        .ok()
        .and_then(|here| env_file.strip_prefix(here).ok())
        .map_or_else(
            || env_file.display().to_string(),
            |relative| format!("./{}", relative.display()),
        );
    let show = |name: &str| exports.get(name).map_or("none", String::as_str).to_owned();
    let pusher = match (exports.get("PUSHER_HOST"), exports.get("PUSHER_PORT")) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.clone(),
        _ => show("PUSHER_APP_ID"),
    };
    say(format_args!(
        r#"
Ready after {took}. Ctrl-C ends everything.

  web page  {web}
  API       {api}
  database  {database}
  queue     {queue}
  pusher    {pusher}
  model     {model}
  env file  {env}

Open a chat with the model, watch it answer, and read what is kept. Paste line by line:

. {env}; CHAT=$(curl -sS "$API_URL/api/chat" -H "authorization: Bearer $ANNA_TOKEN" -H 'content-type: application/json' -d '{{"kind":"assistant"}}' | python3 -c 'import json,sys; a = json.load(sys.stdin); print(a["chat"]["id"] if "chat" in a else sys.exit(a["detail"]))'); echo "$CHAT"
curl -sSN "$API_URL/api/chat/$CHAT/messages" -H "authorization: Bearer $ANNA_TOKEN" -H 'accept: text/event-stream' -H 'content-type: application/json' -d '{{"clientId":"first","content":"Tell me a very short story about a lighthouse."}}'
curl -sS "$API_URL/api/chat/$CHAT/messages" -H "authorization: Bearer $ANNA_TOKEN"; echo; curl -sS "$API_URL/api/chat-messages" -H "authorization: Bearer $ANNA_TOKEN"; echo
"#,
        took = seconds(took),
        web = show("WEB_URL"),
        api = show("API_URL"),
        database = show("DATABASE_URL"),
        queue = show("SQS_QUEUE_URL"),
        model = exports
            .get("MODEL_URL")
            .map_or_else(|| show("MODEL_PROVIDER"), Clone::clone),
    ));
}
