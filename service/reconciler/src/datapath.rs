//! The filters at the ports: which there are, and what they are held to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hns_net::{Guid, IfName};
use hns_planner::{Observed, TunnelDevice, network_sets};
use hns_vfp::Port;
use hns_vfp::model::{Overlay, Sets};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Fills in what the host cannot see: what the filters hold all ports to.
    pub(crate) fn observe_policies(&self, observed: &mut Observed) -> Result<(), EngineError> {
        let operation = || "cannot see which ports have their filter".to_owned();
        observed.policies = self.datapath.held().map_err(EngineError::datapath(operation))?;
        let operation = || "cannot see which address sets the datapath holds".to_owned();
        observed.sets = self.datapath.held_sets().map_err(EngineError::datapath(operation))?;
        observed.uplinks = self.held_uplinks()?;
        observed.overlays = self.held_overlays()?;
        Ok(())
    }

    /// What the datapath knows of overlays; an encrypted one only while somebody encrypts.
    pub(crate) fn held_overlays(&self) -> Result<BTreeMap<Guid, Arc<Overlay>>, EngineError> {
        let operation = || "cannot see what the datapath knows of overlays".to_owned();
        let mut held = self.datapath.held_overlays().map_err(EngineError::datapath(operation))?;
        held.retain(|_, overlay| overlay.encryption.is_none() || self.wireguard.runs());
        Ok(held)
    }

    /// The same of one port.
    pub(crate) fn observe_policy(&self, name: &IfName, observed: &mut Observed) -> Result<(), EngineError> {
        let operation = || format!("cannot see whether the port {name} has its filter");
        let held = self.datapath.held_at(name).map_err(EngineError::datapath(operation))?;
        observed.policies.extend(held.map(|policy| (name.clone(), policy)));
        Ok(())
    }

    pub(crate) fn filter_port(&self, name: &IfName, policy: &Arc<Port>) -> Result<(), EngineError> {
        self.have_sets_of(policy)?;
        let operation = || format!("cannot give the port {name} its filter");
        self.datapath.set_port(name, policy).map_err(EngineError::datapath(operation))
    }

    /// A set that could not be programmed is empty for the datapath: no rule may be programmed that names it, or it would block nothing.
    fn have_sets_of(&self, policy: &Port) -> Result<(), EngineError> {
        if !policy.names_sets() {
            return Ok(());
        }
        let operation = || "cannot see which address sets the datapath holds".to_owned();
        let held = self.datapath.held_sets().map_err(EngineError::datapath(operation))?;
        if held.contains_key(&policy.network) {
            return Ok(());
        }
        let sets = network_sets(self.world().network(policy.network)?);
        self.set_sets(policy.network, &Arc::new(sets))
    }

    pub(crate) fn set_sets(&self, network: Guid, sets: &Arc<Sets>) -> Result<(), EngineError> {
        let operation = || format!("cannot give network {network} its address sets");
        self.datapath.set_sets(network, sets).map_err(EngineError::datapath(operation))
    }

    pub(crate) fn set_overlay(
        &self,
        network: Guid,
        overlay: Option<&Arc<Overlay>>,
        before: Option<&Arc<Overlay>>,
    ) -> Result<(), EngineError> {
        let operation = || format!("cannot let the datapath know which hosts network {network} is on");
        let Some(overlay) = overlay else {
            self.datapath.remove_overlay(network).map_err(EngineError::datapath(operation))?;
            self.wireguard.set(network, None);
            return Ok(());
        };
        self.encrypt(network, overlay)?;
        let device = TunnelDevice::of(overlay).name();
        let clear = TunnelDevice::refused_by(overlay).map(TunnelDevice::name);
        let set = self.datapath.set_overlay(network, &device, clear.as_ref(), overlay);
        let keys_before = before.and_then(|before| before.encryption.as_ref());
        set.inspect_err(|_| self.wireguard.set(network, keys_before))
            .map_err(EngineError::datapath(operation))
    }

    /// Lets what an overlay sends to other hosts be encrypted, where it is asked for.
    fn encrypt(&self, network: Guid, overlay: &Overlay) -> Result<(), EngineError> {
        self.wireguard.set(network, overlay.encryption.as_ref());
        let IpAddr::V6(own) = overlay.provider else { return Ok(()) };
        if overlay.encryption.is_none() || self.wireguard.runs() {
            return Ok(());
        }
        let operation = || format!("cannot encrypt what network {network} sends to other hosts");
        let device = self.host.open_encrypted(own).map_err(EngineError::host(operation))?;
        self.wireguard.run(device).map_err(EngineError::encryption(operation))
    }

    pub(crate) fn forget_filter(&self, name: &IfName) {
        if let Err(error) = self.datapath.remove_port(name) {
            tracing::warn!(port = %name, error = &error as &dyn std::error::Error, "the datapath keeps a port");
        }
    }

    /// Puts the programs of this daemon in the place of an older one's, now that every port is programmed.
    pub(crate) fn upgrade_datapath(&self) -> Result<(), EngineError> {
        self.datapath.upgrade().map_err(EngineError::datapath(|| "cannot start the datapath".to_owned()))
    }

    pub(crate) fn collect_flows(&self) {
        match self.datapath.collect() {
            Ok(collected) if collected.flows > 0 => {
                tracing::debug!(flows = collected.flows, "connections have ended");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "ended connections were not collected"
                );
            }
        }
    }
}
