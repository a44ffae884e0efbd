//! What a host does for endpoints whose addresses come from a LAN, on both bodies: other addresses for a port that is there, and an
//! ear at the adapter.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use hns_host::HostError;
use hns_net::{Family, Mac, Uplink, UplinkMode};
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
            Port { addresses, routes, until: BTreeMap::from([(Family::V4, now + rest)]), ..first.clone() }
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
