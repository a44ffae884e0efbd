//! Where each [`Element`] lives, and its bytes.
//!
//! A concatenated key is its fields one after the other, each padded with zeros to four bytes. An interval set
//! holds two such keys, the least and the greatest of each field.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::{Cidr, Family, IfName, PortRange, Transport};
use hns_planner::Element;

use super::wire::family;

/// A set or map of our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Set {
    Switches,
    Same,
    Internal,
    Masquerade(Family),
    Routed(Family),
    Inside(Family),
    Residents(Family),
    Publish(Family),
    PublishAt(Family),
    Range(Family),
    Open(Family),
    OpenRange(Family),
    Outbound(Family),
    Kept(Family),
    QuietAddress(Family),
    QuietPorts,
    Seats,
    Tunnels,
    Prefixes(Family),
    /// No [`Element`] is in it: it follows from the rules of others (`input_drops.rs`).
    HostDrops(Family),
    /// Nor in this one, which follows from the bridges of others (`ways_out.rs`).
    WaysOut,
}

impl Set {
    /// Those that hold elements.
    pub(crate) const ALL: [Self; 32] = {
        use Family::{V4, V6};
        [
            Self::Switches,
            Self::Same,
            Self::Internal,
            Self::Masquerade(V4),
            Self::Masquerade(V6),
            Self::Routed(V4),
            Self::Routed(V6),
            Self::Inside(V4),
            Self::Inside(V6),
            Self::Residents(V4),
            Self::Residents(V6),
            Self::Publish(V4),
            Self::Publish(V6),
            Self::PublishAt(V4),
            Self::PublishAt(V6),
            Self::Range(V4),
            Self::Range(V6),
            Self::Open(V4),
            Self::Open(V6),
            Self::OpenRange(V4),
            Self::OpenRange(V6),
            Self::Outbound(V4),
            Self::Outbound(V6),
            Self::Kept(V4),
            Self::Kept(V6),
            Self::QuietAddress(V4),
            Self::QuietAddress(V6),
            Self::QuietPorts,
            Self::Seats,
            Self::Tunnels,
            Self::Prefixes(V4),
            Self::Prefixes(V6),
        ]
    };

    pub(crate) const fn name(self) -> &'static str {
        use Family::{V4, V6};
        match self {
            Self::Switches => "switches",
            Self::Same => "same",
            Self::Internal => "internal",
            Self::Masquerade(V4) => "masquerade4",
            Self::Masquerade(V6) => "masquerade6",
            Self::Routed(V4) => "routed4",
            Self::Routed(V6) => "routed6",
            Self::Inside(V4) => "inside4",
            Self::Inside(V6) => "inside6",
            Self::Residents(V4) => "residents4",
            Self::Residents(V6) => "residents6",
            Self::Publish(V4) => "publish4",
            Self::Publish(V6) => "publish6",
            Self::PublishAt(V4) => "publish4_at",
            Self::PublishAt(V6) => "publish6_at",
            Self::Range(V4) => "range4",
            Self::Range(V6) => "range6",
            Self::Open(V4) => "open4",
            Self::Open(V6) => "open6",
            Self::OpenRange(V4) => "open4_range",
            Self::OpenRange(V6) => "open6_range",
            Self::Outbound(V4) => "outbound4",
            Self::Outbound(V6) => "outbound6",
            Self::Kept(V4) => "kept4",
            Self::Kept(V6) => "kept6",
            Self::QuietAddress(V4) => "quiet4",
            Self::QuietAddress(V6) => "quiet6",
            Self::QuietPorts => "quiet_ports",
            Self::Seats => "seats",
            Self::Tunnels => "tunnels",
            Self::Prefixes(V4) => "prefixes4",
            Self::Prefixes(V6) => "prefixes6",
            Self::HostDrops(V4) => "host_drops4",
            Self::HostDrops(V6) => "host_drops6",
            Self::WaysOut => "ways_out",
        }
    }

    /// The family of the table it is in.
    pub(crate) const fn table_family(self) -> u8 {
        match self {
            Self::QuietPorts => family::BRIDGE,
            _ => family::INET,
        }
    }
}

/// One element of one set, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub set: Set,
    pub key: Vec<u8>,
    /// In interval sets only.
    pub key_end: Option<Vec<u8>>,
    /// In maps only.
    pub data: Option<Vec<u8>>,
}

impl Member {
    fn new(set: Set, key: Key) -> Self {
        Self { set, key: key.0, key_end: None, data: None }
    }

    fn to(mut self, end: Key) -> Self {
        self.key_end = Some(end.0);
        self
    }

    fn with(mut self, data: Key) -> Self {
        self.data = Some(data.0);
        self
    }
}

/// Fields one after the other, as keys and data of maps are made of.
#[derive(Debug, Default)]
struct Key(Vec<u8>);

impl Key {
    fn field(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn link(self, name: &IfName) -> Self {
        let mut bytes = [0; libc::IFNAMSIZ];
        bytes[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        self.field(&bytes)
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => self.field(&ip.octets()),
            IpAddr::V6(ip) => self.field(&ip.octets()),
        }
    }

    fn transport(self, transport: Transport) -> Self {
        self.field(&[transport.number()])
    }

    fn port(self, port: u16) -> Self {
        self.field(&port.to_be_bytes())
    }
}

fn key() -> Key {
    Key::default()
}

/// A run of destinations of one source.
fn destinations(set: Set, from: IpAddr, first: IpAddr, last: IpAddr) -> Member {
    let to = |address: IpAddr| key().address(from).address(address);
    Member::new(set, to(first)).to(to(last))
}

/// What the element is in the kernel: usually one member of one set.
pub(crate) fn members(element: &Element) -> Vec<Member> {
    let one = |set, key| vec![Member::new(set, key)];
    match element {
        Element::Switch(name) => vec![
            Member::new(Set::Switches, key().link(name)),
            Member::new(Set::Same, key().link(name).link(name)),
        ],
        Element::Internal(name) => one(Set::Internal, key().link(name)),
        Element::Masquerade4(name) => one(Set::Masquerade(Family::V4), key().link(name)),
        Element::Masquerade6(name) => one(Set::Masquerade(Family::V6), key().link(name)),
        Element::Routed4(name) => one(Set::Routed(Family::V4), key().link(name)),
        Element::Routed6(name) => one(Set::Routed(Family::V6), key().link(name)),
        Element::Inside { switch, prefix } => {
            let start = key().link(switch).address(prefix.network());
            let end = key().link(switch).address(prefix.last());
            let whole = |address| key().field(&[nfproto(prefix.family())]).address(address);
            vec![
                Member::new(Set::Inside(prefix.family()), start).to(end),
                Member::new(Set::Prefixes(prefix.family()), whole(prefix.network())).to(whole(prefix.last())),
            ]
        }
        Element::Resident { switch, address } => {
            one(Set::Residents(Family::of(*address)), key().link(switch).address(*address))
        }
        Element::Publish { at, transport, port, to, to_port } => {
            let family = Family::of(*to);
            let (set, place) = match at {
                Some(at) => (Set::PublishAt(family), key().address(*at)),
                None => (Set::Publish(family), key()),
            };
            let member = Member::new(set, place.transport(*transport).port(*port));
            vec![member.with(key().address(*to).port(*to_port))]
        }
        Element::PublishRange { at, transport, ports, to } => {
            let family = Family::of(*to);
            let (first, last) = match at {
                Some(at) => (*at, *at),
                None => (family.unspecified(), family.default_route().last()),
            };
            let start = key().address(first).transport(*transport).port(ports.start());
            let end = key().address(last).transport(*transport).port(ports.end());
            vec![Member::new(Set::Range(family), start).to(end).with(key().address(*to))]
        }
        Element::Open { address, transport, ports } => {
            let place = |port| key().address(*address).transport(*transport).port(port);
            let family = Family::of(*address);
            if ports.is_single() {
                one(Set::Open(family), place(ports.start()))
            } else {
                vec![Member::new(Set::OpenRange(family), place(ports.start())).to(place(ports.end()))]
            }
        }
        Element::Outbound { from, first, last } => {
            vec![destinations(Set::Outbound(Family::of(*from)), *from, *first, *last)]
        }
        Element::Kept { from, first, last } => {
            vec![destinations(Set::Kept(Family::of(*from)), *from, *first, *last)]
        }
        Element::QuietAddress(address) => {
            one(Set::QuietAddress(Family::of(*address)), key().address(*address))
        }
        Element::QuietPort(name) => one(Set::QuietPorts, key().link(name)),
        Element::HostSeat(name) => one(Set::Seats, key().link(name)),
        Element::Tunnel(udp_port) => one(Set::Tunnels, key().transport(Transport::Udp).port(*udp_port)),
    }
}

/// The family as netfilter numbers it. It stands before the prefixes because only a key of several fields can be a
/// range that is told by its two ends.
const fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => super::wire::family::IPV4,
        Family::V6 => super::wire::family::IPV6,
    }
}

/// New connections that the host's own firewall drops.
pub(crate) fn host_drop(source: Cidr, transport: Transport, (first, last): (u16, u16)) -> Member {
    let start = key().address(source.network()).transport(transport).port(first);
    let end = key().address(source.last()).transport(transport).port(last);
    Member::new(Set::HostDrops(source.family()), start).to(end)
}

/// A bridge of others that leads beyond this host.
pub(crate) fn way_out(bridge: &IfName) -> Member {
    Member::new(Set::WaysOut, key().link(bridge))
}

/// The elements that these members are, or nothing if they are none that we could have written.
pub(crate) fn elements(members: &[Member]) -> Option<BTreeSet<Element>> {
    let mut found = BTreeSet::new();
    let mut paired = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for member in members {
        if member.set == Set::Same {
            let mut fields = Fields(&member.key);
            let (one, other) = (fields.link()?, fields.link()?);
            if one != other || !paired.insert(Element::Switch(one)) {
                return None;
            }
        } else if let Set::Prefixes(family) = member.set {
            let mut ends = [Fields(&member.key), Fields(member.key_end.as_deref()?)];
            let [first, last] = ends.each_mut().map(|end| end.field(1).and_then(|_| end.address(family)));
            prefixes.insert(prefix(first?, last?)?);
        } else {
            found.insert(element(member)?);
        }
    }
    let switches = found.iter().filter(|element| matches!(element, Element::Switch(_)));
    let inside = found.iter().filter_map(|element| match element {
        Element::Inside { prefix, .. } => Some(*prefix),
        _ => None,
    });
    let whole = switches.eq(paired.iter()) && inside.collect::<BTreeSet<Cidr>>() == prefixes;
    whole.then_some(found)
}

/// The element of a member of any set but `same`.
fn element(member: &Member) -> Option<Element> {
    let mut start = Fields(&member.key);
    let mut end = Fields(member.key_end.as_deref().unwrap_or(&member.key));
    let mut data = Fields(member.data.as_deref().unwrap_or_default());
    Some(match member.set {
        Set::Same | Set::Prefixes(_) | Set::HostDrops(_) | Set::WaysOut => return None,
        Set::Switches => Element::Switch(start.link()?),
        Set::Internal => Element::Internal(start.link()?),
        Set::Masquerade(Family::V4) => Element::Masquerade4(start.link()?),
        Set::Masquerade(Family::V6) => Element::Masquerade6(start.link()?),
        Set::Routed(Family::V4) => Element::Routed4(start.link()?),
        Set::Routed(Family::V6) => Element::Routed6(start.link()?),
        Set::Inside(family) => {
            let (switch, _) = (start.link()?, end.link()?);
            let prefix = prefix(start.address(family)?, end.address(family)?)?;
            Element::Inside { switch, prefix }
        }
        Set::Residents(family) => {
            Element::Resident { switch: start.link()?, address: start.address(family)? }
        }
        Set::Publish(family) | Set::PublishAt(family) => {
            let at = match member.set {
                Set::PublishAt(_) => Some(start.address(family)?),
                _ => None,
            };
            Element::Publish {
                at,
                transport: start.transport()?,
                port: start.port()?,
                to: data.address(family)?,
                to_port: data.port()?,
            }
        }
        Set::Range(family) => {
            let (first, last) = (start.address(family)?, end.address(family)?);
            let (transport, _) = (start.transport()?, end.transport()?);
            Element::PublishRange {
                at: (first == last).then_some(first),
                transport,
                ports: PortRange::new(start.port()?, end.port()?).ok()?,
                to: data.address(family)?,
            }
        }
        Set::Open(family) | Set::OpenRange(family) => {
            let (address, _) = (start.address(family)?, end.address(family)?);
            let (transport, _) = (start.transport()?, end.transport()?);
            let ports = PortRange::new(start.port()?, end.port()?).ok()?;
            Element::Open { address, transport, ports }
        }
        Set::Outbound(family) | Set::Kept(family) => {
            let (from, _) = (start.address(family)?, end.address(family)?);
            let (first, last) = (start.address(family)?, end.address(family)?);
            match member.set {
                Set::Kept(_) => Element::Kept { from, first, last },
                _ => Element::Outbound { from, first, last },
            }
        }
        Set::QuietAddress(family) => Element::QuietAddress(start.address(family)?),
        Set::QuietPorts => Element::QuietPort(start.link()?),
        Set::Seats => Element::HostSeat(start.link()?),
        Set::Tunnels => Element::Tunnel(start.transport().zip(start.port())?.1),
    })
}

/// The prefix from its first and last address.
fn prefix(first: IpAddr, last: IpAddr) -> Option<Cidr> {
    let differing = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => 32 - (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => 128 - (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let length = Family::of(first).bits() - u8::try_from(differing).ok()?;
    let prefix = Cidr::new(first, length).ok()?;
    (prefix.network() == first && prefix.last() == last).then_some(prefix)
}

/// Reads fields off a key.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length.next_multiple_of(4))?;
        self.0 = rest;
        Some(&field[..length])
    }

    fn link(&mut self) -> Option<IfName> {
        crate::netlink::attr::text(self.field(libc::IFNAMSIZ)?)?.parse().ok()
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => Ipv4Addr::from_octets(self.field(4)?.try_into().ok()?).into(),
            Family::V6 => Ipv6Addr::from_octets(self.field(16)?.try_into().ok()?).into(),
        })
    }

    fn transport(&mut self) -> Option<Transport> {
        Transport::from_number(self.field(1)?[0].into()).ok()
    }

    fn port(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.field(2)?.try_into().ok()?))
    }
}

#[cfg(test)]
#[path = "element_tests.rs"]
mod tests;
