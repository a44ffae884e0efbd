//! What comes out of a tunnel, and what the maps hold of an overlay while it changes.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod bed;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bed::{A, B, Bed, GUEST, ip, mac};
use hns_abi::{Map, Reason};
use hns_net::{Guid, Mac, Vni};
use hns_vfp::Switch;
use hns_vfp::generate::{Content, Datagram, Link, arp};
use hns_vfp::interpreter::Verdict;
use hns_vfp::layers::wrapping::{Wrapped, unwrap};
use hns_vfp::model::{Devices, Overlay, Route};
use hns_vfp::tables::{Tables, Write};

const DEVICE: u32 = 9;
const DEVICES: Devices = Devices { tunnel: DEVICE, clear: None };
const ROUTER: Mac = Mac::new([0x0e, 0x2a, 203, 0, 113, 1]);
const FAR_ROUTER: Mac = Mac::new([0x0e, 0x2a, 203, 0, 113, 2]);
const EVERYBODY: Mac = Mac::new([0xff; 6]);
const NETWORK: Guid = Guid::from_bytes([0xa; 16]);

fn vni(number: u64) -> Vni {
    Vni::new(number).unwrap()
}

fn overlay() -> Overlay {
    let route = Route { provider: ip("203.0.113.2"), vni: vni(4097), station: FAR_ROUTER, on_link: false };
    Overlay {
        router: ROUTER,
        provider: ip("203.0.113.1"),
        gateways: [ip("10.0.0.254")].into(),
        vnis: [vni(4096)].into(),
        hosted: false,
        udp_port: 4789,
        direct: true,
        encryption: None,
        routes: [("10.0.9.0/24".parse().unwrap(), route), ("fd00:9::/64".parse().unwrap(), route)].into(),
    }
}

/// A and B on the overlay, GUEST on another network.
fn on_two_hosts() -> Switch {
    let mut bed = Bed::open();
    for ifindex in [A, B] {
        bed.change(ifindex, |port| port.overlay = true);
    }
    let mut board = bed.switch.board().clone();
    board.overlays.insert(NETWORK, (DEVICES, Arc::new(overlay())));
    Switch::new(board)
}

fn comes(switch: &mut Switch, number: u64, sender: &str, link: Link, (from, to): (&str, &str)) -> Verdict {
    let content = Content::Udp { source: 1, destination: 2, bytes: 0 };
    let frame = Datagram::new(ip(from), ip(to), content).frame(link);
    switch.from_tunnel((DEVICE, vni(number)), ip(sender), &frame, 0).verdict
}

/// VNI, sender, stations, addresses, and why.
type Refused<'a> = (u64, &'a str, Link, (&'a str, &'a str), Reason);

#[test]
fn what_comes_from_the_host_that_has_the_source_is_for_a_container() {
    let mut switch = on_two_hosts();
    let link = Link { destination: ROUTER, source: FAR_ROUTER };
    let ends = [("10.0.9.5", "10.0.0.1"), ("fd00:9::5", "fd00::1")];
    for ends in ends {
        let verdict = comes(&mut switch, 4096, "203.0.113.2", link, ends);
        assert_eq!(verdict, Verdict::Redirect { ifindex: A, peer: true }, "{ends:?}");
    }
    let refused: [Refused<'_>; 7] = [
        (4097, "203.0.113.2", link, ends[0], Reason::UnknownVni),
        (4096, "203.0.113.3", link, ends[0], Reason::SpoofedTunnel),
        (4096, "203.0.113.2", link, ("10.0.8.5", "10.0.0.1"), Reason::SpoofedTunnel),
        (4096, "203.0.113.2", link, ("10.0.0.2", "10.0.0.1"), Reason::SpoofedTunnel),
        (4096, "203.0.113.2", Link { source: mac(7), ..link }, ends[0], Reason::SpoofedTunnel),
        // For a container's station, for an address of another network, and for the router itself.
        (4096, "203.0.113.2", Link { destination: mac(1), ..link }, ends[0], Reason::Unrouted),
        (4096, "203.0.113.2", link, ("10.0.9.5", "10.0.0.3"), Reason::Unrouted),
    ];
    for (number, sender, link, ends, reason) in refused {
        match comes(&mut switch, number, sender, link, ends) {
            Verdict::Drop(refusal) => assert_eq!(refusal.reason, reason, "{number} {sender} {ends:?}"),
            other => panic!("{number} {sender} {ends:?}: {other:?}"),
        }
    }
    assert!(switch.board().ports.contains_key(&GUEST));
}

/// A container of another host on one link with those here: a router is between them as little as between two of one host.
#[test]
fn neighbours_on_two_hosts_speak_to_each_other_without_a_router() {
    const NEIGHBOUR: Mac = mac(0x40);
    let neighbour = Route { provider: ip("203.0.113.2"), vni: vni(4096), station: NEIGHBOUR, on_link: true };
    let mut overlay = overlay();
    overlay.routes.extend(["10.0.0.40/32", "fd00::40/128"].map(|one| (one.parse().unwrap(), neighbour)));
    let mut board = on_two_hosts().board().clone();
    board.overlays.insert(NETWORK, (DEVICES, Arc::new(overlay)));
    let mut switch = Switch::new(board);
    let content = || Content::Udp { source: 1, destination: 2, bytes: 0 };
    let ends = [("10.0.0.1", "10.0.0.40"), ("fd00::1", "fd00::40")];
    for (from, to) in ends {
        // To its own station, and by the router of another subnet: it comes from the container.
        for destination in [NEIGHBOUR, ROUTER] {
            let link = Link { destination, source: mac(1) };
            let frame = Datagram::new(ip(from), ip(to), content()).frame(link);
            let outcome = switch.out(A, &frame, 0);
            let there = Verdict::Tunnel { ifindex: DEVICE, vni: vni(4096), to: ip("203.0.113.2") };
            assert_eq!(outcome.verdict, there, "{to}");
            let stations = [NEIGHBOUR.octets(), mac(1).octets()].concat();
            assert_eq!(outcome.frame[..12], stations, "{to}");
        }
        let own = Link { destination: mac(1), source: NEIGHBOUR };
        for link in [own, Link { destination: ROUTER, ..own }] {
            let verdict = comes(&mut switch, 4096, "203.0.113.2", link, (to, from));
            assert_eq!(verdict, Verdict::Redirect { ifindex: A, peer: true }, "{to}");
        }
        let refused = [
            ("203.0.113.3", own, (to, from), Reason::SpoofedTunnel),
            ("203.0.113.2", Link { source: FAR_ROUTER, ..own }, (to, from), Reason::SpoofedTunnel),
            ("203.0.113.2", Link { source: mac(7), ..own }, (to, from), Reason::SpoofedTunnel),
            ("203.0.113.2", Link { destination: mac(2), ..own }, (to, from), Reason::Unrouted),
            ("203.0.113.2", Link { destination: mac(0xff), ..own }, (to, from), Reason::Unrouted),
        ];
        for (sender, link, ends, reason) in refused {
            let verdict = comes(&mut switch, 4096, sender, link, ends);
            assert!(matches!(&verdict, Verdict::Drop(why) if why.reason == reason), "{link:?}: {verdict:?}");
        }
    }
    // Its station is nobody's way to somebody else.
    let link = Link { destination: NEIGHBOUR, source: mac(1) };
    for to in ["10.0.9.9", "10.0.0.2", "192.0.2.1"] {
        let frame = Datagram::new(ip("10.0.0.1"), ip(to), content()).frame(link);
        let verdict = switch.out(A, &frame, 0).verdict;
        assert!(
            matches!(&verdict, Verdict::Drop(why) if why.reason == Reason::Unrouted),
            "{to}: {verdict:?}"
        );
    }
}

/// Who asks for it is told its own station, also one who only looks whether the address is somebody's.
#[test]
fn the_station_of_a_neighbour_on_another_host_is_told() {
    const NEIGHBOUR: Mac = mac(0x40);
    let neighbour = Route { provider: ip("203.0.113.2"), vni: vni(4096), station: NEIGHBOUR, on_link: true };
    let mut overlay = overlay();
    overlay.routes.insert("10.0.0.40/32".parse().unwrap(), neighbour);
    let mut board = on_two_hosts().board().clone();
    board.overlays.insert(NETWORK, (DEVICES, Arc::new(overlay)));
    let mut switch = Switch::new(board);
    for destination in [EVERYBODY, NEIGHBOUR] {
        let link = Link { destination, source: mac(1) };
        let question = arp(link, 1, mac(1), [10, 0, 0, 1].into(), [10, 0, 0, 40].into());
        let outcome = switch.out(A, &question, 0);
        assert_eq!(outcome.verdict, Verdict::Redirect { ifindex: A, peer: false });
        let back = Link { destination: mac(1), source: NEIGHBOUR };
        let mut answered = arp(back, 2, NEIGHBOUR, [10, 0, 0, 40].into(), [10, 0, 0, 1].into());
        answered[32..38].copy_from_slice(&mac(1).octets());
        assert_eq!(outcome.frame, answered);
    }
    // What a prefix of another host has is behind the router.
    let link = Link { destination: EVERYBODY, source: mac(1) };
    let question = arp(link, 1, mac(1), [10, 0, 0, 1].into(), [10, 0, 9, 9].into());
    assert_eq!(switch.out(A, &question, 0).verdict, Verdict::Pass);
}

/// By the number it would be for the network, and who sends it looks like its peer.
#[test]
fn an_encrypted_overlay_takes_nothing_that_came_in_clear() {
    let mut board = on_two_hosts().board().clone();
    board.overlays.insert(NETWORK, (Devices { tunnel: 8, clear: Some(DEVICE) }, Arc::new(overlay())));
    let mut switch = Switch::new(board);
    let link = Link { destination: ROUTER, source: FAR_ROUTER };
    let verdict = comes(&mut switch, 4096, "203.0.113.2", link, ("10.0.9.5", "10.0.0.1"));
    assert!(matches!(verdict, Verdict::Drop(refusal) if refusal.reason == Reason::Unencrypted));
    // What is clear elsewhere is no VNI of the encrypted device.
    let verdict = comes(&mut switch, 4097, "203.0.113.2", link, ("10.0.9.5", "10.0.0.1"));
    assert!(matches!(verdict, Verdict::Drop(refusal) if refusal.reason == Reason::UnknownVni));
}

/// What is for no container and no other host; ARP among it, by which the host learns its containers' stations.
#[test]
fn the_rest_is_for_the_host_where_it_has_a_port() {
    let content = || Content::Udp { source: 1, destination: 2, bytes: 0 };
    for hosted in [false, true] {
        let mut board = on_two_hosts().board().clone();
        board.overlays.insert(NETWORK, (DEVICES, Arc::new(Overlay { hosted, ..overlay() })));
        let mut switch = Switch::new(board);
        let link = Link { destination: ROUTER, source: mac(1) };
        let mut sent = |to: &str| {
            let frame = Datagram::new(ip("10.0.0.1"), ip(to), content()).frame(link);
            switch.out(A, &frame, 0).verdict
        };
        let there = Verdict::Tunnel { ifindex: DEVICE, vni: vni(4097), to: ip("203.0.113.2") };
        assert_eq!(sent("10.0.9.9"), there);
        assert_eq!(sent("10.0.0.2"), Verdict::Redirect { ifindex: B, peer: false });
        for beyond in ["192.0.2.1", "10.0.0.254", "10.0.0.99"] {
            let verdict = sent(beyond);
            assert_eq!(verdict == Verdict::Pass, hosted, "{beyond}: {verdict:?}");
        }
        let reply = arp(link, 2, mac(1), [10, 0, 0, 1].into(), [10, 0, 0, 254].into());
        assert_eq!(switch.out(A, &reply, 0).verdict == Verdict::Pass, hosted);
    }
}

/// It speaks of a link, and who sent it is on another one: it would tell a container where its own neighbours and its router are.
#[test]
fn neighbour_discovery_does_not_come_through_a_tunnel() {
    let mut switch = on_two_hosts();
    let link = Link { destination: ROUTER, source: FAR_ROUTER };
    for kind in 132..=138 {
        let content = Content::Icmp { kind, code: 0, rest: vec![0; 20] };
        let frame = Datagram::new(ip("fd00:9::5"), ip("fd00::1"), content).frame(link);
        let verdict = switch.from_tunnel((DEVICE, vni(4096)), ip("203.0.113.2"), &frame, 0).verdict;
        let is_refused = matches!(&verdict, Verdict::Drop(refusal) if refusal.reason == Reason::SpoofedNd);
        assert_eq!(is_refused, (133..=137).contains(&kind), "{kind}: {verdict:?}");
    }
}

/// Small packets of whom the device has heard are taken at the adapter, by the same rules; all else is the host's.
#[test]
fn the_adapter_takes_small_packets_of_hosts_that_were_heard() {
    let mut switch = on_two_hosts();
    let link = Link { destination: ROUTER, source: FAR_ROUTER };
    let inner = |bytes| {
        let content = Content::Udp { source: 1, destination: 2, bytes };
        Datagram::new(ip("10.0.9.5"), ip("10.0.0.1"), content).frame(link)
    };
    let usual = Wrapped {
        sender: [203, 0, 113, 2].into(),
        receiver: [203, 0, 113, 1].into(),
        udp_port: 4789,
        vni: vni(4096),
        inner: inner(0),
    };
    assert_eq!(unwrap(&usual.frame([2; 6])), Some(usual.clone()));
    let heard = [ip("203.0.113.2")].into();
    let mut comes = |frame: &[u8], heard: &BTreeSet<IpAddr>| switch.near(frame, heard, 0).verdict;
    assert_eq!(comes(&usual.frame([2; 6]), &heard), Verdict::Redirect { ifindex: A, peer: true });
    let next = Verdict::Next { copy: None };
    assert_eq!(comes(&usual.frame([2; 6]), &BTreeSet::new()), next);
    for other in [
        Wrapped { inner: inner(400), ..usual.clone() },
        Wrapped { receiver: [203, 0, 113, 3].into(), ..usual.clone() },
        Wrapped { sender: [203, 0, 113, 3].into(), ..usual.clone() },
        Wrapped { udp_port: 4790, ..usual.clone() },
        Wrapped { vni: vni(5000), ..usual.clone() },
    ] {
        assert_eq!(comes(&other.frame([2; 6]), &heard), next, "{other:?}");
    }
    // Whose source another host has: refused as it would be behind the device.
    let mut stranger = usual.clone();
    stranger.inner[26..30].copy_from_slice(&[10, 0, 8, 5]);
    assert!(matches!(comes(&stranger.frame([2; 6]), &heard), Verdict::Drop(_)));
}

/// Two overlays of one host may end at one address.
#[test]
fn an_end_stays_as_long_as_an_overlay_has_it() {
    let ends =
        |tables: &Tables| tables.everything().keys().filter(|(map, _)| *map == Map::TunnelEnds).count();
    let mut tables = Tables::new(1);
    let other = Guid::from_bytes([0xb; 16]);
    let _writes = tables.set_overlay(NETWORK, DEVICES, &Arc::new(overlay()));
    let _writes = tables.set_overlay(other, DEVICES, &Arc::new(overlay()));
    assert_eq!(ends(&tables), 1);
    let writes = tables.remove_overlay(other);
    let is_end = |write: &Write| matches!(write, Write::Delete { map: Map::TunnelEnds, .. });
    assert!(!writes.iter().any(is_end) && ends(&tables) == 1);
    let writes = tables.set_overlay(NETWORK, DEVICES, &Arc::new(Overlay { direct: false, ..overlay() }));
    assert!(writes.iter().any(is_end) && ends(&tables) == 0);
}

/// What the maps hold is what the last overlay says, however it came there; without it, nothing.
#[test]
fn the_maps_hold_the_overlay_that_was_set_last() {
    let first = overlay();
    let mut moved = first.clone();
    moved.gateways = [ip("10.0.0.253")].into();
    moved.vnis = [vni(4096), vni(5000)].into();
    moved.routes.remove(&"fd00:9::/64".parse().unwrap());
    let route = Route { provider: ip("203.0.113.7"), vni: vni(4097), station: mac(7), on_link: false };
    moved.routes.insert("10.0.9.0/24".parse().unwrap(), route);
    let mut alone = Tables::new(1);
    let _writes = alone.set_overlay(NETWORK, DEVICES, &Arc::new(moved.clone()));
    let mut changed = Tables::new(1);
    let _writes = changed.set_overlay(NETWORK, DEVICES, &Arc::new(first.clone()));
    let writes = changed.set_overlay(NETWORK, DEVICES, &Arc::new(moved.clone()));
    assert_eq!(changed.everything(), alone.everything());
    // The same again writes nothing, and one route more writes one entry.
    assert_eq!(changed.set_overlay(NETWORK, DEVICES, &Arc::new(moved.clone())), []);
    moved.routes.insert("10.0.7.0/24".parse().unwrap(), route);
    let one_more = changed.set_overlay(NETWORK, DEVICES, &Arc::new(moved));
    assert!(matches!(&one_more[..], [Write::Put { map: Map::Routes, .. }]), "{one_more:?}");
    // A packet on the way finds the old route or the new one, never none.
    let is_lost = |write: &Write| matches!(write, Write::Delete { map: Map::Overlays, .. });
    assert!(!writes.iter().any(is_lost), "{writes:?}");
    let _writes = changed.remove_overlay(NETWORK);
    assert_eq!(changed.everything(), [].into());
}
