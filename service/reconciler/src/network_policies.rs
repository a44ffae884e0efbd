//! What changes about a network for all its endpoints at once, live: address sets, rules, defaults of its ports.

use std::sync::PoisonError;

use hns_hcn::{self as hcn, NetworkType, Policy, PortParams, RequestType};
use hns_model::{ModelError, NamespaceOrigin, Network, World};
use hns_net::Guid;
use hns_planner::{Desired, Observed, compile_policies, plan};
use hns_store::{Durability, Txn};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::records;

/// Takes a change of the world back.
type Undo = Box<dyn FnOnce(&mut World)>;

impl Engine {
    pub(crate) fn change_network_policies(
        &self,
        id: Guid,
        request: RequestType,
        policies: &[Policy],
    ) -> Result<hcn::Network, EngineError> {
        self.change_network(id, |world| {
            let change = world.change_network_policies(id, request, policies)?;
            Ok(Box::new(|world: &mut World| world.revert_network_policies(change)))
        })
    }

    pub(crate) fn change_network_port(
        &self,
        id: Guid,
        request: RequestType,
        params: PortParams,
    ) -> Result<hcn::Network, EngineError> {
        self.change_network(id, |world| {
            let before = world.change_network_port(id, request, params)?;
            // The network was there a moment ago and its lock is held.
            Ok(Box::new(move |world: &mut World| {
                let _ = world.change_network_port(id, RequestType::Update, before);
            }))
        })
    }

    /// After an endpoint has come to a namespace or left it: where that is the host's, the host may have come to be the gateway of the
    /// network, or be it no longer. Which way the packets of its containers take depends on that, so that their ports are planned anew.
    /// Takes the network's lock. What fails is the repair's to see to.
    pub(crate) fn follow_gateway(&self, namespace: NamespaceOrigin, network: Guid) {
        let has_gateways = |network: &Network| network.kind() == NetworkType::L2Bridge;
        if namespace != NamespaceOrigin::Host || !self.world().network(network).is_ok_and(has_gateways) {
            return;
        }
        let lock = self.locks.network(network);
        let _alone = lock.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.plan_ports_anew(network) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%network, error, "its ports do not follow its gateway yet");
            self.background.repair_everything("ports do not follow their gateway");
        }
    }

    fn plan_ports_anew(&self, network: Guid) -> Result<(), EngineError> {
        let observed = self.observed_policies(network)?;
        let mut desired = {
            let world = self.world();
            compile_policies(world.network(network)?, &world)
        };
        desired.ports.retain(|name, _| observed.ports.contains_key(name));
        self.execute(plan(&desired, &observed).steps)?.keep();
        Ok(())
    }

    /// Changes a network whose lock is held, the whole of it or nothing: first the world, then the ports of its endpoints, then the
    /// record.
    fn change_network(
        &self,
        id: Guid,
        change: impl FnOnce(&mut World) -> Result<Undo, ModelError>,
    ) -> Result<hcn::Network, EngineError> {
        let observed = self.observed_policies(id)?;
        let undo = change(&mut self.world())?;
        let outcome = self.apply_to_members(id, &observed);
        outcome.inspect_err(|_| undo(&mut self.world()))
    }

    fn apply_to_members(&self, id: Guid, observed: &Observed) -> Result<hcn::Network, EngineError> {
        let (network, mut desired) = {
            let world = self.world();
            let network = world.network(id)?.clone();
            let desired = compile_policies(&network, &world);
            (network, desired)
        };
        // What is not in line now is put in line by the repair, under the new policies.
        let is_shown = |name: &_| observed.ports.contains_key(name);
        if !desired.ports.keys().all(is_shown) {
            self.background.repair_everything("something could not be undone");
        }
        desired.ports.retain(|name, _| is_shown(name));
        let done = self.execute(plan(&desired, observed).steps)?;
        let txn =
            Txn::new(Durability::Power).put(records::key(records::NETWORKS, id), records::network(&network));
        self.commit(txn, format!("network \"{}\"", network.name()))?;
        done.keep();
        tracing::info!(network = network.name(), "its policies were changed");
        Ok(network.document().clone())
    }

    /// The sets of a network and the policies of its ports as the datapath holds them; everything else is taken for being in line.
    /// Ports that it does not hold are left out.
    fn observed_policies(&self, id: Guid) -> Result<Observed, EngineError> {
        let desired = {
            let world = self.world();
            compile_policies(world.network(id)?, &world)
        };
        let mut held = Observed::default();
        self.observe_policies(&mut held)?;
        let ports = desired.ports.into_iter().filter(|(name, _)| held.policies.contains_key(name)).collect();
        let mut observed = Observed::in_line_with(&Desired { ports, ..desired });
        held.policies.retain(|name, _| observed.ports.contains_key(name));
        observed.policies = held.policies;
        observed.overlays = held.overlays.into_iter().filter(|(network, _)| *network == id).collect();
        observed.sets = held.sets.into_iter().filter(|(network, _)| *network == id).collect();
        Ok(observed)
    }
}
