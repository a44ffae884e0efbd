//! Switches: a bridge, and further segments joined to it by veth trunks.

use std::collections::BTreeSet;

use hns_net::{Family, IfAddr, IfName, Mac, Mtu};
use hns_planner::Switch;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::link::{self, named, raise, without_arp, without_own_ipv6};
use crate::netlink::{Batch, Netlink, Subject};
use crate::{HostError, address, group, sysctl};

/// Makes the switch or brings it in line.
pub(crate) fn make(netlink: &mut Netlink, switch: &Switch, ipv6: bool) -> Result<(), HostError> {
    name_again(netlink, switch)?;
    netlink.execute(&segments(switch, ipv6)).map_err(|error| taken(error, &switch.name))?;
    for number in (0..=switch.extra_segments).filter(|number| !is_host_port(switch, *number)) {
        sysctl::close(&segment(switch, number))?;
    }
    netlink.execute(&raised(switch))?;
    join_segments(netlink, switch, ipv6)?;
    retire_segments(netlink, switch)?;
    let index = link::index(netlink, &switch.name)?;
    if ipv6 && switch.hosted {
        sysctl::ignore_router_advertisements(&switch.name)?;
        if switch.gateways.iter().any(|gateway| gateway.family() == Family::V6) {
            sysctl::enable_ipv6(&switch.name)?;
        }
    }
    sysctl::set_routes_loopback(&switch.name, switch.loopback)?;
    align_addresses(netlink, switch, index, ipv6)
}

/// Gives a bridge its name back that somebody has renamed: its ports are on it still.
fn name_again(netlink: &mut Netlink, switch: &Switch) -> Result<(), HostError> {
    if link::find_index(netlink, &switch.name)?.is_some() {
        return Ok(());
    }
    let ours = link::list(netlink, |message| link::Link::group_of(message) == group::OURS)?;
    let is_it = |link: &&link::Link| {
        link.kind.as_deref() == Some("bridge")
            && link.mac == Some(switch.mac)
            && group::Role::of(&link.name).is_none()
    };
    match ours.iter().find(is_it) {
        Some(renamed) => link::rename(netlink, renamed.index, &switch.name),
        None => Ok(()),
    }
}

fn taken(error: HostError, name: &IfName) -> HostError {
    // What the kernel says when a link of another kind has the name.
    let other_kind = error.is_errno(libc::EOPNOTSUPP) || error.is_errno(libc::EEXIST);
    if other_kind { HostError::LinkTaken { name: name.clone() } } else { error }
}

fn segment(switch: &Switch, number: u16) -> IfName {
    Switch::segment_name(&switch.name, number).expect("a switch's name leaves room for the segment's number")
}

/// Whether this bridge's own device is the host's port. On the others the kernel would answer ARP for the host's
/// addresses all the same, and take and forward what containers then send there.
fn is_host_port(switch: &Switch, segment: u16) -> bool {
    segment == 0 && switch.hosted
}

/// All bridges of the switch, made or aligned.
fn segments(switch: &Switch, ipv6: bool) -> Batch {
    let mut batch = Batch::new();
    for number in 0..=switch.extra_segments {
        let name = segment(switch, number);
        let subject = |operation| Subject::new(operation, format!("bridge {name}"));
        let mut message = bridge(&name, switch.mtu, &switch.alias);
        if number == 0 {
            message.attributes.push(LinkAttribute::Address(switch.mac.octets().to_vec()));
        }
        batch.route(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE, subject("make"));
        if ipv6 {
            batch.route(RouteNetlinkMessage::SetLink(without_own_ipv6(named(&name))), 0, subject("set up"));
        }
    }
    batch
}

/// All bridges of the switch, up.
fn raised(switch: &Switch) -> Batch {
    let mut batch = Batch::new();
    for number in 0..=switch.extra_segments {
        let name = segment(switch, number);
        let subject = Subject::new("raise", format!("bridge {name}"));
        let up = raise(named(&name));
        let message = if is_host_port(switch, number) { up } else { without_arp(up) };
        batch.route(RouteNetlinkMessage::SetLink(message), 0, subject);
    }
    batch
}

/// Closes the devices that are no port of the host's again: turning on the host's forwarding opens every device.
pub(crate) fn close_again(netlink: &mut Netlink) -> Result<(), HostError> {
    let ours = link::list(netlink, |message| link::Link::group_of(message) == group::OURS)?;
    for link in ours.into_iter().filter(|link| link.silent) {
        if let Some(group::Role::Segment { .. }) = group::Role::of(&link.name)
            && let Ok(name) = link.name.parse()
        {
            sysctl::close(&name)?;
        }
    }
    Ok(())
}

fn bridge(name: &IfName, mtu: Mtu, alias: &str) -> LinkMessage {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(group::OURS));
    message.attributes.push(LinkAttribute::Mtu(mtu.bytes().into()));
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            // Ports forward from the first packet on; loops cannot be built from our side.
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            // Without a querier on the switch, snooping would starve multicast listeners.
            InfoBridge::MulticastSnooping(false),
        ])),
    ]));
    message
}

/// Lays a trunk from the first segment to each other.
fn join_segments(netlink: &mut Netlink, switch: &Switch, ipv6: bool) -> Result<(), HostError> {
    for number in 1..=switch.extra_segments {
        let Some((near, far)) = group::trunk(&switch.name, number) else { continue };
        if link::find_index(netlink, &near)?.is_none() {
            let mut batch = Batch::new();
            let subject = Subject::new("make", format!("trunk {near}")).fine_if(&[libc::EEXIST]);
            batch.route(
                RouteNetlinkMessage::NewLink(trunk(&near, &far, switch.mtu)),
                NLM_F_CREATE | NLM_F_EXCL,
                subject,
            );
            netlink.execute(&batch)?;
        }
        let mut batch = Batch::new();
        for (end, bridge) in [(&near, switch.name.clone()), (&far, segment(switch, number))] {
            let subject = |operation| Subject::new(operation, format!("trunk {end}"));
            if ipv6 {
                batch.route(RouteNetlinkMessage::SetLink(without_own_ipv6(named(end))), 0, subject("set up"));
            }
            let mut message = raise(named(end));
            message.attributes.push(LinkAttribute::Controller(link::index(netlink, &bridge)?));
            message.attributes.push(LinkAttribute::Mtu(switch.mtu.bytes().into()));
            batch.route(RouteNetlinkMessage::SetLink(message), 0, subject("plug in"));
        }
        netlink.execute(&batch)?;
    }
    Ok(())
}

fn trunk(near: &IfName, far: &IfName, mtu: Mtu) -> LinkMessage {
    let end = |name| {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::Group(group::OURS));
        message.attributes.push(LinkAttribute::Mtu(mtu.bytes().into()));
        message
    };
    let mut message = end(near);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(far)))),
    ]));
    message
}

/// Removes segments beyond those asked for.
fn retire_segments(netlink: &mut Netlink, switch: &Switch) -> Result<(), HostError> {
    let mut number = switch.extra_segments;
    let mut surplus = Vec::new();
    while let Some(name) = number.checked_add(1).and_then(|next| Switch::segment_name(&switch.name, next)) {
        number += 1;
        if link::find_index(netlink, &name)?.is_none() {
            break;
        }
        surplus.extend(group::trunk(&switch.name, number).map(|(near, _)| near));
        surplus.push(name);
    }
    delete(netlink, &surplus)
}

/// Hands the links to the reaper's group and empties it: one wait for the kernel instead of one a link.
fn delete(netlink: &mut Netlink, names: &[IfName]) -> Result<(), HostError> {
    if names.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for name in names {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::Group(group::REAP));
        let subject = Subject::new("retire", format!("link {name}")).fine_if(&[libc::ENODEV]);
        batch.route(RouteNetlinkMessage::SetLink(message), 0, subject);
    }
    netlink.execute(&batch)?;
    link::delete_group(netlink, group::REAP).map(drop)
}

/// Removes the switch with all its segments and trunks. Fine if it is gone.
pub(crate) fn remove(netlink: &mut Netlink, name: &IfName) -> Result<(), HostError> {
    let of_switch = |link: &link::Link| match group::Role::of(&link.name) {
        Some(group::Role::Segment { switch, .. }) => switch == *name,
        // A trunk's far end goes with the near one.
        Some(group::Role::Trunk { switch, near, .. }) => near && switch == *name,
        Some(group::Role::Uplink { switch }) => switch == *name,
        Some(group::Role::Tunnel { .. } | group::Role::Port) | None => false,
    };
    let links = link::list(netlink, |message| link::Link::group_of(message) == group::OURS)?;
    let names: Vec<IfName> =
        links.iter().filter(|link| of_switch(link)).filter_map(|link| link.name.parse().ok()).collect();
    delete(netlink, &names)
}

/// The addresses that the bridge should have: its gateways, and where IPv6 is used the link-local one from
/// which neighbours are solicited. The kernel's own would be unusable for a second, while it looks for
/// duplicates.
fn wanted_addresses(gateways: &BTreeSet<IfAddr>, mac: Mac, ipv6: bool) -> BTreeSet<IfAddr> {
    let mut wanted = gateways.clone();
    if ipv6 && gateways.iter().any(|gateway| gateway.family() == Family::V6) {
        wanted.insert(address::link_local(mac));
    }
    wanted
}

fn align_addresses(netlink: &mut Netlink, switch: &Switch, index: u32, ipv6: bool) -> Result<(), HostError> {
    let wanted = wanted_addresses(&switch.gateways, switch.mac, ipv6);
    let held: BTreeSet<IfAddr> =
        address::list(netlink, Some(index))?.into_iter().map(|held| held.address).collect();
    let mut batch = Batch::new();
    for surplus in held.difference(&wanted) {
        address::remove(&mut batch, index, *surplus);
    }
    for missing in wanted.difference(&held) {
        address::add(&mut batch, index, *missing);
    }
    let has_route = |gateway: &&IfAddr| gateway.length() < gateway.family().bits();
    for gateway in switch.gateways.iter().filter(has_route) {
        address::connect(&mut batch, index, *gateway);
    }
    if ipv6 {
        if switch.loopback && switch.gateways.iter().any(|gateway| gateway.family() == Family::V6) {
            address::add_loopback_route(&mut batch, index);
        } else {
            address::remove_loopback_route(&mut batch, index);
        }
    }
    netlink.execute(&batch)
}

/// The MAC of the switch that a port is plugged into, on whichever segment.
pub(crate) fn gateway_of_port(netlink: &mut Netlink, port: &IfName) -> Result<Option<Mac>, HostError> {
    let Some(index) = link::find(netlink, port)?.and_then(|port| port.bridge) else { return Ok(None) };
    let Some(bridge) = link::find_by_index(netlink, index)? else { return Ok(None) };
    match group::Role::of(&bridge.name) {
        Some(group::Role::Segment { number: 0, .. }) => Ok(bridge.mac),
        Some(group::Role::Segment { switch, .. }) => {
            Ok(link::find(netlink, &switch)?.and_then(|switch| switch.mac))
        }
        Some(
            group::Role::Trunk { .. }
            | group::Role::Uplink { .. }
            | group::Role::Tunnel { .. }
            | group::Role::Port,
        )
        | None => Ok(None),
    }
}
