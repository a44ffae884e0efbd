//! Packets whose headers are cut short, or whose lengths contradict each other.

use hns_testbed::raw::{self, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP};

use crate::claims::{DESTINATION, FRAGMENT, padding};
use crate::probes::{Table, Town, links};

const SCTP: u8 = 132;
const SYN: u8 = 2;

pub fn add(table: &mut Table, town: &Town) {
    v4(table, town);
    v6(table, town);
}

fn v4(table: &mut Table, town: &Town) {
    let [link, ..] = links(town);
    let (from, to) = (town.own.v4.into(), town.neighbour.v4.into());
    let datagram = raw::udp((from, 4000), (to, 9), &[0; 8]);
    let segment = raw::tcp((from, 4000), (to, 9), SYN);
    let mut lie = |name: &str, kind, packet: &[u8]| {
        table.trailed("malformed", &format!("v4: {name}"), link.frame(kind, packet));
    };
    let changed = |packet: &[u8], changes: &[(usize, u8)]| {
        let mut packet = packet.to_vec();
        for (at, value) in changes {
            packet[*at] = *value;
        }
        packet
    };
    lie("a header shorter than any", IPV4, &changed(&datagram, &[(0, 0x44)]));
    lie("a header longer than the packet", IPV4, &changed(&datagram, &[(0, 0x4f)]));
    lie("a packet of no length", IPV4, &changed(&datagram, &[(2, 0), (3, 0)]));
    lie("a packet shorter than its header", IPV4, &changed(&datagram, &[(2, 0), (3, 19)]));
    lie("a packet longer than its frame", IPV4, &changed(&datagram, &[(2, 1)]));
    lie("IPv6 that says it is IPv4", IPV4, &changed(&datagram, &[(0, 0x65)]));
    lie("a datagram longer than its packet", IPV4, &changed(&datagram, &[(24, 1)]));
    lie("a datagram shorter than its header", IPV4, &changed(&datagram, &[(24, 0), (25, 7)]));
    lie("a segment whose header is longer than it", IPV4, &changed(&segment, &[(32, 0xf0)]));
    lie("a segment whose header is shorter than any", IPV4, &changed(&segment, &[(32, 0x40)]));
    // It would overwrite the flags of the first one (RFC 3128).
    lie("a later fragment over TCP's flags", IPV4, &changed(&segment, &[(7, 1)]));
    for (what, protocol, bytes) in [("UDP", UDP, 4), ("TCP", TCP, 12), ("ICMP", ICMP, 4), ("SCTP", SCTP, 8)] {
        lie(&format!("a header of {what} cut short"), IPV4, &raw::ip(from, to, protocol, &vec![8; bytes]));
    }
    table.lie("malformed", "v4: a header cut short", |mark| link.frame(IPV4, &[&[0x45, 0], mark].concat()));
}

fn v6(table: &mut Table, town: &Town) {
    let [link, ..] = links(town);
    let (from, to) = (town.own.v6.into(), town.neighbour.v6.into());
    let datagram = raw::udp((from, 4000), (to, 9), &[0; 8]);
    let content = &datagram[40..];
    let mut lie = |name: &str, packet: &[u8]| {
        table.trailed("malformed", &format!("v6: {name}"), link.frame(IPV6, packet));
    };
    let mut odd = datagram.clone();
    odd[4] = 1;
    lie("a packet longer than its frame", &odd);
    // Its length would stand in an option (RFC 2675).
    let mut odd = datagram.clone();
    odd[4..6].fill(0);
    lie("a packet of no length", &odd);
    let mut odd = datagram.clone();
    odd[0] = 0x45;
    lie("IPv4 that says it is IPv6", &odd);
    for (at, value, name) in
        [(44, 1, "a datagram longer than its packet"), (45, 7, "a datagram shorter than its header")]
    {
        let mut odd = datagram.clone();
        odd[at] = value;
        lie(name, &odd);
    }
    for (what, protocol, bytes) in
        [("UDP", UDP, 4), ("TCP", TCP, 12), ("ICMPv6", ICMPV6, 4), ("SCTP", SCTP, 8)]
    {
        lie(&format!("a header of {what} cut short"), &raw::ip(from, to, protocol, &vec![8; bytes]));
    }
    let mut extended = |name: &str, next, headers: &[u8]| {
        lie(name, &raw::ip(from, to, next, &[headers, content].concat()));
    };
    extended("options longer than the packet", DESTINATION, &[UDP, 200, 1, 4, 0, 0, 0, 0]);
    extended(
        "more headers than anybody sends",
        DESTINATION,
        &[[padding(DESTINATION); 6].concat(), padding(UDP).to_vec()].concat(),
    );
    let fragment = |next| [next, 0, 0, 1, 0, 0, 0, 7];
    extended("a fragment of a fragment", FRAGMENT, &[fragment(FRAGMENT), fragment(UDP)].concat());
    lie("an option cut short", &raw::ip(from, to, DESTINATION, &[UDP, 0, 1, 4]));
    lie(
        "a later fragment over TCP's flags",
        &raw::ip(from, to, FRAGMENT, &[TCP, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    table.lie("malformed", "v6: a header cut short", |mark| {
        link.frame(IPV6, &[&[0x60, 0, 0, 0, 0, 0, UDP, 255], mark].concat())
    });
}
