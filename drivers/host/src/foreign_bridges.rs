//! The bridges of others: what is on them, and what of the host is. They are read here and written nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_model::{Bridge, Device, is_of_a_program};
use hns_net::{Family, IfAddr, IfName, Mac, Mtu};

use crate::link::{self, Link};
use crate::netlink::Netlink;
use crate::{HostError, address, group};

/// Those that may be external switches of the administrator's.
pub(crate) fn list(netlink: &mut Netlink, ipv6: bool) -> Result<Vec<Bridge>, HostError> {
    let links = link::list(netlink, |message| !group::is_ours(Link::group_of(message)))?;
    let mut bridges = among(&links);
    if bridges.is_empty() {
        return Ok(Vec::new());
    }
    for held in address::list(netlink, None)?.into_iter().filter(|held| !is_link_local(held.address)) {
        if let Some(bridge) = bridges.get_mut(&held.link) {
            bridge.addresses.insert(held.address);
        }
    }
    for family in [Family::V4, Family::V6].into_iter().filter(|family| ipv6 || *family == Family::V4) {
        for (link, router) in address::default_routers(netlink, family)? {
            if let Some(bridge) = bridges.get_mut(&link) {
                bridge.routers.insert(router);
            }
        }
    }
    Ok(bridges.into_values().collect())
}

/// Whether a link is a bridge that may be one. Links of ours are not to be asked about.
pub(crate) fn is_candidate(link: &Link) -> bool {
    link.kind.as_deref() == Some("bridge") && !is_of_a_program(&link.name)
}

fn is_link_local(address: IfAddr) -> bool {
    match address.address() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn among(links: &[Link]) -> BTreeMap<u32, Bridge> {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let mut bridges = BTreeMap::new();
    for link in links.iter().filter(|link| is_candidate(link)) {
        let Ok(name) = link.name.parse::<IfName>() else { continue };
        let mtu = Mtu::new(link.mtu.into()).unwrap_or(Mtu::ETHERNET);
        let mac = link.mac.unwrap_or_else(|| Mac::new([0; 6]));
        let bridge = Bridge {
            name,
            mac,
            mtu,
            addresses: BTreeSet::new(),
            routers: BTreeSet::new(),
            ports: BTreeMap::new(),
        };
        bridges.insert(link.index, bridge);
    }
    for link in links {
        if let Some(bridge) = link.bridge.and_then(|index| bridges.get_mut(&index))
            && let Ok(name) = link.name.parse()
        {
            bridge.ports.insert(name, device_of(link, &by_index, STACK_MAX));
        }
    }
    bridges
}

/// How many links stand on each other at most, as in the kernel (`MAX_NEST_DEV`).
const STACK_MAX: usize = 8;

fn device_of(link: &Link, links: &BTreeMap<u32, &Link>, depth: usize) -> Device {
    match link.kind.as_deref() {
        None | Some("dsa") => Device::Hardware,
        Some("bond") => Device::Bond,
        Some("team") => Device::Team,
        Some("veth") => Device::Veth { leads_elsewhere: link.peer_elsewhere },
        Some("vlan" | "macsec") if depth > 0 => on_lower(link, links, depth).unwrap_or(Device::Other),
        Some(_) => Device::Other,
    }
}

fn on_lower(link: &Link, links: &BTreeMap<u32, &Link>, depth: usize) -> Option<Device> {
    let lower = link.peer.filter(|_| !link.peer_elsewhere).and_then(|index| links.get(&index))?;
    let device = Box::new(device_of(lower, links, depth - 1));
    Some(Device::On { lower: lower.name.parse().ok()?, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_what_they_stand_on() {
        let link = Link::of_test;
        let on = |lower: Option<u32>, elsewhere, link: Link| Link {
            peer: lower,
            peer_elsewhere: elsewhere,
            ..link
        };
        let links = [
            link(2, "eth0", None, Some(10)),
            link(3, "bond0", Some("bond"), None),
            on(Some(3), false, link(4, "bond0.7", Some("vlan"), None)),
            on(Some(4), false, link(5, "bond0.7.8", Some("vlan"), Some(10))),
            on(Some(2), true, link(6, "eth1", Some("veth"), Some(10))),
            // By a link of another namespace, whose number means nothing here.
            on(Some(3), true, link(7, "lan7", Some("vlan"), Some(10))),
            link(8, "vnet0", Some("tun"), Some(10)),
            link(9, "lan1", Some("dsa"), Some(11)),
            link(10, "CORP", Some("bridge"), None),
            link(11, "docker0", Some("bridge"), None),
        ];
        let bridges = among(&links);
        let on = |lower: &str, device| Device::On { lower: lower.parse().unwrap(), device: Box::new(device) };
        let wanted = [
            ("eth0", Device::Hardware),
            ("bond0.7.8", on("bond0.7", on("bond0", Device::Bond))),
            ("eth1", Device::Veth { leads_elsewhere: true }),
            ("lan7", Device::Other),
            ("vnet0", Device::Other),
        ];
        let wanted = wanted.map(|(name, device)| (name.parse().unwrap(), device));
        assert_eq!(bridges.keys().copied().collect::<Vec<u32>>(), [10]);
        assert_eq!(bridges[&10].ports, wanted.into());
    }
}
