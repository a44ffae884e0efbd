//! Remote endpoints: what documents say of a container on another host. Here they have no port, and no policy is theirs; on an overlay the
//! programs answer for them and lead to them (EP-5).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use hns_hcn::{self as hcn, EndpointFlags, ErrorCode, NetworkType, Policy};
use hns_net::{Cidr, Family, Guid, Mac, Vni};

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::ipam::Claim;
use crate::network::Network;
use crate::overlay::{encryption_of, provider_of};
use crate::prefix::is_of_hosts;
use crate::world::World;

pub(crate) fn is_remote(document: &hcn::Endpoint) -> bool {
    document.flags.has(EndpointFlags::REMOTE)
}

fn host_of(document: &hcn::Endpoint) -> Option<IpAddr> {
    document.policies.iter().find_map(Policy::as_provider)
}

/// How the programs come to an address of a container on another host, on one link with those of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub address: IpAddr,
    pub mac: Mac,
    /// The host that has it.
    pub provider: IpAddr,
    pub vni: Vni,
}

impl Endpoint {
    #[must_use]
    pub fn is_remote(&self) -> bool {
        is_remote(&self.document)
    }

    /// The host that has it, if its document says one.
    #[must_use]
    pub fn provider(&self) -> Option<IpAddr> {
        host_of(&self.document)
    }
}

impl Network {
    /// Where the addresses of its remote endpoints are. What this host is said to have itself is known by name alone.
    pub fn neighbours<'w>(&'w self, world: &'w World) -> impl Iterator<Item = Neighbour> + 'w {
        let own = provider_of(&self.document);
        let remotes = self.endpoints().filter_map(|id| world.endpoint(id).ok()).filter(|one| one.is_remote());
        let placed = remotes.filter_map(move |endpoint| {
            let provider = endpoint.provider().filter(|provider| Some(*provider) != own)?;
            Some((endpoint, endpoint.mac()?, provider))
        });
        placed.flat_map(move |(endpoint, mac, provider)| {
            endpoint.addresses().filter_map(move |address| {
                let address = address.address();
                Some(Neighbour { address, mac, provider, vni: self.vni_of(address)? })
            })
        })
    }

    /// The other hosts that it is on, as far as documents name them.
    #[must_use]
    pub fn hosts(&self, world: &World) -> BTreeSet<IpAddr> {
        let of_prefixes = self.remote_subnets().map(|route| route.provider);
        of_prefixes.chain(self.neighbours(world).map(|neighbour| neighbour.provider)).collect()
    }

    /// The number of the subnet that has an address, or of the first.
    fn vni_of(&self, address: IpAddr) -> Option<Vni> {
        let has_it = |subnet: &&hcn::Subnet| subnet.prefix.is_some_and(|prefix| prefix.contains(address));
        let subnet = self.document.subnets().find(has_it);
        subnet
            .and_then(|subnet| subnet.policies.iter().find_map(Policy::as_vsid))
            .or_else(|| self.vnis().next())
    }
}

const NO_PORT: ErrorCode = ErrorCode::INVALID_REMOTE_ENDPOINT_OPERATION;

fn refuse<T>(field: impl Into<String>, problem: impl Display, code: ErrorCode) -> Result<T, ModelError> {
    Err(ModelError::endpoint(field, problem, code))
}

/// The network that all of them are on, where several are made in one request.
pub fn network_of_remotes(documents: &[hcn::Endpoint]) -> Result<Option<Guid>, ModelError> {
    let network = documents.first().and_then(|document| document.network);
    for document in documents {
        if !is_remote(document) {
            let problem = "of several endpoints in one request each is a remote one";
            return refuse("Flags", problem, ErrorCode::REQUEST_UNSUPPORTED);
        }
        if document.network != network {
            let problem = "several endpoints in one request are of one network";
            return refuse("HostComputeNetwork", problem, ErrorCode::INVALID_ENDPOINT);
        }
    }
    Ok(network)
}

/// Refuses what a remote endpoint of this network cannot have.
pub(crate) fn check(document: &hcn::Endpoint, network: &Network) -> Result<(), ModelError> {
    if network.kind() != NetworkType::Overlay {
        let problem = format!("RemoteEndpoint is not available on {} networks", network.kind().name());
        return refuse("Flags", problem, ErrorCode::REQUEST_UNSUPPORTED);
    }
    check_port(document)?;
    if document.addresses.is_empty() {
        let problem = "absent; a remote endpoint has the address that its host has given it";
        return refuse("IpConfigurations", problem, ErrorCode::INVALID_IP);
    }
    for (place, configured) in document.addresses.iter().enumerate() {
        let field = format!("IpConfigurations[{place}].IpAddress");
        match configured.address {
            None => return refuse(field, "absent; only its host can choose it", ErrorCode::INVALID_IP),
            Some(address) if !is_of_hosts(Cidr::host(address)) => {
                return refuse(field, format!("{address} is no address of a host"), ErrorCode::INVALID_IP);
            }
            Some(address)
                if document.addresses[..place].iter().any(|other| other.address == Some(address)) =>
            {
                return refuse(field, format!("{address} is named twice"), ErrorCode::INVALID_IP);
            }
            Some(_) => {}
        }
    }
    if document.mac.is_none() {
        let problem = "absent; a remote endpoint has the MAC address that its host has given it";
        return refuse("MacAddress", problem, ErrorCode::INVALID_ENDPOINT);
    }
    if !document.routes.is_empty() {
        return refuse("Routes", "a remote endpoint's routes are its host's", ErrorCode::INVALID_ENDPOINT);
    }
    check_policies(&document.policies, network)
}

/// Its host's address, and nothing else: there is no port that a policy could be of.
pub(crate) fn check_policies(policies: &[Policy], network: &Network) -> Result<(), ModelError> {
    if let Some(place) = policies.iter().position(|policy| policy.as_provider().is_none()) {
        let problem = format!("a remote endpoint has no port here for a {}", policies[place].kind);
        return refuse(format!("Policies[{place}].Type"), problem, NO_PORT);
    }
    let mut hosts = policies.iter().filter_map(Policy::as_provider);
    let Some(host) = hosts.next() else {
        let problem = "a remote endpoint needs a ProviderAddress, the host that has it";
        return refuse("Policies", problem, ErrorCode::INVALID_POLICY);
    };
    if hosts.next().is_some() {
        return refuse(
            "Policies",
            "a second ProviderAddress; an endpoint is on one host",
            ErrorCode::INVALID_POLICY,
        );
    }
    let own = provider_of(&network.document);
    // It is the only one.
    let field = "Policies[0].Settings.ProviderAddress";
    if let Some(own) = own.filter(|own| Family::of(*own) != Family::of(host)) {
        let problem = format!("{host} is not of the family of {own}, where tunnels end on this host");
        return refuse(field, problem, ErrorCode::INVALID_POLICY);
    }
    if !is_known(host, &network.document) {
        let problem = format!(
            "network \"{}\" is encrypted, and the key of host {host} is not known: add one of its prefixes with it",
            network.name()
        );
        return refuse(field, problem, ErrorCode::INVALID_POLICY);
    }
    Ok(())
}

/// What would be of a port.
fn check_port(document: &hcn::Endpoint) -> Result<(), ModelError> {
    let flags = [
        (EndpointFlags::DISABLE_ICC, "DisableInterComputeCommunication"),
        (EndpointFlags::LOW_METRIC, "EnableLowInterfaceMetric"),
    ];
    if let Some((_, name)) = flags.into_iter().find(|(flag, _)| document.flags.has(*flag)) {
        return refuse("Flags", format!("{name} is of a port, and a remote endpoint has none here"), NO_PORT);
    }
    let hcn::EndpointParams { interface, gateway_priority, port, .. } = &document.params;
    if interface.is_some() || *gateway_priority != 0 || *port != hcn::PortParams::default() {
        let problem = "what it says is of a port, and a remote endpoint has none here";
        return refuse("AdditionalParams", problem, NO_PORT);
    }
    Ok(())
}

/// Whether a network that is encrypted has the key of this host, or needs none.
fn is_known(host: IpAddr, network: &hcn::Network) -> bool {
    let mut routes = network.policies.iter().filter_map(Policy::as_remote_subnet);
    encryption_of(network).is_none()
        || provider_of(network) == Some(host)
        || routes.any(|route| route.provider == host && route.public_key.is_some())
}

/// Refuses policies of a network without the key of the host that has this endpoint.
pub(crate) fn check_host_of(endpoint: &Endpoint, network: &hcn::Network) -> Result<(), ModelError> {
    let lost = endpoint.provider().filter(|host| endpoint.is_remote() && !is_known(*host, network));
    let Some(host) = lost else { return Ok(()) };
    let problem =
        format!("the key of host {host} is needed, which has the remote endpoint {}", endpoint.id());
    Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY))
}

/// Takes its addresses, so that no container of this host gets one of them, and its MAC address where it leads to another host.
pub(crate) fn claim(document: &mut hcn::Endpoint, network: &mut Network, id: Guid) -> Result<(), ModelError> {
    let name = network.name().to_owned();
    if let Some(mac) = mac_away(document, network) {
        let taken = |holder| ModelError::MacTaken { network: name.clone(), mac, holder };
        network.macs.claim_away(mac, id).map_err(taken)?;
    }
    let outcome = claim_addresses(document, network);
    if outcome.is_err() {
        release_mac(document, network, id);
    }
    outcome
}

fn claim_addresses(document: &mut hcn::Endpoint, network: &mut Network) -> Result<(), ModelError> {
    let mut granted = Vec::new();
    for configured in &mut document.addresses {
        let Some(address) = configured.address else { continue };
        let prefix = network.prefixes().find(|prefix| prefix.contains(address));
        configured.prefix_length = configured.prefix_length.or(prefix.map(Cidr::length));
        let pool = network.pools.iter_mut().find(|pool| pool.prefix().contains(address));
        let why = match pool.map(|pool| pool.claim(address)) {
            Some(Claim::Granted) => None,
            Some(Claim::Reserved) => Some("reserved: the gateway's, an auxiliary or the subnet's own"),
            Some(Claim::Outside) | None if network.beside.insert(address) => None,
            Some(Claim::InUse | Claim::Outside) | None => Some("in use by another endpoint"),
        };
        let Some(why) = why else {
            granted.push(address);
            continue;
        };
        granted.into_iter().for_each(|address| network.give_back(address));
        let name = network.name().to_owned();
        return Err(ModelError::AddressTaken { network: name, address, why: why.to_owned() });
    }
    Ok(())
}

/// Its MAC address, if frames to it leave this host.
fn mac_away(document: &hcn::Endpoint, network: &Network) -> Option<Mac> {
    document.mac.filter(|_| host_of(document) != provider_of(&network.document))
}

pub(crate) fn release_mac(document: &hcn::Endpoint, network: &mut Network, id: Guid) {
    if let Some(mac) = mac_away(document, network) {
        network.macs.release_away(mac, id);
    }
}

/// Refuses a place in a container of this host.
pub(crate) fn check_seat(document: &hcn::Endpoint, network: &Network) -> Result<(), ModelError> {
    if network.kind() == NetworkType::Overlay && document.namespace.is_some() {
        return refuse("HostComputeNamespace", "a remote endpoint has no port on this host", NO_PORT);
    }
    Ok(())
}
