//! Who of the host's own processes has a port that is to be published.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hns_net::Transport;

use crate::{PortHolder, TakenPort};

/// The process that has this port, as far as it is ours to see. It takes a look at every process.
pub(crate) fn holder(taken: &TakenPort) -> PortHolder {
    let inode = socket_inode(taken.at, taken.transport, taken.port);
    let pid = inode.and_then(process_with_socket);
    let command = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    PortHolder { pid, command: command.map(|name| name.trim_end().to_owned()) }
}

/// The inode of the socket that is in the way, from the tables of the thread's own namespace.
fn socket_inode(at: IpAddr, transport: Transport, port: u16) -> Option<u64> {
    let tables: &[&str] = match (transport, at) {
        // It may be IPv4's alone that is in the way of both.
        (Transport::Tcp, IpAddr::V6(at)) if at.is_unspecified() => &["tcp6", "tcp"],
        (Transport::Udp, IpAddr::V6(at)) if at.is_unspecified() => &["udp6", "udp"],
        // A socket of IPv6 may hold the port of IPv4 as well.
        (Transport::Tcp, IpAddr::V4(_)) => &["tcp", "tcp6"],
        (Transport::Udp, IpAddr::V4(_)) => &["udp", "udp6"],
        (Transport::Tcp, IpAddr::V6(_)) => &["tcp6"],
        (Transport::Udp, IpAddr::V6(_)) => &["udp6"],
        (Transport::Sctp, _) => &[],
    };
    let state = if transport == Transport::Tcp { "0A" } else { "07" };
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        text.lines().find_map(|line| inode_of_line(line, port, state))
    })
}

/// Reads a line such as `0: 0100007F:1F90 00000000:0000 0A ... uid timeout inode ...`.
fn inode_of_line(line: &str, port: u16, state: &str) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let listens = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&state);
    if listens { fields.get(9)?.parse().ok() } else { None }
}

fn process_with_socket(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        has_file(&entry.path().join("fd"), &wanted).ok()?.then_some(pid)
    })
}

fn has_file(folder: &Path, wanted: &str) -> io::Result<bool> {
    let mut files = fs::read_dir(folder)?.flatten();
    Ok(files.any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_others() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!(inode_of_line(line, 8080, "0A"), Some(4711));
        assert_eq!(inode_of_line(line, 8081, "0A"), None);
        assert_eq!(inode_of_line(line, 8080, "07"), None);
        assert_eq!(inode_of_line("  sl  local_address rem_address   st", 8080, "0A"), None);
    }
}
