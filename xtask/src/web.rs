//! The demo page of `web/`: built when its sources have changed, and served beside the stack, whose demo people it signs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::timeout;

use crate::console::say;
use crate::instance::{DEFAULT, Instance, repository};
use crate::program::{self, Program};
use crate::supervise::{Ending, Part, Supervisor, until};
use crate::{ports, tools};

/// Where the default stack's page is when nobody else is there.
const USUAL_PORT: u16 = 9180;
/// What the page is made of.
const SOURCES: [&str; 4] = ["client/src", "react/src", "demo", "package-lock.json"];
/// The longest that a part of the page's tests may take; on two idle cores all of them take seven minutes.
const PATIENCE: Duration = Duration::from_secs(25 * 60);

/// Where the page is; `None` where it cannot be built, which is no reason to have no stack.
pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    http: &reqwest::Client,
    exports: &BTreeMap<String, String>,
) -> Result<Option<String>> {
    if let Err(error) = build().await {
        say(format_args!("web page: none, for it cannot be built: {error:#}"));
        return Ok(None);
    }
    let (node, _) = tools::node_and_npm().await?;
    let wanted = (instance.name == DEFAULT).then_some(USUAL_PORT);
    let port = ports::choose(&mut instance.state.ports, "web", wanted)?;
    let mut environment = exports.clone();
    environment.insert("WEB_PORT".into(), port.to_string());
    say("web page: starting");
    supervisor.start(Part {
        name: "web".into(),
        program: Program {
            path: node,
            arguments: vec!["demo/serve.mjs".into()],
            environment,
            directory: Some(web()),
            ..Program::default()
        },
        ending: Ending::IsRestarted,
    })?;
    let url = format!("http://127.0.0.1:{port}");
    until("the web page does not answer", Duration::from_secs(30), async || {
        http.get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await?;
    Ok(Some(url))
}

/// Types, style, and the client against a server that is simulated.
pub(crate) async fn check() -> Result<()> {
    build().await?;
    for script in ["check", "test", "test:packed", "sizes"] {
        run_script(script, &BTreeMap::new()).await?;
    }
    Ok(())
}

/// The page in Chromium, against the running stack.
pub(crate) async fn drive(exports: &BTreeMap<String, String>) -> Result<()> {
    ensure!(exports.contains_key("WEB_URL"), "the stack has no web page");
    let mut environment = exports.clone();
    environment.insert("CHROMIUM_BIN".into(), tools::chromium().await?.display().to_string());
    run_script("e2e", &environment).await
}

async fn run_script(script: &str, environment: &BTreeMap<String, String>) -> Result<()> {
    let mut npm = tools::npm().await?;
    npm.args(["run", "--silent", script])
        .current_dir(web())
        .envs(environment);
    timeout(PATIENCE, program::run(npm))
        .await
        .with_context(|| format!("npm run {script} takes longer than {} minutes", PATIENCE.as_secs() / 60))?
}

fn web() -> PathBuf {
    repository().join("web")
}

async fn build() -> Result<()> {
    let packages = web();
    tools::install_packages(&packages, "the packages of the web page in web").await?;
    let sources = fingerprint(&packages)?;
    let stamp = packages.join("demo/dist/built-from.txt");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == sources) {
        return Ok(());
    }
    say("web page: building");
    let mut build: Command = tools::npm().await?;
    build.args(["run", "--silent", "build"]).current_dir(&packages);
    program::output(build).await?;
    fs::write(&stamp, sources)?;
    Ok(())
}

/// Of what the sources say, for times of change are new with every checkout.
fn fingerprint(packages: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for source in SOURCES {
        for file in files(&packages.join(source))? {
            digest.update(file.strip_prefix(packages)?.as_os_str().as_encoded_bytes());
            digest.update(fs::read(&file)?);
        }
    }
    Ok(hex::encode(digest.finalize()))
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| format!("{} cannot be read", path.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    let is_source = |path: &&PathBuf| !path.ends_with("dist") && !path.ends_with("node_modules");
    let mut found = Vec::new();
    for entry in entries.iter().filter(is_source) {
        found.extend(files(entry)?);
    }
    Ok(found)
}
