//! Bringing the host in line with what the store asks for: everything at start, and what an event touches
//! while running.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use hns_host::{HostError, Scope};
use hns_model::Attachment;
use hns_net::{Guid, IfName};
use hns_planner::{Step, Target, compile, compile_endpoint, forwarding_of, plan};

use crate::endpoints::announcement;
use crate::engine::{Engine, blank_slate};
use crate::error::EngineError;
use crate::flows;
use crate::locks::Key;

/// What a repair did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    pub steps: usize,
    pub failed: usize,
    /// Whether what the host's firewall drops was taken over, or another try is due.
    pub follows_firewall: bool,
}

impl Engine {
    /// Compares everything and repairs the difference. No request is under way meanwhile, since a half
    /// made endpoint looks just like a leftover.
    pub(crate) fn repair_everything(&self) -> Result<Repaired, EngineError> {
        let outcome = self.try_to_repair_everything();
        let done = outcome.as_ref().is_ok_and(|repaired| repaired.failed == 0);
        if done {
            self.repairs.succeeded();
        } else {
            self.repairs.failed();
        }
        outcome
    }

    fn try_to_repair_everything(&self) -> Result<Repaired, EngineError> {
        let _alone = self.locks.close();
        self.drop_lost_namespaces();
        let stuck = self.follow_bridges()?;
        let desired = compile(&self.world());
        let operation = || "cannot see what the host shows".to_owned();
        let mut observed = self.host.observe(&Scope::Everything).map_err(EngineError::host(operation))?;
        self.observe_policies(&mut observed)?;
        let steps = plan(&desired, &observed).steps;
        // A repair that failed late may have left nothing to do.
        let unlike: BTreeSet<&IfName> = steps.iter().filter_map(Step::port).collect();
        desired.ports.keys().filter(|port| !unlike.contains(port)).for_each(|port| self.clear_trouble(port));
        let mut repaired = Repaired { steps: steps.len(), failed: stuck, ..Repaired::default() };
        let had_table = observed.rules.is_some() && (observed.chains || desired.chains != Some(true));
        // Ports of which a step was not done: the later ones would open what has no filter, or hide that it has trouble.
        let mut given_up: BTreeSet<IfName> = BTreeSet::new();
        let mut rules_trouble = None;
        for step in steps {
            if step.port().is_some_and(|port| given_up.contains(port)) {
                continue;
            }
            if let Some(port) = is_handed(&step) {
                self.lose_handed_port(port);
                given_up.insert(port.clone());
            } else if let Err(error) = self.execute_one(&step) {
                repaired.failed += 1;
                self.mark_trouble(&step, &error);
                if is_of_rules(&step) {
                    rules_trouble.get_or_insert_with(|| {
                        format!("closed to what the host forwards: {}", chain(&error))
                    });
                }
                given_up.extend(step.port().cloned());
                if let Step::SetSets { network, .. } = &step {
                    let lost = desired.policies.iter().filter(|(_, policy)| policy.network == *network);
                    let lost = lost.filter(|(_, policy)| policy.names_sets());
                    let lost: Vec<IfName> = lost.map(|(name, _)| name.clone()).collect();
                    lost.iter().for_each(|port| self.mark_port(port, &error));
                    given_up.extend(lost);
                }
            } else if let Some(port) = opened_by(&step) {
                self.clear_trouble(port);
                self.announce_again(port);
            }
        }
        self.world().set_rules_trouble(rules_trouble);
        // Not before, as it may take its time.
        self.hold_all_host_ports();
        if !had_table {
            self.background.flush_flows(flows::without_table(&desired));
        }
        self.reap();
        self.open_reserved_chain();
        self.follow_ways_out();
        repaired.follows_firewall = self.follow_host_firewall();
        Ok(repaired)
    }

    /// Says whether the host's firewall is followed, or another try is due.
    pub(crate) fn repair_everything_and_log(&self, cause: &str) -> bool {
        match self.repair_everything() {
            Ok(repaired) => {
                match (repaired.steps, repaired.failed) {
                    (0, _) => tracing::debug!(cause, "nothing to repair"),
                    (steps, 0) => tracing::info!(cause, steps, "repaired the host"),
                    (steps, failed) => tracing::warn!(cause, steps, failed, "the repair is not complete"),
                }
                repaired.follows_firewall
            }
            Err(error) => {
                tracing::error!(cause, error = &error as &dyn std::error::Error, "the host was not repaired");
                self.follow_host_firewall()
            }
        }
    }

    /// Repairs everything when somebody has turned off the host's forwarding: nothing tells of that.
    pub(crate) fn keep_forwarding(&self) {
        let shown = match self.host.forwarding() {
            Ok(shown) => shown,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the host's forwarding is not known"
                );
                return;
            }
        };
        let wanted = forwarding_of(&self.world());
        let lacks = wanted.v4 && !shown.v4 || wanted.v6 && !shown.v6;
        if lacks && !self.repairs.left_something_undone() {
            self.repair_everything_and_log("the host's forwarding was turned off");
        }
    }

    /// Port mappings obey what the host's firewall drops of what comes to the host itself. Says whether that is
    /// done with, or another try is due.
    pub(crate) fn follow_host_firewall(&self) -> bool {
        match self.host.follow_host_firewall() {
            Ok(drops) => {
                if self.host_drops.swap(drops, Ordering::Relaxed) != drops {
                    tracing::info!(drops, "published ports follow the host's own firewall");
                }
            }
            Err(error) if error.is_disturbed() => return false,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "published ports do not follow the host's own firewall"
                );
            }
        }
        true
    }

    /// Brings one port back, or says why it stays away.
    pub(crate) fn repair_port(&self, name: &IfName) {
        let _pass = self.locks.pass();
        let Some((id, network)) = self.endpoint_of(name) else { return };
        let namespace = {
            let lock = self.locks.network(network);
            let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
            let _held = self.locks.hold(Key::Endpoint(id));
            // The endpoint may have been detached or deleted before its lock was ours.
            if self.endpoint_of(name).is_none_or(|(same, _)| same != id) {
                return;
            }
            let namespace =
                self.world().endpoint(id).ok().and_then(|endpoint| endpoint.attachment()?.namespace());
            if let Err(error) = self.replug(id, name) {
                tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "the port stays away");
                self.repairs.failed();
                let _ = self.world().set_trouble(id, Some(chain(&error)));
            }
            namespace
        };
        // The endpoint may have lost its namespace. A namespace's lock comes before an endpoint's.
        if let Some(namespace) = namespace {
            self.release_lent(namespace);
        }
    }

    fn replug(&self, id: Guid, name: &IfName) -> Result<(), EngineError> {
        let (desired, endpoint) = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            (compile_endpoint(endpoint, &world), endpoint.clone())
        };
        let namespace = endpoint.attachment().and_then(Attachment::namespace);
        if namespace.is_some_and(|namespace| self.is_lost(namespace)) {
            tracing::info!(endpoint = %id, "its namespace is gone; it is detached");
            return self.unplug(id);
        }
        let scope = Scope::Port(name.clone());
        let operation = || format!("cannot see the port {name}");
        let shown = self.host.observe(&scope).map_err(EngineError::host(operation))?;
        let rules = Some(desired.rules.clone());
        let mut observed = hns_planner::Observed { ports: shown.ports, rules, ..blank_slate() };
        self.observe_policy(name, &mut observed)?;
        for step in plan(&desired, &observed).steps {
            if is_handed(&step).is_some() {
                return self.lose_handed(&endpoint);
            }
            tracing::info!(endpoint = %id, "{}", crate::execute::describe(&step).replacen("cannot ", "", 1));
            self.execute_one(&step)?;
        }
        self.announce_again(name);
        self.world().set_trouble(id, None)?;
        Ok(())
    }

    pub(crate) fn endpoint_of(&self, port: &IfName) -> Option<(Guid, Guid)> {
        let world = self.world();
        world.endpoint_at(port).map(|endpoint| (endpoint.id(), endpoint.network()))
    }

    fn lose_handed_port(&self, port: &IfName) {
        let Some((id, _)) = self.endpoint_of(port) else { return };
        let outcome = self.settled_endpoint(id).and_then(|endpoint| self.lose_handed(&endpoint));
        if let Err(error) = outcome {
            tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "it stays");
        }
    }

    fn mark_trouble(&self, step: &Step, error: &EngineError) {
        tracing::error!(error = error as &dyn std::error::Error, "the host could not be repaired");
        if let Some(port) = step.port() {
            self.mark_port(port, error);
        }
    }

    fn mark_port(&self, port: &IfName, error: &EngineError) {
        if let Some((id, _)) = self.endpoint_of(port) {
            let _ = self.world().set_trouble(id, Some(chain(error)));
        }
    }

    /// Whoever looked for the endpoint while its port was away would look again only after a second.
    fn announce_again(&self, port: &IfName) {
        let Some((id, network)) = self.endpoint_of(port) else { return };
        let news = {
            let world = self.world();
            let both = world.endpoint(id).ok().zip(world.network(network).ok());
            both.and_then(|(endpoint, network)| announcement(endpoint, network))
        };
        if let Some(news) = news {
            self.background.announce(news);
        }
    }

    fn clear_trouble(&self, port: &IfName) {
        if let Some((id, _)) = self.endpoint_of(port) {
            let _ = self.world().set_trouble(id, None);
        }
    }

    /// Whether a namespace that was given to us is gone, or its path leads to another one by now.
    pub(crate) fn is_lost(&self, id: Guid) -> bool {
        let (origin, path) = {
            let world = self.world();
            let Ok(namespace) = world.namespace(id) else { return true };
            (namespace.origin(), namespace.path().map(std::path::Path::to_owned))
        };
        let Some(path) = path.filter(|_| origin.is_foreign()) else { return false };
        let remembered = self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        match self.host.identify(&Target::Path(path)) {
            Ok(shown) => remembered.is_some_and(|remembered| shown != remembered),
            Err(error) => is_gone(&error),
        }
    }

    /// Detaches the endpoints whose namespace is gone: their container ended while we were away.
    fn drop_lost_namespaces(&self) {
        let given: Vec<Guid> = self.world().namespaces().map(hns_model::Namespace::id).collect();
        for id in given.into_iter().filter(|id| self.is_lost(*id)) {
            let members: Vec<Guid> = match self.world().namespace(id) {
                Ok(namespace) => namespace.members().collect(),
                Err(_) => continue,
            };
            for endpoint in members {
                tracing::info!(%endpoint, namespace = %id, "its namespace is gone; it is detached");
                if let Err(error) = self.unplug(endpoint) {
                    tracing::warn!(%endpoint, error = &error as &dyn std::error::Error, "it stays attached");
                }
            }
            self.release_lent_held(id);
        }
    }

    /// Whether the host should show this switch of ours.
    pub(crate) fn has_switch(&self, name: &IfName) -> bool {
        let base = name.as_str().split('.').next().unwrap_or_default().to_owned();
        self.switches().iter().any(|switch| switch.as_str() == base)
    }

    pub(crate) fn switches(&self) -> Vec<IfName> {
        let world = self.world();
        world.networks().filter_map(hns_planner::switch_of).map(|switch| switch.name).collect()
    }

    /// The devices by which overlays lead to other hosts.
    pub(crate) fn tunnels(&self) -> Vec<IfName> {
        let world = self.world();
        world.networks().flat_map(hns_planner::tunnels_of).map(hns_planner::TunnelDevice::name).collect()
    }
}

/// Whether a namespace is gone, rather than out of sight for a moment.
pub(crate) fn is_gone(error: &HostError) -> bool {
    matches!(
        error,
        HostError::NoSuchNamespace { .. } | HostError::NotANamespace { .. } | HostError::OwnNamespace { .. }
    )
}

/// The port that carries frames again after this step.
fn opened_by(step: &Step) -> Option<&IfName> {
    match step {
        Step::FilterPort { name, .. } | Step::OpenPort { name, .. } => Some(name),
        _ => None,
    }
}

/// Whether all networks with a host port suffer when this step fails.
const fn is_of_rules(step: &Step) -> bool {
    matches!(step, Step::LoadTable { .. } | Step::AddChains | Step::AddElements(_) | Step::RemoveElements(_))
}

/// The port that this step would make for an engine to move: it was moved already, and no one would come for another.
fn is_handed(step: &Step) -> Option<&IfName> {
    match step {
        Step::PlugPort(port) if port.target == Target::Engine => Some(&port.name),
        _ => None,
    }
}

/// An error with its causes in one line, as it is shown in an object's health.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
