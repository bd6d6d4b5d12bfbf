//! What runs now, on file: whoever finds the file after we were killed can end the right processes, and tests can end one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::sleep;

use crate::console::say;

const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Processes {
    path: PathBuf,
    by_name: Mutex<BTreeMap<String, Pid>>,
}

impl Processes {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: file(directory),
            by_name: Mutex::new(BTreeMap::new()),
        }
    }

    pub(crate) fn add(&self, name: &str, pid: Pid) -> Result<()> {
        lock(&self.by_name).insert(name.to_owned(), pid);
        self.write()
    }

    pub(crate) fn remove(&self, name: &str) {
        lock(&self.by_name).remove(name);
        // An entry too many does no harm: its process is looked at before it is ended.
        let _stale = self.write();
    }

    /// One line a process: name, process id, and when it started, for ids are given again.
    fn write(&self) -> Result<()> {
        let by_name = lock(&self.by_name);
        let line = |(name, pid): (&String, &Pid)| Some(format!("{name} {pid} {}\n", started_at(*pid)?));
        let lines: String = by_name.iter().filter_map(line).collect();
        fs::write(&self.path, lines).with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

/// When a process started, in whatever words the system has for it; none when there is no such process.
fn started_at(pid: Pid) -> Option<String> {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name, in brackets, may hold spaces. After it: the state, `Z` for one that has ended and waits for
        // its parent to notice, and as the twentieth field the start.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        return fields
            .get(19)
            .filter(|_| fields[0] != "Z")
            .map(|start| (*start).to_owned());
    }
    let ps = std::process::Command::new("ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&ps.stdout).trim().replace(' ', "_");
    (!text.is_empty()).then_some(text)
}

/// Ends what an earlier run of this stack had to leave behind.
pub(crate) async fn end_leftovers(directory: &Path) {
    let text = fs::read_to_string(file(directory)).unwrap_or_default();
    let leftovers: Vec<Pid> = text.lines().filter_map(leftover).collect();
    if leftovers.is_empty() {
        return;
    }
    say(format_args!("ending {} processes of an earlier run", leftovers.len()));
    for pid in &leftovers {
        let _gone = kill_process(*pid, Signal::INT);
    }
    let deadline = Instant::now() + GRACE;
    while leftovers.iter().any(|pid| started_at(*pid).is_some()) && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    for pid in leftovers {
        let _gone = kill_process_group(pid, Signal::KILL);
    }
}

fn leftover(line: &str) -> Option<Pid> {
    let mut words = line.split(' ').skip(1);
    let pid = Pid::from_raw(words.next()?.parse().ok()?)?;
    (started_at(pid)?.as_str() == words.next()?).then_some(pid)
}

pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join("processes")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole after every line, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_got_the_id_of_ours_is_left_alone() {
        let us = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
        let started = started_at(us).unwrap();
        assert_eq!(leftover(&format!("queue {us} {started}")), Some(us));
        assert_eq!(leftover(&format!("queue {us} 1{started}")), None);
        assert_eq!(leftover("queue 0 1"), None);
        assert_eq!(leftover("queue"), None);
    }
}
