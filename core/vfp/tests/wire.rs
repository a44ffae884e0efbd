//! At an adapter that an external switch shares with the host.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod bed;

use std::net::Ipv6Addr;

use bed::{A, B, Bed, ip, mac};
use hns_abi::Reason;
use hns_net::{Guid, Mac, UplinkMode};
use hns_vfp::Switch;
use hns_vfp::generate::{Content, Datagram, Link, arp};
use hns_vfp::interpreter::{Beyond, Verdict};
use hns_vfp::layers::security;
use hns_vfp::model::Place;

const ADAPTER: u32 = 9;
const HOST: Mac = Mac::new([2, 0, 0, 0, 0x99, 1]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 0x99, 9]);

/// Two ports on an external switch, of which B claims the host's station.
fn on_the_wire(mode: UplinkMode) -> Switch {
    let mut board = Bed::open().switch.board().clone();
    let switch = Guid::from_bytes([0xe; 16]);
    for ifindex in [A, B] {
        board.ports.get_mut(&ifindex).unwrap().external = Some(switch);
        board.ports.get_mut(&ifindex).unwrap().reflected = mode == UplinkMode::Reflected;
    }
    board.ports.get_mut(&B).unwrap().mac = HOST;
    let place = Place { adapter: ADAPTER, vlan: None, mac: HOST, port: 10, mode };
    board.uplinks.insert(switch, place);
    Switch::new(board)
}

fn comes(switch: &mut Switch, station: Mac, address: &str) -> Verdict {
    let content = Content::Udp { source: 1, destination: 2, bytes: 0 };
    let from = if address.contains(':') { "fd00::99" } else { "10.0.0.99" };
    let frame =
        Datagram::new(ip(from), ip(address), content).frame(Link { destination: station, source: FAR });
    switch.from_wire((ADAPTER, None), &frame, false, 0).verdict
}

#[test]
fn the_hosts_station_is_nobody_elses_whatever_a_port_claims() {
    let mut switch = on_the_wire(UplinkMode::Stations);
    let next = Verdict::Next { copy: None };
    assert_eq!(comes(&mut switch, HOST, "10.0.0.2"), next);
    assert_eq!(comes(&mut switch, mac(1), "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
    assert_eq!(comes(&mut switch, FAR, "10.0.0.1"), next);
}

#[test]
fn under_one_mac_the_address_says_whose_it_is() {
    let mut switch = on_the_wire(UplinkMode::OneMac);
    assert_eq!(comes(&mut switch, HOST, "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
    assert_eq!(comes(&mut switch, HOST, "10.0.0.77"), Verdict::Next { copy: None });
}

#[test]
fn what_comes_for_a_port_behind_the_host_is_the_hosts_to_forward() {
    let mut bed = Bed { switch: on_the_wire(UplinkMode::OneMac) };
    let own = security::link_local(mac(1)).to_string();
    let direct = Verdict::Redirect { ifindex: A, peer: true };
    let next = Verdict::Next { copy: None };
    for (behind, [v4, v6]) in [([true, false], [next, direct]), ([false, true], [direct, next])] {
        bed.change(A, |port| port.behind_host = behind);
        assert_eq!(comes(&mut bed.switch, HOST, "10.0.0.1"), v4, "{behind:?}");
        assert_eq!(comes(&mut bed.switch, HOST, "fd00::1"), v6, "{behind:?}");
        // Nobody routes these.
        assert_eq!(comes(&mut bed.switch, HOST, &own), direct, "{behind:?}");
    }
}

#[test]
fn what_comes_for_an_address_of_the_host_is_the_hosts_whoever_has_it_besides() {
    let mut board = on_the_wire(UplinkMode::OneMac).board().clone();
    let switch = *board.uplinks.keys().next().unwrap();
    board.hosts_own.insert(switch, [ip("10.0.0.1")].into());
    let mut switch = Switch::new(board);
    assert_eq!(comes(&mut switch, HOST, "10.0.0.1"), Verdict::Next { copy: None });
    assert_eq!(comes(&mut switch, mac(1), "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
}

const EVERYBODY: Mac = Mac::new([0xff; 6]);

/// Back from the wire, under the one station that is on it.
fn back(switch: &mut Switch, frame: &[u8]) -> (Verdict, Mac) {
    let outcome = switch.from_wire((ADAPTER, None), frame, false, 0);
    let source = outcome.frame[6..12].try_into().unwrap();
    (outcome.verdict, Mac::new(source))
}

fn said(from: &str, to: Mac) -> Vec<u8> {
    let content = Content::Udp { source: 1, destination: 2, bytes: 0 };
    let everybody = if from.contains(':') { "ff02::1" } else { "255.255.255.255" };
    Datagram::new(ip(from), ip(everybody), content).frame(Link { destination: to, source: HOST })
}

fn probe6(target: &str) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let rest = [&[0; 4][..], &target.octets()].concat();
    let content = Content::Icmp { kind: 135, code: 0, rest };
    let probe = Datagram { hop_limit: 255, ..Datagram::new(ip("::"), ip("ff02::1:ff00:1"), content) };
    probe.frame(Link { destination: Mac::new([0x33, 0x33, 0xff, 0, 0, 1]), source: HOST })
}

fn probe4(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    arp(Link { destination: EVERYBODY, source: HOST }, 1, HOST, sender.into(), target.into())
}

#[test]
fn what_comes_back_to_a_group_is_whose_address_it_names() {
    let mut switch = on_the_wire(UplinkMode::Reflected);
    let own = security::link_local(mac(1)).to_string();
    let of_a = [
        said("10.0.0.1", EVERYBODY),
        said("fd00::1", EVERYBODY),
        said(&own, EVERYBODY),
        probe4([10, 0, 0, 1], [10, 0, 0, 9]),
        probe4([0; 4], [10, 0, 0, 1]),
        probe6("fd00::1"),
        probe6(&own),
    ];
    for frame in of_a {
        // For the host as well, and for all ports but its own.
        assert_eq!(back(&mut switch, &frame), (Verdict::Next { copy: Some(10) }, mac(1)), "{frame:02x?}");
    }
    let of_the_host = [said("10.0.0.99", EVERYBODY), probe4([0; 4], [10, 0, 0, 9]), probe6("fd00::9")];
    for frame in of_the_host {
        assert_eq!(back(&mut switch, &frame), (Verdict::Back { copy: Some(10) }, HOST), "{frame:02x?}");
    }
    for frame in [said("0.0.0.0", EVERYBODY), said("::", EVERYBODY), probe4([0; 4], [0; 4]), probe6("::")] {
        assert_eq!(back(&mut switch, &frame), (Verdict::Back { copy: None }, HOST), "{frame:02x?}");
    }
    let mut frame = said("10.0.0.1", EVERYBODY);
    frame[6..12].copy_from_slice(&mac(1).octets());
    assert_eq!(switch.inward(A, &frame, false, 0).reason(), Some(Reason::Reflected));
    assert_eq!(switch.inward(B, &frame, false, 0).reason(), None);
}

#[test]
fn what_others_send_to_a_group_is_for_the_host_and_for_all_ports() {
    let mut switch = on_the_wire(UplinkMode::Reflected);
    let mut frame = said("10.0.0.1", EVERYBODY);
    frame[6..12].copy_from_slice(&FAR.octets());
    // A rival's of an address is told by its station.
    assert_eq!(back(&mut switch, &frame), (Verdict::Next { copy: Some(10) }, FAR));
}

#[test]
fn all_that_leaves_a_port_goes_to_a_wire_that_sends_it_back() {
    let mut switch = on_the_wire(UplinkMode::Reflected);
    let to_wire = Verdict::Adapter { ifindex: ADAPTER, to: Beyond::Wire };
    let of_the_link = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0]);
    for (to, verdict) in [(HOST, to_wire), (FAR, to_wire), (EVERYBODY, to_wire), (of_the_link, Verdict::Pass)]
    {
        let mut frame = said("10.0.0.1", to);
        frame[6..12].copy_from_slice(&mac(1).octets());
        let outcome = switch.out(A, &frame, 0);
        assert_eq!(outcome.verdict, verdict, "{to}");
        let shown = if verdict == to_wire { HOST } else { mac(1) };
        assert_eq!(outcome.frame[6..12], shown.octets(), "{to}");
    }
    let frame = said("10.0.0.99", EVERYBODY);
    assert_eq!(switch.from_host((ADAPTER, None), &frame, false).verdict, Verdict::Next { copy: None });
}

#[test]
fn quiet_ports_are_apart_where_their_frames_come_back_as_well() {
    for quiet in [A, B] {
        let mut bed = Bed { switch: on_the_wire(UplinkMode::Reflected) };
        let comes = |bed: &mut Bed, from: &str| {
            let content = Content::Udp { source: 1, destination: 2, bytes: 0 };
            let link = Link { destination: HOST, source: HOST };
            let frame = Datagram::new(ip(from), ip("10.0.0.1"), content).frame(link);
            bed.switch.from_wire((ADAPTER, None), &frame, false, 0).reason()
        };
        assert_eq!(comes(&mut bed, "10.0.0.2"), None);
        bed.change(quiet, |port| port.quiet = true);
        assert_eq!(comes(&mut bed, "10.0.0.2"), Some(Reason::Quiet));
        assert_eq!(comes(&mut bed, "10.0.0.99"), None);
    }
}
