//! What a container may claim to be.

#![allow(clippy::unwrap_used, reason = "what cannot be built fails the test")]

mod bed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bed::{A, B, Bed, GUEST, HOST, ip, mac};
use hns_abi::{Direction, Reason};
use hns_net::Mac;
use hns_vfp::generate::{Content, Datagram, Link, arp, ethernet};
use hns_vfp::interpreter::Verdict;
use hns_vfp::layers::security::link_local;
use hns_vfp::model::Guards;

const LINK: Link = Link { destination: mac(99), source: mac(1) };

fn udp(source: IpAddr, destination: IpAddr, ports: (u16, u16)) -> Vec<u8> {
    let content = Content::Udp { source: ports.0, destination: ports.1, bytes: 4 };
    Datagram::new(source, destination, content).frame(LINK)
}

fn nd(source: IpAddr, kind: u8, target: Option<Ipv6Addr>, option: Option<(u8, [u8; 6])>) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend(target.iter().flat_map(std::net::Ipv6Addr::octets));
    if let Some((kind, mac)) = option {
        rest.extend([kind, 1]);
        rest.extend(mac);
    }
    Datagram::new(source, ip("ff02::1"), Content::Icmp { kind, code: 0, rest }).frame(LINK)
}

fn refused(frame: &[u8]) -> Option<Reason> {
    Bed::open().switch.out(A, frame, 0).reason()
}

fn refused_unguarded(frame: &[u8]) -> Option<Reason> {
    let mut bed = Bed::open();
    bed.change(A, |port| port.guards = Guards::NONE);
    bed.switch.out(A, frame, 0).reason()
}

#[test]
fn lies_about_itself_are_dropped_by_name_and_pass_when_the_guard_is_off() {
    let own6 = "fd00::1".parse().unwrap();
    let other6 = "fd00::2".parse().unwrap();
    let mut foreign_mac = udp(ip("10.0.0.1"), HOST, (1000, 53));
    foreign_mac[11] = 77;
    let lies = [
        (foreign_mac, Reason::SpoofedMac),
        (udp(ip("10.0.0.2"), HOST, (1000, 53)), Reason::SpoofedIp),
        (udp(ip("fd00::2"), ip("2001:db8::1"), (1000, 53)), Reason::SpoofedIp),
        (udp(link_local(mac(2)).into(), ip("fe80::1"), (1000, 53)), Reason::SpoofedIp),
        (udp(ip("0.0.0.0"), ip("255.255.255.255"), (68, 53)), Reason::SpoofedIp),
        (udp(ip("::"), ip("ff02::1"), (546, 547)), Reason::SpoofedIp),
        (arp(LINK, 1, mac(2), Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)), Reason::SpoofedArp),
        (arp(LINK, 2, mac(1), Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)), Reason::SpoofedArp),
        (nd(own6, 135, Some(other6), Some((1, mac(2).octets()))), Reason::SpoofedNd),
        (nd(own6, 136, Some(other6), Some((2, mac(1).octets()))), Reason::SpoofedNd),
        (nd(own6, 136, Some("fd00::1".parse().unwrap()), Some((2, mac(2).octets()))), Reason::SpoofedNd),
        (nd(own6, 133, None, Some((1, mac(2).octets()))), Reason::SpoofedNd),
        (nd(own6, 134, None, None), Reason::RogueRa),
        (nd(own6, 137, Some(other6), None), Reason::RogueRa),
        (udp(ip("10.0.0.1"), ip("10.0.0.2"), (67, 68)), Reason::RogueDhcp),
        (udp(own6, other6.into(), (547, 546)), Reason::RogueDhcp),
        (ethernet(LINK, 0x8100, &[7; 46]), Reason::Ethertype),
        (ethernet(LINK, 0x88cc, &[0; 46]), Reason::Ethertype),
        (ethernet(LINK, 0x0026, &[0x42; 46]), Reason::Ethertype),
    ];
    for (frame, reason) in lies {
        assert_eq!(refused(&frame), Some(reason), "{frame:02x?}");
        assert_eq!(refused_unguarded(&frame), None, "{reason}");
    }
}

#[test]
fn honest_claims_pass() {
    let own6: IpAddr = ip("fd00::1");
    let own6_raw: Ipv6Addr = "fd00::1".parse().unwrap();
    let honest = [
        udp(ip("10.0.0.1"), HOST, (1000, 53)),
        udp(ip("0.0.0.0"), ip("255.255.255.255"), (68, 67)),
        udp(link_local(mac(1)).into(), ip("ff02::1:2"), (546, 547)),
        arp(LINK, 1, mac(1), Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)),
        arp(LINK, 1, mac(1), Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 1)),
        nd(ip("::"), 135, Some(own6_raw), None),
        nd(ip("::"), 143, None, None),
        nd(own6, 135, Some("fd00::2".parse().unwrap()), Some((1, mac(1).octets()))),
        nd(own6, 136, Some(own6_raw), Some((2, mac(1).octets()))),
        nd(own6, 136, Some(link_local(mac(1))), Some((2, mac(1).octets()))),
        nd(own6, 133, None, Some((1, mac(1).octets()))),
        nd(ip("::"), 133, None, None),
    ];
    for frame in honest {
        assert_eq!(refused(&frame), None, "{frame:02x?}");
    }
}

#[test]
fn a_blocked_port_lets_nothing_through_either_way() {
    let mut bed = Bed::open();
    bed.change(B, |port| port.blocked = true);
    let frame = bed.tcp(A, B, (1000, 80), 2);
    assert_eq!(bed.switch.out(A, &frame, 0).reason(), Some(Reason::Blocked));
    let frame = bed.tcp(B, A, (1000, 80), 2);
    assert_eq!(bed.switch.out(B, &frame, 0).reason(), Some(Reason::Blocked));
    assert_eq!(bed.switch.inward(B, &frame, true, 0).reason(), Some(Reason::Blocked));
}

#[test]
fn a_port_without_a_record_lets_nothing_through() {
    let mut bed = Bed::open();
    let frame = bed.tcp(A, B, (1000, 80), 2);
    assert_eq!(bed.switch.out(GUEST + 50, &frame, 0).reason(), Some(Reason::UnknownPort));
    assert_eq!(bed.switch.inward(GUEST + 50, &frame, true, 0).reason(), Some(Reason::UnknownPort));
}

#[test]
fn packets_go_straight_to_a_port_of_the_same_network_only() {
    let mut bed = Bed::open();
    let to_b = bed.tcp(A, B, (1000, 80), 2);
    assert_eq!(bed.switch.out(A, &to_b, 0).verdict, Verdict::Redirect { ifindex: B, peer: true });
    let to_guest = bed.tcp(A, GUEST, (1000, 80), 2);
    assert_eq!(bed.switch.out(A, &to_guest, 0).verdict, Verdict::Pass, "another network's port");
    bed.change(B, |port| port.plain_redirect = true);
    assert_eq!(bed.switch.out(A, &to_b, 0).verdict, Verdict::Redirect { ifindex: B, peer: false });
}

#[test]
fn nothing_goes_between_a_quiet_port_and_another_of_its_network() {
    let mut bed = Bed::open();
    bed.change(B, |port| port.quiet = true);
    let (there, back) = (bed.tcp(A, B, (1000, 80), 2), bed.tcp(B, A, (80, 1000), 2));
    for (outcome, direction) in [
        (bed.switch.out(A, &there, 0), Direction::In),
        (bed.switch.out(B, &back, 0), Direction::Out),
        (bed.switch.inward(B, &there, true, 0), Direction::In),
    ] {
        let Verdict::Drop(refusal) = outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!((refusal.reason, refusal.ifindex, refusal.direction), (Reason::Quiet, B, direction));
    }
    let to_all = |bed: &Bed, from: u32| {
        let link = Link { destination: Mac::new([0xff; 6]), ..bed.link(from, 9) };
        arp(link, 1, link.source, v4(bed.address(from)), v4(ip("10.0.0.9")))
    };
    let question = to_all(&bed, B);
    assert_eq!(bed.switch.out(B, &question, 0).verdict, Verdict::Pass, "the gateway may answer");
    let question = to_all(&bed, A);
    assert_eq!(bed.switch.inward(B, &question, true, 0).reason(), Some(Reason::Quiet));
    let from_gateway = to_all(&bed, 9);
    assert_eq!(bed.switch.inward(B, &from_gateway, true, 0).reason(), None);
    let to_gateway = bed.tcp(B, 9, (1000, 80), 2);
    assert_eq!(bed.switch.out(B, &to_gateway, 0).verdict, Verdict::Pass);
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("{address}"),
    }
}

#[test]
fn what_the_hosts_rules_have_not_seen_does_not_come_from_the_host() {
    let mut bed = Bed::open();
    bed.change(B, |port| port.ruled = true);
    let from_gateway = bed.tcp(9, B, (1000, 80), 2);
    assert_eq!(bed.switch.inward(B, &from_gateway, false, 0).reason(), Some(Reason::Unruled));
    assert_eq!(bed.switch.inward(B, &from_gateway, true, 0).verdict, Verdict::Pass);
    let from_neighbour = bed.tcp(A, B, (1000, 80), 2);
    assert_eq!(bed.switch.inward(B, &from_neighbour, false, 0).verdict, Verdict::Pass);
    let from_other_network = bed.tcp(GUEST, B, (1000, 80), 2);
    assert_eq!(bed.switch.inward(B, &from_other_network, false, 0).reason(), Some(Reason::Unruled));
    let link = Link { destination: Mac::new([0xff; 6]), ..bed.link(9, B) };
    let question = arp(link, 1, link.source, v4(ip("10.0.0.9")), v4(bed.address(B)));
    assert_eq!(bed.switch.inward(B, &question, false, 0).verdict, Verdict::Pass, "rules do not see ARP");
    bed.change(B, |port| port.ruled = false);
    assert_eq!(bed.switch.inward(B, &from_gateway, false, 0).verdict, Verdict::Pass);
}

#[test]
fn on_a_network_without_a_way_out_the_host_is_spoken_to_there_alone() {
    let mut bed = Bed::open();
    let hosts = vec![ip("10.0.0.254"), ip("fd00::fe")];
    bed.change(A, |port| port.confined = Some(hosts));
    let mut reason = |to: &str| {
        let from = if to.contains(':') { "fd00::1" } else { "10.0.0.1" };
        bed.switch.out(A, &udp(ip(from), ip(to), (1000, 80)), 0).reason()
    };
    // The host, another port by way of the host, what no router takes.
    for to in ["10.0.0.254", "fd00::fe", "10.0.0.2", "fd00::2", "fe80::1234"] {
        assert_eq!(reason(to), None, "{to}");
    }
    // Outside, the host's other addresses, addresses of the network that nobody has, another network's port.
    for to in ["192.0.2.1", "2001:db8::1", "10.0.0.77", "fd00::77", "10.0.0.3", "fd00::3", "fec0::1"] {
        assert_eq!(reason(to), Some(Reason::Confined), "{to}");
    }
    let router = Link { destination: mac(2), ..LINK };
    let through_b =
        Datagram::new(ip("10.0.0.1"), HOST, Content::Udp { source: 1000, destination: 80, bytes: 4 });
    assert_eq!(bed.switch.out(A, &through_b.frame(router), 0).reason(), None, "a container may be a router");
    let everybody = Link { destination: Mac::new([0xff; 6]), ..LINK };
    let reason = bed.switch.out(A, &through_b.frame(everybody), 0).reason();
    assert_eq!(reason, Some(Reason::Confined), "which the host takes for itself");
    for to in ["255.255.255.255", "224.0.0.251", "ff02::1"] {
        let from = if to.contains(':') { "fd00::1" } else { "10.0.0.1" };
        let datagram =
            Datagram::new(ip(from), ip(to), Content::Udp { source: 1000, destination: 80, bytes: 4 });
        assert_eq!(bed.switch.out(A, &datagram.frame(everybody), 0).reason(), None, "{to}");
    }
    bed.change(B, |port| port.plain_redirect = true);
    let reason = bed.switch.out(A, &through_b.frame(router), 0).reason();
    assert_eq!(reason, Some(Reason::Confined), "a seat of the host is no router");
    let question = arp(LINK, 1, mac(1), v4(ip("10.0.0.1")), v4(ip("10.0.0.77")));
    assert_eq!(bed.switch.out(A, &question, 0).reason(), None);
}

#[test]
fn a_tag_without_a_number_hides_nothing() {
    let plain = udp(ip("10.0.0.1"), HOST, (1000, 80));
    for (tag, expected) in [
        ([0x81, 0, 0, 0], Some(Reason::Ethertype)),
        ([0x81, 0, 0xe0, 0], Some(Reason::Ethertype)),
        ([0x88, 0xa8, 0, 0], Some(Reason::Ethertype)),
        ([0x81, 0, 0, 7], None),
    ] {
        let frame = [&plain[..12], &tag, &plain[12..]].concat();
        assert_eq!(refused_unguarded(&frame), expected, "{tag:?}");
    }
}

#[test]
fn a_loopback_address_is_on_no_wire() {
    for (source, destinations) in [("10.0.0.1", ["127.0.0.1", "127.255.3.4"]), ("fd00::1", ["::1", "::1"])] {
        for to in destinations {
            assert_eq!(
                refused_unguarded(&udp(ip(source), ip(to), (1000, 80))),
                Some(Reason::Loopback),
                "{to}"
            );
        }
    }
    assert_eq!(refused_unguarded(&udp(ip("10.0.0.1"), ip("128.0.0.1"), (1000, 80))), None);
    assert_eq!(refused_unguarded(&udp(ip("fd00::1"), ip("::2"), (1000, 80))), None);
}
