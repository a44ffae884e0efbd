//! The VXLAN devices that all overlays of a UDP port share: they have no peers and no VNI of their own, since the datapath's programs say
//! for each frame where it goes, and take what comes. Encrypted overlays have a device by itself, whose packets are those of a namespace
//! with no way out but the encrypted one (encrypted.rs).

use hns_abi::{TUNNEL_SOURCES, TUNNEL_SOURCES_END};
use hns_net::IfName;
use hns_planner::TunnelDevice;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};

use crate::link::{self, Link, named, raise, without_arp};
use crate::namespace::Namespace;
use crate::netlink::{Batch, Netlink, Subject};
use crate::{HostError, group, sysctl};

use std::os::fd::{AsFd, AsRawFd};

/// Containers' packets are as large as their interfaces say, which know the way.
const MTU: u32 = 65_485;

/// Makes the device, or brings it in line. `maker`: where its packets are, by a socket there, and the namespace that it is for.
pub(crate) fn make(
    netlink: &mut Netlink,
    maker: Option<(&mut Netlink, &Namespace)>,
    tunnel: TunnelDevice,
    ipv6: bool,
) -> Result<(), HostError> {
    let (name, udp_port) = (tunnel.name(), tunnel.udp_port);
    match link::find(netlink, &name)? {
        Some(there) if !is_ours(&there) => return Err(HostError::LinkTaken { name }),
        // What it was made for does not change.
        Some(there) if !is_made_for(&there, tunnel) => remove(netlink, tunnel)?,
        _ => {}
    }
    let subject = |operation| Subject::new(operation, format!("VXLAN device {name}"));
    let mut message = device(&name, udp_port);
    if let Some((_, home)) = &maker {
        message.attributes.push(LinkAttribute::NetNsFd(home.as_fd().as_raw_fd()));
    }
    let mut batch = Batch::new();
    batch.route(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_CREATE | NLM_F_EXCL,
        subject("make").fine_if(&[libc::EEXIST]),
    );
    match maker {
        Some((inside, _)) => inside.execute(&batch)?,
        None => netlink.execute(&batch)?,
    }
    if ipv6 {
        sysctl::disable_ipv6(&name)?;
    }
    // The programs ask by which way packets in clear go. Nothing comes in by it: its program takes all there is (bpf/tunnel.h).
    if !tunnel.encrypted {
        sysctl::forward_from(&name)?;
    }
    // Its socket is opened with it.
    let mut batch = Batch::new();
    let mut right = raise(without_arp(named(&name)));
    right.attributes.push(LinkAttribute::Mtu(MTU));
    batch.route(RouteNetlinkMessage::SetLink(right), 0, subject("raise"));
    let made = netlink.execute(&batch);
    if let Err(error) = made {
        let taken = error.is_errno(libc::EADDRINUSE);
        remove(netlink, tunnel)?;
        return Err(if taken { HostError::TunnelPortTaken { udp_port } } else { error });
    }
    Ok(())
}

pub(crate) fn remove(netlink: &mut Netlink, tunnel: TunnelDevice) -> Result<(), HostError> {
    let name = tunnel.name();
    let Some(there) = link::find(netlink, &name)?.filter(is_ours) else { return Ok(()) };
    let mut message = LinkMessage::default();
    message.header.index = there.index;
    let mut batch = Batch::new();
    let subject = Subject::new("remove", format!("VXLAN device {name}")).fine_if(&[libc::ENODEV]);
    batch.route(RouteNetlinkMessage::DelLink(message), 0, subject);
    netlink.execute(&batch)
}

fn is_ours(link: &Link) -> bool {
    link.group == group::OURS && link.kind.as_deref() == Some("vxlan")
}

/// What it was made for: its UDP port, and where its packets are.
fn is_made_for(link: &Link, tunnel: TunnelDevice) -> bool {
    link.tunnel == Some(tunnel.udp_port) && link.peer_elsewhere == tunnel.encrypted
}

/// Whether it is as [`make`] leaves it.
pub(crate) fn is_right(link: &Link, tunnel: TunnelDevice) -> bool {
    is_ours(link) && is_made_for(link, tunnel) && link.up && link.silent && link.mtu == MTU
}

fn device(name: &IfName, udp_port: u16) -> LinkMessage {
    let mut message = named(name);
    message.attributes.extend([
        LinkAttribute::Group(group::OURS),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::CollectMetadata(true),
                InfoVxlan::Port(udp_port),
                InfoVxlan::Learning(false),
                InfoVxlan::UDPZeroCsumRX(true),
                InfoVxlan::PortRange((TUNNEL_SOURCES, TUNNEL_SOURCES_END)),
            ])),
        ]),
    ]);
    message
}
