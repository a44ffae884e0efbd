use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use hns_hcn as hcn;
use hns_net::{Cidr, Guid, IfName, Mac};

use crate::allocation;
use crate::dhcp::LanLease;
use crate::endpoint::{self, Attachment, Endpoint, EndpointState};
use crate::error::ModelError;
use crate::gateway::GatewayAddress;
use crate::lease::{LeaseBook, PoolId};
use crate::namespace::{self, Namespace, NamespaceOrigin};
use crate::network::{self, Network, Surroundings};
use crate::port_book::PortBook;
use crate::remote;

/// Every object of this host, and what they share. See the crate's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    pub(crate) networks: BTreeMap<Guid, Network>,
    endpoints: BTreeMap<Guid, Endpoint>,
    namespaces: BTreeMap<Guid, Namespace>,
    /// Which namespace stands for a path, so that thousands of pods do not make the next one slower.
    paths: BTreeMap<PathBuf, Guid>,
    /// Whose a switch port is, so that a port is found among thousands.
    pub(crate) seats: BTreeMap<IfName, Guid>,
    pub(crate) ports: PortBook,
    /// What engines' IPAM have leased, by pool.
    pub(crate) leases: BTreeMap<PoolId, LeaseBook>,
    /// Counts objects, so that lists come in order of creation (rule Q3).
    order: u64,
    compartment: u32,
    /// Why the host's rules are not what objects ask for, while they are not.
    rules_trouble: Option<String>,
    /// The bridges that another network keeps from being one, and which.
    pub(crate) missed_bridges: BTreeMap<IfName, Guid>,
    /// Those that stand for the host's own.
    pub(crate) hosts_namespaces: BTreeSet<Guid>,
    /// What the host itself has on its LANs, as it was seen last, by external switch.
    hosts_own: BTreeMap<Guid, BTreeSet<IpAddr>>,
    /// Which MAC addresses adapters of external switches have, as they were seen last.
    pub(crate) adapter_macs: BTreeMap<IfName, Mac>,
}

/// Where the host is on no LAN.
static NOTHING_OF_THE_HOSTS: BTreeSet<IpAddr> = BTreeSet::new();

/// Compartment 1 is the host's own (hcn-api 1.1).
const FIRST_COMPARTMENT: u32 = 2;

impl World {
    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    // Networks

    /// Completes a document and takes its name, prefixes and MAC addresses.
    pub fn reserve_network(
        &mut self,
        document: hcn::Network,
        around: &mut Surroundings<'_>,
    ) -> Result<&Network, ModelError> {
        if let Some(id) = document.id.filter(|id| self.is_id_taken(*id)) {
            return Err(ModelError::IdTaken(id));
        }
        if let Some(same) = self.networks.values().find(|other| other.name() == document.name) {
            return Err(ModelError::NetworkNameTaken { name: document.name, id: same.id });
        }
        let network = network::complete(document, self.networks.values(), around)?;
        Ok(self.insert_network(network))
    }

    /// A network as its record says.
    pub fn restore_network(&mut self, document: hcn::Network) -> Option<&Network> {
        let network = network::restore(document)?;
        Some(self.insert_network(network))
    }

    pub(crate) fn insert_network(&mut self, mut network: Network) -> &Network {
        network.order = self.next_order();
        let id = network.id;
        self.take_over_leases(&mut network);
        self.networks.insert(id, network);
        &self.networks[&id]
    }

    /// Takes a network out with everything it holds. Its endpoints go first, by [`World::forget_endpoint`].
    pub fn forget_network(&mut self, id: Guid) -> Result<Network, ModelError> {
        self.networks.remove(&id).ok_or(ModelError::NetworkNotFound(id))
    }

    pub fn set_network_dns(&mut self, id: Guid, dns: hcn::Dns) -> Result<hcn::Dns, ModelError> {
        let network = self.network_mut(id)?;
        Ok(std::mem::replace(&mut network.document.dns, dns))
    }

    /// Says why a network's LAN does not serve its endpoints, or that it does again.
    pub fn set_network_trouble(&mut self, id: Guid, trouble: Option<String>) -> Result<(), ModelError> {
        self.network_mut(id)?.trouble = trouble;
        Ok(())
    }

    pub fn network(&self, id: Guid) -> Result<&Network, ModelError> {
        self.networks.get(&id).ok_or(ModelError::NetworkNotFound(id))
    }

    pub(crate) fn network_mut(&mut self, id: Guid) -> Result<&mut Network, ModelError> {
        self.networks.get_mut(&id).ok_or(ModelError::NetworkNotFound(id))
    }

    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// The networks whose prefixes overlap this one, such as a route that a VPN brings (IPAM-7).
    pub fn networks_overlapping(&self, route: Cidr) -> impl Iterator<Item = (&Network, Cidr)> {
        self.networks.values().filter(|network| network.has_host_port()).flat_map(move |network| {
            network
                .prefixes()
                .filter(move |prefix| prefix.overlaps(route))
                .map(move |prefix| (network, prefix))
        })
    }

    // Endpoints

    /// Completes a document and takes its addresses, MAC address and host ports. The endpoint is shown to
    /// nobody until [`World::settle_endpoint`]. In the host's own namespace it may be its network's gateway.
    pub fn reserve_endpoint(&mut self, mut document: hcn::Endpoint, fresh: Guid) -> Result<Guid, ModelError> {
        let id = document.id.unwrap_or(fresh);
        if self.is_id_taken(id) {
            return Err(ModelError::IdTaken(id));
        }
        let no_network = || {
            let problem = "an endpoint needs a network";
            ModelError::endpoint("HostComputeNetwork", problem, hcn::ErrorCode::INVALID_ENDPOINT)
        };
        let network_id = document.network.ok_or_else(no_network)?;
        document.id = Some(id);
        if remote::is_remote(&document) {
            remote::check_seat(&document, self.network(network_id)?)?;
        }
        let gateway = self.gateway_address_in(document.namespace.take(), network_id);
        let mut others = self.leased_beside(network_id)?;
        others.extend(self.hosts_own_on(network_id)?);
        if let Some(mac) = document.mac {
            self.check_station(network_id, mac)?;
        }
        let macs = self.macs_beside(network_id)?;
        let network = self.network_mut(network_id)?;
        endpoint::check(&document, network)?;
        let allocated = network.without_macs(&macs, |network| {
            network.without(&others, |network| allocation::allocate(&mut document, network, id, gateway))
        });
        allocated.map_err(|error| self.naming_holder(error, network_id))?;
        self.take_ports_of(&mut document, id, network_id)?;
        self.insert_endpoint(id, network_id, document, false);
        if let Err(error) = self.check_translated(id) {
            self.forget_endpoint(id)?;
            return Err(error);
        }
        Ok(id)
    }

    /// An endpoint as its record says, with its attachment when its namespace is still there.
    pub fn restore_endpoint(
        &mut self,
        mut document: hcn::Endpoint,
        attachment: Option<Attachment>,
        attachments: u32,
        leases: impl IntoIterator<Item = LanLease>,
    ) -> Result<Guid, ModelError> {
        let no_field = |field| ModelError::endpoint(field, "absent", hcn::ErrorCode::INVALID_ENDPOINT);
        let id = document.id.ok_or_else(|| no_field("ID"))?;
        let network_id = document.network.ok_or_else(|| no_field("HostComputeNetwork"))?;
        document.namespace = None;
        // Its record says that it may have what it has.
        let network = self.network_mut(network_id)?;
        allocation::allocate(&mut document, network, id, GatewayAddress::Free)?;
        self.take_ports_of(&mut document, id, network_id)?;
        self.insert_endpoint(id, network_id, document, true);
        if let Some(attachment) = attachment {
            self.remember_segment(network_id, attachment.segment)?;
            self.place(id, attachment)?;
        }
        let endpoint = self.endpoint_mut(id)?;
        endpoint.attachments = attachments;
        endpoint.leases = leases.into_iter().map(|lease| (lease.kind(), lease)).collect();
        Ok(id)
    }

    /// Takes the host ports that a document's policies name; without them its addresses go back.
    fn take_ports_of(
        &mut self,
        document: &mut hcn::Endpoint,
        id: Guid,
        network: Guid,
    ) -> Result<(), ModelError> {
        let policies = std::mem::take(&mut document.policies);
        let taken = self.take_ports(id, policies);
        if taken.is_err() {
            self.give_back(document, network);
        }
        document.policies = taken?;
        Ok(())
    }

    fn remember_segment(&mut self, network: Guid, segment: u16) -> Result<(), ModelError> {
        let segments = &mut self.network_mut(network)?.segments;
        let place = usize::from(segment);
        if segments.len() <= place {
            segments.resize(place + 1, 0);
        }
        segments[place] += 1;
        Ok(())
    }

    fn insert_endpoint(&mut self, id: Guid, network: Guid, document: hcn::Endpoint, settled: bool) {
        let order = self.next_order();
        let endpoint = Endpoint {
            id,
            network,
            document,
            attachment: None,
            attachments: 0,
            settled,
            trouble: None,
            contest: None,
            leases: BTreeMap::new(),
            lease_trouble: BTreeMap::new(),
            order,
        };
        self.endpoints.insert(id, endpoint);
        if let Some(network) = self.networks.get_mut(&network) {
            network.endpoints.insert(id);
        }
    }

    pub fn settle_endpoint(&mut self, id: Guid) -> Result<(), ModelError> {
        self.endpoint_mut(id)?.settled = true;
        Ok(())
    }

    /// Says why the host does not show what this endpoint asks for, or that it does again.
    pub fn set_trouble(&mut self, id: Guid, trouble: Option<String>) -> Result<(), ModelError> {
        self.endpoint_mut(id)?.trouble = trouble;
        Ok(())
    }

    /// Says who has a host port of this endpoint as well, or that nobody has any more.
    pub fn set_contest(&mut self, id: Guid, contest: Option<String>) -> Result<(), ModelError> {
        self.endpoint_mut(id)?.contest = contest;
        Ok(())
    }

    /// Says why the rules of all networks with a host port are not in force, or that they are again.
    pub fn set_rules_trouble(&mut self, trouble: Option<String>) {
        self.rules_trouble = trouble;
    }

    /// Why those rules are not in force.
    #[must_use]
    pub fn rules_trouble(&self) -> Option<&str> {
        self.rules_trouble.as_deref()
    }

    /// Why the host does not show what this endpoint asks for, if it does not.
    #[must_use]
    pub fn trouble_of<'a>(&'a self, endpoint: &'a Endpoint) -> Option<&'a str> {
        let is_ruled = || {
            let network = self.network(endpoint.network());
            endpoint.attachment().is_some() && network.is_ok_and(Network::has_host_port)
        };
        let of_rules = || self.rules_trouble.as_deref().filter(|_| is_ruled());
        let of_lease = || endpoint.lease_trouble.values().next().map(String::as_str);
        endpoint.trouble().or_else(of_rules).or_else(of_lease).or_else(|| endpoint.contest())
    }

    #[must_use]
    pub fn state_of(&self, endpoint: &Endpoint) -> EndpointState {
        if self.trouble_of(endpoint).is_some() { EndpointState::Degraded } else { endpoint.state() }
    }

    /// Takes an endpoint out with everything it holds, its attachment included.
    pub fn forget_endpoint(&mut self, id: Guid) -> Result<Endpoint, ModelError> {
        let mut endpoint = self.endpoint(id)?.clone();
        if endpoint.attachment.is_some() {
            endpoint.attachment = Some(self.release_attachment(id)?);
        }
        self.endpoints.remove(&id);
        self.release_ports(id, &endpoint.document.policies);
        self.give_back(&endpoint.document, endpoint.network);
        if let Some(network) = self.networks.get_mut(&endpoint.network) {
            network.endpoints.remove(&id);
        }
        Ok(endpoint)
    }

    fn give_back(&mut self, document: &hcn::Endpoint, network: Guid) {
        let Some(network) = self.networks.get_mut(&network) else { return };
        let addresses = document.addresses.iter().filter_map(|configured| configured.address);
        addresses.for_each(|address| network.give_back(address));
        match (document.id, document.mac) {
            (Some(id), _) if remote::is_remote(document) => remote::release_mac(document, network, id),
            (_, Some(mac)) => network.macs.release(mac),
            _ => {}
        }
    }

    pub fn endpoint(&self, id: Guid) -> Result<&Endpoint, ModelError> {
        self.endpoints.get(&id).ok_or(ModelError::EndpointNotFound(id))
    }

    pub(crate) fn endpoint_mut(&mut self, id: Guid) -> Result<&mut Endpoint, ModelError> {
        self.endpoints.get_mut(&id).ok_or(ModelError::EndpointNotFound(id))
    }

    /// The endpoints whose creation is complete.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(|endpoint| endpoint.settled)
    }

    /// An endpoint in the words of an error.
    #[must_use]
    pub fn describe_endpoint(&self, id: Guid) -> String {
        match self.endpoints.get(&id) {
            Some(endpoint) if !endpoint.document.name.is_empty() => {
                format!("endpoint {id} \"{}\"", endpoint.document.name)
            }
            _ => format!("endpoint {id}"),
        }
    }

    /// Says what the host itself has on the LAN of an external switch: no endpoint there gets it.
    pub fn set_hosts_own(&mut self, switch: Guid, addresses: BTreeSet<IpAddr>) {
        self.hosts_own.insert(switch, addresses);
    }

    /// The host's own addresses on the LAN of a network.
    pub fn hosts_own_on(&self, network: Guid) -> Result<&BTreeSet<IpAddr>, ModelError> {
        Ok(self.hosts_own.get(&self.network(network)?.switch_id()).unwrap_or(&NOTHING_OF_THE_HOSTS))
    }

    /// The refusal of an address, with the endpoint that has it.
    fn naming_holder(&self, error: ModelError, id: Guid) -> ModelError {
        let ModelError::AddressTaken { network, address, why } = error else { return error };
        let switch = self.network(id).map(Network::switch_id);
        let is_beside = |endpoint: &&Endpoint| {
            endpoint.network == id || self.network(endpoint.network).map(Network::switch_id) == switch
        };
        let has_it = |endpoint: &&Endpoint| endpoint.addresses().any(|held| held.address() == address);
        if self.hosts_own_on(id).is_ok_and(|own| own.contains(&address)) {
            return ModelError::AddressTaken { network, address, why: "the host's own".to_owned() };
        }
        let holder = self.endpoints.values().filter(is_beside).find(has_it);
        let why = holder.map_or(why, |holder| format!("in use by {}", self.describe_endpoint(holder.id())));
        ModelError::AddressTaken { network, address, why }
    }

    // Namespaces

    /// Takes a namespace into the books; `document.params.path` says where it is or will be.
    pub fn reserve_namespace(
        &mut self,
        document: hcn::Namespace,
        fresh: [Guid; 2],
    ) -> Result<&Namespace, ModelError> {
        let origin = namespace::origin_of(&document);
        self.enter_namespace(document, origin, fresh)
    }

    /// Takes a namespace into the books for as long as it has endpoints.
    pub fn lend_namespace(
        &mut self,
        document: hcn::Namespace,
        fresh: [Guid; 2],
    ) -> Result<&Namespace, ModelError> {
        self.enter_namespace(document, NamespaceOrigin::Lent, fresh)
    }

    fn enter_namespace(
        &mut self,
        mut document: hcn::Namespace,
        origin: NamespaceOrigin,
        fresh: [Guid; 2],
    ) -> Result<&Namespace, ModelError> {
        let id = document.id.unwrap_or(fresh[0]);
        if self.is_id_taken(id) {
            return Err(ModelError::IdTaken(id));
        }
        if let Some(path) = &document.params.path
            && let Some(holder) = self.paths.get(path)
        {
            return Err(ModelError::NamespaceTaken { path: path.display().to_string(), holder: *holder });
        }
        document.id = Some(id);
        document.resources.retain(|resource| matches!(resource, hcn::Resource::Container(_)));
        document.compartment = self.compartment.max(FIRST_COMPARTMENT);
        document.compartment_guid = Some(document.compartment_guid.unwrap_or(fresh[1]));
        Ok(self.insert_namespace(id, document, origin))
    }

    /// A namespace as its record says.
    pub fn restore_namespace(
        &mut self,
        document: hcn::Namespace,
        origin: NamespaceOrigin,
    ) -> Option<&Namespace> {
        let id = document.id?;
        Some(self.insert_namespace(id, document, origin))
    }

    fn insert_namespace(
        &mut self,
        id: Guid,
        document: hcn::Namespace,
        origin: NamespaceOrigin,
    ) -> &Namespace {
        self.compartment = self.compartment.max(document.compartment + 1);
        let order = self.next_order();
        let members = std::collections::BTreeSet::new();
        if origin == NamespaceOrigin::Host {
            self.hosts_namespaces.insert(id);
        }
        if let Some(path) = &document.params.path {
            self.paths.insert(path.clone(), id);
        }
        self.namespaces.insert(id, Namespace { id, document, origin, members, joins: 0, order });
        &self.namespaces[&id]
    }

    /// Says where a namespace of ours was made, before it is shown to anyone.
    pub fn locate_namespace(&mut self, id: Guid, path: PathBuf) -> Result<&Namespace, ModelError> {
        self.namespace_mut(id)?.document.params.path = Some(path.clone());
        self.paths.insert(path, id);
        self.namespace(id)
    }

    /// Takes a namespace out. Its endpoints are detached first, by [`World::release_attachment`].
    pub fn forget_namespace(&mut self, id: Guid) -> Result<Namespace, ModelError> {
        let namespace = self.namespaces.remove(&id).ok_or(ModelError::NamespaceNotFound(id))?;
        self.hosts_namespaces.remove(&id);
        if let Some(path) = namespace.path() {
            self.paths.remove(path);
        }
        Ok(namespace)
    }

    pub fn namespace(&self, id: Guid) -> Result<&Namespace, ModelError> {
        self.namespaces.get(&id).ok_or(ModelError::NamespaceNotFound(id))
    }

    /// The namespace that stands for this path.
    #[must_use]
    pub fn namespace_at(&self, path: &std::path::Path) -> Option<&Namespace> {
        self.paths.get(path).and_then(|id| self.namespaces.get(id))
    }

    pub fn namespace_mut(&mut self, id: Guid) -> Result<&mut Namespace, ModelError> {
        self.namespaces.get_mut(&id).ok_or(ModelError::NamespaceNotFound(id))
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    fn is_id_taken(&self, id: Guid) -> bool {
        self.networks.contains_key(&id)
            || self.endpoints.contains_key(&id)
            || self.namespaces.contains_key(&id)
    }
}
