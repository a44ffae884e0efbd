use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hns_host::HostError;
use hns_planner::{Element, Step, needs_chains};

use crate::engine::Engine;
use crate::error::EngineError;

/// For so long a request waits for a table that went away under it.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

/// Steps that were performed, to be taken back in reverse unless the operation succeeds.
#[must_use = "what was done is taken back when this is dropped without `keep`"]
pub(crate) struct Done<'e> {
    engine: &'e Engine,
    steps: Vec<Step>,
    kept: bool,
}

impl Engine {
    /// Performs the steps in order. If one fails, those before it are taken back in reverse.
    pub(crate) fn execute(&self, steps: Vec<Step>) -> Result<Done<'_>, EngineError> {
        let mut done = Done { engine: self, steps: Vec::with_capacity(steps.len()), kept: false };
        for step in steps {
            self.execute_one(&step).inspect_err(|_| self.look_after(&step))?;
            done.steps.push(step);
        }
        Ok(done)
    }

    /// Performs a request, and again where our table went away under it and is back: whoever flushes all rules while
    /// containers start makes none of them fail. To be called with no lock held, since a repair waits for all requests.
    pub(crate) fn through_a_reload<T>(
        &self,
        request: impl Fn() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let begin = Instant::now();
        loop {
            let repaired = self.repairs.whole();
            let outcome = request();
            if !matches!(outcome, Err(EngineError::Host { source: HostError::NoTable, .. })) {
                return outcome;
            }
            self.background.repair_everything("something could not be undone");
            let rest = RELOAD_PATIENCE.saturating_sub(begin.elapsed());
            if !self.repairs.wait_for_another(repaired, rest) {
                return outcome;
            }
        }
    }

    /// A filter that could not be changed lets nothing pass, nor do those whose sets could not, and an overlay may lead nowhere. What they
    /// are to be held to now is for the repair to see to.
    fn look_after(&self, failed: &Step) {
        let is_held_to_less = matches!(
            failed,
            Step::FilterPort { before: Some(_), .. } | Step::SetSets { .. } | Step::SetOverlay { .. }
        );
        if is_held_to_less {
            self.background.repair_everything("something could not be undone");
        }
    }

    /// The same without the elements that other networks count on, if there are any.
    fn without_shared(&self, step: &Step) -> Option<Step> {
        let Step::RemoveElements(elements) = step else { return None };
        let is_shared = |element: &Element| matches!(element, Element::Tunnel(udp_port) if self.is_udp_port_shared(*udp_port));
        elements.iter().any(is_shared).then(|| {
            Step::RemoveElements(elements.iter().filter(|element| !is_shared(element)).cloned().collect())
        })
    }

    /// Performs one step; says in its error what was to be done.
    pub(crate) fn execute_one(&self, step: &Step) -> Result<(), EngineError> {
        let unshared = self.without_shared(step);
        let step = unshared.as_ref().unwrap_or(step);
        match step {
            Step::FilterPort { name, policy, .. } => return self.filter_port(name, policy),
            Step::SetSets { network, sets, .. } => return self.set_sets(*network, sets),
            Step::JoinAdapter { switch, uplink } => return self.join_adapter(switch, uplink),
            Step::LeaveAdapter { switch } if self.is_shared(switch) => return Ok(()),
            Step::LeaveAdapter { switch } => return self.leave_adapter(switch),
            Step::SetOverlay { network, overlay, before } => {
                return self.set_overlay(*network, overlay.as_ref(), before.as_ref());
            }
            Step::RemoveTunnel { device } if self.is_tunnel_shared(*device) => return Ok(()),
            Step::RemoveSwitch { name } if self.is_shared(name) => return Ok(()),
            _ => {}
        }
        // Whoever needs them is in the world before he adds them, and so is seen by whoever would remove them.
        let of_chains = matches!(step, Step::AddChains | Step::RemoveChains);
        let _one_by_one = of_chains.then(|| self.chains.lock().unwrap_or_else(PoisonError::into_inner));
        if *step == Step::RemoveChains && needs_chains(&self.world()) {
            return Ok(());
        }
        match self.host.execute(step) {
            // The interface of an endpoint that left this namespace a moment ago may still wait for the
            // reaper under the same name, and that endpoint may have been on any network.
            Err(HostError::InterfaceTaken { .. }) => {
                self.reap();
                self.host.execute(step)
            }
            other => other,
        }
        .map_err(|source| EngineError::Host { operation: describe(step), source })?;
        if let Step::UnplugPort { name } = step {
            self.forget_filter(name);
        }
        Ok(())
    }
}

impl Done<'_> {
    /// The operation succeeded: nothing is taken back.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for step in self.steps.drain(..).rev().filter_map(|step| step.undo()) {
            if let Err(error) = self.engine.execute_one(&step) {
                // What could not be taken back is a leftover for the next repair.
                tracing::warn!(error = &error as &dyn std::error::Error, "an undo failed");
                self.engine.background.repair_everything("something could not be undone");
            }
        }
        self.engine.background.reap();
    }
}

/// A step in the words of an error.
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::Forward(_) => "cannot turn on forwarding".to_owned(),
        Step::LoadTable { .. } => "cannot load the nftables table".to_owned(),
        Step::AddChains => "cannot add the chains of the nftables table".to_owned(),
        Step::RemoveChains => "cannot remove the chains of the nftables table".to_owned(),
        Step::MakeNamespace(spec) => format!("cannot make the namespace {}", spec.path.display()),
        Step::RemoveNamespace(spec) => format!("cannot remove the namespace {}", spec.path.display()),
        Step::MakeSwitch(switch) => format!("cannot make the switch {}", switch.name),
        Step::RemoveSwitch { name } => format!("cannot remove the switch {name}"),
        Step::JoinAdapter { switch, uplink } => format!("cannot join the switch {switch} to {uplink}"),
        Step::LeaveAdapter { switch } => format!("cannot take the switch {switch} off its adapter"),
        Step::MakeTunnel { device } => {
            format!("cannot open the tunnel {} of UDP port {}", device.name(), device.udp_port)
        }
        Step::RemoveTunnel { device } => format!("cannot close the tunnel {}", device.name()),
        Step::SetOverlay { network, .. } => {
            format!("cannot let the datapath know which hosts network {network} is on")
        }
        Step::AddStation(station) => {
            format!("cannot let {} in by the adapter {}", station.mac, station.adapter)
        }
        Step::RemoveStation(station) => {
            format!("cannot take {} off the adapter {}", station.mac, station.adapter)
        }
        Step::PlugPort(port) => format!("cannot plug the port {} into {}", port.name, port.bridge),
        Step::ReplugPort(port) => format!("cannot put the port {} back into {}", port.name, port.bridge),
        Step::FilterPort { name, .. } => format!("cannot set the filter of the port {name}"),
        Step::SetSets { network, .. } => format!("cannot give network {network} its address sets"),
        Step::OpenPort { name, .. } => format!("cannot open the port {name}"),
        Step::AddressPort { port, .. } => format!("cannot give {} its addresses", port.interface),
        Step::UnplugPort { name } => format!("cannot unplug the port {name}"),
        Step::AddElements(elements) => format!("cannot add {} elements to the table", elements.len()),
        Step::RemoveElements(elements) => format!("cannot remove {} elements from the table", elements.len()),
    }
}

/// Whether a step leaves links for the reaper.
pub(crate) fn leaves_links(step: &Step) -> bool {
    matches!(step, Step::UnplugPort { .. })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use hns_datapath::FakeDatapath;
    use hns_hcn::Network;
    use hns_host::{BridgeNetfilter, FakeHost, Host, Scope};
    use hns_resolver::FakeResolver;
    use hns_store::MemoryStore;
    use hns_wireguard::FakeWireguard;

    use super::*;
    use crate::{DefaultNetwork, EngineSettings};

    /// Whoever deleted what seemed to be the last network comes late.
    #[test]
    fn chains_that_somebody_needs_by_now_stay() {
        let host = FakeHost::new();
        let settings = EngineSettings {
            namespaces: PathBuf::from("/run/hns/netns"),
            default_network: DefaultNetwork::Suppressed,
            bridge_netfilter: BridgeNetfilter::Auto,
            boot_id: "boot".to_owned(),
        };
        let (datapath, resolver) = (Arc::new(FakeDatapath::new()), Arc::new(FakeResolver::new()));
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::start(
            Arc::new(host.clone()),
            datapath,
            resolver,
            Arc::new(FakeWireguard::new()),
            store,
            settings,
        )
        .unwrap();
        let chains = || host.observe(&Scope::Everything).unwrap().chains;
        assert!(!chains());
        let document = serde_json::json!({ "Name": "blue", "Type": "NAT" });
        let made = engine.create_network(Network::from_v2(&document).unwrap()).unwrap();
        engine.execute_one(&Step::RemoveChains).unwrap();
        assert!(chains());
        engine.delete_network(made.id.unwrap()).unwrap();
        assert!(!chains());
    }
}
