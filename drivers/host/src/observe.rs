//! What the host shows of ours.

use std::collections::{BTreeMap, BTreeSet};

use hns_net::{Cidr, Family, IfAddr, IfName};
use hns_planner::{Observed, ObservedPort, ObservedSwitch};

use crate::group::{OURS, REAP, Role, trunk};
use crate::link::{self, Link};
use crate::netlink::Netlink;
use crate::{HostError, address, sysctl, tunnel};

/// Our links by name, and what bears on them.
#[derive(Debug, Default)]
struct Snapshot {
    links: BTreeMap<IfName, Link>,
    /// The names of our bridges, since ports tell theirs by number.
    names: BTreeMap<u32, IfName>,
    addresses: Vec<address::Held>,
    /// Which prefixes routes reach by which links.
    connected: BTreeSet<(u32, Cidr)>,
    /// The links that `::1` is local to.
    loopback: Vec<u32>,
}

/// Adds all our links and their settings to `observed`.
pub(crate) fn everything(
    netlink: &mut Netlink,
    ipv6: bool,
    observed: &mut Observed,
) -> Result<(), HostError> {
    let snapshot = Snapshot::take(netlink, ipv6)?;
    for (name, link) in &snapshot.links {
        match Role::of(name.as_str()) {
            Some(Role::Segment { number: 0, .. }) => {
                observed.switches.insert(name.clone(), snapshot.switch(name, link)?);
            }
            Some(Role::Port) => {
                observed.ports.insert(name.clone(), snapshot.port(link));
            }
            Some(Role::Tunnel { device }) => {
                observed.tunnels.insert(device, tunnel::is_right(link, device));
            }
            Some(Role::Segment { .. } | Role::Trunk { .. } | Role::Uplink { .. }) | None => {}
        }
    }
    Ok(())
}

/// Adds one switch, if it is there.
pub(crate) fn switch(
    netlink: &mut Netlink,
    name: &IfName,
    ipv6: bool,
    observed: &mut Observed,
) -> Result<(), HostError> {
    let mut snapshot = Snapshot::default();
    let Some(bridge) = link::find(netlink, name)?.filter(|link| link.group == OURS) else { return Ok(()) };
    snapshot.addresses = address::list(netlink, Some(bridge.index))?;
    snapshot.connected = connected(netlink, ipv6, Some(bridge.index))?;
    if ipv6 {
        snapshot.loopback = address::loopback_links(netlink)?;
    }
    snapshot.insert(bridge.clone());
    if let Some(port) = hns_planner::Switch::uplink_port(name)
        && let Some(port) = link::find(netlink, &port)?.filter(is_ours)
    {
        snapshot.insert(port);
    }
    for number in 1.. {
        let Some((segment, (near, far))) =
            hns_planner::Switch::segment_name(name, number).zip(trunk(name, number))
        else {
            break;
        };
        let Some(segment) = link::find(netlink, &segment)? else { break };
        snapshot.insert(segment);
        for end in [near, far] {
            if let Some(end) = link::find(netlink, &end)? {
                snapshot.insert(end);
            }
        }
    }
    observed.switches.insert(name.clone(), snapshot.switch(name, &bridge)?);
    Ok(())
}

/// Adds one port, if it is there.
pub(crate) fn port(netlink: &mut Netlink, name: &IfName, observed: &mut Observed) -> Result<(), HostError> {
    let Some(port) = link::find(netlink, name)?.filter(is_ours) else { return Ok(()) };
    let mut snapshot = Snapshot::default();
    if let Some(bridge) = port.bridge
        && let Some(bridge) = link::find_by_index(netlink, bridge)?
    {
        snapshot.insert(bridge);
    }
    observed.ports.insert(name.clone(), snapshot.port(&port));
    Ok(())
}

fn connected(
    netlink: &mut Netlink,
    ipv6: bool,
    link: Option<u32>,
) -> Result<BTreeSet<(u32, Cidr)>, HostError> {
    let mut all = BTreeSet::new();
    for family in [Family::V4, Family::V6].into_iter().filter(|family| ipv6 || *family == Family::V4) {
        all.extend(address::connected(netlink, family, link)?);
    }
    Ok(all)
}

fn is_ours(link: &Link) -> bool {
    matches!(link.group, OURS | REAP)
}

impl Snapshot {
    fn take(netlink: &mut Netlink, ipv6: bool) -> Result<Self, HostError> {
        let mut snapshot = Self::default();
        for link in link::list(netlink, |message| matches!(Link::group_of(message), OURS | REAP))? {
            snapshot.insert(link);
        }
        if snapshot.links.is_empty() {
            return Ok(snapshot);
        }
        // Ports may be on bridges of others.
        let bridges: BTreeSet<u32> = snapshot.links.values().filter_map(|link| link.bridge).collect();
        let foreign = bridges.into_iter().filter(|index| !snapshot.names.contains_key(index));
        for (index, bridge) in link::find_all(netlink, foreign.collect::<Vec<_>>().into_iter())? {
            snapshot.names.extend(bridge.name.parse().ok().map(|name| (index, name)));
        }
        snapshot.addresses = address::list(netlink, None)?;
        snapshot.connected = connected(netlink, ipv6, None)?;
        if ipv6 {
            snapshot.loopback = address::loopback_links(netlink)?;
        }
        Ok(snapshot)
    }

    fn insert(&mut self, link: Link) {
        let Ok(name) = link.name.parse::<IfName>() else { return };
        self.names.insert(link.index, name.clone());
        self.links.insert(name, link);
    }

    fn switch(&self, name: &IfName, bridge: &Link) -> Result<ObservedSwitch, HostError> {
        let mac = bridge.mac.unwrap_or_else(|| hns_net::Mac::new([0; 6]));
        let gateways: BTreeSet<IfAddr> = self
            .addresses
            .iter()
            .filter(|held| held.link == bridge.index && held.address != address::link_local(mac))
            .map(|held| held.address)
            .filter(|address| self.is_connected(bridge, *address))
            .collect();
        let v6 = gateways.iter().any(|gateway| gateway.family() == Family::V6);
        let loopback = sysctl::routes_loopback(name)? && (!v6 || self.loopback.contains(&bridge.index));
        Ok(ObservedSwitch {
            up: bridge.up,
            mac,
            mtu: hns_net::Mtu::new(bridge.mtu.into()).unwrap_or(hns_net::Mtu::ETHERNET),
            gateways,
            segments: self.segments(name, bridge),
            loopback,
            wired: self.is_wired(name, bridge),
            answers: !bridge.silent || sysctl::is_open(name)?,
        })
    }

    /// Whether the route is there that comes with an address, and that others may take away.
    fn is_connected(&self, bridge: &Link, address: IfAddr) -> bool {
        let alone = address.length() == address.family().bits();
        alone || !bridge.up || self.connected.contains(&(bridge.index, address.prefix()))
    }

    /// Whether the port is there that stands for the wire, and carries what it should.
    fn is_wired(&self, name: &IfName, bridge: &Link) -> bool {
        let port = hns_planner::Switch::uplink_port(name);
        port.and_then(|port| self.links.get(&port)).is_some_and(|port| {
            port.up && port.operational && port.bridge == Some(bridge.index) && !port.port_learns
        })
    }

    /// The further segments that are up, answer nothing and are joined to `bridge` by a trunk that is up.
    fn segments(&self, name: &IfName, bridge: &Link) -> BTreeSet<u16> {
        let joined = |end: &IfName, bridge: u32| {
            self.links.get(end).is_some_and(|end| end.up && end.bridge == Some(bridge))
        };
        self.links
            .iter()
            .filter_map(|(link_name, link)| match Role::of(link_name.as_str())? {
                Role::Segment { switch, number: number @ 1.. }
                    if switch == *name && link.up && link.silent =>
                {
                    let (near, far) = trunk(name, number)?;
                    (joined(&near, bridge.index) && joined(&far, link.index)).then_some(number)
                }
                _ => None,
            })
            .collect()
    }

    fn port(&self, port: &Link) -> ObservedPort {
        let bridge = port.bridge.and_then(|bridge| self.names.get(&bridge)).cloned();
        // While the container keeps its end down the bridge disables the port by itself: nothing to repair.
        let switched_off = port.port_disabled && port.operational;
        ObservedPort {
            up: port.up,
            forwards: port.group == OURS && port.bridge.is_some() && !switched_off,
            bridge,
        }
    }
}
