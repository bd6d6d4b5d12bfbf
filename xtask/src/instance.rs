//! One stack by name: where it keeps what, its ports and secrets, and that it runs once only.
//!
//! Everything is in `.local/NAME/`; the env file of the default stack alone is `.local/env`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rand::TryRngCore;
use serde::{Deserialize, Serialize};

use crate::ports::Ports;

pub(crate) const DEFAULT: &str = "local";

/// Where the repository is.
pub(crate) fn repository() -> PathBuf {
    // Cargo says where the package is now; the path at compile time is wrong once a clone has moved.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// What a stack keeps from one start to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) ports: Ports,
    secrets: BTreeMap<String, String>,
    /// What the env file said last: a shell that has read it must not turn our own parts into foreign ones.
    pub(crate) exported: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) state: State,
    /// Held while the stack runs; the kernel lets go of it when we die.
    _lock: File,
}

impl Instance {
    /// Takes a stack for this process alone.
    pub(crate) fn take(name: &str) -> Result<Self> {
        let directory = directory(name)?;
        fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let lock = File::create(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("the stack `{name}` is running already; end it first, or start another with --name");
        }
        let state = read_state(name)?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            state,
            _lock: lock,
        })
    }

    /// A random value, hexadecimal, the same at every start.
    pub(crate) fn secret(&mut self, name: &str, bytes: usize) -> Result<String> {
        if let Some(secret) = self.state.secrets.get(name) {
            return Ok(secret.clone());
        }
        let mut random = vec![0; bytes];
        rand::rngs::OsRng
            .try_fill_bytes(&mut random)
            .context("the system has no randomness")?;
        let secret = hex::encode(random);
        self.state.secrets.insert(name.to_owned(), secret.clone());
        Ok(secret)
    }

    pub(crate) fn save(&self) -> Result<()> {
        write_private(
            &self.directory.join("state.json"),
            &serde_json::to_string_pretty(&self.state)?,
        )
    }

    pub(crate) fn env_file(&self) -> PathBuf {
        env_file(&self.name)
    }

    /// Says that the stack is ready, to any program that can read shell syntax.
    pub(crate) fn write_env(&mut self, exports: &BTreeMap<String, String>) -> Result<()> {
        self.state.exported.clone_from(exports);
        self.save()?;
        let lines: String = exports
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .collect();
        write_private(&self.env_file(), &lines)
    }

    pub(crate) fn remove_env(&self) -> Result<()> {
        match fs::remove_file(self.env_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn directory(name: &str) -> Result<PathBuf> {
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    // `.local/env` is a file.
    ensure!(
        is_plain && !name.is_empty() && name != "env",
        "{name:?} cannot name a stack: use a-z, 0-9 and -"
    );
    Ok(repository().join(".local").join(name))
}

pub(crate) fn env_file(name: &str) -> PathBuf {
    let local = repository().join(".local");
    if name == DEFAULT {
        local.join("env")
    } else {
        local.join(name).join("env")
    }
}

/// What is kept of a stack, running or not.
pub(crate) fn read_state(name: &str) -> Result<State> {
    let path = directory(name)?.join("state.json");
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// What every stack of this repository has exported.
pub(crate) fn exported_by_all() -> Vec<BTreeMap<String, String>> {
    let entries = fs::read_dir(repository().join(".local"))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| read_state(&name).ok())
        .map(|state| state.exported)
        .collect()
}

/// Whole or not at all, and for its owner's eyes: it holds secrets.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&unfinished, path).with_context(|| format!("{} cannot be written", path.display()))
}

/// For a shell: nothing within single quotes means anything but the quote itself.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for value in ["plain", "", "it's", "a b $HOME `date` \\ \"", "two\nlines"] {
            let script = format!("export X={}; printf %s \"$X\"", quoted(value));
            let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), value);
        }
    }

    #[test]
    fn a_name_cannot_leave_the_directory() {
        for name in ["", "..", "a/b", "env", "A"] {
            assert!(directory(name).is_err(), "{name}");
        }
        assert!(directory("test-2").is_ok());
    }
}
