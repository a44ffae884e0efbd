//! What every body of `Host` must do: each test runs on the fake one and, as root, on the kernel.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::collections::BTreeSet;

use hns_host::{Host, HostError, Scope};
use hns_net::{Mac, Transport, Uplink, UplinkMode};
use hns_planner::{
    Element, Forwarding, Inside, NamespaceSpec, ObservedPort, ObservedSwitch, Port, Station, Step, Switch,
    Target, differences,
};
use support::{address, elements, handed, name, on_both, on_real, open, policy, port, switch};

fn everything(host: &dyn Host) -> hns_planner::Observed {
    host.observe(&Scope::Everything).unwrap()
}

fn do_twice(host: &dyn Host, step: Step) {
    host.execute(&step).unwrap();
    host.execute(&step)
        .unwrap_or_else(|error| panic!("{step:?} again: {error}: {:?}", std::error::Error::source(&error)));
}

fn shown(switch: &Switch) -> ObservedSwitch {
    ObservedSwitch {
        up: true,
        mac: switch.mac,
        mtu: switch.mtu,
        gateways: switch.gateways.clone(),
        segments: (1..=switch.extra_segments).collect(),
        loopback: switch.loopback,
        wired: switch.uplink.is_some(),
        answers: switch.hosted,
    }
}

fn plugged(port: &hns_planner::Port) -> ObservedPort {
    ObservedPort { bridge: Some(port.bridge.clone()), up: true, forwards: true }
}

#[test]
fn an_untouched_host_shows_nothing_of_ours() {
    on_both(|world| {
        let observed = everything(&*world.host);
        assert_eq!(observed, hns_planner::Observed::default());
    });
}

#[test]
fn a_switch_is_shown_as_it_was_asked_for() {
    on_both(|world| {
        let mut switch = switch();
        do_twice(&*world.host, Step::MakeSwitch(switch.clone()));
        assert_eq!(everything(&*world.host).switches, [(switch.name.clone(), shown(&switch))].into());

        switch.gateways = [address("10.9.0.1/24")].into();
        switch.loopback = false;
        switch.mtu = hns_net::Mtu::new(1400).unwrap();
        do_twice(&*world.host, Step::MakeSwitch(switch.clone()));
        let scope = Scope::Switch(switch.name.clone());
        let observed = world.host.observe(&scope).unwrap();
        assert_eq!(observed.switches, [(switch.name.clone(), shown(&switch))].into());

        do_twice(&*world.host, Step::RemoveSwitch { name: switch.name });
        assert_eq!(everything(&*world.host).switches, [].into());
    });
}

#[test]
fn a_switch_grows_and_shrinks_by_segments() {
    on_both(|world| {
        let mut switch = switch();
        for segments in [2, 3, 1] {
            switch.extra_segments = segments;
            do_twice(&*world.host, Step::MakeSwitch(switch.clone()));
            assert_eq!(everything(&*world.host).switches[&switch.name], shown(&switch));
            let scope = Scope::Switch(switch.name.clone());
            assert_eq!(world.host.observe(&scope).unwrap().switches[&switch.name], shown(&switch));
        }
        let container = world.container("a");
        let mut port = port(1, &container);
        port.bridge = Switch::segment_name(&switch.name, 1).unwrap();
        world.plug(&port);
        assert_eq!(everything(&*world.host).ports[&port.name], plugged(&port));
        do_twice(&*world.host, Step::UnplugPort { name: port.name });
        do_twice(&*world.host, Step::RemoveSwitch { name: switch.name });
        world.host.reap().unwrap();
        assert_eq!(everything(&*world.host), hns_planner::Observed::default());
    });
}

#[test]
fn an_external_switch_has_a_wire_and_its_adapter_lets_stations_in() {
    on_both(|world| {
        let host = &*world.host;
        let adapter = name("eth7");
        let uplink = Uplink { adapter: adapter.clone(), vlan: None, mode: UplinkMode::Stations };
        assert!(matches!(host.adapter(&uplink), Err(HostError::NoSuchAdapter { .. })));
        world.add_adapter(&adapter);
        host.adapter(&uplink).unwrap();
        let switch = Switch {
            name: name("hns00000007"),
            gateways: [].into(),
            loopback: false,
            hosted: false,
            uplink: Some(uplink),
            ..switch()
        };
        let second = Switch { name: name("hns00000008"), ..switch.clone() };
        for switch in [&switch, &second] {
            do_twice(host, Step::MakeSwitch(switch.clone()));
            assert_eq!(everything(host).switches[&switch.name], shown(switch));
            let scope = Scope::Switch(switch.name.clone());
            assert_eq!(host.observe(&scope).unwrap().switches[&switch.name], shown(switch));
        }
        let stations =
            [1, 2].map(|n| Station { adapter: adapter.clone(), mac: Mac::new([2, 0, 0, 0, 7, n]) });
        for station in &stations {
            do_twice(host, Step::AddStation(station.clone()));
        }
        assert_eq!(everything(host).stations, stations.clone().into());
        do_twice(host, Step::RemoveStation(stations[0].clone()));
        assert_eq!(everything(host).stations, [stations[1].clone()].into());
        do_twice(host, Step::RemoveStation(stations[1].clone()));
        do_twice(host, Step::RemoveSwitch { name: switch.name });
        assert_eq!(everything(host).switches[&second.name], shown(&second));
        do_twice(host, Step::RemoveSwitch { name: second.name });
        assert_eq!(everything(host), hns_planner::Observed::default());
    });
}

/// What somebody else changed of it shows, and is put right by the same step.
#[test]
fn a_wire_that_was_cut_shows() {
    on_real(|world| {
        let host = &*world.host;
        let adapter = name("eth7");
        world.add_adapter(&adapter);
        let uplink = Some(Uplink { adapter: adapter.clone(), vlan: None, mode: UplinkMode::Stations });
        let switch = Switch { gateways: [].into(), loopback: false, hosted: false, uplink, ..switch() };
        let port = Switch::uplink_port(&switch.name).unwrap();
        host.execute(&Step::MakeSwitch(switch.clone())).unwrap();
        for deed in [
            format!("ip link delete {port}"),
            format!("ip link set {port} nomaster"),
            format!("ip link set {port} down"),
            format!("bridge link set dev {port} learning on"),
            format!("ip link set {adapter} allmulticast off"),
        ] {
            support::run(&deed.split(' ').collect::<Vec<_>>());
            eventually!(!everything(host).switches[&switch.name].wired);
            host.execute(&Step::MakeSwitch(switch.clone())).unwrap();
            let mtu = everything(host).switches[&switch.name].mtu;
            let shown = ObservedSwitch { mtu, ..shown(&switch) };
            assert_eq!(everything(host).switches[&switch.name], shown, "{deed}");
        }
        let station = Station { adapter: adapter.clone(), mac: Mac::new([2, 0, 0, 0, 7, 1]) };
        host.execute(&Step::AddStation(station.clone())).unwrap();
        support::run(&["bridge", "fdb", "del", "02:00:00:00:07:01", "dev", adapter.as_str(), "self"]);
        assert_eq!(everything(host).stations, [].into());
        host.execute(&Step::AddStation(station.clone())).unwrap();
        assert_eq!(everything(host).stations, [station].into());
        // Its bridge goes while nobody looks: what the adapter was told is still to be taken back.
        world.delete_link(&port);
        world.delete_link(&switch.name);
        assert!(!everything(host).switches[&switch.name].up);
        host.execute(&Step::MakeSwitch(switch.clone())).unwrap();
        // Its adapter goes, and with it all that it was told.
        world.delete_link(&adapter);
        assert_eq!(everything(host).stations, [].into());
        host.execute(&Step::RemoveSwitch { name: switch.name }).unwrap();
        assert_eq!(everything(host), hns_planner::Observed::default());
    });
}

#[test]
fn a_port_is_plugged_unplugged_and_reaped() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        do_twice(&*world.host, Step::PlugPort(port.clone()));
        do_twice(&*world.host, open(&port));
        let scope = Scope::Port(port.name.clone());
        let observed = world.host.observe(&scope).unwrap();
        assert_eq!(observed.ports, [(port.name.clone(), plugged(&port))].into());
        assert_eq!(everything(&*world.host).ports, [(port.name.clone(), plugged(&port))].into());
        let interfaces = world.host.interfaces_in(&port.target).unwrap();
        assert_eq!(interfaces, [name("eth0"), name("lo")]);
        world.host.stats(&port.name).unwrap();

        assert_eq!(world.host.reap().unwrap(), 0);
        do_twice(&*world.host, Step::UnplugPort { name: port.name.clone() });
        assert!(!everything(&*world.host).ports[&port.name].forwards);
        assert!(world.host.reap().unwrap() >= 1);
        assert_eq!(world.host.reap().unwrap(), 0);
        assert_eq!(everything(&*world.host).ports, [].into());
        assert_eq!(world.host.interfaces_in(&port.target).unwrap(), [name("lo")]);
        do_twice(&*world.host, Step::UnplugPort { name: port.name });
    });
}

#[test]
fn the_inside_of_a_port_is_seen_as_it_was_asked_for() {
    on_both(|world| {
        let host = &*world.host;
        host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        assert_eq!(host.look_inside(&port).unwrap(), Inside::NoPort);
        world.plug(&port);
        let inside = host.look_inside(&port).unwrap();
        assert!(!port.addresses.is_empty() && !port.routes.is_empty());
        assert_eq!(differences(&port, &inside), [], "{inside:?}");

        // An endpoint of the host itself.
        let seat = Port {
            target: Target::Host,
            interface: name("web0"),
            routes: Vec::new(),
            ..support::port(2, &container)
        };
        world.plug(&seat);
        assert_eq!(differences(&seat, &host.look_inside(&seat).unwrap()), []);

        let elsewhere = Port { target: Target::Path(world.container("b")), ..port.clone() };
        assert_eq!(host.look_inside(&elsewhere).unwrap(), Inside::Elsewhere { namesake: false });
        let nowhere = Port { target: Target::Path(world.path("c")), ..port.clone() };
        assert_eq!(host.look_inside(&nowhere).unwrap(), Inside::NoNamespace);
        host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        host.reap().unwrap();
        assert_eq!(host.look_inside(&port).unwrap(), Inside::NoPort);
    });
}

fn down(port: &hns_planner::Port) -> ObservedPort {
    ObservedPort { up: false, ..plugged(port) }
}

#[test]
fn a_port_is_down_until_it_is_opened() {
    on_both(|world| {
        let host = &*world.host;
        host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        let shown = || everything(host).ports[&port.name].clone();
        let missing = host.execute(&open(&port)).unwrap_err();
        assert!(matches!(missing, HostError::NoSuchLink { .. }), "{missing:?}");

        do_twice(host, Step::PlugPort(port.clone()));
        assert_eq!(shown(), down(&port));
        assert_eq!(host.interfaces_in(&port.target).unwrap(), [name("eth0"), name("lo")]);
        let filter = Step::FilterPort { name: port.name.clone(), policy: policy(&port), before: None };
        let refused = host.execute(&filter).unwrap_err();
        assert!(matches!(refused, HostError::NotTheHosts { .. }), "{refused:?}");
        do_twice(host, open(&port));
        assert_eq!(shown(), plugged(&port));

        do_twice(host, Step::ReplugPort(port.clone()));
        assert_eq!(shown(), down(&port));
        do_twice(host, open(&port));
        world.unplug(&port.name);
        do_twice(host, Step::ReplugPort(port.clone()));
        do_twice(host, open(&port));
        assert_eq!(shown(), plugged(&port));

        host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        host.execute(&Step::ReplugPort(port.clone())).unwrap();
        host.execute(&open(&port)).unwrap();
        host.reap().unwrap();
        assert_eq!(shown(), plugged(&port));
        host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        assert!(host.reap().unwrap() >= 1);
        assert_eq!(everything(host).ports, [].into());
    });
}

/// As when its filter could not be made.
#[test]
fn a_port_that_was_never_opened_is_unplugged_as_well() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let port = port(1, &world.container("a"));
        world.host.execute(&Step::PlugPort(port.clone())).unwrap();
        do_twice(&*world.host, Step::UnplugPort { name: port.name });
        assert!(world.host.reap().unwrap() >= 1);
        assert_eq!(everything(&*world.host).ports, [].into());
    });
}

#[test]
fn a_vnic_that_an_engine_moves_waits_in_the_hosts_own_namespace() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let port = handed();
        do_twice(&*world.host, Step::PlugPort(port.clone()));
        do_twice(&*world.host, open(&port));
        assert!(world.host.interfaces_in(&Target::Host).unwrap().contains(&port.interface));
        assert_eq!(everything(&*world.host).ports, [(port.name.clone(), plugged(&port))].into());
        do_twice(&*world.host, Step::UnplugPort { name: port.name.clone() });
        world.host.reap().unwrap();
        assert!(!world.host.interfaces_in(&Target::Host).unwrap().contains(&port.interface));
    });
}

#[test]
fn a_port_is_plugged_again_before_the_reaper_came() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let (first, second) = (world.container("a"), world.container("b"));
        world.host.execute(&Step::PlugPort(port(1, &first))).unwrap();
        world.host.execute(&Step::UnplugPort { name: port(1, &first).name }).unwrap();
        let again = port(1, &second);
        world.plug(&again);
        world.host.reap().unwrap();
        assert_eq!(everything(&*world.host).ports, [(again.name.clone(), plugged(&again))].into());
        assert_eq!(world.host.interfaces_in(&again.target).unwrap(), [name("eth0"), name("lo")]);
        assert_eq!(world.host.interfaces_in(&Target::Path(first.clone())).unwrap(), [name("lo")]);
    });
}

#[test]
fn many_threads_plug_and_unplug_at_once() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let containers: Vec<_> = (1..=24).map(|n| (n, world.container(&format!("c{n}")))).collect();
        let host = &world.host;
        std::thread::scope(|scope| {
            for part in containers.chunks(3) {
                scope.spawn(move || {
                    for (n, container) in part {
                        let port = port(*n, container);
                        let address = port.addresses[0].address();
                        host.execute(&Step::PlugPort(port.clone())).unwrap();
                        host.execute(&open(&port)).unwrap();
                        host.execute(&Step::AddElements(vec![Element::QuietAddress(address)])).unwrap();
                        if n % 3 == 0 {
                            host.execute(&Step::RemoveElements(vec![Element::QuietAddress(address)]))
                                .unwrap();
                            host.execute(&Step::UnplugPort { name: port.name }).unwrap();
                            host.reap().unwrap();
                        }
                    }
                });
            }
        });
        let observed = everything(&**host);
        assert_eq!(observed.rules.unwrap().len(), 16);
        assert_eq!(observed.ports.len(), 16);
        assert!(observed.ports.values().all(|port| port.forwards && port.up));
    });
}

#[test]
fn names_that_are_taken_are_told_apart() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let (first, second) = (world.container("a"), world.container("b"));
        world.host.execute(&Step::PlugPort(port(1, &first))).unwrap();
        let other_name = world.host.execute(&Step::PlugPort(port(2, &first))).unwrap_err();
        assert!(matches!(other_name, HostError::InterfaceTaken { .. }), "{other_name:?}");
        let other_target = world.host.execute(&Step::PlugPort(port(1, &second))).unwrap_err();
        assert!(matches!(other_target, HostError::LinkTaken { .. }), "{other_target:?}");
        assert_eq!(everything(&*world.host).ports.len(), 1);
    });
}

#[test]
fn what_is_missing_is_named() {
    on_both(|world| {
        let nowhere = world.path("nowhere");
        let target = Target::Path(nowhere.clone());
        let missing = world.host.identify(&target).unwrap_err();
        assert!(matches!(missing, HostError::NoSuchNamespace { .. }), "{missing:?}");
        let container = world.container("a");
        let no_switch = world.host.execute(&Step::PlugPort(port(1, &container))).unwrap_err();
        assert!(matches!(no_switch, HostError::NoSuchLink { .. }), "{no_switch:?}");
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let no_target = world.host.execute(&Step::PlugPort(port(1, &nowhere))).unwrap_err();
        assert!(matches!(no_target, HostError::NoSuchNamespace { .. }), "{no_target:?}");
        let no_port = world.host.execute(&Step::ReplugPort(port(1, &container))).unwrap_err();
        assert!(matches!(no_port, HostError::NoSuchLink { .. }), "{no_port:?}");
        let no_stats = world.host.stats(&port(1, &container).name).unwrap_err();
        assert!(matches!(no_stats, HostError::NoSuchLink { .. }), "{no_stats:?}");
    });
}

#[test]
fn a_port_that_lost_its_bridge_is_brought_back() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        world.plug(&port);
        world.unplug(&port.name);
        assert_eq!(everything(&*world.host).ports[&port.name].bridge, None);
        do_twice(&*world.host, Step::ReplugPort(port.clone()));
        do_twice(&*world.host, open(&port));
        assert_eq!(everything(&*world.host).ports[&port.name], plugged(&port));

        world.host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        do_twice(&*world.host, Step::ReplugPort(port.clone()));
        do_twice(&*world.host, open(&port));
        world.host.reap().unwrap();
        assert_eq!(everything(&*world.host).ports[&port.name], plugged(&port));
    });
}

#[test]
fn namespaces_are_made_told_apart_and_removed() {
    on_both(|world| {
        let paths = ["one", "two"].map(|name| world.namespace_path(name));
        for path in &paths {
            do_twice(&*world.host, Step::MakeNamespace(NamespaceSpec { path: path.clone() }));
        }
        assert_eq!(everything(&*world.host).namespaces, BTreeSet::from(paths.clone()));
        let identities: BTreeSet<_> =
            [Target::Host, Target::Path(paths[0].clone()), Target::Path(paths[1].clone())]
                .iter()
                .map(|target| world.host.identify(target).unwrap())
                .collect();
        assert_eq!(identities.len(), 3);
        for path in paths {
            do_twice(&*world.host, Step::RemoveNamespace(NamespaceSpec { path }));
        }
        assert_eq!(everything(&*world.host).namespaces, [].into());
    });
}

#[test]
fn a_switch_without_a_port_of_the_hosts_is_shown_as_it_was_asked_for() {
    on_both(|world| {
        let private =
            Switch { gateways: [].into(), loopback: false, hosted: false, extra_segments: 1, ..switch() };
        do_twice(&*world.host, Step::MakeSwitch(private.clone()));
        let port = port(1, &world.container("a"));
        world.plug(&port);
        let shown = [(private.name.clone(), shown(&private))].into();
        assert_eq!(everything(&*world.host).switches, shown);
        assert_eq!(world.host.observe(&Scope::Switch(private.name.clone())).unwrap().switches, shown);
        assert_eq!(everything(&*world.host).ports, [(port.name.clone(), plugged(&port))].into());
    });
}

#[test]
fn a_switch_that_began_to_answer_is_seen_and_made_silent() {
    on_real(|world| {
        let private = Switch { gateways: [].into(), loopback: false, hosted: false, ..switch() };
        let name = private.name.as_str();
        for damage in [
            vec!["ip", "link", "set", name, "arp", "on"],
            vec!["sysctl", "-qw", "net.ipv6.conf.hns0a1b2c3d.disable_ipv6=0"],
            // It turns on forwarding on every device.
            vec!["sysctl", "-qw", "net.ipv4.conf.all.forwarding=1"],
        ] {
            world.host.execute(&Step::MakeSwitch(private.clone())).unwrap();
            assert!(!everything(&*world.host).switches[&private.name].answers, "before {damage:?}");
            support::run(&damage);
            assert!(everything(&*world.host).switches[&private.name].answers, "{damage:?}");
        }
        world.host.execute(&Step::MakeSwitch(private.clone())).unwrap();
        assert!(!everything(&*world.host).switches[&private.name].answers);
    });
}

#[test]
fn elements_are_shown_exactly_as_they_were_added() {
    on_both(|world| {
        let host = &*world.host;
        let missing =
            host.execute(&Step::AddElements(vec![Element::Switch(name("hns00000001"))])).unwrap_err();
        assert!(matches!(missing, HostError::NoTable), "{missing:?}");
        assert_eq!(everything(host).rules, None);
        do_twice(host, Step::LoadTable { chains: true });
        assert_eq!(everything(host).rules, Some([].into()));
        let elements = elements();
        do_twice(host, Step::AddElements(elements.clone()));
        assert_eq!(everything(host).rules, Some(elements.iter().cloned().collect()));

        let (some, rest) = elements.split_at(elements.len() / 2);
        do_twice(host, Step::RemoveElements(some.to_vec()));
        assert_eq!(everything(host).rules, Some(rest.iter().cloned().collect()));
        do_twice(host, Step::RemoveElements(elements.clone()));
        assert_eq!(everything(host).rules, Some([].into()));

        host.execute(&Step::AddElements(elements.clone())).unwrap();
        host.execute(&Step::LoadTable { chains: true }).unwrap();
        assert_eq!(everything(host).rules, Some([].into()));
        do_twice(host, Step::AddElements(elements.clone()));
        world.flush_rules();
        assert_eq!(everything(host).rules, None);
        host.execute(&Step::RemoveElements(elements)).unwrap();
    });
}

#[test]
fn many_elements_are_added_and_removed_in_one_go() {
    on_both(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let to = "172.16.0.2".parse().unwrap();
        let many: Vec<Element> = (1..=5000)
            .map(|port| Element::Publish { at: None, transport: Transport::Tcp, port, to, to_port: port })
            .collect();
        do_twice(&*world.host, Step::AddElements(many.clone()));
        assert_eq!(everything(&*world.host).rules, Some(many.iter().cloned().collect()));
        world.host.execute(&Step::RemoveElements(many)).unwrap();
        assert_eq!(everything(&*world.host).rules, Some([].into()));
    });
}

#[test]
fn a_port_that_leads_elsewhere_is_not_published_again() {
    on_both(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let publish = |port, to: &str| Element::Publish {
            at: None,
            transport: Transport::Tcp,
            port,
            to: to.parse().unwrap(),
            to_port: 80,
        };
        let range = |to: &str| Element::PublishRange {
            at: None,
            transport: Transport::Tcp,
            ports: "8000-8010".parse().unwrap(),
            to: to.parse().unwrap(),
        };
        let first = vec![publish(80, "172.16.0.2"), publish(80, "fd00:16::2"), range("172.16.0.2")];
        world.host.execute(&Step::AddElements(first.clone())).unwrap();
        for taken in [publish(80, "172.16.0.3"), range("172.16.0.3")] {
            let add = Step::AddElements(vec![publish(81, "172.16.0.3"), taken]);
            let error = world.host.execute(&add).unwrap_err();
            // Kernels before 6.x say EBUSY, of overlapping ranges ENOTEMPTY.
            let errnos = [libc::EEXIST, libc::EBUSY, libc::ENOTEMPTY];
            assert!(errnos.iter().any(|errno| error.is_errno(*errno)), "{error:?}");
            assert_eq!(everything(&*world.host).rules, Some(first.iter().cloned().collect()));
        }
    });
}

#[test]
fn a_failing_call_does_nothing_on_the_fake_host() {
    let host = hns_host::FakeHost::new().fail_on_call(1);
    host.execute(&Step::LoadTable { chains: true }).unwrap();
    let error = host.execute(&Step::MakeSwitch(switch())).unwrap_err();
    assert!(matches!(error, HostError::Injected { call: 1 }), "{error:?}");
    assert_eq!(host.links(), []);
    host.execute(&Step::MakeSwitch(switch())).unwrap();
    assert_eq!(host.links(), [switch().name]);
}

#[test]
fn forwarding_is_turned_on_and_stays_on() {
    on_both(|world| {
        do_twice(&*world.host, Step::Forward(Forwarding { v4: true, v6: false }));
        assert_eq!(everything(&*world.host).forwarding, Forwarding { v4: true, v6: false });
        do_twice(&*world.host, Step::Forward(Forwarding { v4: false, v6: true }));
        assert_eq!(everything(&*world.host).forwarding, Forwarding { v4: true, v6: true });
    });
}

#[test]
fn the_hosts_addresses_are_told_and_its_own_switches_are_no_routes() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let addresses = world.host.addresses().unwrap();
        assert!(addresses.contains(&(switch().name, address("172.16.0.1/16"))), "{addresses:?}");
        assert_eq!(world.host.routes(None).unwrap(), []);
    });
}

#[test]
fn a_leaked_switch_is_found() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let leaks = |known: &[hns_net::IfName]| {
            let findings = world.host.diagnose(known).unwrap();
            findings.iter().any(|finding| finding.check == "leaks" && finding.level > hns_host::Level::Ok)
        };
        assert!(leaks(&[]));
        assert!(!leaks(&[switch().name]));
    });
}
