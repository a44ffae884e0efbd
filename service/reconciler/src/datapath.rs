//! The filters at the ports: which there are, and what they are held to.

use std::sync::Arc;

use hns_net::IfName;
use hns_planner::Observed;
use hns_vfp::Port;

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Fills in what the host cannot see: what the filters hold all ports to.
    pub(crate) fn observe_policies(&self, observed: &mut Observed) -> Result<(), EngineError> {
        let operation = || "cannot see which ports have their filter".to_owned();
        observed.policies = self.datapath.held().map_err(EngineError::datapath(operation))?;
        Ok(())
    }

    /// The same of one port.
    pub(crate) fn observe_policy(&self, name: &IfName, observed: &mut Observed) -> Result<(), EngineError> {
        let operation = || format!("cannot see whether the port {name} has its filter");
        let held = self.datapath.held_at(name).map_err(EngineError::datapath(operation))?;
        observed.policies.extend(held.map(|policy| (name.clone(), policy)));
        Ok(())
    }

    pub(crate) fn filter_port(&self, name: &IfName, policy: &Arc<Port>) -> Result<(), EngineError> {
        let operation = || format!("cannot give the port {name} its filter");
        self.datapath.set_port(name, policy).map_err(EngineError::datapath(operation))
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
