//! What the host's side does with a packet, as far as our own table's elements tell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hns_hcn::{GatewayMode, NetworkType};
use hns_model::{Endpoint, Network, World};
use hns_net::{Family, Guid, PortRange, Transport, Vni};
use hns_planner::{Element, endpoint_elements};

use super::ends::holder;

/// The counter of our nftables table under which it would be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableDrop {
    Closed,
    Internal,
    Private,
    Stray,
}

impl TableDrop {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed_drops",
            Self::Internal => "internal_drops",
            Self::Private => "private_drops",
            Self::Stray => "stray_drops",
        }
    }
}

/// What there is to say of the way beyond the ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beyond {
    Routed {
        translated: bool,
    },
    HostItself,
    /// Of an overlay.
    OtherHost {
        provider: IpAddr,
        vni: Vni,
    },
    FromOtherHost(IpAddr),
    /// To a port of the host that is published.
    Published {
        transport: Transport,
        port: u16,
        to: SocketAddr,
        endpoint: Guid,
    },
    Everybody,
    Router(Guid),
    OtherNetwork(Guid),
    FromHost,
    ByMapping {
        transport: Transport,
        ports: PortRange,
    },
    ByOpenPort,
    ByConnection,
    NoMapping,
    NoWay,
    Stray(IpAddr),
    Itself,
    NoRoute(IpAddr),
    Nobody(IpAddr),
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routed { translated: true } => f.write_str(
                "the host routes it on, and it leaves with an address of the host; the host's firewall and the rest of the way \
                 are not asked here",
            ),
            Self::Routed { translated: false } => f.write_str(
                "the host routes it on under its own address; the host's firewall and the rest of the way are not asked here",
            ),
            Self::HostItself => {
                f.write_str("the host has this address; whether it takes the packet is for its own firewall")
            }
            Self::OtherHost { provider, vni } => write!(
                f,
                "host {provider} has this address, and gets it by the tunnel with VNI {vni}; what that host does with it is for its \
                 own hnsctl trace"
            ),
            Self::FromOtherHost(provider) => {
                write!(f, "host {provider} has this source; it comes by the tunnel, if it comes from there")
            }
            Self::Published { transport, port, to, endpoint } => write!(
                f,
                "port {port}/{transport} of the host is published: it is translated to {to} of endpoint {endpoint}, unless the \
                 host's own input rules drop that port"
            ),
            Self::Everybody => {
                f.write_str("it goes to everybody on the network, and each port decides for itself")
            }
            Self::Router(endpoint) => {
                write!(f, "endpoint {endpoint} is its next hop; where that sends it is not known here")
            }
            Self::OtherNetwork(endpoint) => {
                write!(f, "the address is that of endpoint {endpoint} on another network; the host routes it")
            }
            Self::FromHost => {
                f.write_str("the host sends it, and our table marks it; the host's own output rules are not asked here")
            }
            Self::ByMapping { transport, ports } => write!(
                f,
                "it comes in by the published port {ports}/{transport} of the host, unless the host's own rules drop it"
            ),
            Self::ByOpenPort => f.write_str("the network is routed, and this port of the endpoint is open"),
            Self::ByConnection => {
                f.write_str("it belongs to a connection that the endpoint began, which the host lets back in")
            }
            Self::NoMapping => f.write_str(
                "no port mapping of the endpoint leads here; what belongs to a connection that the host knows is let in all the same",
            ),
            Self::NoWay => f.write_str("nothing is routed between this network and others"),
            Self::Stray(address) => write!(
                f,
                "{address} is within a network of this host and nobody's there; from elsewhere it is not taken"
            ),
            Self::Itself => f.write_str("the address is the endpoint's own; the packet stays in its namespace"),
            Self::NoRoute(to) => write!(f, "the endpoint has no route to {to}"),
            Self::Nobody(hop) => {
                write!(f, "nobody on the network has {hop}, so nobody answers when the endpoint asks for it")
            }
        }
    }
}

/// A packet to an endpoint from beyond its network: why our table lets it in, or its counter.
pub(super) fn lets_in(
    endpoint: &Endpoint,
    network: &Network,
    to: IpAddr,
    port: Option<(Transport, u16)>,
) -> Result<Beyond, (TableDrop, Beyond)> {
    match network.kind() {
        NetworkType::Private => return Err((TableDrop::Private, Beyond::NoWay)),
        NetworkType::Internal => return Err((TableDrop::Internal, Beyond::NoWay)),
        _ => {}
    }
    let elements = endpoint_elements(endpoint, network);
    let found = port.and_then(|(transport, port)| {
        elements.iter().find_map(|element| opens(element, to, transport, port))
    });
    found.ok_or((TableDrop::Closed, Beyond::NoMapping))
}

/// By which element such a packet is let in.
fn opens(element: &Element, address: IpAddr, wanted: Transport, number: u16) -> Option<Beyond> {
    let within = |ports: &PortRange| ports.start() <= number && number <= ports.end();
    match element {
        Element::Publish { transport, port, to, to_port, .. }
            if *transport == wanted && *to == address && *to_port == number =>
        {
            Some(Beyond::ByMapping { transport: wanted, ports: PortRange::single(*port).ok()? })
        }
        Element::PublishRange { transport, ports, to, .. }
            if *transport == wanted && *to == address && within(ports) =>
        {
            Some(Beyond::ByMapping { transport: wanted, ports: PortRange::single(number).ok()? })
        }
        Element::Open { address: to, transport, ports }
            if *transport == wanted && *to == address && within(ports) =>
        {
            Some(Beyond::ByOpenPort)
        }
        _ => None,
    }
}

/// What becomes of a packet that a container of `network` has sent to the host's station, and that is not for an endpoint.
pub(super) fn onwards(
    world: &World,
    network: &Network,
    hosts_own: bool,
    (from, to): (IpAddr, IpAddr),
    port: Option<(Transport, u16)>,
) -> Beyond {
    if !hosts_own {
        return Beyond::Routed { translated: is_translated(world, network, from, to) };
    }
    port.and_then(|(transport, port)| published(world, to, transport, port)).unwrap_or(Beyond::HostItself)
}

/// Whether what an address of a network sends there leaves with the host's.
fn is_translated(world: &World, network: &Network, from: IpAddr, to: IpAddr) -> bool {
    let senders = holder(world, from).into_iter().filter(|endpoint| endpoint.network() == network.id());
    let elements = senders.flat_map(|endpoint| endpoint_elements(endpoint, network));
    let said = |element: Element| match element {
        Element::Kept { from: own, first, last } if own == from && (first..=last).contains(&to) => {
            Some(false)
        }
        Element::Outbound { from: own, first, last } if own == from && (first..=last).contains(&to) => {
            Some(true)
        }
        _ => None,
    };
    let by_itself = network.gateway_mode(Family::of(to)) == GatewayMode::Nat;
    elements.into_iter().find_map(said).unwrap_or(by_itself)
}

/// Where a port of the host leads to. The most exact mapping wins.
fn published(world: &World, at: IpAddr, wanted: Transport, number: u16) -> Option<Beyond> {
    let mut found: Vec<(bool, Beyond)> = Vec::new();
    for endpoint in world.endpoints() {
        let Ok(network) = world.network(endpoint.network()) else { continue };
        for element in endpoint_elements(endpoint, network) {
            if let Some((exact, to)) = leads(&element, at, wanted, number) {
                let (transport, port, endpoint) = (wanted, number, endpoint.id());
                found.push((exact, Beyond::Published { transport, port, to, endpoint }));
            }
        }
    }
    found.into_iter().max_by_key(|(exact, _)| *exact).map(|(_, beyond)| beyond)
}

fn leads(element: &Element, host: IpAddr, wanted: Transport, number: u16) -> Option<(bool, SocketAddr)> {
    let is_at = |at: &Option<IpAddr>, to: &IpAddr| match at {
        Some(at) => *at == host,
        None => to.is_ipv4() == host.is_ipv4(),
    };
    match element {
        Element::Publish { at, transport, port, to, to_port }
            if *transport == wanted && *port == number && is_at(at, to) =>
        {
            Some((at.is_some(), SocketAddr::new(*to, *to_port)))
        }
        Element::PublishRange { at, transport, ports, to }
            if *transport == wanted && ports.start() <= number && number <= ports.end() && is_at(at, to) =>
        {
            Some((at.is_some(), SocketAddr::new(*to, number)))
        }
        _ => None,
    }
}

/// The endpoint on another network that has this address, and that network.
pub(super) fn elsewhere<'w>(
    world: &'w World,
    network: &Network,
    to: IpAddr,
) -> Option<(&'w Endpoint, &'w Network)> {
    let endpoint = holder(world, to).filter(|endpoint| endpoint.network() != network.id())?;
    Some((endpoint, world.network(endpoint.network()).ok()?))
}

/// Whether such an address comes from outside with a lie.
pub(super) fn is_stray(world: &World, source: IpAddr) -> bool {
    world.networks().any(|network| network.prefixes().any(|prefix| prefix.contains(source)))
}
