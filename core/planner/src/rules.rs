use std::net::IpAddr;

use hns_net::{Cidr, IfName, PortRange, Transport};

/// One element of a set or map of our nftables table.
///
/// The rules of the table never change; whatever differs between networks and endpoints is one of these.
/// `drivers/host/src/nat/` knows in which set each lives and how it looks on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// The bridge of a network with a host port. Bridges of ours that are not named so, those of Private networks and
    /// the further segments of large ones, are closed to the host and to each other.
    Switch(IfName),
    /// An interface by which the host itself is a container of a network.
    HostSeat(IfName),
    /// The UDP port of overlays' tunnels, or of what encrypts them: nobody but the host itself sends there under its address.
    Tunnel(u16),
    /// A switch from and to which nothing is forwarded.
    Internal(IfName),
    /// Traffic from this switch to elsewhere leaves with the host's address (per family).
    Masquerade4(IfName),
    Masquerade6(IfName),
    /// Containers of this switch are reached by their own addresses on their opened ports (routed mode).
    Routed4(IfName),
    Routed6(IfName),
    /// A prefix of the switch: hairpin traffic between its members is masqueraded, and their addresses come from nowhere else.
    Inside {
        switch: IfName,
        prefix: Cidr,
    },
    /// An address that somebody on the switch has. What containers have routed to any other one on their own switch goes
    /// nowhere, so that none can make the host look for thousands of neighbours.
    Resident {
        switch: IfName,
        address: IpAddr,
    },
    /// Inbound destination translation of one host port. `at` absent: on every address of the host.
    Publish {
        at: Option<IpAddr>,
        transport: Transport,
        port: u16,
        to: IpAddr,
        to_port: u16,
    },
    /// The same for a run of ports that keep their numbers: one interval element.
    PublishRange {
        at: Option<IpAddr>,
        transport: Transport,
        ports: PortRange,
        to: IpAddr,
    },
    /// A container port of a routed network that may be reached from beyond its switch (exactly as wide as its mapping).
    Open {
        address: IpAddr,
        transport: Transport,
        ports: PortRange,
    },
    /// Destinations of an endpoint behind the host that meet the host's own address instead of the endpoint's.
    Outbound {
        from: IpAddr,
        first: IpAddr,
        last: IpAddr,
    },
    /// Destinations that meet an endpoint's own address, although its network has everything outside meet the host's.
    Kept {
        from: IpAddr,
        first: IpAddr,
        last: IpAddr,
    },
    /// An endpoint that talks to no other endpoint of its network: its addresses (for what is routed)
    /// and its port (for what is bridged).
    QuietAddress(IpAddr),
    QuietPort(IfName),
}
