//! What the host is asked, and what it answers.

use std::net::IpAddr;

use hns_net::{Family, IfName, Mac, Mtu, PortRange, Transport};

/// Traffic of a port as its endpoint sees it: received is what went into the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub dropped_received: u64,
    pub dropped_sent: u64,
}

/// An adapter that external switches may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    /// Larger packets do not leave by it.
    pub mtu: Mtu,
    /// The host's own station on its LAN.
    pub mac: Mac,
}

/// What is known of where the tunnels to other hosts are to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnderlayWish {
    Address(IpAddr),
    /// At the first address of an adapter.
    Adapter(IfName),
    /// At the address from which the host sends to this one.
    WayTo(IpAddr),
    /// The same for hosts that no route but the default one knows.
    WayOut,
}

/// Where the tunnels to other hosts end on this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Underlay {
    pub address: IpAddr,
    /// Larger packets do not leave by it.
    pub mtu: Mtu,
}

/// Which tracked connections of the host are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowFilter {
    /// From or to this address, in either direction's tuple: it changes hands.
    Of(IpAddr),
    /// The same, as far as nothing is translated: begun while our table was away.
    UntranslatedOf(IpAddr),
    /// Begun to one of these ports of the host while nothing was published there. A client that goes on
    /// sending would keep such a flow alive, and never get through (moby#8795).
    UntranslatedTo(Transport, PortRange),
    /// Begun to one of these ports and answered from this address: a mapping that is gone.
    Through(Transport, PortRange, IpAddr),
}

/// The kernel's own name for a namespace: the device and inode of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceIdentity {
    pub device: u64,
    pub inode: u64,
}

/// Ports of the host that lead to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPorts {
    /// Absent: on every address of these families.
    pub at: Option<IpAddr>,
    pub families: Vec<Family>,
    pub transport: Transport,
    pub ports: PortRange,
}

/// A port of the host that somebody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenPort {
    pub transport: Transport,
    pub port: u16,
    /// Unspecified: on every address.
    pub at: IpAddr,
}

/// Who it is. The process is not known when it is not ours to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortHolder {
    pub pid: Option<u32>,
    pub command: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warn,
    Problem,
}

/// One answer of [`diagnose`](crate::Host::diagnose).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `kernel`, `forwarding`, `foreign-rules`, ...
    pub check: &'static str,
    pub level: Level,
    pub detail: String,
    /// What an operator can do about it.
    pub hint: Option<String>,
}
