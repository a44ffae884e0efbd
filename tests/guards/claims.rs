//! What a container says of others inside ARP, neighbour discovery and DHCP, however it is wrapped.

use std::net::{Ipv4Addr, Ipv6Addr};

use hns_testbed::raw::{self, ARP, EVERYBODY, ICMPV6, Link, Mac, UDP};

use crate::probes::{ALL_NODES, NOBODY, Table, Town, links};

pub const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;
/// A destination options or hop-by-hop header of eight bytes before this one, all padding (RFC 8200 section 4.2).
pub const fn padding(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

pub const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
pub const SOLICITATION: u8 = 135;
pub const ADVERTISEMENT: u8 = 136;
pub const REDIRECT: u8 = 137;
pub const LISTENER_REPORT: u8 = 143;
/// Options of neighbour discovery: the link-layer address of who asks, of what is claimed.
pub const SOURCE: u8 = 1;
pub const TARGET: u8 = 2;

pub fn add(table: &mut Table, town: &Town) {
    arp(table, town);
    discovery(table, town);
    routers(table, town);
    dhcp(table, town);
}

fn arp(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, to_all, _] = links(town);
    let Town { own, neighbour, gateway, other, .. } = *town;
    let mut lie = |name: &str, link: Link, operation, sender, target| {
        let frame = link.frame(ARP, &raw::arp(operation, sender, target));
        table.trailed("spoofed-arp", &format!("v4: ARP {name}"), frame);
    };
    for (whose, party) in [("the gateway", gateway), ("the neighbour", neighbour), ("another", other)] {
        let claim = (own.mac, party.v4);
        lie(&format!("request of {whose}"), to_all, 1, claim, ([0; 6], own.v4));
        lie(
            &format!("reply of {whose} to the neighbour"),
            to_neighbour,
            2,
            claim,
            (neighbour.mac, neighbour.v4),
        );
        lie(&format!("reply of {whose} to the gateway"), to_gateway, 2, claim, (gateway.mac, gateway.v4));
        lie(&format!("reply of {whose} to everybody"), to_all, 2, claim, (EVERYBODY, party.v4));
        lie(&format!("gratuitous request of {whose}"), to_all, 1, claim, ([0; 6], party.v4));
        lie(&format!("gratuitous reply of {whose}"), to_all, 2, claim, (own.mac, party.v4));
        let theirs = (party.mac, party.v4);
        lie(&format!("of {whose}, true but not its own to say"), to_all, 2, theirs, (EVERYBODY, party.v4));
    }
    lie(
        "inverse reply of the gateway",
        to_neighbour,
        9,
        (own.mac, gateway.v4),
        (neighbour.mac, neighbour.v4),
    );
    lie("of its own address with nobody's MAC", to_all, 2, (NOBODY, own.v4), (EVERYBODY, own.v4));
    lie(
        "of its own address with the neighbour's MAC",
        to_all,
        2,
        (neighbour.mac, own.v4),
        (EVERYBODY, own.v4),
    );
    lie(
        "of its own address with the gateway's MAC",
        to_gateway,
        1,
        (gateway.mac, own.v4),
        ([0; 6], gateway.v4),
    );
    lie("probe with nobody's MAC", to_all, 1, (NOBODY, Ipv4Addr::UNSPECIFIED), ([0; 6], own.v4));
    let mut odd = raw::arp(1, (own.mac, own.v4), ([0; 6], gateway.v4));
    odd[4] = 8;
    table.trailed("spoofed-arp", "v4: ARP with longer addresses than Ethernet's", to_all.frame(ARP, &odd));
    odd[4] = 6;
    table.lie("malformed", "v4: ARP cut short", |mark| to_all.frame(ARP, &[&odd[..8], mark].concat()));
}

/// A message of neighbour discovery (RFC 4861 section 4) with a link-layer address as its option.
pub fn nd(kind: u8, from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    // An advertisement overrides what is known.
    let flags = [if kind == ADVERTISEMENT { 0x20 } else { 0 }, 0, 0, 0];
    let option = option.map_or_else(Vec::new, |(kind, mac)| [&[kind, 1][..], &mac].concat());
    raw::icmpv6(from, to, kind, &[&flags[..], &target.octets(), &option].concat())
}

/// The multicast address at which one is asked for (RFC 4291 section 2.7.1).
pub fn solicited(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

fn discovery(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, _, to_nodes] = links(town);
    let Town { own, neighbour, gateway, other, .. } = *town;
    let none = Ipv6Addr::UNSPECIFIED;
    let mut lie = |reason, name: &str, link: Link, from: Ipv6Addr, to: Ipv6Addr, message: Vec<u8>| {
        let frame = link.packet(&raw::ip(from.into(), to.into(), ICMPV6, &message));
        table.trailed(reason, &format!("v6: ND {name}"), frame);
    };
    for (whose, target) in [
        ("the gateway", gateway.v6),
        ("the gateway's link-local", gateway.link_local()),
        ("the neighbour", neighbour.v6),
        ("the neighbour's link-local", neighbour.link_local()),
        ("another", other.v6),
    ] {
        let claim = |from, to| nd(ADVERTISEMENT, from, to, target, Some((TARGET, own.mac)));
        let name = format!("advertisement of {whose}");
        lie(
            "spoofed-nd",
            &format!("{name} to every node"),
            to_nodes,
            own.v6,
            ALL_NODES,
            claim(own.v6, ALL_NODES),
        );
        let to = neighbour.v6;
        lie("spoofed-nd", &format!("{name} to the neighbour"), to_neighbour, own.v6, to, claim(own.v6, to));
        let to = gateway.v6;
        lie("spoofed-nd", &format!("{name} to the gateway"), to_gateway, own.v6, to, claim(own.v6, to));
        lie("spoofed-ip", &format!("{name}, as it"), to_nodes, target, ALL_NODES, claim(target, ALL_NODES));
        lie("spoofed-ip", &format!("{name} of no source"), to_nodes, none, ALL_NODES, claim(none, ALL_NODES));
        let at = solicited(target);
        let link = Link { to: raw::multicast(at), from: own.mac };
        let question = nd(SOLICITATION, none, at, target, None);
        lie("spoofed-nd", &format!("duplicate detection of {whose}"), link, none, at, question);
    }
    let at = solicited(neighbour.v6);
    let link = Link { to: raw::multicast(at), from: own.mac };
    for (whose, mac) in [("nobody", NOBODY), ("the gateway", gateway.mac), ("the neighbour", neighbour.mac)] {
        let question = nd(SOLICITATION, own.v6, at, neighbour.v6, Some((SOURCE, mac)));
        lie("spoofed-nd", &format!("solicitation with the MAC of {whose}"), link, own.v6, at, question);
        let claim = nd(ADVERTISEMENT, own.v6, ALL_NODES, own.v6, Some((TARGET, mac)));
        let name = format!("advertisement of its own with the MAC of {whose}");
        lie("spoofed-nd", &name, to_nodes, own.v6, ALL_NODES, claim);
        let body = [&[0; 4][..], &[SOURCE, 1], &mac].concat();
        let ask = raw::icmpv6(own.v6, ALL_NODES, ROUTER_SOLICITATION, &body);
        let name = format!("router solicitation with the MAC of {whose}");
        lie("spoofed-nd", &name, to_nodes, own.v6, ALL_NODES, ask);
    }
    let as_gateway = nd(SOLICITATION, gateway.v6, at, neighbour.v6, Some((SOURCE, own.mac)));
    lie("spoofed-ip", "solicitation as the gateway", link, gateway.v6, at, as_gateway);
    let odd = nd(ADVERTISEMENT, own.v6, ALL_NODES, own.v6, None);
    let odd = [&odd[..], &[TARGET, 0], &own.mac].concat();
    lie("spoofed-nd", "advertisement with an option of no length", to_nodes, own.v6, ALL_NODES, odd);
    let claim = nd(ADVERTISEMENT, own.v6, ALL_NODES, gateway.v6, Some((TARGET, own.mac)));
    for (how, next, headers) in wrappings(ICMPV6) {
        let packet = raw::ip(own.v6.into(), ALL_NODES.into(), next, &[&headers, &claim[..]].concat());
        let name = format!("v6: ND advertisement of the gateway {how}");
        table.trailed("spoofed-nd", &name, to_nodes.packet(&packet));
    }
}

/// Headers between that of IPv6 and its content: how, the first one's kind, and they themselves.
fn wrappings(next: u8) -> Vec<(&'static str, u8, Vec<u8>)> {
    let fragment = |next, more: u8| [next, 0, 0, more, 0, 0, 0, 7];
    vec![
        ("behind destination options", DESTINATION, padding(next).to_vec()),
        ("behind hop-by-hop options", HOP_BY_HOP, padding(next).to_vec()),
        ("behind both kinds of options", HOP_BY_HOP, [padding(DESTINATION), padding(next)].concat()),
        ("behind a routing header", ROUTING, vec![next, 0, 0, 0, 0, 0, 0, 0]),
        ("behind an authentication header", AUTHENTICATION, [&[next, 4][..], &[0; 22]].concat()),
        ("in a first fragment", FRAGMENT, fragment(next, 1).to_vec()),
        ("in an only fragment", FRAGMENT, fragment(next, 0).to_vec()),
        ("behind options in a fragment", FRAGMENT, [fragment(DESTINATION, 1), padding(next)].concat()),
    ]
}

fn routers(table: &mut Table, town: &Town) {
    let [to_neighbour, _, _, to_nodes] = links(town);
    let Town { own, neighbour, gateway, .. } = *town;
    let ours = own.link_local();
    // Hop limit, flags, a lifetime of half an hour; the rest is unspecified (RFC 4861 section 4.2).
    let body = [&[64, 0, 7, 8][..], &[0; 8], &[SOURCE, 1], &own.mac].concat();
    let advertise = |from, to| raw::icmpv6(from, to, ROUTER_ADVERTISEMENT, &body);
    let mut lie = |reason, name: &str, link: Link, from: Ipv6Addr, to: Ipv6Addr, next, content: &[u8]| {
        let frame = link.packet(&raw::ip(from.into(), to.into(), next, content));
        table.trailed(reason, &format!("v6: {name}"), frame);
    };
    let plain = advertise(ours, ALL_NODES);
    lie("rogue-ra", "a router advertisement", to_nodes, ours, ALL_NODES, ICMPV6, &plain);
    let to = neighbour.v6;
    lie("rogue-ra", "a router advertisement to one", to_neighbour, ours, to, ICMPV6, &advertise(ours, to));
    let global = advertise(own.v6, ALL_NODES);
    lie("rogue-ra", "a router advertisement from its address", to_nodes, own.v6, ALL_NODES, ICMPV6, &global);
    let theirs = gateway.link_local();
    let as_gateway = advertise(theirs, ALL_NODES);
    lie(
        "spoofed-ip",
        "a router advertisement as the gateway",
        to_nodes,
        theirs,
        ALL_NODES,
        ICMPV6,
        &as_gateway,
    );
    let none = Ipv6Addr::UNSPECIFIED;
    let nameless = advertise(none, ALL_NODES);
    lie("spoofed-ip", "a router advertisement of no source", to_nodes, none, ALL_NODES, ICMPV6, &nameless);
    for (how, next, headers) in wrappings(ICMPV6) {
        let name = format!("a router advertisement {how}");
        lie("rogue-ra", &name, to_nodes, ours, ALL_NODES, next, &[&headers, &plain[..]].concat());
    }
    // The message begins in a later fragment (RFC 7113 section 2).
    let first = [&[DESTINATION, 0, 0, 1, 0, 0, 0, 7][..], &padding(ICMPV6)].concat();
    lie("malformed", "a router advertisement's options alone", to_nodes, ours, ALL_NODES, FRAGMENT, &first);
    let target = [&[0; 4][..], &own.v6.octets(), &gateway.v6.octets(), &[TARGET, 1], &own.mac].concat();
    let redirect = raw::icmpv6(ours, neighbour.v6, REDIRECT, &target);
    lie("rogue-ra", "a redirect", to_neighbour, ours, neighbour.v6, ICMPV6, &redirect);
    let theirs = gateway.link_local();
    let redirect = raw::icmpv6(theirs, neighbour.v6, REDIRECT, &target);
    lie("spoofed-ip", "a redirect as the gateway", to_neighbour, theirs, neighbour.v6, ICMPV6, &redirect);
}

fn dhcp(table: &mut Table, town: &Town) {
    let [to_neighbour, _, to_all, to_nodes] = links(town);
    let Town { own, neighbour, gateway, .. } = *town;
    // Of a server's message nothing matters here but its ports: BOOTREPLY, then a type (RFC 2131, RFC 8415).
    for (what, kind, port) in [
        ("offer", 2, 67),
        ("acknowledgement", 5, 67),
        ("offer from an odd port", 2, 4011),
        ("offer from port 68", 2, 68),
    ] {
        let mut say = |reason, name: &str, link: Link, from: Ipv4Addr, to: Ipv4Addr| {
            table.lie(reason, &format!("v4: DHCP {what} {name}"), |mark| {
                let message = [&[2, 1, 6, kind][..], mark, &[0; 226]].concat();
                link.packet(&raw::udp((from.into(), port), (to.into(), 68), &message))
            });
        };
        say("rogue-dhcp", "to everybody", to_all, own.v4, Ipv4Addr::BROADCAST);
        say("rogue-dhcp", "to the neighbour", to_neighbour, own.v4, neighbour.v4);
        say("spoofed-ip", "as the gateway", to_all, gateway.v4, Ipv4Addr::BROADCAST);
        say("spoofed-ip", "of no source", to_all, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    }
    table.lie("rogue-dhcp", "v4: DHCP offer in a first fragment", |mark| {
        let mut packet = raw::udp((own.v4.into(), 67), (neighbour.v4.into(), 68), mark);
        packet[6] = 0x20;
        to_neighbour.packet(&packet)
    });
    table.lie("rogue-dhcp", "v4: DHCP offer behind options", |mark| {
        let ends = ((own.v4.into(), 67), (neighbour.v4.into(), 68));
        let content = [&[1; 4][..], &raw::udp_alone(ends.0, ends.1, mark)].concat();
        let mut packet = raw::ip(ends.0.0, ends.1.0, UDP, &content);
        packet[0] = 0x46;
        to_neighbour.packet(&packet)
    });
    let ours = own.link_local();
    for (what, kind, port) in [("advertise", 2, 547), ("reply", 7, 547), ("reply from an odd port", 7, 5470)]
    {
        let mut say = |reason, name: &str, link: Link, from: Ipv6Addr, to: Ipv6Addr| {
            table.lie(reason, &format!("v6: DHCPv6 {what} {name}"), |mark| {
                let message = [&[kind, 0, 0, 7][..], mark].concat();
                link.packet(&raw::udp((from.into(), port), (to.into(), 546), &message))
            });
        };
        say("rogue-dhcp", "to every node", to_nodes, ours, ALL_NODES);
        say("rogue-dhcp", "to the neighbour", to_neighbour, own.v6, neighbour.v6);
        say("spoofed-ip", "as the gateway", to_neighbour, gateway.link_local(), neighbour.v6);
    }
    for (how, next, headers) in wrappings(UDP) {
        table.lie("rogue-dhcp", &format!("v6: DHCPv6 reply {how}"), |mark| {
            let ends = ((ours.into(), 547), (neighbour.v6.into(), 546));
            let message = raw::udp_alone(ends.0, ends.1, &[&[7, 0, 0, 7][..], mark].concat());
            to_neighbour.packet(&raw::ip(ends.0.0, ends.1.0, next, &[&headers, &message[..]].concat()))
        });
    }
}
