//! Programs, run to their end or kept running, and the one rule for all of them: none outlives us.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

/// What a command is made of, so that it can be made again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// On top of our own environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) user: User,
    pub(crate) stop: Stop,
    /// Removed from the environment that it would get from us.
    pub(crate) without: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum User {
    #[default]
    Ours,
    /// We are root, and the program refuses root. By number: its group has different names.
    Nobody,
}

/// How a program is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    Terminate,
    /// Postgres takes the other for "when everyone has left".
    Interrupt,
}

impl Stop {
    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
        }
    }

    /// As `setpriv` calls it.
    fn word(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

impl Program {
    /// Its end follows ours even when we are killed, where the system can do that.
    pub(crate) fn command(&self) -> Command {
        let mut words = Vec::new();
        if can_follow() {
            words.extend(["--pdeathsig", self.stop.word()]);
        }
        if self.user == User::Nobody {
            words.extend(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let mut command = if words.is_empty() {
            Command::new(&self.path)
        } else {
            let mut command = Command::new("setpriv");
            command.args(words).arg(&self.path);
            command
        };
        command.args(&self.arguments).envs(&self.environment);
        for name in &self.without {
            command.env_remove(name);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

/// Whether this system's `setpriv` can tie a process to its parent: util-linux's can, others' cannot.
fn can_follow() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let trial = std::process::Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .output();
        trial.is_ok_and(|trial| trial.status.success())
    })
}

/// A child that leads a process group of its own. Dropping it kills the group, so an early return leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) child: Child,
    pub(crate) pid: Pid,
}

impl Leader {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .with_context(|| format!("{program} ended at once"))?;
        Ok(Self { child, pid })
    }

    /// Asks the leader alone: it ends its own children in its own order.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _gone = kill_process(self.pid, signal);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let _gone = kill_process_group(self.pid, Signal::KILL);
    }
}

/// Whether `PATH` has a program.
pub(crate) fn found(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// Runs a command to its end, its output on the terminal.
pub(crate) async fn status(mut command: Command) -> Result<ExitStatus> {
    command.stdin(Stdio::null());
    let mut leader = Leader::start(command)?;
    Ok(leader.child.wait().await?)
}

/// Runs a command that must succeed, its output on the terminal.
pub(crate) async fn run(command: Command) -> Result<()> {
    let shown = shown(&command);
    let status = status(command).await?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a command that must succeed, quietly: what it said is told only when it fails.
pub(crate) async fn output(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut leader = Leader::start(command)?;
    let (mut out, mut err) = (leader.child.stdout.take(), leader.child.stderr.take());
    let (out, err, status) = tokio::join!(text(out.as_mut()), text(err.as_mut()), leader.child.wait());
    let status = status?;
    if !status.success() {
        bail!("`{shown}` failed ({status})\n{}{}", out?, err?);
    }
    out
}

async fn text(stream: Option<&mut (impl tokio::io::AsyncRead + Unpin)>) -> Result<String> {
    use tokio::io::AsyncReadExt;

    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As a person would have typed it.
pub(crate) fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
