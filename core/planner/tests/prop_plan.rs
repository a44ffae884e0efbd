//! What every plan must do: lead to what is asked for, and let no port carry a frame before its filter.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hns_net::{Guid, IfName, Mac, Mtu, Uplink, UplinkMode};
use hns_planner::{
    Desired, Element, Forwarding, NamespaceSpec, Observed, ObservedPort, ObservedSwitch, Port, Station, Step,
    Switch, Target, TunnelDevice, plan,
};
use hns_vfp::Port as Policy;
use hns_vfp::model::{
    Acl, Action, Addresses, Encryption, Guards, Match, Origin, Overlay, Rule, Sets, Verdict,
};
use proptest::prelude::*;

const PORTS: u8 = 5;

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn namespace() -> NamespaceSpec {
    NamespaceSpec { path: "/run/hns/netns/one".into() }
}

/// The first switch has a port of the host's, the second has none.
fn switch(n: u8) -> Switch {
    Switch {
        name: name(&format!("hns0000000{n}")),
        mac: Mac::new([2, 0, 0, 0, 0, n]),
        mtu: Mtu::ETHERNET,
        alias: String::new(),
        gateways: BTreeSet::new(),
        extra_segments: 0,
        hosted: n == 0,
        loopback: false,
        uplink: (n == 1).then(uplink),
    }
}

/// What the second switch leads to.
fn uplink() -> Uplink {
    Uplink { adapter: name("eth0"), vlan: None, mode: UplinkMode::Stations }
}

fn station(n: u8) -> Station {
    Station { adapter: name("eth0"), mac: Mac::new([2, 0, 0, 0, 1, n]) }
}

fn any_stations() -> impl Strategy<Value = BTreeSet<Station>> {
    prop::collection::btree_set((0..3_u8).prop_map(station), 0..3)
}

/// The last port is on the second switch.
fn port(n: u8) -> Port {
    let switch = switch(u8::from(n == PORTS - 1));
    Port {
        name: name(&format!("hnv00000000000{n}")),
        bridge: switch.name,
        target: Target::Path(format!("/run/netns/c{n}").into()),
        interface: name("eth0"),
        mac: Mac::new([2, 0, 0, 0, 1, n]),
        mtu: Mtu::ETHERNET,
        addresses: Vec::new(),
        routes: Vec::new(),
        until: BTreeMap::new(),
    }
}

fn any_element() -> impl Strategy<Value = Element> {
    prop_oneof![
        (0..3_u8).prop_map(|n| Element::Switch(name(&format!("hns0000000{n}")))),
        (0..PORTS).prop_map(|n| Element::QuietPort(port(n).name)),
    ]
}

fn any_elements() -> impl Strategy<Value = BTreeSet<Element>> {
    prop::collection::btree_set(any_element(), 0..6)
}

/// The network's: two, of which policies name the one with the same letter.
fn any_sets() -> impl Strategy<Value = BTreeMap<Guid, Arc<Sets>>> {
    let member = |n: u8| format!("10.0.0.{n}/32").parse().unwrap();
    let set = prop::option::of((0..3_u8).prop_map(member));
    (set.clone(), set).prop_map(|(quiet, loud)| {
        let named = [("quiet", quiet), ("loud", loud)].into_iter();
        let sets = Sets::new(named.filter_map(|(id, member)| Some((id.to_owned(), vec![member?]))));
        if sets.is_empty() { BTreeMap::new() } else { [(Guid::ZERO, Arc::new(sets))].into() }
    })
}

/// Of two networks, each with a tunnel of its own or that of both.
fn any_overlays() -> impl Strategy<Value = BTreeMap<Guid, Arc<Overlay>>> {
    let overlay = |(udp_port, gateway, encrypted): (u16, u8, bool)| {
        let encryption =
            encrypted.then(|| Encryption { provider: [192, 0, 2, 1].into(), peers: BTreeMap::new() });
        Arc::new(Overlay {
            router: Mac::new([0x0e, 0x2a, 192, 0, 2, 1]),
            provider: [192, 0, 2, 1].into(),
            gateways: [[10, 0, 0, gateway].into()].into(),
            vnis: BTreeSet::new(),
            hosted: false,
            udp_port,
            direct: udp_port == 4789,
            encryption,
            routes: BTreeMap::new(),
        })
    };
    let known = (4789..4791_u16, 1..3_u8, any::<bool>()).prop_map(overlay);
    prop::collection::btree_map((1..3_u8).prop_map(|n| Guid::from_bytes([n; 16])), known, 0..3)
}

fn devices(overlay: &Arc<Overlay>) -> impl Iterator<Item = TunnelDevice> + use<> {
    std::iter::once(TunnelDevice::of(overlay)).chain(TunnelDevice::refused_by(overlay))
}

fn any_device() -> impl Strategy<Value = TunnelDevice> {
    (4789..4791_u16, any::<bool>()).prop_map(|(udp_port, encrypted)| TunnelDevice { udp_port, encrypted })
}

prop_compose! {
    fn any_desired()(
        ports in prop::collection::btree_set(0..PORTS, 0..5),
        switches in prop::collection::btree_set(0..2_u8, 0..3),
        rules in any_elements(),
        quiet in any::<bool>(),
        sets in any_sets(),
        (stations, overlays) in (any_stations(), any_overlays()),
        (v4, chains) in any::<(bool, bool)>(),
    ) -> Desired {
        let switches: BTreeMap<_, _> = switches.into_iter().map(switch).map(|it| (it.name.clone(), it)).collect();
        let here = |port: &Port| switches.contains_key(&port.bridge);
        let ports: BTreeMap<_, _> = ports.into_iter().map(port).filter(here).map(|it| (it.name.clone(), it)).collect();
        let policies = ports.iter().map(|(name, port)| (name.clone(), policy(port, quiet))).collect();
        let namespaces = if switches.len() == 2 { [(namespace().path, namespace())].into() } else { [].into() };
        let tunnels = overlays.values().flat_map(devices).collect();
        let (chains, forwarding) = (Some(chains), Forwarding { v4, v6: false });
        Desired { namespaces, switches, ports, policies, sets, overlays, tunnels, stations, rules, chains, forwarding }
    }
}

prop_compose! {
    fn any_shown_port()(
        n in 0..PORTS, plugged in any::<bool>(), up in any::<bool>(), forwards in any::<bool>(),
    ) -> (IfName, ObservedPort) {
        let Port { name, bridge, .. } = port(n);
        (name, ObservedPort { bridge: plugged.then_some(bridge), up, forwards: forwards && plugged })
    }
}

prop_compose! {
    fn any_observed()(
        ports in prop::collection::vec(any_shown_port(), 0..6),
        filtered in prop::collection::btree_map(0..PORTS, any::<bool>(), 0..5),
        switches in prop::collection::btree_map(0..2_u8, any::<bool>(), 0..3),
        rules in prop::option::of(any_elements()),
        sets in any_sets(),
        (stations, joined, overlays) in (any_stations(), any::<bool>(), any_overlays()),
        tunnels in prop::collection::btree_map(any_device(), any::<bool>(), 0..4),
        (v4, chains) in any::<(bool, bool)>(),
    ) -> Observed {
        let shown = |(n, up): (u8, bool)| (switch(n).name, ObservedSwitch { up, ..observed_switch(&switch(n)) });
        let held = |(n, quiet): (u8, bool)| (port(n).name, policy(&port(n), quiet));
        Observed {
            policies: filtered.into_iter().map(held).collect(),
            namespaces: [namespace().path].into(),
            switches: switches.into_iter().map(shown).collect(),
            ports: ports.into_iter().collect(),
            sets,
            overlays: overlays.into_iter().filter(|(_, overlay)| devices(overlay).all(|device| tunnels.contains_key(&device))).collect(),
            tunnels,
            uplinks: if joined { [(switch(1).name, uplink())].into() } else { [].into() },
            stations,
            chains: chains && rules.is_some(),
            rules,
            forwarding: Forwarding { v4, v6: false },
        }
    }
}

fn observed_switch(switch: &Switch) -> ObservedSwitch {
    ObservedSwitch {
        up: true,
        mac: switch.mac,
        mtu: switch.mtu,
        gateways: switch.gateways.clone(),
        segments: BTreeSet::new(),
        loopback: switch.loopback,
        wired: switch.uplink.is_some(),
        answers: switch.hosted,
    }
}

fn is_open(port: &ObservedPort) -> bool {
    port.up && port.forwards && port.bridge.is_some()
}

/// What a host shows after a step. Refuses what a host would refuse.
fn perform(step: &Step, host: &mut Observed) {
    match step {
        Step::Forward(wanted) => host.forwarding.v4 |= wanted.v4,
        Step::LoadTable { chains } => (host.rules, host.chains) = (Some(BTreeSet::new()), *chains),
        Step::AddChains => {
            assert!(host.rules.is_some());
            host.chains = true;
        }
        Step::RemoveChains => host.chains = false,
        Step::MakeNamespace(spec) => drop(host.namespaces.insert(spec.path.clone())),
        Step::RemoveNamespace(spec) => assert!(host.namespaces.remove(&spec.path)),
        Step::MakeSwitch(switch) => drop(host.switches.insert(switch.name.clone(), observed_switch(switch))),
        Step::RemoveSwitch { name } => {
            assert!(host.switches.remove(name).is_some());
            for port in host.ports.values_mut().filter(|port| port.bridge.as_ref() == Some(name)) {
                (port.bridge, port.forwards) = (None, false);
            }
        }
        Step::JoinAdapter { switch, uplink } => {
            assert!(host.switches[switch].wired);
            host.uplinks.insert(switch.clone(), uplink.clone());
        }
        Step::LeaveAdapter { switch } => assert!(host.uplinks.remove(switch).is_some()),
        Step::MakeTunnel { device } => assert_ne!(host.tunnels.insert(*device, true), Some(true)),
        Step::RemoveTunnel { device } => {
            assert!(host.overlays.values().flat_map(devices).all(|used| used != *device));
            assert!(host.tunnels.remove(device).is_some());
        }
        Step::SetOverlay { network, overlay, before } => {
            let known = match overlay {
                Some(overlay) => {
                    assert!(devices(overlay).all(|device| host.tunnels[&device]));
                    host.overlays.insert(*network, Arc::clone(overlay))
                }
                None => host.overlays.remove(network),
            };
            assert_eq!(known, *before);
        }
        Step::AddStation(station) => assert!(host.stations.insert(station.clone())),
        Step::RemoveStation(station) => assert!(host.stations.remove(station)),
        Step::PlugPort(port) => {
            assert!(host.switches.contains_key(&port.bridge) && !host.ports.contains_key(&port.name));
            // A new link, whatever an older one of this name was held to.
            host.policies.remove(&port.name);
            host.ports.insert(port.name.clone(), plugged(port));
        }
        Step::ReplugPort(port) => {
            *host.ports.get_mut(&port.name).unwrap() = plugged(port);
        }
        Step::FilterPort { name, policy, before } => {
            assert!(host.ports.contains_key(name));
            assert_eq!(host.policies.insert(name.clone(), Arc::clone(policy)), *before);
        }
        Step::SetSets { network, sets, before } => {
            assert_eq!(host.sets.insert(*network, Arc::clone(sets)).unwrap_or_default(), *before);
            host.sets.retain(|_, sets| !sets.is_empty());
        }
        Step::OpenPort { name, .. } => host.ports.get_mut(name).unwrap().up = true,
        Step::AddressPort { port, .. } => unreachable!("no plan looks into the container of {}", port.name),
        Step::UnplugPort { name } => {
            host.policies.remove(name);
            drop(host.ports.remove(name).unwrap());
        }
        Step::AddElements(elements) => host.rules.as_mut().unwrap().extend(elements.iter().cloned()),
        Step::RemoveElements(elements) => {
            host.rules.as_mut().unwrap().retain(|element| !elements.contains(element));
        }
    }
}

fn plugged(port: &Port) -> ObservedPort {
    ObservedPort { bridge: Some(port.bridge.clone()), up: false, forwards: true }
}

/// What the port is held to: a rule names the set `quiet` or `loud`.
fn policy(port: &Port, quiet: bool) -> Arc<Policy> {
    let remote = Addresses::Sets(vec![named(quiet).to_owned()]);
    let rule = Rule {
        id: String::new(),
        origin: Origin::Endpoint,
        priority: 100,
        action: Action::Block,
        matches: Match { remote, ..Match::default() },
    };
    let inward = Acl { tiers: Vec::new(), rules: vec![rule], fallback: Verdict::Allow };
    Arc::new(Policy {
        endpoint: Guid::ZERO,
        network: Guid::ZERO,
        mac: port.mac,
        addresses: Vec::new(),
        guards: Guards::ALL,
        blocked: false,
        quiet,
        plain_redirect: false,
        external: None,
        reflected: false,
        overlay: false,
        behind_host: [false; 2],
        ruled: false,
        confined: None,
        acl: [inward, Acl::open()],
        meters: [None; 2],
    })
}

const fn named(quiet: bool) -> &'static str {
    if quiet { "quiet" } else { "loud" }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_leads_to_what_is_asked_for(desired in any_desired(), mut host in any_observed()) {
        for step in plan(&desired, &host).steps {
            perform(&step, &mut host);
        }
        prop_assert_eq!(plan(&desired, &host).steps, []);
        prop_assert!(host.ports.keys().eq(desired.ports.keys()));
        prop_assert!(host.ports.values().all(is_open));
        prop_assert_eq!(host.rules.as_ref(), Some(&desired.rules));
        prop_assert_eq!(Some(host.chains), desired.chains);
        for (name, policy) in &desired.policies {
            prop_assert_eq!(host.policies.get(name), Some(policy));
        }
        prop_assert_eq!(host.sets, desired.sets);
        prop_assert_eq!(host.stations, desired.stations);
        prop_assert!(host.tunnels.keys().eq(&desired.tunnels) && host.tunnels.values().all(|right| *right));
        prop_assert_eq!(host.overlays, desired.overlays);
        prop_assert!(host.uplinks.keys().all(|switch| desired.switches.contains_key(switch)));
    }

    #[test]
    fn no_port_opens_before_it_has_its_filter(desired in any_desired(), mut host in any_observed()) {
        let was_open: BTreeSet<IfName> =
            host.ports.iter().filter(|(_, port)| is_open(port)).map(|(name, _)| name.clone()).collect();
        for step in plan(&desired, &host).steps {
            perform(&step, &mut host);
            for (name, policy) in desired.policies.iter().filter(|(name, _)| !was_open.contains(*name)) {
                let open = host.ports.get(name).is_some_and(is_open);
                prop_assert!(!open || host.policies.get(name) == Some(policy), "{name} after {step:?}");
            }
        }
    }

    /// Nor is one left behind without them.
    #[test]
    fn no_switch_is_made_before_the_chains(desired in any_desired(), mut host in any_observed()) {
        let desired = Desired { chains: Some(true), ..desired };
        for step in plan(&desired, &host).steps {
            prop_assert!(host.chains || !matches!(step, Step::MakeSwitch(_) | Step::OpenPort { .. }), "{step:?}");
            perform(&step, &mut host);
        }
    }

    #[test]
    fn the_chains_go_behind_what_they_served(desired in any_desired(), mut host in any_observed()) {
        let desired = Desired { chains: Some(false), ..desired };
        for step in plan(&desired, &host).steps {
            if step == Step::RemoveChains {
                prop_assert!(host.switches.keys().all(|name| desired.switches.contains_key(name)));
                prop_assert!(host.ports.keys().all(|name| desired.ports.contains_key(name)));
            }
            perform(&step, &mut host);
        }
    }

    /// The part of one object says nothing of what others need.
    #[test]
    fn a_part_that_does_not_depend_on_the_chains_leaves_them(desired in any_desired(), mut host in any_observed()) {
        host.rules.get_or_insert_default();
        let part = Desired { chains: None, ..desired };
        let steps = plan(&part, &host).steps;
        prop_assert!(!steps.iter().any(|step| matches!(step, Step::AddChains | Step::RemoveChains)));
    }

    /// The sets that a rule names are never emptier than both before and after.
    #[test]
    fn a_policy_is_never_without_the_sets_that_it_names(desired in any_desired(), mut host in any_observed()) {
        let members = |sets: &BTreeMap<Guid, Arc<Sets>>, id| sets.get(&Guid::ZERO).is_some_and(|sets| !sets.members(id).is_empty());
        let before = host.sets.clone();
        for step in plan(&desired, &host).steps {
            perform(&step, &mut host);
            for (name, policy) in &host.policies {
                let (id, is_asked_for) = (named(policy.quiet), desired.policies.get(name) == Some(policy));
                let is_given = matches!(&step, Step::FilterPort { name: filtered, .. } if filtered == name);
                let wanted = match is_asked_for {
                    true => is_given && members(&desired.sets, id),
                    false => desired.policies.contains_key(name) && members(&before, id),
                };
                prop_assert!(!wanted || members(&host.sets, id), "{name} after {step:?}");
            }
        }
    }

    /// As those of an older daemon without filters are, whose table drops nothing for lack of one.
    #[test]
    fn a_port_that_was_open_without_a_filter_is_not_cut_off_until_it_has_one(
        desired in any_desired(), mut host in any_observed(),
    ) {
        (host.rules, host.chains) = (None, false);
        let reached: Vec<IfName> = desired.ports.values()
            .filter(|port| host.ports.get(&port.name).is_some_and(|shown|
                is_open(shown) && shown.bridge.as_ref() == Some(&port.bridge))
                && host.switches.contains_key(&port.bridge))
            .map(|port| port.name.clone())
            .collect();
        for step in plan(&desired, &host).steps {
            perform(&step, &mut host);
            for name in &reached {
                prop_assert!(is_open(&host.ports[name]), "{name} after {step:?}");
                prop_assert!(host.rules.is_none() || host.policies.contains_key(name), "{name} after {step:?}");
            }
        }
    }

    #[test]
    fn what_a_plan_makes_is_taken_back_in_reverse(desired in any_desired()) {
        let chains = desired.chains == Some(true);
        let blank = Observed { rules: Some(BTreeSet::new()), chains, namespaces: [namespace().path].into(), ..Observed::default() };
        let steps = plan(&desired, &Observed { forwarding: desired.forwarding, ..blank.clone() }).steps;
        let mut host = blank.clone();
        steps.iter().for_each(|step| perform(step, &mut host));
        steps.iter().rev().filter_map(Step::undo).for_each(|step| perform(&step, &mut host));
        host.namespaces.insert(namespace().path);
        prop_assert_eq!(host, blank);
    }
}

#[test]
fn a_switch_that_answers_without_a_port_of_the_hosts_is_made_silent() {
    let private = Switch { uplink: None, ..switch(1) };
    let desired =
        Desired { switches: [(private.name.clone(), private.clone())].into(), ..Desired::default() };
    let shown = ObservedSwitch { answers: true, ..observed_switch(&private) };
    let host = Observed {
        rules: Some(BTreeSet::new()),
        switches: [(private.name.clone(), shown)].into(),
        ..Observed::default()
    };
    assert_eq!(plan(&desired, &host).steps, [Step::MakeSwitch(private)]);
}

#[test]
fn a_filter_that_is_gone_comes_back_and_nothing_else_is_touched() {
    let ports: BTreeMap<_, _> = [port(0), port(1)].map(|it| (it.name.clone(), it)).into();
    let policies = ports.iter().map(|(name, port)| (name.clone(), policy(port, false))).collect();
    let switches = [(switch(0).name, switch(0))].into();
    let desired = Desired { ports, policies, switches, ..Desired::default() };
    let mut host = Observed { rules: Some(BTreeSet::new()), ..Observed::default() };
    plan(&desired, &host).steps.iter().for_each(|step| perform(step, &mut host));
    let name = port(1).name;
    host.policies.remove(&name);
    let back = Step::FilterPort { name, policy: policy(&port(1), false), before: None };
    assert_eq!(plan(&desired, &host).steps, [back]);
}

#[test]
fn a_changed_policy_is_taken_back_to_what_it_was() {
    let (name, [old, new]) = (port(1).name, [false, true].map(|quiet| policy(&port(1), quiet)));
    let change =
        Step::FilterPort { name: name.clone(), policy: Arc::clone(&new), before: Some(Arc::clone(&old)) };
    assert_eq!(change.undo(), Some(Step::FilterPort { name, policy: old, before: Some(new) }));
}
