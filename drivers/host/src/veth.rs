//! Ports: a veth with its host end in a bridge and its far end, the vNIC, in the target's namespace.

use std::os::fd::{AsFd, AsRawFd};

use hns_net::{Family, IfName, Mac, Mtu};
use hns_planner::{Port, Target};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::link::{self, named, port_settings, port_state, raise, with_index, without_own_ipv6};
use crate::netlink::{Batch, Netlink, Subject};
use crate::nsid::Numbers;
use crate::{HostError, address, group, sysctl};

/// How the ports of this host are set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub ipv6: bool,
    /// Bridged frames pass the IP rules here, where a frame that was translated back to its own port must be
    /// let out where it came in.
    pub hairpin: bool,
}

/// Makes the veth, plugged in, and up on the host's side unless it waits for its filter. The far end is in `target`
/// already: moving it there later would take some 20 ms.
pub(crate) fn create(
    home: &mut Netlink,
    target: &impl AsFd,
    port: &Port,
    numbers: &Numbers,
) -> Result<(), HostError> {
    let bridge = link::index(home, &port.bridge)?;
    let mut batch = Batch::new();
    if matches!(port.target, Target::Path(_)) {
        numbers.give(&mut batch, target);
    }
    batch.route(
        RouteNetlinkMessage::NewLink(pair(port, bridge, target)),
        NLM_F_CREATE | NLM_F_EXCL,
        Subject::new("make", format!("port {}", port.name)),
    );
    home.execute(&batch)
}

/// Raises the host end.
pub(crate) fn open(home: &mut Netlink, name: &IfName, style: Style) -> Result<(), HostError> {
    let mut batch = Batch::new();
    raise_host_end(&mut batch, name, style, named(name))?;
    home.execute(&batch).map_err(|error| missing(error, name))
}

fn pair(port: &Port, bridge: u32, target: &impl AsFd) -> LinkMessage {
    let end = |name: &IfName, mtu: Mtu| {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::Mtu(mtu.bytes().into()));
        // A queue for each processor would treble the time this takes; a veth has no hardware to feed.
        message.attributes.push(LinkAttribute::NumTxQueues(1));
        message.attributes.push(LinkAttribute::NumRxQueues(1));
        message
    };
    let mut peer = end(&port.interface, port.mtu);
    peer.attributes.push(LinkAttribute::Address(port.mac.octets().to_vec()));
    peer.attributes.push(LinkAttribute::NetNsFd(target.as_fd().as_raw_fd()));
    let mut message = if group::Role::of(port.bridge.as_str()).is_some() {
        end(&port.name, port.mtu)
    } else {
        // A bridge of others takes the lowest station and the smallest MTU of its ports for its own, unless somebody has said
        // otherwise, and is not to change by ours. What is too large for the vNIC does not get there all the same.
        let mut message = end(&port.name, Mtu::MAX);
        message.attributes.push(LinkAttribute::Address(high_station(port.mac).octets().to_vec()));
        message
    };
    message.attributes.push(LinkAttribute::Group(group::OURS));
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    message
}

/// A station above those of adapters that is not the vNIC's.
fn high_station(vnic: Mac) -> Mac {
    let [first, b, c, d, e, f] = vnic.octets();
    Mac::new([if first == 0xfe { 0xfa } else { 0xfe }, b, c, d, e, f])
}

/// Raises the host end. A port has no address of its own, on which something in the host could answer; and
/// with IPv6 each link that comes or goes makes the kernel walk the routes of all others, which at 5,000 ports
/// takes longer than the rest of the port.
fn raise_host_end(
    batch: &mut Batch,
    name: &IfName,
    style: Style,
    message: LinkMessage,
) -> Result<(), HostError> {
    let subject = |operation| Subject::new(operation, format!("port {name}"));
    if style.ipv6 {
        sysctl::disable_ipv6(name)?;
    }
    batch.route(RouteNetlinkMessage::SetLink(raise(message)), 0, subject("raise"));
    if style.hairpin {
        set_port(batch, name, vec![InfoBridgePort::HairpinMode(true)], subject("make a hairpin of"));
    }
    Ok(())
}

/// Settings of a bridge port. The kernel reads them in a "new link" message alone, which without the flag to
/// create changes the link there is.
fn set_port(batch: &mut Batch, name: &IfName, settings: Vec<InfoBridgePort>, subject: Subject) {
    let mut message = named(name);
    message.attributes.push(port_settings(settings));
    batch.route(RouteNetlinkMessage::NewLink(message), 0, subject);
}

/// Keeps the vNIC from looking for routers and from listening to what calls itself one: its routes are given, and its
/// switch floods each question to all other containers, for as long as nobody answers. Without addresses of IPv6 it has
/// no IPv6 at all. Before it is up; the calling thread must be in its namespace.
pub(crate) fn prepare(port: &Port, ipv6: bool) -> Result<(), HostError> {
    match (ipv6, uses_ipv6(port)) {
        (false, _) => Ok(()),
        (true, true) => sysctl::ignore_router_advertisements(&port.interface),
        (true, false) => sysctl::disable_ipv6(&port.interface),
    }
}

fn uses_ipv6(port: &Port) -> bool {
    port.addresses.iter().any(|address| address.family() == Family::V6)
}

/// Addresses the vNIC and brings it up. `target` is a socket of its namespace.
pub(crate) fn configure(target: &mut Netlink, port: &Port, ipv6: bool) -> Result<(), HostError> {
    let vnic = link::index(target, &port.interface)?;
    let mut batch = Batch::new();
    batch.route(
        RouteNetlinkMessage::SetLink(raise(with_index(link::LOOPBACK))),
        0,
        Subject::new("raise", "lo"),
    );
    let subject = |operation| Subject::new(operation, format!("interface {}", port.interface));
    if ipv6 {
        batch.route(RouteNetlinkMessage::SetLink(without_own_ipv6(with_index(vnic))), 0, subject("set up"));
    }
    batch.route(RouteNetlinkMessage::SetLink(raise(with_index(vnic))), 0, subject("raise"));
    if ipv6 && uses_ipv6(port) {
        // The kernel would make the same one, look for duplicates for a second, and ask all the others.
        address::add(&mut batch, vnic, address::link_local(port.mac));
    }
    for address in &port.addresses {
        address::add_until(&mut batch, vnic, *address, port.until.get(&address.address()).copied());
    }
    for route in &port.routes {
        address::add_route(&mut batch, vnic, route);
    }
    target.execute(&batch)
}

/// Before a vNIC gets its first address of IPv6. The calling thread must be in its namespace.
pub(crate) fn let_ipv6(port: &Port, before: &Port, ipv6: bool) -> Result<(), HostError> {
    if !ipv6 || !uses_ipv6(port) || uses_ipv6(before) {
        return Ok(());
    }
    sysctl::ignore_router_advertisements(&port.interface)?;
    sysctl::enable_ipv6(&port.interface)
}

/// After it lost its last one.
pub(crate) fn leave_ipv6(port: &Port, before: &Port, ipv6: bool) -> Result<(), HostError> {
    if ipv6 && uses_ipv6(before) && !uses_ipv6(port) { sysctl::disable_ipv6(&port.interface) } else { Ok(()) }
}

/// Gives the vNIC other addresses and routes, and takes those of `before` away. What else it has stays.
pub(crate) fn readdress(
    target: &mut Netlink,
    port: &Port,
    before: &Port,
    ipv6: bool,
) -> Result<(), HostError> {
    let vnic = link::index(target, &port.interface)?;
    let mut batch = Batch::new();
    if ipv6 && uses_ipv6(port) {
        address::add(&mut batch, vnic, address::link_local(port.mac));
    }
    for route in before.routes.iter().filter(|route| !port.routes.contains(route)) {
        address::remove_route(&mut batch, vnic, route);
    }
    for address in before.addresses.iter().filter(|address| !port.addresses.contains(address)) {
        address::remove(&mut batch, vnic, *address);
    }
    for address in &port.addresses {
        address::add_until(&mut batch, vnic, *address, port.until.get(&address.address()).copied());
    }
    for route in &port.routes {
        address::add_route(&mut batch, vnic, route);
    }
    target.execute(&batch)
}

/// Whether the existing link `name` is this very port: its other end is the vNIC asked for.
pub(crate) fn is_same(home: &mut Netlink, target: &mut Netlink, port: &Port) -> Result<bool, HostError> {
    let Some(near) = link::find(home, &port.name)? else { return Ok(false) };
    let Some(far) = link::find(target, &port.interface)? else { return Ok(false) };
    Ok(near.peer == Some(far.index) && far.peer == Some(near.index) && far.mac == Some(port.mac))
}

/// Brings an existing host end in line: in its bridge, in use, and down until it is opened.
pub(crate) fn replug(home: &mut Netlink, port: &Port) -> Result<(), HostError> {
    let bridge = link::index(home, &port.bridge)?;
    let mut message = named(&port.name);
    message.attributes.push(LinkAttribute::Group(group::OURS));
    message.attributes.push(LinkAttribute::Controller(bridge));
    let mut batch = Batch::new();
    // A port that joins its bridge while it is up forwards at once. As it goes up its state begins anew.
    let subject = |operation| Subject::new(operation, format!("port {}", port.name));
    batch.route(RouteNetlinkMessage::SetLink(link::lower(named(&port.name))), 0, subject("lower"));
    batch.route(RouteNetlinkMessage::SetLink(message), 0, subject("plug in"));
    home.execute(&batch).map_err(|error| missing(error, &port.name))
}

fn missing(error: HostError, name: &IfName) -> HostError {
    if error.is_errno(libc::ENODEV) { HostError::NoSuchLink { name: name.clone() } } else { error }
}

/// Stops the port and hands it to the reaper; says whether there was one.
pub(crate) fn unplug(home: &mut Netlink, name: &IfName) -> Result<bool, HostError> {
    let subject = |operation| Subject::new(operation, format!("port {name}"));
    let mut batch = Batch::new();
    // The state stops the port at once; its MAC may turn up at another port before the reaper comes.
    let settings = vec![port_state(BridgePortState::Disabled), InfoBridgePort::Flush];
    // ENODEV: it is gone. EINVAL, EOPNOTSUPP: it is in no bridge any more. ENETDOWN: it was never opened.
    const FINE: [i32; 4] = [libc::ENODEV, libc::EINVAL, libc::EOPNOTSUPP, libc::ENETDOWN];
    let stopped = subject("stop").fine_if(&FINE);
    set_port(&mut batch, name, settings, stopped);
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(group::REAP));
    batch.route(RouteNetlinkMessage::SetLink(message), 0, subject("retire"));
    match home.execute(&batch) {
        Ok(()) => Ok(true),
        Err(error) if error.is_errno(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a link at once.
pub(crate) fn delete(home: &mut Netlink, name: &IfName) -> Result<(), HostError> {
    let mut batch = Batch::new();
    let subject = Subject::new("delete", format!("link {name}")).fine_if(&[libc::ENODEV]);
    batch.route(RouteNetlinkMessage::DelLink(named(name)), 0, subject);
    home.execute(&batch)
}
