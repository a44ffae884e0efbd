use std::sync::PoisonError;

use hns_hcn::{self as hcn, EndpointFlags, NotificationType};
use hns_model::{Attachment, Endpoint, ModelError, Namespace, Network, World};
use hns_net::{Guid, IfAddr, UplinkMode};
use hns_planner::{Announcement, Step, Switch, bridge_of, compile_endpoint, plan, switch_of};
use hns_store::{Durability, Txn};

use crate::engine::{Engine, blank_slate, fresh_id};
use crate::error::EngineError;
use crate::flows;
use crate::locks::Key;
use crate::records;

/// How often another port of our choice is tried when a process of the host has taken the last one.
const CHOICES_MAX: usize = 16;

/// A network with more endpoints than this is told of a new address only when its MAC address is not the
/// one derived from it: a broadcast reaches every port, and a thousand copies cost more than the endpoint.
const ANNOUNCED_TO_MAX: usize = 256;

impl Engine {
    /// Creates an endpoint, and attaches it when the document names a namespace.
    pub fn create_endpoint(&self, document: hcn::Endpoint) -> Result<hcn::Endpoint, EngineError> {
        if document.flags.has(EndpointFlags::REMOTE) {
            // As many as were asked for.
            return Ok(self.create_remote_endpoints(vec![document])?.remove(0));
        }
        if self.needs_lease(&document) {
            return self.create_leased_endpoint(document);
        }
        self.through_a_reload(|| self.try_to_create_endpoint(document.clone()))
    }

    fn try_to_create_endpoint(&self, document: hcn::Endpoint) -> Result<hcn::Endpoint, EngineError> {
        let _pass = self.locks.pass();
        let created = self.reserve_and_plug(&document)?;
        self.follow_gateway_in(document.namespace, document.network);
        Ok(created)
    }

    fn follow_gateway_in(&self, namespace: Option<Guid>, network: Option<Guid>) {
        let Some((namespace, network)) = namespace.zip(network) else { return };
        let origin = self.world().namespace(namespace).map(Namespace::origin);
        origin.into_iter().for_each(|origin| self.follow_gateway(origin, network));
    }

    fn reserve_and_plug(&self, document: &hcn::Endpoint) -> Result<hcn::Endpoint, EngineError> {
        let lock = document.network.map(|network| self.locks.network(network));
        let _shared = lock.as_ref().map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner));
        let namespace = document.namespace;
        let _joined = namespace.map(|id| self.locks.hold(Key::Namespace(id)));
        if let Some(id) = namespace {
            self.world().namespace(id)?;
        }
        let id = self.reserve_endpoint(document)?;
        let _held = self.locks.hold(Key::Endpoint(id));
        let outcome = match namespace {
            Some(namespace) => self.plug(id, |world| world.reserve_attachment(id, namespace)),
            None => self.record_endpoint(id),
        };
        match outcome {
            Ok(document) => Ok(document),
            Err(error) => {
                // Reserved above and shown to nobody since.
                self.host.release_ports(id);
                let _ = self.world().forget_endpoint(id);
                Err(error)
            }
        }
    }

    /// Reserves the endpoint, with host ports that no process of the host listens on.
    fn reserve_endpoint(&self, document: &hcn::Endpoint) -> Result<Guid, EngineError> {
        if let Some(network) = document.network {
            self.look_at_hosts_own(network)?;
        }
        let mut tries = 0;
        loop {
            let id = self.world().reserve_endpoint(document.clone(), fresh_id())?;
            match self.hold_host_ports(id, &[]) {
                Ok(()) => return Ok(id),
                Err(error) => {
                    self.host.release_ports(id);
                    self.world().forget_endpoint(id)?;
                    tries += 1;
                    let chosen = document.policies.iter().filter_map(hcn::Policy::as_port_mapping);
                    let ours_to_choose = chosen.clone().any(|mapping| mapping.external.is_none());
                    if !ours_to_choose || tries == CHOICES_MAX {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Attaches a reserved endpoint to the seat that `reserve` takes for it: its elements, its port, its record.
    pub(crate) fn plug(
        &self,
        id: Guid,
        reserve: impl FnOnce(&mut World) -> Result<Attachment, ModelError>,
    ) -> Result<hcn::Endpoint, EngineError> {
        self.check_addressed(id)?;
        self.reserve_port(id, reserve)?;
        let outcome = self.plug_reserved(id);
        if outcome.is_err() {
            // Reserved above; the attachment is there to be released.
            let network = self.world().endpoint(id).map(Endpoint::network);
            let _ = self.world().release_attachment(id);
            network.into_iter().for_each(|network| self.shed_chains_of(network));
        }
        outcome
    }

    fn plug_reserved(&self, id: Guid) -> Result<hcn::Endpoint, EngineError> {
        let (desired, announcement, network, on_lan) = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            let network = world.network(endpoint.network())?;
            let desired = compile_endpoint(endpoint, &world);
            (desired, announcement(endpoint, network), network.id(), network.uplink().is_some())
        };
        let done = self.execute(plan(&desired, &blank_slate()).steps)?;
        let document = self.record_endpoint(id)?;
        done.keep();
        self.background.flush_flows(flows::before(&desired.rules));
        if let Some(announcement) = announcement {
            self.background.announce(announcement);
        }
        if on_lan {
            self.background.ask_lan(network);
        }
        self.notify(NotificationType::NetworkEndpointAttached, id, Some(network));
        Ok(document)
    }

    /// Reserves a place on the switch; opens a further bridge of the network when the others are full.
    fn reserve_port(
        &self,
        id: Guid,
        reserve: impl FnOnce(&mut World) -> Result<Attachment, ModelError>,
    ) -> Result<(), EngineError> {
        let network_id = self.world().endpoint(id)?.network();
        let _segments = self.locks.hold(Key::Segments(network_id));
        let grown = {
            let mut world = self.world();
            let before = world.network(network_id)?.extra_segments();
            reserve(&mut world)?;
            let network = world.network(network_id)?;
            (network.extra_segments() > before).then(|| switch_of(network)).flatten()
        };
        let Some(switch) = grown else { return Ok(()) };
        let grown = self.execute_one(&Step::MakeSwitch(switch));
        if grown.is_err() {
            let _ = self.world().release_attachment(id);
        }
        grown
    }

    /// Writes the endpoint's record, after which it exists for everyone.
    pub(crate) fn record_endpoint(&self, id: Guid) -> Result<hcn::Endpoint, EngineError> {
        let endpoint = self.world().endpoint(id)?.clone();
        let key = records::key(records::ENDPOINTS, id);
        let mut txn = Txn::new(Durability::Process).put(key, records::endpoint(&endpoint));
        txn = self.with_adopted(endpoint.network(), txn)?;
        if let Some(namespace) = endpoint.attachment().and_then(Attachment::namespace) {
            txn = self.with_lent(namespace, txn)?;
        }
        self.commit(txn, format!("endpoint {id}"))?;
        let mut world = self.world();
        world.settle_endpoint(id)?;
        Ok(world.endpoint(id)?.document())
    }

    /// Deletes an endpoint, attached or not. Answers once its port carries nothing any more and its names
    /// and addresses are free; the link itself goes a moment later.
    pub fn delete_endpoint(&self, id: Guid) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let endpoint = self.settled_endpoint(id)?;
        if endpoint.is_remote() {
            return self.delete_remote_endpoint(&endpoint);
        }
        let network = endpoint.network();
        let namespace = {
            let lock = self.locks.network(network);
            let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
            let _held = self.locks.hold(Key::Endpoint(id));
            let endpoint = self.settled_endpoint(id)?;
            self.remove_endpoint(&endpoint)?;
            endpoint.attachment().and_then(Attachment::namespace)
        };
        // A namespace's lock comes before an endpoint's.
        self.follow_gateway_in(namespace, Some(network));
        if let Some(namespace) = namespace {
            self.release_lent(namespace);
        }
        Ok(())
    }

    /// Removes an endpoint whose lock is held.
    pub(crate) fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<(), EngineError> {
        let id = endpoint.id();
        let removal = self.removal(endpoint)?;
        let txn = Txn::new(Durability::Process).delete(records::key(records::ENDPOINTS, id));
        self.commit(txn, format!("endpoint {id}"))?;
        self.take_down(removal.steps);
        self.give_back_leases_of(endpoint);
        self.host.release_ports(id);
        self.world().forget_endpoint(id)?;
        self.after_unplug(endpoint, removal.forwarded);
        self.leave_lost_bridge(endpoint.network());
        Ok(())
    }

    fn removal(&self, endpoint: &Endpoint) -> Result<Removal, EngineError> {
        let world = self.world();
        let network = world.network(endpoint.network())?;
        let steps = self.removal_steps([endpoint], &world);
        Ok(Removal { steps, forwarded: network.has_host_port() })
    }

    /// An endpoint that exists for everyone.
    pub(crate) fn settled_endpoint(&self, id: Guid) -> Result<Endpoint, EngineError> {
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        if endpoint.is_settled() {
            Ok(endpoint.clone())
        } else {
            Err(ModelError::EndpointNotFound(id).into())
        }
    }

    /// Takes an endpoint out of its namespace or sandbox. Its addresses and ports stay its own.
    pub(crate) fn unplug(&self, id: Guid) -> Result<(), EngineError> {
        let endpoint = self.world().endpoint(id)?.clone();
        let removal = self.removal(&endpoint)?;
        let (attachment, leases) = {
            let mut world = self.world();
            (world.release_attachment(id)?, world.withdraw_leases(id)?)
        };
        let record = records::endpoint(self.world().endpoint(id)?);
        let txn = Txn::new(Durability::Process).put(records::key(records::ENDPOINTS, id), record);
        if let Err(error) = self.commit(txn, format!("endpoint {id}")) {
            let mut world = self.world();
            leases.into_iter().try_for_each(|lease| world.set_lease(id, lease).map(drop))?;
            world.reserve_again(id, attachment.seat)?;
            return Err(error);
        }
        self.take_down(removal.steps);
        self.give_back_leases_of(&endpoint);
        self.after_unplug(&endpoint, removal.forwarded);
        Ok(())
    }

    /// What makes attached endpoints of one network unreachable: first no new traffic is led to them, then
    /// their ports stop.
    pub(crate) fn removal_steps<'e>(
        &self,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
        world: &World,
    ) -> Vec<Step> {
        let mut elements = Vec::new();
        let mut ports = Vec::new();
        for endpoint in endpoints {
            let Some(attachment) = endpoint.attachment() else { continue };
            let desired = compile_endpoint(endpoint, world);
            elements.extend(desired.rules);
            ports.push(Step::UnplugPort { name: attachment.port.clone() });
            ports.extend(desired.stations.into_iter().map(Step::RemoveStation));
        }
        let mut steps = Vec::new();
        if !elements.is_empty() {
            steps.push(Step::RemoveElements(elements));
        }
        steps.extend(ports);
        steps
    }

    /// `forwarded`: whether the host tracks connections of this endpoint's network.
    fn after_unplug(&self, endpoint: &Endpoint, forwarded: bool) {
        if endpoint.attachment().is_none() {
            return;
        }
        self.shed_chains_of(endpoint.network());
        if forwarded {
            self.background.flush_flows(flows::of_endpoint(endpoint));
        }
        self.notify(NotificationType::NetworkEndpointDetached, endpoint.id(), Some(endpoint.network()));
    }
}

/// What takes an endpoint off the host.
struct Removal {
    steps: Vec<Step>,
    forwarded: bool,
}

/// What the neighbours are told when an endpoint appears, if they must be.
pub(crate) fn announcement(endpoint: &Endpoint, network: &Network) -> Option<Announcement> {
    let few = network.ports_in_use() <= ANNOUNCED_TO_MAX;
    let mac = endpoint.mac()?;
    if !few && network.is_derived_mac(endpoint) {
        return None;
    }
    let addresses = endpoint.addresses().map(IfAddr::address).collect();
    let switch = bridge_of(network);
    // Neighbours on this host, too, hear what comes back from the wire, and nothing else.
    let reflected = network.uplink().is_some_and(|uplink| uplink.mode == UplinkMode::Reflected);
    let link = if reflected { Switch::uplink_port(&switch)? } else { switch };
    Some(Announcement { link, mac, addresses })
}
