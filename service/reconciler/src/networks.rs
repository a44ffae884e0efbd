use std::collections::BTreeSet;
use std::sync::Arc;

use hns_hcn::{
    self as hcn, ErrorCode, ModifyRequest, NetworkResource, NetworkType, NotificationType, RequestType,
};
use hns_host::Scope;
use hns_model::{ModelError, Network, Surroundings, World};
use hns_net::Guid;
use hns_planner::{Step, compile_network, needs_chains, plan, switch_name, switch_of};
use hns_store::{Durability, Txn};

use crate::engine::{Engine, fresh_id};
use crate::error::EngineError;
use crate::flows;
use crate::records;

impl Engine {
    /// Creates a network: the whole of it or nothing (NET-1).
    pub fn create_network(&self, document: hcn::Network) -> Result<hcn::Network, EngineError> {
        self.through_a_reload(|| self.try_to_create_network(document.clone()))
    }

    fn try_to_create_network(&self, mut document: hcn::Network) -> Result<hcn::Network, EngineError> {
        let _pass = self.locks.pass();
        let _creation = self.locks.creation();
        let id = *document.id.get_or_insert_with(fresh_id);
        // Held before anybody can find it: whoever does then waits until it is there.
        let lock = self.locks.network(id);
        let _alone = lock.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reserve_network(document)?;
        self.notify(NotificationType::NetworkPreCreate, id, None);
        match self.build_network(id) {
            Ok(document) => {
                self.notify(NotificationType::NetworkCreate, id, None);
                Ok(document)
            }
            Err(error) => {
                // The world is as it was: nothing could join the network while its lock was held.
                let _ = self.world().forget_network(id);
                self.shed_chains();
                self.notify(NotificationType::NetworkDelete, id, None);
                Err(error)
            }
        }
    }

    fn reserve_network(&self, mut document: hcn::Network) -> Result<(), EngineError> {
        self.fit_to_adapter(&mut document)?;
        self.fit_to_underlay(&mut document)?;
        let operation = || "cannot read the host's routes".to_owned();
        let uplink = hns_model::uplink_of(&document);
        let routes = self.host.routes(uplink.as_ref()).map_err(EngineError::host(operation))?;
        let mut around = Surroundings { id: fresh_id(), fresh_id: &mut fresh_id, routes: &routes };
        let mut world = self.world();
        let network = world.reserve_network(document, &mut around)?;
        let (id, switch) = (network.id(), network.switch_id());
        // Thirty-two bits of a hash name the bridge: two switches may, very rarely, ask for one name.
        let same_name = |other: &Network| {
            let theirs = other.switch_id();
            theirs != switch && switch_name(theirs) == switch_name(switch)
        };
        if world.networks().any(same_name) {
            world.forget_network(id)?;
            return Err(ModelError::IdTaken(id).into());
        }
        Ok(())
    }

    fn build_network(&self, id: Guid) -> Result<hcn::Network, EngineError> {
        let (network, desired) = {
            let world = self.world();
            let network = world.network(id)?.clone();
            let desired = compile_network(&network, &world);
            (network, desired)
        };
        let switch = switch_name(network.switch_id());
        let scope = Scope::Switch(switch.clone());
        let operation = || format!("cannot see what the host shows of network \"{}\"", network.name());
        let mut observed = self.host.observe(&scope).map_err(EngineError::host(operation))?;
        observed.rules.get_or_insert_default();
        observed.ports.clear();
        observed.uplinks = self.held_uplinks()?;
        observed.uplinks.retain(|name, _| *name == switch);
        let done = self.execute(plan(&desired, &observed).steps)?;
        let txn =
            Txn::new(Durability::Power).put(records::key(records::NETWORKS, id), records::network(&network));
        self.commit(txn, format!("network \"{}\"", network.name()))?;
        done.keep();
        self.open_reserved_chain();
        Ok(network.document().clone())
    }

    /// Follows which bridges of others lead beyond the host.
    pub(crate) fn follow_ways_out(&self) {
        if let Err(error) = self.host.follow_ways_out() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "which bridges lead beyond the host was not taken over"
            );
        }
    }

    /// Lets our switches through the chain that Docker keeps for others, where there is one.
    pub(crate) fn open_reserved_chain(&self) {
        if let Err(error) = self.host.open_reserved_chain() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Docker's DOCKER-USER chain was not opened"
            );
        }
    }

    /// Deletes a network with its endpoints, as HNS does (rule Q6).
    pub fn delete_network(&self, id: Guid) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        self.refuse_adopted(id)?;
        // Whoever makes a network on the same external switch, or with the same tunnel, counts on finding it.
        let is_shared = {
            let world = self.world();
            let network = world.network(id)?;
            network.uplink().is_some() || network.tunnel().is_some()
        };
        let _creation = is_shared.then(|| self.locks.creation());
        let lock = self.locks.network(id);
        let alone = lock.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lent = self.namespaces_on(id);
        self.remove_network(id)?;
        drop(alone);
        lent.into_iter().for_each(|namespace| self.release_lent(namespace));
        Ok(())
    }

    /// The namespaces that endpoints of this network are in.
    fn namespaces_on(&self, id: Guid) -> BTreeSet<Guid> {
        let world = self.world();
        let members = world.network(id).into_iter().flat_map(Network::endpoints);
        let attached =
            members.filter_map(|endpoint| world.endpoint(endpoint).ok()?.attachment()?.namespace());
        attached.collect()
    }

    /// Removes a network whose lock is held, with its endpoints.
    pub(crate) fn remove_network(&self, id: Guid) -> Result<(), EngineError> {
        let (network, endpoints) = {
            let world = self.world();
            let network = world.network(id)?.clone();
            let endpoints: Vec<Guid> = network.endpoints().collect();
            (network, endpoints)
        };
        self.notify(NotificationType::NetworkPreDelete, id, None);
        let mut txn = Txn::new(Durability::Power).delete(records::key(records::NETWORKS, id));
        for endpoint in &endpoints {
            txn = txn.delete(records::key(records::ENDPOINTS, *endpoint));
        }
        self.commit(txn, format!("network \"{}\"", network.name()))?;
        self.take_down(self.members_removal_steps(&endpoints));
        self.give_back_leases(&endpoints);
        let steps = network_removal_steps(&network, &self.world());
        self.take_down(steps);
        self.forget_members(&network, &endpoints);
        self.locks.forget_network(id);
        self.notify(NotificationType::NetworkDelete, id, None);
        Ok(())
    }

    /// Takes the chains out of our table when what they served is gone: all that the host sends and receives passes them.
    pub(crate) fn shed_chains(&self) {
        if !needs_chains(&self.world()) {
            self.take_down(vec![Step::RemoveChains]);
        }
    }

    /// As [`Engine::shed_chains`], when a port left this network, or is translated no longer. On a switch of ours the chains stay without
    /// ports, too.
    pub(crate) fn shed_chains_of(&self, network: Guid) {
        let has_its_own =
            |network: &Network| network.adopted().is_some() || network.kind() == NetworkType::L2Bridge;
        if self.world().network(network).is_ok_and(has_its_own) {
            self.shed_chains();
        }
    }

    fn members_removal_steps(&self, endpoints: &[Guid]) -> Vec<Step> {
        let world = self.world();
        let members = endpoints.iter().filter_map(|id| world.endpoint(*id).ok());
        self.removal_steps(members, &world)
    }

    fn forget_members(&self, network: &Network, endpoints: &[Guid]) {
        let mut freed = Vec::new();
        let mut detached = Vec::new();
        endpoints.iter().for_each(|id| self.host.release_ports(*id));
        {
            let mut world = self.world();
            for id in endpoints {
                if let Ok(endpoint) = world.forget_endpoint(*id) {
                    freed.extend(flows::of_endpoint(&endpoint));
                    detached.extend(endpoint.attachment().map(|_| *id));
                }
            }
            // It was there a moment ago and its lock is held.
            let _ = world.forget_network(network.id());
        }
        self.shed_chains();
        for id in detached {
            self.notify(NotificationType::NetworkEndpointDetached, id, Some(network.id()));
        }
        if network.has_host_port() {
            self.background.flush_flows(freed);
        }
    }

    /// HcnModifyNetwork.
    pub fn modify_network(
        &self,
        id: Guid,
        request: ModifyRequest<NetworkResource>,
    ) -> Result<hcn::Network, EngineError> {
        let _pass = self.locks.pass();
        let lock = self.locks.network(id);
        let _alone = lock.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = match request.resource {
            NetworkResource::Dns(dns) if request.request == RequestType::Update => self.update_dns(id, dns),
            NetworkResource::Policies(policies) => {
                self.change_network_policies(id, request.request, &policies)
            }
            NetworkResource::PortParams(params) => self.change_network_port(id, request.request, params),
            NetworkResource::Dns(_) => {
                let problem = "DNS settings take Update only";
                Err(unsupported("RequestType", problem, ErrorCode::REQUEST_UNSUPPORTED).into())
            }
        };
        // What kept it may have been its last rule.
        self.leave_lost_bridge(id);
        changed
    }

    fn update_dns(&self, id: Guid, dns: hcn::Dns) -> Result<hcn::Network, EngineError> {
        let (before, network) = {
            let mut world = self.world();
            let before = world.set_network_dns(id, dns)?;
            (before, world.network(id)?.clone())
        };
        let txn =
            Txn::new(Durability::Power).put(records::key(records::NETWORKS, id), records::network(&network));
        if let Err(error) = self.commit(txn, format!("network \"{}\"", network.name())) {
            let _ = self.world().set_network_dns(id, before);
            return Err(error);
        }
        Ok(network.document().clone())
    }
}

/// What takes a network without members off the host.
fn network_removal_steps(network: &Network, world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    let desired = compile_network(network, world);
    if !desired.rules.is_empty() {
        steps.push(Step::RemoveElements(desired.rules.into_iter().collect()));
    }
    steps.extend(desired.sets.into_iter().map(|(network, before)| Step::SetSets {
        network,
        sets: Arc::default(),
        before,
    }));
    let overlays = desired.overlays.into_iter();
    steps.extend(overlays.map(|(network, before)| Step::SetOverlay {
        network,
        overlay: None,
        before: Some(before),
    }));
    steps.extend(desired.tunnels.into_iter().map(|device| Step::RemoveTunnel { device }));
    let Some(switch) = switch_of(network) else { return steps };
    if switch.uplink.is_some() {
        steps.push(Step::LeaveAdapter { switch: switch.name.clone() });
    }
    steps.push(Step::RemoveSwitch { name: switch.name });
    steps
}

fn unsupported(field: &str, problem: impl std::fmt::Display, code: ErrorCode) -> ModelError {
    ModelError::Document { object: "modify request", source: hcn::DocumentError::new(field, problem, code) }
}
