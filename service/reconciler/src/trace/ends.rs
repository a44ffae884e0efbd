//! From what is asked to a packet: who, from which address to which, over which next hop.

use std::net::{IpAddr, Ipv6Addr};

use hns_hcn::{IpProtocol, TraceEnd, TraceRequest};
use hns_model::{Endpoint, Network, World};
use hns_net::{Family, Guid, IfAddr, Mac};
use hns_planner::switch_of;
use hns_vfp::frame::{Content, Datagram, Link};
use hns_vfp::layers::security::link_local;
use hns_vfp::model::Switchboard;

use super::Untraceable;
use crate::error::EngineError;

/// Where nothing is said: a number among those that clients get.
const SOURCE_PORT: u16 = 40_000;
const SYN: u8 = 2;

/// What the objects say of the ends.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub from: Option<Endpoint>,
    pub to: Option<Endpoint>,
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Ends {
    pub fn of(request: &TraceRequest, world: &World) -> Result<Self, EngineError> {
        let (from, sources) = end("From.Endpoint", request.from, world)?;
        let (to, destinations) = end("To.Endpoint", request.to, world)?;
        for (field, endpoint) in [("From.Endpoint", &from), ("To.Endpoint", &to)] {
            refuse_on_the_lan(field, endpoint.as_ref(), world)?;
        }
        refuse_foreign_address(request.to, world)?;
        let of_family = |like: &IpAddr| {
            sources.iter().find(|source| source.is_ipv4() == like.is_ipv4()).map(|source| (*source, *like))
        };
        let pair = destinations.iter().find_map(of_family);
        let (source, destination) =
            pair.ok_or_else(|| Untraceable::Families { from: listed(&sources), to: listed(&destinations) })?;
        let to = match (&from, to) {
            (Some(_), to) => to,
            (None, to) => {
                let receiver = receiver(to, source, destination, world)?;
                refuse_on_the_lan("To.Address", Some(&receiver), world)?;
                Some(receiver)
            }
        };
        Ok(Self { from, to, source, destination })
    }
}

/// An endpoint is sent to by its own addresses.
pub(super) fn refuse_foreign_address(to: TraceEnd, world: &World) -> Result<(), EngineError> {
    let (Some(endpoint), Some(address)) = (to.endpoint, to.address) else { return Ok(()) };
    if world.endpoint(endpoint)?.addresses().any(|own| own.address() == address) {
        return Ok(());
    }
    Err(Untraceable::NotItsAddress { endpoint, address }.into())
}

/// What goes between a LAN and its containers passes programs at the adapter, which no trial knows.
fn refuse_on_the_lan(
    field: &'static str,
    endpoint: Option<&Endpoint>,
    world: &World,
) -> Result<(), EngineError> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    match world.network(endpoint.network())?.lan() {
        Some(lan) => Err(Untraceable::OnTheLan { field, endpoint: endpoint.id(), lan }.into()),
        None => Ok(()),
    }
}

/// Of a packet that no endpoint sends: the one that is meant, by itself or by its address.
fn receiver(
    to: Option<Endpoint>,
    source: IpAddr,
    destination: IpAddr,
    world: &World,
) -> Result<Endpoint, Untraceable> {
    if let Some(sender) = holder(world, source) {
        return Err(Untraceable::IsAnEndpoint { address: source, endpoint: sender.id() });
    }
    let receiver = to.or_else(|| holder(world, destination).cloned());
    let receiver = receiver.ok_or(Untraceable::NoEndpoint { address: destination })?;
    if receiver.attachment().is_none() {
        return Err(Untraceable::NotAttached { field: "To.Address", endpoint: receiver.id() });
    }
    Ok(receiver)
}

/// Its endpoint, and the addresses that it may be meant by, IPv4 first.
fn end(
    field: &'static str,
    end: TraceEnd,
    world: &World,
) -> Result<(Option<Endpoint>, Vec<IpAddr>), EngineError> {
    let Some(id) = end.endpoint else { return Ok((None, end.address.into_iter().collect())) };
    let endpoint = world.endpoint(id)?;
    let own = endpoint.addresses().map(IfAddr::address);
    let addresses = end.address.map_or_else(|| own.collect(), |address| vec![address]);
    // What another host has is somewhere outside.
    if endpoint.is_remote() {
        return Ok((None, addresses));
    }
    if endpoint.attachment().is_none() {
        return Err(Untraceable::NotAttached { field, endpoint: id }.into());
    }
    Ok((Some(endpoint.clone()), addresses))
}

pub(super) fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// The endpoint of this host that has this address.
pub(super) fn holder(world: &World, address: IpAddr) -> Option<&Endpoint> {
    let has = |endpoint: &&Endpoint| {
        !endpoint.is_remote() && endpoint.addresses().any(|own| own.address() == address)
    };
    world.endpoints().filter(|endpoint| endpoint.is_settled()).find(has)
}

/// The packet, without stations.
pub(super) fn datagram(request: &TraceRequest, ends: &Ends) -> Result<Datagram, Untraceable> {
    let (destination, v4) = (ends.destination, ends.destination.is_ipv4());
    let ports = (request.source_port.unwrap_or(SOURCE_PORT), request.port.unwrap_or_default());
    let content = match request.protocol {
        IpProtocol::TCP => Content::Tcp { source: ports.0, destination: ports.1, flags: SYN, bytes: 0 },
        IpProtocol::UDP => Content::Udp { source: ports.0, destination: ports.1, bytes: 0 },
        IpProtocol::SCTP => Content::Sctp { source: ports.0, destination: ports.1 },
        protocol @ IpProtocol::ICMP6 if v4 => return Err(Untraceable::Protocol { protocol, destination }),
        IpProtocol::ICMP | IpProtocol::ICMP6 => {
            let (kind, code) = request.icmp.unwrap_or((if v4 { 8 } else { 128 }, 0));
            if !v4 && matches!(kind, 130..=137 | 143) {
                return Err(Untraceable::Discovery { kind });
            }
            let [high, low] = SOURCE_PORT.to_be_bytes();
            Content::Icmp { kind, code, rest: vec![high, low, 0, 1] }
        }
        IpProtocol(protocol) => Content::Other { protocol, bytes: vec![0; 8] },
    };
    Ok(Datagram::new(ends.source, destination, content))
}

/// Over which station a container's packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// To a port of its network, whose address this is.
    Port(Mac, IpAddr),
    Host(Mac),
    /// To a container of another host, on one link with it.
    Neighbour(Mac),
    /// To everybody, or to a group.
    Everybody(Mac),
    /// The address is its own.
    Itself,
    NoRoute,
    /// Nobody has this address.
    Nobody(IpAddr),
}

/// The way that the endpoint's routes have it, and the stations that its network has.
pub(super) fn next_hop(
    endpoint: &Endpoint,
    network: &Network,
    board: &Switchboard,
    destination: IpAddr,
) -> Hop {
    if let Some(station) = group_station(network, destination) {
        return Hop::Everybody(station);
    }
    let Some(hop) = hop_address(endpoint, network, destination) else { return Hop::NoRoute };
    let is_it = |own: IpAddr, mac: Mac| own == hop || IpAddr::V6(link_local(mac)) == hop;
    let ports = board.ports.values().filter(|port| port.network == network.id());
    let mut owners = ports.filter(|port| port.addresses.iter().any(|own| is_it(*own, port.mac)));
    if let Some(port) = owners.next() {
        let own = port.endpoint == endpoint.id();
        return if own { Hop::Itself } else { Hop::Port(port.mac, hop) };
    }
    let overlay = board.overlays.get(&network.id()).map(|(_, overlay)| overlay);
    let route = overlay.and_then(|overlay| overlay.route_to(hop)).filter(|route| route.on_link);
    if let Some(route) = route {
        return Hop::Neighbour(route.station);
    }
    let host = host_station(network);
    let has_router = network.has_host_port() || network.tunnel().is_some();
    let gateways = has_router.then(|| network.gateways()).into_iter().flatten();
    let mut gateways = gateways.map(|(_, gateway)| gateway);
    if gateways.any(|gateway| is_it(gateway, host)) { Hop::Host(host) } else { Hop::Nobody(hop) }
}

/// The host's station on a network's switch. On a LAN, where packets are not traced, it has its own.
pub(super) fn host_station(network: &Network) -> Mac {
    switch_of(network).map_or(Mac::new([0; 6]), |switch| switch.mac)
}

/// What is within the network's prefixes and on the link is asked for itself; the rest goes by the most exact route.
fn hop_address(endpoint: &Endpoint, network: &Network, destination: IpAddr) -> Option<IpAddr> {
    let link = matches!(destination, IpAddr::V6(address) if address.is_unicast_link_local());
    let own = endpoint.addresses().any(|own| own.prefix().contains(destination));
    if link || own || network.prefixes().any(|prefix| prefix.contains(destination)) {
        return Some(destination);
    }
    let routes = endpoint.routes().iter().filter(|route| route.destination.contains(destination));
    // A default route without a next hop says "none".
    let routes = routes.filter(|route| route.next_hop.is_some() || !route.is_default());
    let best = routes.max_by_key(|route| route.destination.length())?;
    Some(best.next_hop.unwrap_or(destination))
}

/// The station of a group (RFC 1112, RFC 2464), or everybody's.
fn group_station(network: &Network, destination: IpAddr) -> Option<Mac> {
    let everybody = |address| {
        network.prefixes().any(|prefix| prefix.family() == Family::V4 && prefix.last() == IpAddr::V4(address))
    };
    match destination {
        IpAddr::V4(address) if address.is_broadcast() || everybody(address) => Some(Mac::new([0xff; 6])),
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            Some(Mac::new([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(address) if address.is_multicast() => Some(group_station_v6(address)),
        _ => None,
    }
}

fn group_station_v6(address: Ipv6Addr) -> Mac {
    let [.., c, d, e, f] = address.octets();
    Mac::new([0x33, 0x33, c, d, e, f])
}

impl Hop {
    pub fn station(self) -> Option<Mac> {
        match self {
            Self::Port(station, _)
            | Self::Host(station)
            | Self::Neighbour(station)
            | Self::Everybody(station) => Some(station),
            Self::Itself | Self::NoRoute | Self::Nobody(_) => None,
        }
    }
}

/// The link's number and the station of an endpoint's port.
pub(super) fn port_of(
    field: &'static str,
    board: &Switchboard,
    endpoint: Guid,
) -> Result<(u32, Mac), Untraceable> {
    let found = board.ports.iter().find(|(_, port)| port.endpoint == endpoint);
    found.map(|(ifindex, port)| (*ifindex, port.mac)).ok_or(Untraceable::NotProgrammed { field, endpoint })
}

/// The frame, from one station to another.
pub(super) fn frame(datagram: &Datagram, source: Mac, destination: Mac) -> Vec<u8> {
    datagram.frame(Link { destination, source })
}
