//! External switches: a bridge as others, and one port of it that stands for the wire.
//!
//! That port is one end of a veth whose other end lies, up, in a namespace where nobody is. What the bridge sends there is taken
//! by the datapath's program at its egress and goes to the adapter; without the program it is gone, and nobody hears it. What the
//! adapter brings is put in as if it had come by the veth.

use std::path::Path;

use hns_net::{IfName, Mtu};
use hns_planner::Switch;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::link::{self, named, port_settings, raise, without_arp};
use crate::namespace::{self, Namespace};
use crate::netlink::{Batch, Family, Netlink, Subject};
use crate::{HostError, group, sysctl};

use std::os::fd::{AsFd, AsRawFd};

/// Makes the port that stands for the wire, or brings it in line. `nowhere`: the file that holds the empty namespace.
pub(crate) fn wire(
    netlink: &mut Netlink,
    home: &Namespace,
    nowhere: &Path,
    switch: &IfName,
    ipv6: bool,
) -> Result<(), HostError> {
    let Some(port) = Switch::uplink_port(switch) else { return Ok(()) };
    let nowhere = empty_namespace(home, nowhere, ipv6)?;
    let bridge = link::index(netlink, switch)?;
    let subject = |operation| Subject::new(operation, format!("uplink {port}"));
    let mut batch = Batch::new();
    batch.route(
        RouteNetlinkMessage::NewLink(pair(&port, bridge, &nowhere)),
        NLM_F_CREATE | NLM_F_EXCL,
        subject("make").fine_if(&[libc::EEXIST]),
    );
    netlink.execute(&batch)?;
    if ipv6 {
        sysctl::disable_ipv6(&port)?;
    }
    let mut batch = Batch::new();
    let mut message = raise(without_arp(named(&port)));
    message.attributes.push(LinkAttribute::Controller(bridge));
    batch.route(RouteNetlinkMessage::SetLink(message), 0, subject("plug in"));
    let mut message = named(&port);
    // What stations there are is for the datapath to know; the bridge sends there what it knows nothing of.
    message.attributes.push(port_settings(vec![InfoBridgePort::Learning(false)]));
    batch.route(RouteNetlinkMessage::NewLink(message), 0, subject("set up"));
    netlink.execute(&batch)?;
    let far = raise_far_end(home, &nowhere, &port)?;
    link::settle(&far, &port);
    link::settle(netlink, &port);
    Ok(())
}

fn raise_far_end(home: &Namespace, nowhere: &Namespace, port: &IfName) -> Result<Netlink, HostError> {
    let mut far = nowhere.within(home, || Netlink::open(Family::Route))?;
    let mut batch = Batch::new();
    let subject = Subject::new("raise", format!("the far end of uplink {port}"));
    batch.route(RouteNetlinkMessage::SetLink(raise(without_arp(named(port)))), 0, subject);
    far.execute(&batch)?;
    Ok(far)
}

/// A namespace in which nobody is and which says nothing by itself.
fn empty_namespace(home: &Namespace, path: &Path, ipv6: bool) -> Result<Namespace, HostError> {
    namespace::make(path)?;
    let nowhere = Namespace::open(path)?;
    if ipv6 {
        nowhere.within(home, sysctl::disable_all_ipv6)?;
    }
    Ok(nowhere)
}

fn pair(port: &IfName, bridge: u32, nowhere: &impl AsFd) -> LinkMessage {
    let end = || {
        let mut message = named(port);
        message.attributes.push(LinkAttribute::Mtu(Mtu::MAX.bytes().into()));
        message.attributes.push(LinkAttribute::NumTxQueues(1));
        message.attributes.push(LinkAttribute::NumRxQueues(1));
        message
    };
    let mut far = end();
    far.attributes.push(LinkAttribute::NetNsFd(nowhere.as_fd().as_raw_fd()));
    let mut message = end();
    message.attributes.push(LinkAttribute::Group(group::OURS));
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
    ]));
    message
}
