//! Addresses, routes and neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hns_net::{Cidr, Family, IfAddr, Mac};
use hns_planner::Route;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::time::{ClockId, clock_gettime};

use crate::HostError;
use crate::link::LOOPBACK;
use crate::netlink::{Attributes, Batch, Netlink, Subject};

/// `struct ifaddrmsg` and `struct rtmsg`.
const ADDRESS_HEADER_LEN: usize = 8;
pub(crate) const ROUTE_HEADER_LEN: usize = 12;
const PATH_HEADER_LEN: usize = 8;
const TABLE_LOCAL: u8 = 255;
/// Routes that we add say so; nothing else uses the number (`/etc/iproute2/rt_protos`).
const PROTOCOL_OURS: u8 = 0x6e;
/// `IP6_RT_PRIO_ADDRCONF`: what the kernel gives routes that come with addresses.
const CONNECTED_METRIC6: u32 = 256;
/// Behind the route that makes `::1` local on `lo`.
const LOOPBACK_METRIC: u32 = 2048;

/// An address as the host shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub link: u32,
    pub address: IfAddr,
}

fn family_number(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn message(link: u32, address: IfAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_number(address.family());
    message.header.prefix_len = address.length();
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(address.address()));
    message.attributes.push(AddressAttribute::Address(address.address()));
    message
}

/// Gives `link` the address. Duplicates are ruled out by whoever chose it, so IPv6 does not probe for them,
/// which would keep it unusable for a second.
pub(crate) fn add(batch: &mut Batch, link: u32, address: IfAddr) {
    add_until(batch, link, address, None);
}

/// As [`add`], until a moment in seconds since the host's boot, when the kernel takes the address and its routes away.
pub(crate) fn add_until(batch: &mut Batch, link: u32, address: IfAddr, until: Option<u64>) {
    let mut message = message(link, address);
    if let Some(until) = until {
        let rest = u32::try_from(until.saturating_sub(now())).unwrap_or(u32::MAX);
        let mut times = CacheInfo::default();
        // The kernel takes 0 for a mistake.
        (times.ifa_valid, times.ifa_preferred) = (rest.max(1), rest.max(1));
        message.attributes.push(AddressAttribute::CacheInfo(times));
    }
    match address.address() {
        IpAddr::V4(ip) => {
            if address.length() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(broadcast(ip, address.length())));
            }
        }
        IpAddr::V6(ip) => {
            message.header.flags |= AddressHeaderFlags::Nodad;
            if ip.is_unicast_link_local() {
                message.header.scope = AddressScope::Link;
            }
        }
    }
    batch.route(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_REPLACE,
        Subject::new("add", format!("address {address}")),
    );
}

/// Seconds since the host's boot, sleep included.
fn now() -> u64 {
    // It fails for clocks that do not exist, of which this is none.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_secs())
}

fn broadcast(ip: Ipv4Addr, length: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() | u32::MAX.checked_shr(u32::from(length)).unwrap_or(0))
}

pub(crate) fn remove(batch: &mut Batch, link: u32, address: IfAddr) {
    batch.route(
        RouteNetlinkMessage::DelAddress(message(link, address)),
        0,
        Subject::new("remove", format!("address {address}")).fine_if(&[libc::EADDRNOTAVAIL, libc::ENODEV]),
    );
}

/// The address that the kernel would give an interface with this MAC (RFC 4291, appendix A).
pub(crate) fn link_local(mac: Mac) -> IfAddr {
    let o = mac.octets();
    let ip = Ipv6Addr::from_octets([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        o[0] ^ 2,
        o[1],
        o[2],
        0xff,
        0xfe,
        o[3],
        o[4],
        o[5],
    ]);
    IfAddr::new(ip.into(), 64).expect("64 is a length of IPv6")
}

/// Every address in the socket's namespace, or those of one link.
pub(crate) fn list(netlink: &mut Netlink, link: Option<u32>) -> Result<Vec<Held>, HostError> {
    let mut message = AddressMessage::default();
    message.header.index = link.unwrap_or(0);
    let mut question = Batch::new();
    question.route(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP, Subject::new("list", "addresses"));
    let mut held = netlink.dump(&question, read)?;
    // Older kernels do not filter.
    held.retain(|held| link.is_none_or(|link| held.link == link));
    Ok(held)
}

pub(crate) fn read(message: &[u8]) -> Option<Held> {
    let header: &[u8; ADDRESS_HEADER_LEN] = message.first_chunk()?;
    let attributes = Attributes::after(ADDRESS_HEADER_LEN, message);
    // Of a point-to-point link, the local end's; IPv6 otherwise has no local part.
    let value = attributes.get(libc::IFA_LOCAL).or_else(|| attributes.get(libc::IFA_ADDRESS))?;
    let address = IfAddr::new(ip(value)?, header[1]).ok()?;
    let link = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    Some(Held { link, address })
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// A route out of `link`. One that is there already is left as it is.
pub(crate) fn add_route(batch: &mut Batch, link: u32, route: &Route) {
    batch.route(
        RouteNetlinkMessage::NewRoute(route_message(link, route)),
        NLM_F_CREATE,
        Subject::new("add", format!("route to {}", route.destination)).fine_if(&[libc::EEXIST]),
    );
}

pub(crate) fn remove_route(batch: &mut Batch, link: u32, route: &Route) {
    batch.route(
        RouteNetlinkMessage::DelRoute(route_message(link, route)),
        0,
        Subject::new("remove", format!("route to {}", route.destination)).fine_if(&[libc::ESRCH]),
    );
}

fn route_message(link: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_number(route.destination.family());
    message.header.destination_prefix_length = route.destination.length();
    message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(PROTOCOL_OURS);
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if !route.destination.is_default() {
        message.attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
    }
    message.attributes.push(RouteAttribute::Oif(link));
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message
}

fn local_loopback(link: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.header.table = TABLE_LOCAL;
    message.header.protocol = RouteProtocol::from(PROTOCOL_OURS);
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Universe;
    message.attributes.push(RouteAttribute::Destination(IpAddr::V6(Ipv6Addr::LOCALHOST).into()));
    message.attributes.push(RouteAttribute::Oif(link));
    message.attributes.push(RouteAttribute::Priority(LOOPBACK_METRIC));
    message
}

/// Lets answers to `::1` come in over `link`; the counterpart of IPv4's `route_localnet`.
pub(crate) fn add_loopback_route(batch: &mut Batch, link: u32) {
    batch.route(
        RouteNetlinkMessage::NewRoute(local_loopback(link)),
        NLM_F_CREATE,
        Subject::new("add", "local route to ::1").fine_if(&[libc::EEXIST]),
    );
}

pub(crate) fn remove_loopback_route(batch: &mut Batch, link: u32) {
    batch.route(
        RouteNetlinkMessage::DelRoute(local_loopback(link)),
        0,
        Subject::new("remove", "local route to ::1").fine_if(&[libc::ESRCH]),
    );
}

/// The links that have such a route to `::1`.
pub(crate) fn loopback_links(netlink: &mut Netlink) -> Result<Vec<u32>, HostError> {
    let mut question = Batch::new();
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.table = TABLE_LOCAL;
    question.route(
        RouteNetlinkMessage::GetRoute(message),
        NLM_F_DUMP,
        Subject::new("list", "local IPv6 routes"),
    );
    netlink.dump(&question, |payload| {
        let route = Seen::read(payload)?;
        (route.kind == libc::RTN_LOCAL && route.destination == Cidr::host(Ipv6Addr::LOCALHOST.into()))
            .then_some(route.link?)
            .filter(|link| *link != LOOPBACK)
    })
}

/// A route as the host shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub kind: u8,
    pub destination: Cidr,
    pub link: Option<u32>,
}

impl Seen {
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let header: &[u8; ROUTE_HEADER_LEN] = message.first_chunk()?;
        let family = match i32::from(header[0]) {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return None,
        };
        let attributes = Attributes::after(ROUTE_HEADER_LEN, message);
        let network = match attributes.get(libc::RTA_DST) {
            Some(bytes) => ip(bytes)?,
            None => family.unspecified(),
        };
        Some(Self {
            kind: header[7],
            destination: Cidr::new(network, header[1]).ok()?,
            link: attributes.ne32(libc::RTA_OIF),
        })
    }

    /// Whether somebody else's addresses may lie behind this route.
    pub(crate) fn is_reach(&self) -> bool {
        let network = self.destination.network();
        let local = match network {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
        };
        // A block that is thrown away here is somebody's plan all the same: Calico marks its own so.
        let refused = [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT].contains(&self.kind);
        (refused || (self.kind == libc::RTN_UNICAST && self.link != Some(LOOPBACK)))
            && !self.destination.is_default()
            && !local
            && !network.is_multicast()
    }
}

/// All routes of one family, in all tables.
pub(crate) fn list_routes(netlink: &mut Netlink, family: Family) -> Result<Vec<Seen>, HostError> {
    read_routes(netlink, family, Seen::read)
}

/// What `read` makes of the routes of one family, in all tables.
pub(crate) fn read_routes<T>(
    netlink: &mut Netlink,
    family: Family,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, HostError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family_number(family);
    let mut question = Batch::new();
    question.route(
        RouteNetlinkMessage::GetRoute(message),
        NLM_F_DUMP,
        Subject::new("list", format!("{family} routes")),
    );
    netlink.dump(&question, read)
}

/// The prefixes that the kernel's own routes reach without a gateway, those that come with addresses: of all links, or of one.
pub(crate) fn connected(
    netlink: &mut Netlink,
    family: Family,
    link: Option<u32>,
) -> Result<Vec<(u32, Cidr)>, HostError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family_number(family);
    message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Kernel;
    message.attributes.extend(link.map(RouteAttribute::Oif));
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("connected routes of {family}"));
    question.route(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, subject);
    netlink.dump(&question, |payload| {
        Seen::read(payload).and_then(|route| Some((route.link?, route.destination)))
    })
}

/// The route that comes with an address, where somebody has taken it away.
pub(crate) fn connect(batch: &mut Batch, link: u32, address: IfAddr) {
    let mut message = RouteMessage::default();
    let prefix = address.prefix();
    message.header.address_family = family_number(prefix.family());
    message.header.destination_prefix_length = prefix.length();
    message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Kernel;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(prefix.network().into()));
    message.attributes.push(RouteAttribute::Oif(link));
    if prefix.family() == Family::V4 {
        message.header.scope = RouteScope::Link;
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(address.address())));
    } else {
        message.attributes.push(RouteAttribute::Priority(CONNECTED_METRIC6));
    }
    let subject = Subject::new("add", format!("route to {prefix}")).fine_if(&[libc::EEXIST]);
    batch.route(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, subject);
}

/// The links that default routes of one family lead by, in all tables.
pub(crate) fn default_routes(netlink: &mut Netlink, family: Family) -> Result<Vec<u32>, HostError> {
    let links = read_routes(netlink, family, |payload| {
        let route = Seen::read(payload)?;
        let leads = route.kind == libc::RTN_UNICAST && route.destination.is_default();
        leads.then(|| ways(payload).into_iter().filter_map(|(link, _)| link).collect::<Vec<_>>())
    })?;
    Ok(links.concat())
}

/// To whom default routes of one family lead, in all tables, and by which links.
pub(crate) fn default_routers(
    netlink: &mut Netlink,
    family: Family,
) -> Result<Vec<(u32, IpAddr)>, HostError> {
    let routers = read_routes(netlink, family, |payload| {
        let route = Seen::read(payload)?;
        let leads = route.kind == libc::RTN_UNICAST && route.destination.is_default();
        let router =
            |(link, rest): (Option<u32>, Attributes<'_>)| Some((link?, ip(rest.get(libc::RTA_GATEWAY)?)?));
        leads.then(|| ways(payload).into_iter().filter_map(router).collect::<Vec<_>>())
    })?;
    Ok(routers.concat())
}

/// The ways that a route leads by: the link of each and what says the rest of it. With several paths each has its own
/// (`struct rtnexthop`: length, flags, weight, link).
pub(crate) fn ways(message: &[u8]) -> Vec<(Option<u32>, Attributes<'_>)> {
    let attributes = Attributes::after(ROUTE_HEADER_LEN, message);
    let mut ways = vec![(attributes.ne32(libc::RTA_OIF), attributes)];
    let mut paths = attributes.get(libc::RTA_MULTIPATH).unwrap_or_default();
    while let Some((&[low, high, _, _, link @ ..], _)) = paths.split_first_chunk::<PATH_HEADER_LEN>() {
        let length = usize::from(u16::from_ne_bytes([low, high])).max(PATH_HEADER_LEN);
        let path = paths.get(..length).unwrap_or(paths);
        ways.push((Some(u32::from_ne_bytes(link)), Attributes::after(PATH_HEADER_LEN, path)));
        paths = paths.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    ways
}

/// Forgets which MAC the host last saw at `address`.
pub(crate) fn forget_neighbour(batch: &mut Batch, link: u32, address: IpAddr) {
    let mut message = NeighbourMessage::default();
    message.header.family = family_number(Family::of(address));
    message.header.ifindex = link;
    let destination = match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    batch.route(
        RouteNetlinkMessage::DelNeighbour(message),
        0,
        // EINVAL: the family's table is not there, as without IPv6.
        Subject::new("forget", format!("neighbour {address}")).fine_if(&[libc::ENOENT, libc::EINVAL]),
    );
}
