//! Frames that every container may send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_testbed::raw::{self, ARP, ICMP, ICMPV6, Link};

use crate::claims::{
    ADVERTISEMENT, HOP_BY_HOP, LISTENER_REPORT, ROUTER_SOLICITATION, SOLICITATION, SOURCE, TARGET, nd,
    solicited,
};
use crate::probes::{ALL_NODES, Probe, Table, Town, links, udp_frame};

/// What passes, numbered from `begin`.
pub fn truths(town: &Town, begin: u32) -> Vec<Probe> {
    let mut table = Table::new(begin);
    v4(&mut table, town);
    v6(&mut table, town);
    table.rows()
}

fn v4(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, to_all, _] = links(town);
    let (own, neighbour, none) = (town.own, town.neighbour, Ipv4Addr::UNSPECIFIED);
    for (name, link, to) in [
        ("to the neighbour", to_neighbour, neighbour.v4),
        ("to the gateway", to_gateway, town.gateway.v4),
        ("to the outside", to_gateway, town.outside.v4),
        ("to everybody", to_all, Ipv4Addr::BROADCAST),
    ] {
        table.add(None, &format!("v4: UDP {name}"), |mark| udp_frame(link, own.v4, to, mark));
    }
    table.add(None, "v4: a DHCP client", |mark| {
        let ends: (IpAddr, IpAddr) = (none.into(), Ipv4Addr::BROADCAST.into());
        to_all.packet(&raw::udp((ends.0, 68), (ends.1, 67), mark))
    });
    table.add(None, "v4: an echo request", |mark| {
        let content = [&[8, 0, 0, 0, 0, 7, 0, 7][..], mark].concat();
        to_neighbour.packet(&raw::ip(own.v4.into(), neighbour.v4.into(), ICMP, &content))
    });
    for (name, operation, sender, target) in [
        ("gratuitous ARP", 1, own.v4, own.v4),
        ("a gratuitous ARP reply", 2, own.v4, own.v4),
        ("an ARP request", 1, own.v4, neighbour.v4),
        ("an ARP probe", 1, none, own.v4),
        ("an ARP question without a sender", 1, none, neighbour.v4),
    ] {
        let frame = to_all.frame(ARP, &raw::arp(operation, (own.mac, sender), ([0; 6], target)));
        table.add(None, &format!("v4: {name}"), |mark| [&frame, mark].concat());
    }
    let reply = raw::arp(2, (own.mac, own.v4), (neighbour.mac, neighbour.v4));
    table.add(None, "v4: an ARP reply", |mark| [&to_neighbour.frame(ARP, &reply), mark].concat());
}

fn v6(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, _, to_nodes] = links(town);
    let (own, neighbour, none) = (town.own, town.neighbour, Ipv6Addr::UNSPECIFIED);
    for (name, link, from, to) in [
        ("to the neighbour", to_neighbour, own.v6, neighbour.v6),
        ("to the gateway", to_gateway, own.v6, town.gateway.v6),
        ("to the outside", to_gateway, own.v6, town.outside.v6),
        ("to every node", to_nodes, own.v6, ALL_NODES),
        ("from its link-local address", to_neighbour, own.link_local(), neighbour.link_local()),
    ] {
        table.add(None, &format!("v6: UDP {name}"), |mark| udp_frame(link, from, to, mark));
    }
    table.add(None, "v6: a DHCPv6 client", |mark| {
        let servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
        let link = Link { to: raw::multicast(servers), from: own.mac };
        link.packet(&raw::udp((own.link_local().into(), 546), (servers.into(), 547), mark))
    });
    let mut say = |name: &str, from: Ipv6Addr, to: Ipv6Addr, message: Vec<u8>| {
        let link =
            Link { to: if to.is_multicast() { raw::multicast(to) } else { neighbour.mac }, from: own.mac };
        let frame = link.packet(&raw::ip(from.into(), to.into(), ICMPV6, &message));
        table.add(None, &format!("v6: {name}"), |mark| [&frame, mark].concat());
    };
    for (name, target) in [("its address", own.v6), ("its link-local address", own.link_local())] {
        let at = solicited(target);
        say(&format!("duplicate detection of {name}"), none, at, nd(SOLICITATION, none, at, target, None));
        let claim = nd(ADVERTISEMENT, own.v6, ALL_NODES, target, Some((TARGET, own.mac)));
        say(&format!("an advertisement of {name}"), own.v6, ALL_NODES, claim);
    }
    let at = solicited(neighbour.v6);
    let question = nd(SOLICITATION, own.v6, at, neighbour.v6, Some((SOURCE, own.mac)));
    say("a solicitation", own.v6, at, question);
    let answer = nd(ADVERTISEMENT, own.v6, neighbour.v6, own.v6, Some((TARGET, own.mac)));
    say("an advertisement to one", own.v6, neighbour.v6, answer);
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let body = [&[0; 4][..], &[SOURCE, 1], &own.mac].concat();
    let ask = raw::icmpv6(own.link_local(), routers, ROUTER_SOLICITATION, &body);
    say("a router solicitation", own.link_local(), routers, ask);
    let body = [0, 7, 0, 7];
    say("an echo request", own.v6, neighbour.v6, raw::icmpv6(own.v6, neighbour.v6, 128, &body));
    // A report of listeners bears a router alert (RFC 3810 section 5).
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    let report = raw::icmpv6(none, all, LISTENER_REPORT, &[0; 4]);
    let content = [&[ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &report].concat();
    let link = Link { to: raw::multicast(all), from: own.mac };
    let frame = link.packet(&raw::ip(none.into(), all.into(), HOP_BY_HOP, &content));
    table.add(None, "v6: a listener's report", |mark| [&frame, mark].concat());
}
