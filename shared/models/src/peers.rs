//! Independent peers: servers by others that speak the providers' protocols. What our own fakes and our own client might
//! misunderstand alike is found here.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

mod aimock;
mod llmock;

/// A server that lives until its input is closed.
struct Peer {
    process: Child,
    address: String,
}

impl Peer {
    /// The one that runs, else a new one.
    fn shared(running: &Mutex<Weak<Self>>, start: impl FnOnce() -> Self) -> Arc<Self> {
        let mut running = running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(start());
            *running = Arc::downgrade(&server);
            server
        })
    }

    /// It says its address on a line of its own, behind `announcement`.
    fn start(command: &mut Command, announcement: &str) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped"))
            .lines()
            .map_while(Result::ok);
        let mut said = String::new();
        let address = lines.by_ref().find_map(|line| {
            said = format!("{said}\n{line}");
            let (_, rest) = line.split_once(announcement)?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        // What nobody reads stops whoever writes.
        thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("{command:?} did not start:{said}"));
        Self { process, address }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
