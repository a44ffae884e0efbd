//! Links in general: finding them, reading them, the messages all kinds share.

#![expect(
    unsafe_code,
    reason = "two questions that netlink answers ten times slower or not at all are ioctls"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;

use hns_net::{IfName, Mac};
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgePortState, In6AddrGenMode, InfoBridgePort, InfoPortData, InfoPortKind,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::HostError;
use crate::netlink::{Attributes, Batch, Family, Netlink, Subject};

/// `struct ifinfomsg`.
const HEADER_LEN: usize = 16;
const FLAG_UP: u32 = libc::IFF_UP as u32;
const FLAG_NOARP: u32 = libc::IFF_NOARP as u32;
const FLAG_ALLMULTI: u32 = libc::IFF_ALLMULTI as u32;
const OPERSTATE_UP: u8 = 6;
const INFO_PORT_DATA: u16 = 5;
const BRPORT_STATE: u16 = 1;
const BRPORT_LEARNING: u16 = 8;
const VLAN_ID: u16 = 1;
/// `IFLA_VXLAN_PORT`, in network order, and `IFLA_VXLAN_COLLECT_METADATA`.
const VXLAN_PORT: u16 = 15;
const VXLAN_COLLECT_METADATA: u16 = 25;
/// `RTEXT_FILTER_SKIP_STATS`: half of every answer would be counters.
const SKIP_STATS: u32 = 1 << 3;

/// What we care about in a link. The library's own reader refuses a message with any attribute it cannot
/// decode, and these come from every device of the host; so the few we need are picked out here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub group: u32,
    pub up: bool,
    /// Whether it answers no ARP.
    pub silent: bool,
    /// Whether it carries Ethernet frames.
    pub ethernet: bool,
    /// Whether it was told to take in all multicast.
    pub all_multicast: bool,
    /// Never up so far: somebody is making it.
    pub untouched: bool,
    /// Whether both ends are up, as far as the kernel's link watch has noticed.
    pub operational: bool,
    /// The index of the bridge it is a port of.
    pub bridge: Option<u32>,
    pub kind: Option<String>,
    /// Of a link that carries the frames of one VLAN of another link.
    pub vlan: Option<u16>,
    /// The UDP port of a VXLAN device that takes and sends every VNI.
    pub tunnel: Option<u16>,
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Whether its bridge has this port switched off.
    pub port_disabled: bool,
    /// Whether its bridge learns stations from what comes in by it.
    pub port_learns: bool,
    /// The index of a veth's other end, in whichever namespace that is.
    pub peer: Option<u32>,
    /// Whether that is another namespace.
    pub peer_elsewhere: bool,
}

impl Link {
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = message.first_chunk()?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        // Bridges report their ports a second time, as AF_BRIDGE.
        if i32::from(header[0]) != libc::AF_UNSPEC {
            return None;
        }
        let attributes = Attributes::after(HEADER_LEN, message);
        let info = attributes.nest(libc::IFLA_LINKINFO);
        let kind = info.and_then(|info| info.text(libc::IFLA_INFO_KIND));
        let data = info.and_then(|info| info.nest(libc::IFLA_INFO_DATA));
        let vlan = data.filter(|_| kind == Some("vlan")).and_then(|data| data.get(VLAN_ID));
        let vxlan =
            data.filter(|data| kind == Some("vxlan") && data.get(VXLAN_COLLECT_METADATA) == Some(&[1]));
        let udp_port = vxlan.and_then(|data| data.get(VXLAN_PORT)?.try_into().ok());
        let of_port = |kind| info.and_then(|info| info.nest(INFO_PORT_DATA)?.get(kind)?.first());
        Some(Self {
            index: word(4),
            name: attributes.text(libc::IFLA_IFNAME)?.to_owned(),
            group: attributes.ne32(libc::IFLA_GROUP).unwrap_or(0),
            up: word(8) & FLAG_UP != 0,
            silent: word(8) & FLAG_NOARP != 0,
            ethernet: u16::from_ne_bytes([header[2], header[3]]) == libc::ARPHRD_ETHER,
            all_multicast: word(8) & FLAG_ALLMULTI != 0,
            // It is given a queue when it goes up for the first time, and keeps it.
            untouched: attributes.text(libc::IFLA_QDISC) == Some("noop"),
            operational: attributes.get(libc::IFLA_OPERSTATE) == Some(&[OPERSTATE_UP]),
            bridge: attributes.ne32(libc::IFLA_MASTER),
            kind: kind.map(str::to_owned),
            vlan: vlan.and_then(|number| number.try_into().ok()).map(u16::from_ne_bytes),
            tunnel: udp_port.map(u16::from_be_bytes),
            mac: attributes.get(libc::IFLA_ADDRESS).and_then(|octets| octets.try_into().ok()).map(Mac::new),
            mtu: attributes.ne32(libc::IFLA_MTU).unwrap_or(0),
            port_disabled: of_port(BRPORT_STATE) == Some(&0),
            port_learns: of_port(BRPORT_LEARNING) == Some(&1),
            peer: attributes.ne32(libc::IFLA_LINK),
            peer_elsewhere: attributes.get(libc::IFLA_LINK_NETNSID).is_some(),
        })
    }

    /// A link of Ethernet that is up, with what tests tell links apart by.
    #[cfg(test)]
    pub(crate) fn of_test(index: u32, name: &str, kind: Option<&str>, bridge: Option<u32>) -> Self {
        Self {
            index,
            name: name.to_owned(),
            group: 0,
            up: true,
            silent: false,
            ethernet: true,
            all_multicast: false,
            untouched: false,
            operational: true,
            bridge,
            kind: kind.map(str::to_owned),
            vlan: None,
            tunnel: None,
            mac: None,
            mtu: 1500,
            port_disabled: false,
            port_learns: true,
            peer: None,
            peer_elsewhere: false,
        }
    }

    /// Reads the group alone, to pass over what is not ours before anything is copied.
    pub(crate) fn group_of(message: &[u8]) -> u32 {
        Attributes::after(HEADER_LEN, message).ne32(libc::IFLA_GROUP).unwrap_or(0)
    }
}

/// The link of this name, if there is one.
pub(crate) fn find(netlink: &mut Netlink, name: &IfName) -> Result<Option<Link>, HostError> {
    let mut message = named(name);
    message.attributes.push(skip_stats());
    look_at(netlink, message, name.as_str(), Link::read)
}

pub(crate) fn find_by_index(netlink: &mut Netlink, index: u32) -> Result<Option<Link>, HostError> {
    let mut message = with_index(index);
    message.attributes.push(skip_stats());
    look_at(netlink, message, &format!("number {index}"), Link::read)
}

/// The links with these indices. The thousands of ports of a host have no addresses and routes, so that asking
/// for each of the few that have is faster than listing all.
pub(crate) fn find_all(
    netlink: &mut Netlink,
    indices: impl Iterator<Item = u32>,
) -> Result<BTreeMap<u32, Link>, HostError> {
    let mut found = BTreeMap::new();
    for index in indices.collect::<BTreeSet<u32>>() {
        found.extend(find_by_index(netlink, index)?.map(|link| (index, link)));
    }
    Ok(found)
}

/// What `read` makes of the one link that `message` asks for.
pub(crate) fn look_at<T>(
    netlink: &mut Netlink,
    message: LinkMessage,
    object: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("look at", format!("link {object}"));
    question.route(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, subject);
    let mut found = None;
    match netlink.ask(&question, |_, payload| found = found.take().or_else(|| read(payload))) {
        Ok(()) => Ok(found),
        Err(error) if error.is_errno(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of all links by their index.
pub(crate) fn names(netlink: &mut Netlink) -> Result<BTreeMap<u32, IfName>, HostError> {
    let links = list(netlink, |_| true)?;
    Ok(links.into_iter().filter_map(|link| Some((link.index, link.name.parse().ok()?))).collect())
}

/// All links for which `wanted` holds, asked before a link is read in full.
pub(crate) fn list(
    netlink: &mut Netlink,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<Link>, HostError> {
    let mut message = LinkMessage::default();
    message.attributes.push(skip_stats());
    let mut question = Batch::new();
    question.route(RouteNetlinkMessage::GetLink(message), NLM_F_DUMP, Subject::new("list", "links"));
    netlink.dump(&question, |payload| if wanted(payload) { Link::read(payload) } else { None })
}

fn skip_stats() -> LinkAttribute {
    LinkAttribute::Other(DefaultNla::new(libc::IFLA_EXT_MASK, SKIP_STATS.to_ne_bytes().to_vec()))
}

/// The index of the link with this name in the socket's own namespace.
pub(crate) fn index(netlink: &Netlink, name: &IfName) -> Result<u32, HostError> {
    find_index(netlink, name)?.ok_or_else(|| HostError::NoSuchLink { name: name.clone() })
}

/// Lets the link take up its carrier now. After both ends of a veth are up the kernel would do so "soon", under
/// load some 100 ms later, and until then nothing passes. Reading the link's state by ethtool does it at once.
pub(crate) fn settle(netlink: &Netlink, name: &IfName) {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    const GET_LINK: u32 = 0x0a;
    let mut value = EthtoolValue { command: GET_LINK, data: 0 };
    let mut request = request_for(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads the name, and reads and writes the 8 bytes of `value`, which this command has
    // and which outlives the call.
    unsafe { libc::ioctl(netlink.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    // If it fails the kernel's own pace is what remains.
}

/// An interface request with the name filled in.
fn request_for(name: &IfName) -> libc::ifreq {
    // SAFETY: `ifreq` is plain old data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from.cast_signed();
    }
    request
}

pub(crate) fn find_index(netlink: &Netlink, name: &IfName) -> Result<Option<u32>, HostError> {
    let mut request = request_for(name);
    // SAFETY: SIOCGIFINDEX reads the name, which an `IfName` keeps shorter than the field, and writes within
    // `request`, which lives until the call is over.
    let failed = unsafe { libc::ioctl(netlink.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) } < 0;
    if failed {
        let source = io::Error::last_os_error();
        return match source.raw_os_error() {
            Some(libc::ENODEV) => Ok(None),
            _ => {
                Err(HostError::Conversation { operation: "look up", object: format!("link {name}"), source })
            }
        };
    }
    // SAFETY: the call succeeded, so the kernel filled in this member of the union.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    Ok(u32::try_from(index).ok())
}

/// A message about the link of this name that exists already.
pub(crate) fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
}

pub(crate) fn with_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(crate) fn raise(mut message: LinkMessage) -> LinkMessage {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    message
}

pub(crate) fn lower(mut message: LinkMessage) -> LinkMessage {
    message.header.flags.remove(LinkFlags::Up);
    message.header.change_mask |= LinkFlags::Up;
    message
}

/// Gives a link another name. It is down afterwards: older kernels rename no link that is up.
pub(crate) fn rename(netlink: &mut Netlink, index: u32, name: &IfName) -> Result<(), HostError> {
    let subject = |operation| Subject::new(operation, format!("link {name}"));
    let mut message = with_index(index);
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    let mut batch = Batch::new();
    batch.route(RouteNetlinkMessage::SetLink(lower(with_index(index))), 0, subject("lower"));
    batch.route(RouteNetlinkMessage::SetLink(message), 0, subject("name"));
    netlink.execute(&batch)
}

/// Keeps the kernel from answering ARP on the link.
pub(crate) fn without_arp(mut message: LinkMessage) -> LinkMessage {
    message.header.flags |= LinkFlags::Noarp;
    message.header.change_mask |= LinkFlags::Noarp;
    message
}

/// Keeps the kernel from giving the link an address of its own. Must be a message before the one that raises
/// the link: within one, the link goes up first.
pub(crate) fn without_own_ipv6(mut message: LinkMessage) -> LinkMessage {
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
        AfSpecInet6::AddrGenMode(In6AddrGenMode::None),
    ])]));
    message
}

pub(crate) fn port_settings(settings: Vec<InfoBridgePort>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(settings)),
    ])
}

pub(crate) fn port_state(state: BridgePortState) -> InfoBridgePort {
    InfoBridgePort::State(state)
}

/// Deletes all links of a group in one message; says whether there were any.
pub(crate) fn delete_group(netlink: &mut Netlink, group: u32) -> Result<bool, HostError> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.attributes.push(LinkAttribute::Group(group));
    let mut batch = Batch::new();
    batch.route(
        RouteNetlinkMessage::DelLink(message),
        0,
        Subject::new("delete", format!("link group {group:#x}")),
    );
    match netlink.execute(&batch) {
        Ok(()) => Ok(true),
        Err(error) if error.is_errno(libc::ENODEV) || error.is_errno(libc::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Brings up `lo` in the calling thread's namespace.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let broken = |error: HostError| io::Error::other(error);
    let mut netlink = Netlink::open(Family::Route).map_err(broken)?;
    let mut batch = Batch::new();
    batch.route(RouteNetlinkMessage::SetLink(raise(with_index(LOOPBACK))), 0, Subject::new("raise", "lo"));
    netlink.execute(&batch).map_err(broken)
}

/// The index of `lo` in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel sends it: type, length and value, padded to four bytes.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap_or_default();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_link_of_a_vlan_says_which() {
        let read = |kind: &[u8]| {
            let data = attribute(libc::IFLA_INFO_DATA, &attribute(VLAN_ID, &8_u16.to_ne_bytes()));
            let info = [attribute(libc::IFLA_INFO_KIND, kind), data].concat();
            let attributes =
                [attribute(libc::IFLA_IFNAME, b"eth0.8\0"), attribute(libc::IFLA_LINKINFO, &info)].concat();
            Link::read(&[vec![0; HEADER_LEN], attributes].concat()).and_then(|link| link.vlan)
        };
        assert_eq!(read(b"vlan\0"), Some(8));
        // Another kind's data says something else in that place.
        assert_eq!(read(b"veth\0"), None);
    }
}
