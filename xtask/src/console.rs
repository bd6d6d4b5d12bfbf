//! What people see: progress, and the parts' logs behind their names. A closed terminal is not an error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

const WIDTH: usize = 20;
/// Bright enough on dark and light grounds: cyan, green, magenta, blue, yellow.
const COLORS: [u8; 5] = [36, 32, 35, 34, 33];

/// A line of progress.
pub(crate) fn say(text: impl Display) {
    write(&format!("{text}\n"));
}

/// A line of a part's log.
pub(crate) fn relay(part: &str, line: &str) {
    if io::stdout().is_terminal() {
        let color = COLORS[part.bytes().map(usize::from).sum::<usize>() % COLORS.len()];
        write(&format!("\x1b[{color}m{part:<WIDTH$}\x1b[0m {line}\n"));
    } else {
        write(&format!("{part:<WIDTH$} {line}\n"));
    }
}

pub(crate) fn complain(error: &anyhow::Error) {
    let _closed = writeln!(io::stderr(), "error: {error:#}");
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn write(text: &str) {
    let _closed = io::stdout().lock().write_all(text.as_bytes());
}
