//! Whether a LAN answers, on both bodies of the host.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::net::IpAddr;

use hns_host::{Asker, HostError, HostEvent, Question};
use hns_net::{Mac, Uplink, UplinkMode, VlanId};
use support::{name, on_both, on_real, run};

fn question(adapter: &str, asker: Asker) -> Question {
    Question {
        uplink: Uplink { adapter: name(adapter), vlan: None, mode: UplinkMode::Stations },
        asker,
        of: "198.18.0.254".parse().unwrap(),
    }
}

#[test]
fn a_lan_answers_whom_what_lies_before_it_lets_through() {
    on_both(|world| {
        let container = Asker::Station(Mac::new([2, 0, 0, 0, 7, 1]), "198.18.0.5".parse().unwrap());
        let answered = |asker| world.host.is_answered(&question("eth7", asker));
        assert!(matches!(answered(container), Err(HostError::NoSuchAdapter { .. })));
        world.add_lan(&name("eth7"), "198.18.0.254/24");
        // The cable's carrier comes by a work queue.
        eventually!(answered(Asker::Host).unwrap());
        assert!(answered(container).unwrap());
        world.filter_stations(&name("eth7"));
        assert!(!answered(container).unwrap());
        assert!(answered(Asker::Host).unwrap());
    });
}

#[test]
fn a_wire_that_sends_back_what_it_gets_is_told_from_one_that_does_not() {
    on_both(|world| {
        for (adapter, vlan) in [("eth7", None), ("eth8", VlanId::new(7).ok())] {
            let uplink = Uplink { adapter: name(adapter), vlan, mode: UplinkMode::Reflected };
            let reflected = || world.host.is_reflected(&uplink);
            assert!(matches!(reflected(), Err(HostError::NoSuchAdapter { .. })));
            world.add_lan(&name(adapter), "198.18.0.254/24");
            assert!(!reflected().unwrap());
            world.reflect(&name(adapter));
            eventually!(reflected().unwrap());
        }
    });
}

/// What an endpoint in the host's own namespace has is in our books already.
#[test]
fn an_endpoint_of_the_hosts_own_namespace_is_not_the_host_itself() {
    on_real(|world| {
        for (vnic, port, group) in
            [("vnic7", "hnv7", 0x686e_7300), ("vnic8", "hnv8", 0x686e_7301), ("others", "end", 0)]
        {
            run(&["ip", "link", "add", vnic, "type", "veth", "peer", "name", port]);
            run(&["ip", "link", "set", port, "group", &group.to_string()]);
        }
        for (address, vnic) in
            [("10.244.1.1/24", "vnic7"), ("10.244.2.1/24", "vnic8"), ("10.244.3.1/24", "others")]
        {
            run(&["ip", "addr", "add", address, "dev", vnic]);
        }
        let uplink = Uplink { adapter: name("eth7"), vlan: None, mode: UplinkMode::OneMac };
        let beside = world.host.addresses_beside(&uplink).unwrap();
        let of = |number: u8| IpAddr::from([10, 244, number, 1]);
        assert_eq!([1, 2, 3].map(|number| beside.contains(&of(number))), [false, false, true], "{beside:?}");
    });
}

/// Those of all its links, since it answers for any of them anywhere.
#[test]
fn the_hosts_own_addresses_are_those_of_the_lan() {
    on_real(|world| {
        run(&["ip", "link", "add", "eth7", "type", "veth", "peer", "name", "up7"]);
        let watch = world.host.watch().unwrap();
        for (link, address) in [("eth7", "198.18.0.1/24"), ("up7", "203.0.113.1/24")] {
            run(&["ip", "addr", "add", address, "dev", link]);
            while watch.next_event().unwrap() != HostEvent::HostsOwnChanged {}
        }
        let beside = |vlan: Option<u64>| {
            let vlan = vlan.map(|vlan| VlanId::new(vlan).unwrap());
            let uplink = Uplink { adapter: name("eth7"), vlan, mode: UplinkMode::OneMac };
            world.host.addresses_beside(&uplink).unwrap()
        };
        let own = ["198.18.0.1", "203.0.113.1"].map(|address| address.parse::<IpAddr>().unwrap());
        assert!(beside(None).is_superset(&own.into()), "{:?}", beside(None));
        assert_eq!(beside(Some(8)), [].into());
        run(&["ip", "addr", "del", "198.18.0.1/24", "dev", "eth7"]);
        while watch.next_event().unwrap() != HostEvent::HostsOwnChanged {}
        assert!(!beside(None).contains(&own[0]));
    });
}
