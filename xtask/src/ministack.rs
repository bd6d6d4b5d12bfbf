//! AWS's services on this machine: ministack, on a port of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::instance::Instance;
use crate::program::Program;
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{ports, tools};

/// Starts it as the part `name` and answers its address. It keeps nothing from one start to the next.
///
/// `temporary`: where it unpacks the functions that it runs itself, which get what is in its environment and nothing else.
pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    http: &reqwest::Client,
    name: &str,
    temporary: Option<&Path>,
) -> Result<String> {
    let port = ports::choose(&mut instance.state.ports, name, None)?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut program = Program {
        path: tools::python().await?.join("ministack"),
        environment: [
            ("BIND_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", &port.to_string()),
            // Devices would connect to a port that is always the same.
            ("IOT_MTLS_ENABLED", "0"),
            ("PYTHONUNBUFFERED", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        directory: Some(instance.directory.clone()),
        ..Program::default()
    };
    if let Some(temporary) = temporary {
        program.environment.extend(
            [
                ("AWS_ENDPOINT_URL", endpoint.clone()),
                ("TMPDIR", temporary.display().to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        // Nobody's settings but the template's.
        program.without = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| !["HOME", "PATH"].contains(&name.as_str()) && !program.environment.contains_key(name))
            .collect();
    }
    supervisor.start(Part {
        name: name.into(),
        program,
        ending: Ending::EndsTheStack,
    })?;
    let health = format!("{endpoint}/_ministack/health");
    until("ministack does not answer", Duration::from_secs(30), async || {
        http.get(&health)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await?;
    Ok(endpoint)
}
