//! Starts the parts of a stack, shows and keeps their logs, restarts functions, and ends everything it started: on
//! Ctrl-C and on a failure; after we were killed, the kernel or the next start does it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::console::{relay, say};
use crate::instance::Instance;
use crate::processes::{Processes, end_leftovers, lock};
use crate::program::{Leader, Program};

/// How long a part may take to end in its own way.
const GRACE: Duration = Duration::from_secs(5);
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
/// A function that lived this long did not fail to start.
const STARTED: Duration = Duration::from_secs(10);
/// A function that cannot start this often never will.
const STARTS: u32 = 5;

/// What to do when a part ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    EndsTheStack,
    IsRestarted,
}

/// A program to be kept running.
#[derive(Debug)]
pub(crate) struct Part {
    /// `postgres`, or `get-me.2` for the second process of a function.
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) ending: Ending,
}

#[derive(Debug)]
struct Running {
    name: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    logs: PathBuf,
    quiet: bool,
    processes: Arc<Processes>,
    running: Mutex<Vec<Running>>,
    ended: mpsc::UnboundedSender<anyhow::Error>,
}

/// The stack was told to end; it did not fail.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Runs `body` with a supervisor, and ends all that was started when it returns, when a part ends, or on a signal.
pub(crate) async fn supervise<T>(
    instance: &mut Instance,
    quiet: bool,
    body: impl AsyncFnOnce(&mut Instance, &Supervisor) -> Result<T>,
) -> Result<T> {
    end_leftovers(&instance.directory).await;
    let mut signals = Signals::new()?;
    let (ended, mut endings) = mpsc::unbounded_channel();
    let supervisor = Supervisor::new(&instance.directory, quiet, ended)?;
    let outcome = tokio::select! {
        outcome = body(instance, &supervisor) => outcome,
        Some(ending) = endings.recv() => Err(ending),
        () = signals.any() => Err(Interrupted.into()),
    };
    supervisor.stop().await;
    outcome
}

/// What asks us to end: Ctrl-C, `kill`, a closed terminal.
struct Signals([Signal; 3]);

impl Signals {
    /// Before anything is started: a shell in the background has us ignore Ctrl-C, and what we ignore, children ignore.
    fn new() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {},
            _ = terminate.recv() => {},
            _ = hangup.recv() => {},
        }
    }
}

impl Supervisor {
    fn new(directory: &Path, quiet: bool, ended: mpsc::UnboundedSender<anyhow::Error>) -> Result<Self> {
        let logs = directory.join("logs");
        if logs.exists() {
            fs::remove_dir_all(&logs)?;
        }
        fs::create_dir_all(&logs)?;
        let processes = Arc::new(Processes::new(directory));
        Ok(Self {
            logs,
            quiet,
            processes,
            running: Mutex::new(Vec::new()),
            ended,
        })
    }

    /// Starts a part and looks after it until [`Supervisor::stop`].
    pub(crate) fn start(&self, part: Part) -> Result<()> {
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper {
            log: self.log(&part.name)?,
            quiet: self.quiet,
            processes: self.processes.clone(),
            ended: self.ended.clone(),
            stopped,
        };
        let name = part.name.clone();
        let leader = keeper.spawn(&part)?;
        let task = tokio::spawn(keeper.keep(part, leader));
        lock(&self.running).push(Running { name, stop, task });
        Ok(())
    }

    /// Where a part's output goes; the processes of one function share a file.
    pub(crate) fn log_path(&self, part: &str) -> PathBuf {
        let part = part.split_once('.').map_or(part, |(function, _)| function);
        self.logs.join(format!("{part}.log"))
    }

    fn log(&self, part: &str) -> Result<File> {
        let path = self.log_path(part);
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("{}", path.display()))
    }

    /// In reverse order, one name at a time but all of its processes at once, so that nobody misses what they need.
    async fn stop(&self) {
        let mut running = std::mem::take(&mut *lock(&self.running));
        while let Some(last) = running.pop() {
            let mut together = vec![last];
            // Functions are the only parts with a dot: they depend on all others, and not on one another.
            while running
                .last()
                .is_some_and(|next| next.name.contains('.') && together[0].name.contains('.'))
            {
                together.extend(running.pop());
            }
            for part in &together {
                // A part that ended already has nobody listening.
                let _ended = part.stop.send(true);
            }
            for part in together {
                let _ended = part.task.await;
            }
        }
    }
}

/// Looks after one part.
struct Keeper {
    log: File,
    quiet: bool,
    processes: Arc<Processes>,
    ended: mpsc::UnboundedSender<anyhow::Error>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    fn spawn(&self, part: &Part) -> Result<Leader> {
        let mut command = part.program.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut leader = Leader::start(command).with_context(|| format!("{} does not start", part.name))?;
        self.processes.add(&part.name, leader.pid)?;
        self.relay(&part.name, leader.child.stdout.take())?;
        self.relay(&part.name, leader.child.stderr.take())?;
        Ok(leader)
    }

    fn relay(&self, part: &str, stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Result<()> {
        let (part, quiet, mut log) = (part.to_owned(), self.quiet, self.log.try_clone()?);
        let Some(stream) = stream else { return Ok(()) };
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end();
                let _full_disk = log.write_all(format!("{text}\n").as_bytes());
                if !quiet && !text.is_empty() {
                    relay(&part, text);
                }
                line.clear();
            }
        });
        Ok(())
    }

    async fn keep(mut self, part: Part, mut leader: Leader) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let ending = tokio::select! {
                status = leader.child.wait() => Some(status),
                _ = self.stopped.wait_for(|stopped| *stopped) => None,
            };
            let Some(status) = ending else {
                leader.signal(part.program.stop.signal());
                // What does not end in time is killed when `leader` is dropped.
                let _killed = timeout(GRACE, leader.child.wait()).await;
                drop(leader);
                self.processes.remove(&part.name);
                return;
            };
            drop(leader);
            self.processes.remove(&part.name);
            failures = match &status {
                Ok(status) if !is_a_failure(status) || started.elapsed() > STARTED => 1,
                _ => failures + 1,
            };
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            if part.ending == Ending::EndsTheStack || failures == STARTS {
                let _stopping = self.ended.send(anyhow!("{} ended ({how})", part.name));
                return;
            }
            say(format_args!("{} ended ({how}) and is started again", part.name));
            let back_off = LONGEST_BACK_OFF.min(FIRST_BACK_OFF * 2_u32.saturating_pow(failures - 1));
            tokio::select! {
                () = sleep(back_off) => {},
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
            leader = match self.spawn(&part) {
                Ok(leader) => leader,
                Err(error) => {
                    let _stopping = self.ended.send(error);
                    return;
                }
            };
        }
    }
}

/// A function that was killed, as tests do, is not one that cannot start.
fn is_a_failure(status: &ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;

    status.signal().is_none()
}

/// Asks again and again until the answer is yes; `what` is for whoever waits in vain.
pub(crate) async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_so().await {
        if started.elapsed() > patience {
            bail!("{what} after {} seconds", patience.as_secs());
        }
        sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}
