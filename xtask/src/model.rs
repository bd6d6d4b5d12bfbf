//! The model that answers: a small real one on this machine, the scripted one inside the program, or somebody else's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::instance::{Instance, repository};
use crate::overrides::Overrides;
use crate::program::Program;
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{ports, tools};

const NAME: &str = "smollm2-135m-instruct";

pub(crate) type Settings = BTreeMap<String, String>;

pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    http: &reqwest::Client,
) -> Result<Settings> {
    let port = ports::choose(&mut instance.state.ports, "model", None)?;
    supervisor.start(Part {
        name: "model".into(),
        program: Program {
            path: tools::python().await?.join("python"),
            arguments: vec![
                repository().join("xtask/python/model.py").display().to_string(),
                port.to_string(),
                NAME.into(),
            ],
            directory: Some(instance.directory.clone()),
            ..Program::default()
        },
        ending: Ending::EndsTheStack,
    })?;
    let health = format!("http://127.0.0.1:{port}/health");
    until("the model does not answer", Duration::from_secs(60), async || {
        http.get(&health)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await?;
    Ok([
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_URL", &*format!("http://127.0.0.1:{port}/v1")),
        ("MODEL_KEY", "none-needed"),
        ("MODEL_NAME", NAME),
        // All that it was trained on.
        ("MODEL_CONTEXT_TOKENS", "2048"),
        ("MODEL_MAX_OUTPUT_TOKENS", "512"),
        ("MODEL_VISION", "no"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into())
}

pub(crate) fn scripted() -> Settings {
    BTreeMap::from([("MODEL_PROVIDER".into(), "scripted".into())])
}

/// Somebody else's model. An address alone is taken for one that speaks as OpenAI does, as most do.
pub(crate) fn replaced(overrides: &Overrides) -> Option<Settings> {
    overrides.get("MODEL_PROVIDER").or(overrides.get("MODEL_URL"))?;
    let mut settings = overrides.starting_with("MODEL_");
    settings
        .entry("MODEL_PROVIDER".into())
        .or_insert_with(|| "openai".into());
    Some(settings)
}
