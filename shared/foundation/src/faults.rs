//! Places where a process can be made to die, so that tests can show what becomes of a reply then. Release builds have
//! none of this.

use std::fmt::Display;

/// Dies here if a test has asked for it, by a file `<place>.<chat>` in `FAULTS_DIRECTORY`. The file is gone afterwards, so it
/// kills once.
#[cfg(debug_assertions)]
pub fn point(place: &str, chat: impl Display) {
    let Some(directory) = std::env::var_os("FAULTS_DIRECTORY") else {
        return;
    };
    let wish = std::path::Path::new(&directory).join(format!("{place}.{chat}"));
    if std::fs::remove_file(wish).is_ok() {
        tracing::warn!(place, %chat, "dying as asked");
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub fn point(_place: &str, _chat: impl Display) {}
