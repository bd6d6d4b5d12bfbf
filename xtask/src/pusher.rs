//! A server of Pusher's protocol: sockudo, with one app of our own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::gateway::Gateway;
use crate::instance::{Instance, write_private};
use crate::overrides::Overrides;
use crate::program::Program;
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{ports, tools};

pub(crate) type Settings = BTreeMap<String, String>;

pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    http: &reqwest::Client,
    gateway: &Gateway,
) -> Result<Settings> {
    let port = ports::choose(&mut instance.state.ports, "pusher", None)?;
    let app_id = u32::from_str_radix(&instance.secret("pusher-app", 3)?, 16)?.to_string();
    let key = instance.secret("pusher-key", 10)?;
    let secret = instance.secret("pusher-secret", 10)?;
    let config = instance.directory.join("sockudo.toml");
    let webhook = format!("{}/api/pusher/webhook", gateway.url());
    // By file, for apps that come from its environment cannot have webhooks. Limits are those of Pusher itself. A grace
    // period of 0 would mean 60 seconds; metrics would listen on all addresses.
    write_private(
        &config,
        &format!(
            r#"host = "127.0.0.1"
port = {port}
shutdown_grace_period = 1
metrics.enabled = false
queue.driver = "memory"
rate_limiter.enabled = false
app_manager.driver = "memory"

[[app_manager.array.apps]]
id = "{app_id}"
key = "{key}"
secret = "{secret}"
enabled = true

[app_manager.array.apps.policy.features]
enable_client_messages = true

[app_manager.array.apps.policy.limits]
max_connections = 1000
max_client_events_per_second = 10
max_channel_name_length = 164
max_event_channels_at_once = 100
max_event_batch_size = 10
max_event_payload_in_kb = 10

[[app_manager.array.apps.policy.webhooks]]
url = "{webhook}"
event_types = ["member_added", "member_removed"]
"#
        ),
    )?;
    supervisor.start(Part {
        name: "pusher".into(),
        program: Program {
            path: tools::sockudo().await?,
            arguments: vec!["-c".into(), config.display().to_string()],
            environment: BTreeMap::from([("RUST_LOG".into(), "warn".into()), ("NO_COLOR".into(), "1".into())]),
            directory: Some(instance.directory.clone()),
            ..Program::default()
        },
        // Whoever hears by it hears by other ways meanwhile.
        ending: Ending::IsRestarted,
    })?;
    let health = format!("http://127.0.0.1:{port}/up");
    until(
        "the Pusher server does not answer",
        Duration::from_secs(30),
        async || {
            http.get(&health)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        },
    )
    .await?;
    Ok([
        ("PUSHER_APP_ID", app_id),
        ("PUSHER_KEY", key),
        ("PUSHER_SECRET", secret),
        ("PUSHER_HOST", "127.0.0.1".into()),
        ("PUSHER_PORT", port.to_string()),
        ("PUSHER_SCHEME", "http".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}

/// Somebody else's Pusher.
pub(crate) fn replaced(overrides: &Overrides) -> Option<Settings> {
    let settings = overrides.starting_with("PUSHER_");
    (!settings.is_empty()).then_some(settings)
}
