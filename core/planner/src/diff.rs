use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hns_net::{Guid, IfName};
use hns_vfp::model::Sets;

use crate::desired::{Desired, Forwarding, Port, Switch};
use crate::observed::{Observed, ObservedPort, ObservedSwitch};
use crate::rules::Element;
use crate::step::Step;

/// Ordered steps that bring the host from what it shows to what is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

type NetworkSets = BTreeMap<Guid, Arc<Sets>>;

/// What is there and not asked for goes first, so that names are free; what is asked for and not there
/// comes from the ground up: address sets, forwarding, table, namespaces, switches, elements, ports. Elements come before
/// ports, and a filter before its port is opened, so that an endpoint's first packet meets its policy. Sets that are asked for no
/// longer go last, when no policy names them any more. What is right is not touched.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    clear(desired, observed, &mut steps);
    change_overlays(desired, observed, &mut steps);
    let all_sets = with_former_sets(desired, observed);
    change_sets(&observed.sets, &all_sets, &mut steps);
    let lacking = Forwarding {
        v4: desired.forwarding.v4 && !observed.forwarding.v4,
        v6: desired.forwarding.v6 && !observed.forwarding.v6,
    };
    if lacking != Forwarding::default() {
        steps.push(Step::Forward(lacking));
    }
    if observed.rules.is_none() {
        filter_before_the_table(desired, observed, &mut steps);
        steps.push(Step::LoadTable { chains: desired.chains != Some(false) });
    } else if desired.chains == Some(true) && !observed.chains {
        steps.push(Step::AddChains);
    }
    for (path, spec) in &desired.namespaces {
        if !observed.namespaces.contains(path) {
            steps.push(Step::MakeNamespace(spec.clone()));
        }
    }
    for (name, switch) in &desired.switches {
        if observed.switches.get(name).is_none_or(|shown| !switch_is_right(switch, shown)) {
            steps.push(Step::MakeSwitch(switch.clone()));
        }
    }
    for (name, switch) in &desired.switches {
        if let Some(uplink) = &switch.uplink
            && observed.uplinks.get(name) != Some(uplink)
        {
            steps.push(Step::JoinAdapter { switch: name.clone(), uplink: uplink.clone() });
        }
    }
    steps.extend(desired.stations.difference(&observed.stations).cloned().map(Step::AddStation));
    let missing = match &observed.rules {
        Some(shown) => desired.rules.difference(shown).cloned().collect(),
        None => desired.rules.iter().cloned().collect(),
    };
    add_elements(missing, &mut steps);
    for port in desired.ports.values() {
        add_port(port, desired, observed, &mut steps);
    }
    change_sets(&all_sets, &desired.sets, &mut steps);
    Plan { steps }
}

/// A device is there before an overlay that uses it, and goes after the last one.
fn change_overlays(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    for (network, before) in &observed.overlays {
        if !desired.overlays.contains_key(network) {
            let before = Some(Arc::clone(before));
            steps.push(Step::SetOverlay { network: *network, overlay: None, before });
        }
    }
    for device in &desired.tunnels {
        if observed.tunnels.get(device) != Some(&true) {
            steps.push(Step::MakeTunnel { device: *device });
        }
    }
    for (network, overlay) in &desired.overlays {
        let before = observed.overlays.get(network).cloned();
        if before.as_ref() != Some(overlay) {
            let overlay = Some(Arc::clone(overlay));
            steps.push(Step::SetOverlay { network: *network, overlay, before });
        }
    }
    for device in observed.tunnels.keys().filter(|device| !desired.tunnels.contains(device)) {
        steps.push(Step::RemoveTunnel { device: *device });
    }
}

/// The sets that are asked for, and those that ports may still name until they have their new policies.
fn with_former_sets(desired: &Desired, observed: &Observed) -> NetworkSets {
    let mut all = observed.sets.clone();
    for (network, sets) in &desired.sets {
        let former = all.get(network).cloned().unwrap_or_default();
        let both = if former == *sets { former } else { Arc::new(sets.with_those_of(&former)) };
        all.insert(*network, both);
    }
    all
}

fn change_sets(from: &NetworkSets, to: &NetworkSets, steps: &mut Vec<Step>) {
    let networks: BTreeSet<Guid> = from.keys().chain(to.keys()).copied().collect();
    for network in networks {
        let of = |all: &NetworkSets| all.get(&network).cloned().unwrap_or_default();
        let (before, sets) = (of(from), of(to));
        if before != sets {
            steps.push(Step::SetSets { network, sets, before });
        }
    }
}

fn add_port(port: &Port, desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    let shown = observed.ports.get(&port.name);
    let right = shown.is_some_and(|shown| port_is_right(port, shown));
    match shown {
        None => steps.push(Step::PlugPort(port.clone())),
        Some(_) if !right => steps.push(Step::ReplugPort(port.clone())),
        Some(_) => {}
    }
    let is_filtered_already = right && observed.rules.is_none();
    if !is_filtered_already {
        steps.extend(filter(&port.name, desired, observed));
    }
    if !right {
        let (name, target, interface) = (port.name.clone(), port.target.clone(), port.interface.clone());
        steps.push(Step::OpenPort { name, target, interface });
    }
}

/// What holds a port to its policy, unless it is held to it already.
fn filter(name: &IfName, desired: &Desired, observed: &Observed) -> Option<Step> {
    let policy = desired.policies.get(name)?;
    let before = observed.ports.get(name).and_then(|_| observed.policies.get(name));
    let step = Step::FilterPort { name: name.clone(), policy: Arc::clone(policy), before: before.cloned() };
    (before != Some(policy)).then_some(step)
}

/// The table drops what comes from a port of ours without having passed its filter. Ports that carry frames, as those of an
/// older daemon without filters do, get theirs first, or they would be cut off until their turn comes.
fn filter_before_the_table(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    for (name, port) in &desired.ports {
        if observed.ports.get(name).is_some_and(|shown| port_is_right(port, shown)) {
            steps.extend(filter(name, desired, observed));
        }
    }
}

fn clear(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    if let Some(shown) = &observed.rules {
        let stale: Vec<Element> = shown.difference(&desired.rules).cloned().collect();
        if !stale.is_empty() {
            steps.push(Step::RemoveElements(stale));
        }
    }
    for name in observed.ports.keys().filter(|name| !desired.ports.contains_key(*name)) {
        steps.push(Step::UnplugPort { name: name.clone() });
    }
    steps.extend(observed.stations.difference(&desired.stations).cloned().map(Step::RemoveStation));
    let is_joined = |name: &IfName| desired.switches.get(name).is_some_and(|switch| switch.uplink.is_some());
    for switch in observed.uplinks.keys().filter(|name| !is_joined(name)) {
        steps.push(Step::LeaveAdapter { switch: switch.clone() });
    }
    for name in observed.switches.keys().filter(|name| !desired.switches.contains_key(*name)) {
        steps.push(Step::RemoveSwitch { name: name.clone() });
    }
    for path in observed.namespaces.iter().filter(|path| !desired.namespaces.contains_key(*path)) {
        steps.push(Step::RemoveNamespace(crate::NamespaceSpec { path: path.clone() }));
    }
    // Behind all that they served.
    if desired.chains == Some(false) && observed.chains && observed.rules.is_some() {
        steps.push(Step::RemoveChains);
    }
}

/// What gives a port that stays as it is otherwise the addresses and routes of `after`, if they differ, or for another time.
#[must_use]
pub fn readdress(before: &Port, after: &Port) -> Option<Step> {
    let is_same =
        before.addresses == after.addresses && before.routes == after.routes && before.until == after.until;
    (!is_same).then(|| Step::AddressPort { port: after.clone(), before: before.clone() })
}

fn add_elements(missing: Vec<Element>, steps: &mut Vec<Step>) {
    if !missing.is_empty() {
        steps.push(Step::AddElements(missing));
    }
}

fn switch_is_right(switch: &Switch, shown: &ObservedSwitch) -> bool {
    shown.up
        && shown.mac == switch.mac
        // That of an external switch's own device, which nobody uses, follows its ports.
        && (shown.mtu == switch.mtu || switch.uplink.is_some())
        && shown.gateways == switch.gateways
        && shown.segments == (1..=switch.extra_segments).collect()
        && (shown.loopback || !switch.loopback)
        && (!shown.answers || switch.hosted)
        && (shown.wired || switch.uplink.is_none())
}

fn port_is_right(port: &Port, shown: &ObservedPort) -> bool {
    shown.bridge.as_ref() == Some(&port.bridge) && shown.up && shown.forwards
}
