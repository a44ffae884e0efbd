//! What a host does for endpoints whose addresses come from a LAN, on both bodies: other addresses for a port that is there, and an
//! ear at the adapter.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use hns_host::HostError;
use hns_net::{Mac, Uplink, UplinkMode};
use hns_planner::{Inside, Port, Step, differences, readdress};
use support::{address, name, on_both, on_real, port, route, run, switch, wait_until};

#[test]
fn a_port_gets_other_addresses_and_none() {
    on_both(|world| {
        let host = &*world.host;
        host.execute(&Step::MakeSwitch(switch())).unwrap();
        let first = port(1, &world.container("a"));
        world.plug(&first);
        let other = Port {
            addresses: vec![address("10.77.0.5/24")],
            routes: vec![route("0.0.0.0/0", "10.77.0.1")],
            ..first.clone()
        };
        let bare = Port { addresses: Vec::new(), routes: Vec::new(), ..first.clone() };
        assert!(readdress(&first, &first).is_none());
        for (before, after) in [(&first, &other), (&other, &bare), (&bare, &first)] {
            let step = readdress(before, after).unwrap();
            for _ in 0..2 {
                host.execute(&step).unwrap();
                let inside = host.look_inside(after).unwrap();
                assert_eq!(differences(after, &inside), [], "{inside:?}");
                let Inside::Here(vnic) = inside else { panic!("{inside:?}") };
                let stale = before.addresses.iter().filter(|stale| !after.addresses.contains(stale));
                assert!(stale.clone().all(|stale| !vnic.addresses.contains(stale)), "{vnic:?}");
            }
            host.execute(&step.undo().unwrap()).unwrap();
            assert_eq!(differences(before, &host.look_inside(before).unwrap()), []);
            host.execute(&step).unwrap();
        }
        host.execute(&Step::UnplugPort { name: first.name.clone() }).unwrap();
        host.reap().unwrap();
        assert!(host.execute(&readdress(&first, &other).unwrap()).is_err());
    });
}

/// Nobody else is there to do it.
#[test]
fn the_kernel_takes_addresses_away_whose_time_is_over() {
    on_real(|world| {
        let host = &*world.host;
        host.execute(&Step::MakeSwitch(switch())).unwrap();
        let first = port(1, &world.container("a"));
        world.plug(&first);
        let until = |rest: u64| {
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            let now: u64 = uptime.split('.').next().unwrap().parse().unwrap();
            let addresses = vec![address("10.77.0.5/24")];
            let routes = vec![route("0.0.0.0/0", "10.77.0.1")];
            let until = addresses.iter().map(|address| (address.address(), now + rest)).collect();
            Port { addresses, routes, until, ..first.clone() }
        };
        let (long, short) = (until(600), until(2));
        host.execute(&readdress(&first, &long).unwrap()).unwrap();
        host.execute(&readdress(&long, &short).unwrap()).unwrap();
        assert_eq!(differences(&short, &host.look_inside(&short).unwrap()), []);
        let shows_none = || match host.look_inside(&short).unwrap() {
            Inside::Here(vnic) => !vnic.addresses.contains(&short.addresses[0]),
            other => panic!("{other:?}"),
        };
        wait_until("the kernel has taken it", shows_none);
        // Another lease without an end stays.
        let for_ever = Port { until: BTreeMap::new(), ..long };
        host.execute(&readdress(&short, &for_ever).unwrap()).unwrap();
        assert_eq!(differences(&for_ever, &host.look_inside(&for_ever).unwrap()), []);
    });
}

#[test]
fn an_adapter_is_listened_to_and_a_switch_spoken_on() {
    on_both(|world| {
        let host = &*world.host;
        let uplink = Uplink { adapter: name("eth7"), vlan: None, mode: UplinkMode::Stations };
        let station = Mac::new([2, 0, 0, 0, 7, 1]);
        assert!(matches!(host.listen(&uplink, station), Err(HostError::NoSuchAdapter { .. })));
        world.add_adapter(&uplink.adapter);
        if world.is_real() {
            run(&["ip", "link", "set", "eth7", "up"]);
        }
        let ear = host.listen(&uplink, station).unwrap();
        assert_eq!(ear.hear(Duration::ZERO).unwrap(), None);
        assert!(matches!(host.transmit(&name("hns01234567"), &[0; 60]), Err(HostError::NoSuchLink { .. })));
        let switch = switch();
        host.execute(&Step::MakeSwitch(switch.clone())).unwrap();
        host.transmit(&switch.name, &[0xff; 60]).unwrap();
    });
}

/// A packet of IPv6 to a station or group.
fn packet(to: Mac, next_header: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to.octets()[..], &[2, 0, 0, 0, 7, 9, 0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend([0, u8::try_from(payload.len()).expect("some twenty bytes")]);
    frame.extend([next_header, hops]);
    frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 7, 9]);
    frame.extend([0; 16]);
    frame.extend(payload);
    frame
}

/// Of IPv6, what a station without a link needs to be answered: routers, who has an address, who asks for its own, and DHCPv6.
#[test]
fn what_is_heard_of_ipv6_is_for_the_station_or_for_everybody() {
    on_real(|world| {
        let host = &*world.host;
        let adapter = name("eth7");
        let uplink = Uplink { adapter: adapter.clone(), vlan: None, mode: UplinkMode::Stations };
        world.add_adapter(&adapter);
        ["eth7", "eth7-far"].into_iter().for_each(|link| run(&["ip", "link", "set", link, "up"]));
        let (station, other) = (Mac::new([2, 0, 0, 0, 7, 1]), Mac::new([2, 0, 0, 0, 7, 2]));
        let nodes = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
        let solicited = Mac::new([0x33, 0x33, 0xff, 0, 7, 1]);
        let target = |kind: u8, last: u8| {
            let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
            message.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 7, last]);
            message
        };
        let udp = |to: u8| [2, 0x23, 2, to, 0, 12, 0, 0, 7, 1, 2, 3];
        let ear = host.listen(&uplink, station).unwrap();
        for (what, frame, is_heard) in [
            ("an advertisement", packet(nodes, 58, 255, &target(134, 0)), true),
            ("a claim", packet(nodes, 58, 255, &target(136, 5)), true),
            ("another message for everybody", packet(nodes, 58, 255, &target(137, 5)), false),
            ("a question for the station", packet(solicited, 58, 255, &target(135, 1)), true),
            ("the same, to it alone", packet(station, 58, 255, &target(135, 1)), true),
            ("a question for another one", packet(solicited, 58, 255, &target(135, 2)), false),
            ("one that was forwarded", packet(solicited, 58, 254, &target(135, 1)), false),
            ("an answer of DHCPv6", packet(station, 17, 64, &udp(0x22)), true),
            ("one to another station", packet(other, 17, 64, &udp(0x22)), false),
            ("one to another port", packet(station, 17, 64, &udp(0x23)), false),
            ("another protocol", packet(station, 6, 64, &udp(0x22)), false),
        ] {
            host.transmit(&adapter, &frame).unwrap();
            // A frame that this host sends is there at once.
            let heard = || std::iter::from_fn(|| ear.hear(Duration::ZERO).unwrap());
            // The kernel speaks there as well.
            assert_eq!(heard().any(|heard| heard == frame), is_heard, "{what}");
        }
    });
}
