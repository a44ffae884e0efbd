//! At an adapter that an external switch shares with the host.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod bed;

use bed::{A, B, Bed, ip, mac};
use hns_net::{Guid, Mac};
use hns_vfp::Switch;
use hns_vfp::generate::{Content, Datagram, Link};
use hns_vfp::interpreter::Verdict;
use hns_vfp::layers::security;
use hns_vfp::model::Place;

const ADAPTER: u32 = 9;
const HOST: Mac = Mac::new([2, 0, 0, 0, 0x99, 1]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 0x99, 9]);

/// Two ports on an external switch, of which B claims the host's station.
fn on_the_wire(one_mac: bool) -> Switch {
    let mut board = Bed::open().switch.board().clone();
    let switch = Guid::from_bytes([0xe; 16]);
    for ifindex in [A, B] {
        board.ports.get_mut(&ifindex).unwrap().external = Some(switch);
    }
    board.ports.get_mut(&B).unwrap().mac = HOST;
    let place = Place { adapter: ADAPTER, vlan: None, mac: HOST, port: 10, one_mac };
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
    let mut switch = on_the_wire(false);
    let next = Verdict::Next { copy: None };
    assert_eq!(comes(&mut switch, HOST, "10.0.0.2"), next);
    assert_eq!(comes(&mut switch, mac(1), "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
    assert_eq!(comes(&mut switch, FAR, "10.0.0.1"), next);
}

#[test]
fn under_one_mac_the_address_says_whose_it_is() {
    let mut switch = on_the_wire(true);
    assert_eq!(comes(&mut switch, HOST, "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
    assert_eq!(comes(&mut switch, HOST, "10.0.0.77"), Verdict::Next { copy: None });
}

#[test]
fn what_comes_for_a_port_behind_the_host_is_the_hosts_to_forward() {
    let mut bed = Bed { switch: on_the_wire(true) };
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
    let mut board = on_the_wire(true).board().clone();
    let switch = *board.uplinks.keys().next().unwrap();
    board.hosts_own.insert(switch, [ip("10.0.0.1")].into());
    let mut switch = Switch::new(board);
    assert_eq!(comes(&mut switch, HOST, "10.0.0.1"), Verdict::Next { copy: None });
    assert_eq!(comes(&mut switch, mac(1), "10.0.0.1"), Verdict::Redirect { ifindex: A, peer: true });
}
