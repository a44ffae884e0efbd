//! Bridges of the administrator's, and ports of ours on them: on the fake host and on the kernel.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hns_host::{HostError, HostEvent, Next, Scope};
use hns_model::{Bridge, Device};
use hns_net::{Mac, Mtu};
use hns_planner::{Observed, ObservedPort, Port, Step};
use support::{address, name, on_both, on_real, output, port, run};

/// The bridge `CORP` with a patch and an address.
fn corp() -> Bridge {
    Bridge {
        name: name("CORP"),
        mac: Mac::new([2, 0, 0, 0, 7, 1]),
        mtu: Mtu::ETHERNET,
        addresses: [address("10.9.0.1/24")].into(),
        routers: BTreeSet::new(),
        ports: [(name("eth7"), Device::Veth { leads_elsewhere: false })].into(),
    }
}

fn on_corp(n: u8, container: &std::path::Path) -> Port {
    Port { bridge: name("CORP"), ..port(n, container) }
}

#[test]
fn a_bridge_of_others_is_shown_as_it_is() {
    on_both(|world| {
        let host = &*world.host;
        assert_eq!(host.bridges().unwrap(), []);
        world.add_bridge(&corp());
        let docker = Bridge { name: name("docker0"), ports: BTreeMap::new(), addresses: [].into(), ..corp() };
        world.add_bridge(&docker);
        assert_eq!(host.bridges().unwrap(), [corp()]);
        // It is none of ours.
        assert_eq!(host.observe(&Scope::Everything).unwrap(), Observed::default());
        world.remove_bridge(&corp().name);
        assert_eq!(host.bridges().unwrap(), []);
    });
}

#[test]
fn a_port_is_plugged_into_a_bridge_of_others_and_comes_back_to_it() {
    on_both(|world| {
        let host = &*world.host;
        let container = world.container("a");
        let port = on_corp(1, &container);
        let refused = host.execute(&Step::PlugPort(port.clone()));
        assert!(
            matches!(&refused, Err(HostError::NoSuchLink { name }) if *name == port.bridge),
            "{refused:?}"
        );
        world.add_bridge(&corp());
        world.plug(&port);
        let plugged = ObservedPort { bridge: Some(port.bridge.clone()), up: true, forwards: true };
        for scope in [Scope::Everything, Scope::Port(port.name.clone())] {
            let shown = host.observe(&scope).unwrap();
            assert_eq!(shown.ports, [(port.name.clone(), plugged.clone())].into());
            assert_eq!(shown.switches, [].into());
        }
        // Ports of ours are no part of what it is.
        assert_eq!(host.bridges().unwrap(), [corp()]);
        world.remove_bridge(&port.bridge);
        let shown = host.observe(&Scope::Everything).unwrap();
        assert!(!shown.ports[&port.name].forwards && shown.ports[&port.name].bridge.is_none());
        let refused = host.execute(&Step::ReplugPort(port.clone()));
        assert!(
            matches!(&refused, Err(HostError::NoSuchLink { name }) if *name == port.bridge),
            "{refused:?}"
        );
        world.add_bridge(&corp());
        host.execute(&Step::ReplugPort(port.clone())).unwrap();
        host.execute(&support::open(&port)).unwrap();
        assert_eq!(host.observe(&Scope::Everything).unwrap().ports[&port.name], plugged);
        host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        host.reap().unwrap();
        assert_eq!(host.observe(&Scope::Everything).unwrap(), Observed::default());
    });
}

#[test]
fn a_bridge_that_comes_and_goes_is_told() {
    on_both(|world| {
        let watch = world.host.watch().unwrap();
        let told = || {
            let limit = std::time::Duration::from_secs(5);
            std::iter::from_fn(|| match watch.next_within(limit) {
                Next::Event(event) => Some(event),
                Next::Nothing | Next::End => None,
            })
            .any(|event| event == HostEvent::BridgesChanged)
        };
        world.add_bridge(&corp());
        assert!(told());
        world.remove_bridge(&corp().name);
        assert!(told());
    });
}

/// It takes the lowest station and the smallest MTU of its ports for its own.
#[test]
fn a_port_changes_neither_the_station_nor_the_mtu_of_a_bridge() {
    on_real(|world| {
        run(&["ip", "link", "add", "CORP", "type", "bridge"]);
        run(&["ip", "link", "add", "eth7", "address", "fa:00:00:00:00:01", "mtu", "9000", "type", "veth"]);
        run(&["ip", "link", "set", "eth7", "master", "CORP"]);
        let before = output(&["ip", "-o", "link", "show", "dev", "CORP"]);
        assert!(before.contains("fa:00:00:00:00:01") && before.contains("mtu 9000"), "{before}");
        let container = world.container("a");
        world.plug(&on_corp(1, &container));
        let after = output(&["ip", "-o", "link", "show", "dev", "CORP"]);
        assert!(after.contains("fa:00:00:00:00:01") && after.contains("mtu 9000"), "{after}");
        // The vNIC has its own.
        let inside = support::output_in(&container, &["ip", "-o", "link", "show", "dev", "eth0"]);
        assert!(inside.contains("mtu 1500"), "{inside}");
    });
}
