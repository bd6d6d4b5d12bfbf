//! Free ports, the same at every start while they stay free.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

pub(crate) type Ports = BTreeMap<String, u16>;

/// The port a part had last time, else the wanted one, else any: the first of them that is free now.
pub(crate) fn choose(ports: &mut Ports, part: &str, wanted: Option<u16>) -> Result<u16> {
    let others: Vec<u16> = ports
        .iter()
        .filter(|(name, _)| *name != part)
        .map(|(_, port)| *port)
        .collect();
    let is_usable = |port: &u16| !others.contains(port) && is_free(*port);
    let port = match ports.get(part).copied().filter(is_usable).or(wanted.filter(is_usable)) {
        Some(port) => port,
        None => any_free(&others)?,
    };
    ports.insert(part.to_owned(), port);
    Ok(port)
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn any_free(others: &[u16]) -> Result<u16> {
    // The kernel hands out a different port each time; a handful of tries is plenty.
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let port = listener.local_addr()?.port();
        if !others.contains(&port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// Who listens on a port, as far as the system tells us: Linux does, for our own processes or for root.
pub(crate) fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables
        .iter()
        .flat_map(|table| table.lines())
        .find_map(|line| listening_inode(line, port))?;
    let socket = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let pid = pids.filter(|name| name.parse::<u32>().is_ok()).find(|pid| {
        let handles = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        handles
            .filter_map(|handle| fs::read_link(handle.path()).ok())
            .any(|target| target.as_os_str() == &*socket)
    })?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Some(format!("process {pid}: {}", words.join(" ").trim()))
}

/// One line of `/proc/net/tcp`: number, local address, remote address, state (`0A`: listening), …, inode as the tenth.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == "0A";
    is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_its_port_while_it_is_free() {
        let mut ports = Ports::new();
        let first = choose(&mut ports, "queue", None).unwrap();
        assert_eq!(choose(&mut ports, "queue", None).unwrap(), first);

        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let second = choose(&mut ports, "queue", None).unwrap();
        assert_ne!(second, first);
        assert_eq!(ports["queue"], second);
    }

    #[test]
    fn two_parts_never_share_a_port_even_before_they_listen() {
        let mut ports = Ports::new();
        let queue = choose(&mut ports, "queue", None).unwrap();
        assert_ne!(choose(&mut ports, "model", Some(queue)).unwrap(), queue);
    }

    #[test]
    fn a_wanted_port_is_taken_when_it_is_free() {
        let mut ports = Ports::new();
        let free = any_free(&[]).unwrap();
        assert_eq!(choose(&mut ports, "gateway", Some(free)).unwrap(), free);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_holds_a_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let holder = holder(taken.local_addr().unwrap().port()).unwrap();
        assert!(
            holder.starts_with(&format!("process {}: ", std::process::id())),
            "{holder}"
        );
    }
}
