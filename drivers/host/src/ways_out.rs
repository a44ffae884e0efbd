//! Which bridges of others lead beyond this host. Docker drops by policy what is forwarded, and accepts in its chain for others what
//! leaves our switches; but what goes to the containers of its own bridges, or to virtual machines, is theirs to judge.

use std::collections::BTreeSet;

use hns_net::{Family, IfName};

use crate::HostError;
use crate::address;
use crate::group;
use crate::link::{self, Link};
use crate::nat::batch::{self, is_missing};
use crate::nat::element::{self, Member, Set};
use crate::netlink::{Netlink, Pool};

/// Kinds of links that bring a bridge beyond the host, beside an adapter's own, which has no kind. Those of containers and virtual
/// machines are veth pairs and taps.
const BEYOND: [&str; 4] = ["bond", "team", "vlan", "macsec"];

/// Makes the set hold the bridges that are ways out now.
pub(crate) fn follow(route: &Pool, netfilter: &Pool, ipv6: bool) -> Result<(), HostError> {
    let wanted = route.with(|netlink| find(netlink, ipv6))?;
    let wanted: BTreeSet<Member> = wanted.iter().map(element::way_out).collect();
    netfilter.with(|netlink| match exchange(netlink, &wanted) {
        // Our table is gone meanwhile; that is told as well.
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome,
    })
}

fn exchange(netlink: &mut Netlink, wanted: &BTreeSet<Member>) -> Result<(), HostError> {
    let held: BTreeSet<Member> = batch::list(netlink, Set::WaysOut)?.into_iter().collect();
    let gone: Vec<Member> = held.difference(wanted).cloned().collect();
    let new: Vec<Member> = wanted.difference(&held).cloned().collect();
    batch::exchange(netlink, &gone, &new)
}

fn find(netlink: &mut Netlink, ipv6: bool) -> Result<BTreeSet<IfName>, HostError> {
    let links = link::list(netlink, |message| !group::is_ours(Link::group_of(message)))?;
    let mut defaults = BTreeSet::new();
    for family in [Family::V4, Family::V6].into_iter().filter(|family| ipv6 || *family == Family::V4) {
        defaults.extend(address::default_routes(netlink, family)?);
    }
    Ok(among(&links, &defaults))
}

/// `defaults`: the links that default routes lead by.
fn among(links: &[Link], defaults: &BTreeSet<u32>) -> BTreeSet<IfName> {
    let ports = links.iter().filter(|link| leads_beyond(link)).filter_map(|link| link.bridge);
    let beyond: BTreeSet<u32> = ports.chain(defaults.iter().copied()).collect();
    let bridges = links.iter().filter(|link| link.kind.as_deref() == Some("bridge"));
    bridges
        .filter(|bridge| beyond.contains(&bridge.index))
        .filter_map(|bridge| bridge.name.parse().ok())
        .collect()
}

/// Whether a bridge with this port leads beyond the host.
pub(crate) fn leads_beyond(link: &Link) -> bool {
    link.kind.as_deref().is_none_or(|kind| BEYOND.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_leads_out_by_an_adapter_or_a_default_route() {
        let link = Link::of_test;
        let links = [
            link(1, "lo", None, None),
            link(2, "eth0", None, Some(10)),
            link(3, "bond0", Some("bond"), Some(11)),
            link(4, "veth1", Some("veth"), Some(12)),
            link(5, "tap0", Some("tun"), Some(13)),
            link(6, "nic", Some("dummy"), Some(13)),
            link(7, "veth2", Some("veth"), Some(14)),
            link(8, "eth1", None, None),
            link(10, "br0", Some("bridge"), None),
            link(11, "br1", Some("bridge"), None),
            link(12, "docker0", Some("bridge"), None),
            link(13, "virbr0", Some("bridge"), None),
            link(14, "inner", Some("bridge"), None),
        ];
        let names: Vec<String> =
            among(&links, &BTreeSet::from([8, 14])).iter().map(IfName::to_string).collect();
        assert_eq!(names, ["br0", "br1", "inner"]);
    }
}
