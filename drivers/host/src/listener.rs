//! Who of the host's own processes listens on a port that is to be published.
//!
//! A process would not notice that its port was taken from it: translation comes before delivery.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use hns_net::{Family, PortRange, Transport};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt,
    socket, sockopt,
};

use crate::{HostError, PortHolder};

pub(crate) fn find(
    at: Option<IpAddr>,
    transport: Transport,
    ports: PortRange,
    families: &[Family],
) -> Result<Option<PortHolder>, HostError> {
    let places: Vec<IpAddr> = match at {
        Some(at) => vec![at],
        None => families.iter().map(|family| family.unspecified()).collect(),
    };
    for place in places {
        for port in ports.iter() {
            if is_taken(place, transport, port)? {
                return Ok(Some(holder(place, transport, port)));
            }
        }
    }
    Ok(None)
}

/// Whether the kernel refuses us the port because it is in use. Any other refusal, as for an address the host
/// does not have yet or a protocol it lacks, means that nobody can be listening there.
fn is_taken(at: IpAddr, transport: Transport, port: u16) -> Result<bool, HostError> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (SockType::Stream, None),
        Transport::Udp => (SockType::Datagram, None),
        Transport::Sctp => (SockType::Stream, Some(SockProtocol::Sctp)),
    };
    let family = match at {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let probe = match socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol) {
        Ok(probe) => probe,
        Err(nix::Error::EPROTONOSUPPORT | nix::Error::EAFNOSUPPORT | nix::Error::ESOCKTNOSUPPORT) => {
            return Ok(false);
        }
        Err(errno) => return Err(HostError::Socket { kind: "probing", source: errno.into() }),
    };
    let fail = |errno: nix::Error| HostError::Socket { kind: "probing", source: errno.into() };
    if transport != Transport::Udp {
        // Connections of the past keep a port for a minute, but nobody from listening on it.
        setsockopt(&probe, sockopt::ReuseAddr, &true).map_err(fail)?;
    }
    if at.is_ipv6() {
        // IPv4 is asked about by itself.
        setsockopt(&probe, sockopt::Ipv6V6Only, &true).map_err(fail)?;
    }
    match bind_and_listen(&probe, SocketAddr::new(at, port), transport) {
        Err(nix::Error::EADDRINUSE) => Ok(true),
        Ok(()) | Err(_) => Ok(false),
    }
}

fn bind_and_listen(probe: &OwnedFd, place: SocketAddr, transport: Transport) -> nix::Result<()> {
    bind(probe.as_raw_fd(), &SockaddrStorage::from(place))?;
    // Two may bind a TCP port with SO_REUSEADDR, only one may listen.
    if transport == Transport::Udp { Ok(()) } else { listen(probe, Backlog::new(1)?) }
}

/// Finds the process; nothing of this is needed where the port is free.
fn holder(at: IpAddr, transport: Transport, port: u16) -> PortHolder {
    let inode = socket_inode(at, transport, port);
    let pid = inode.and_then(process_with_socket);
    let command = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    PortHolder { port, pid, command: command.map(|name| name.trim_end().to_owned()) }
}

/// The inode of the socket that is in the way, from the tables of the thread's own namespace.
fn socket_inode(at: IpAddr, transport: Transport, port: u16) -> Option<u64> {
    let tables: &[&str] = match (transport, at) {
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
