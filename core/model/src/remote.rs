//! Remote endpoints: what documents say of a container on another host. Here they have no port, and no policy is theirs; on an overlay the
//! programs answer for them and lead to them (EP-5).

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
    /// Where the addresses of a remote endpoint are. What is in a prefix of another host is reached as that says, by its router; and what
    /// this host is said to have itself is known by name alone.
    pub fn neighbours<'e>(&'e self, endpoint: &'e Endpoint) -> impl Iterator<Item = Neighbour> + 'e {
        let place = endpoint.mac().zip(endpoint.provider()).filter(|_| endpoint.is_remote());
        let place = place.filter(|(_, provider)| provider_of(&self.document) != Some(*provider));
        let is_routed =
            |address: IpAddr| self.remote_subnets().any(|route| route.destination.contains(address));
        place.into_iter().flat_map(move |(mac, provider)| {
            let addresses = endpoint.addresses().map(hns_net::IfAddr::address);
            addresses.filter(move |address| !is_routed(*address)).filter_map(move |address| {
                Some(Neighbour { address, mac, provider, vni: self.vni_of(address)? })
            })
        })
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

fn refuse<T>(field: impl Into<String>, problem: impl Display, code: ErrorCode) -> Result<T, ModelError> {
    Err(ModelError::endpoint(field, problem, code))
}

/// Refuses what a remote endpoint of this network cannot have.
pub(crate) fn check(document: &hcn::Endpoint, network: &Network) -> Result<(), ModelError> {
    if network.kind() != NetworkType::Overlay {
        let problem = format!("RemoteEndpoint is not available on {} networks", network.kind().name());
        return refuse("Flags", problem, ErrorCode::REQUEST_UNSUPPORTED);
    }
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
        let code = ErrorCode::INVALID_REMOTE_ENDPOINT_OPERATION;
        return refuse(format!("Policies[{place}].Type"), problem, code);
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
    let field = "Policies[0].Settings.ProviderAddress";
    if let Some(own) = own.filter(|own| Family::of(*own) != Family::of(host)) {
        let problem = format!("{host} is not of the family of {own}, where tunnels end on this host");
        return refuse(field, problem, ErrorCode::INVALID_POLICY);
    }
    let has_key =
        || network.remote_subnets().any(|route| route.provider == host && route.public_key.is_some());
    if encryption_of(&network.document).is_some() && own != Some(host) && !has_key() {
        let problem = format!(
            "network \"{}\" is encrypted, and the key of host {host} is not known: add one of its prefixes with it",
            network.name()
        );
        return refuse(field, problem, ErrorCode::INVALID_POLICY);
    }
    Ok(())
}

/// Takes its addresses, so that no container of this host gets one of them.
pub(crate) fn claim(document: &mut hcn::Endpoint, network: &mut Network) -> Result<(), ModelError> {
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
        return Err(ModelError::AddressTaken {
            network: network.name().to_owned(),
            address,
            why: why.to_owned(),
        });
    }
    Ok(())
}

impl World {
    /// Refuses on an overlay a place in a container of this host, and a MAC address that one has: frames would come to it instead.
    pub(crate) fn check_remote(&self, document: &hcn::Endpoint, network: Guid) -> Result<(), ModelError> {
        let network = self.network(network)?;
        if network.kind() != NetworkType::Overlay {
            return Ok(());
        }
        if document.namespace.is_some() {
            let problem = "a remote endpoint has no port on this host";
            let code = ErrorCode::INVALID_REMOTE_ENDPOINT_OPERATION;
            return refuse("HostComputeNamespace", problem, code);
        }
        let away = host_of(document) != provider_of(&network.document);
        let held = document.mac.filter(|_| away).and_then(|mac| Some((mac, network.macs.holder(mac)?)));
        let Some((mac, holder)) = held else { return Ok(()) };
        let problem = format!("{mac} belongs to {} of this host", self.describe_endpoint(holder));
        refuse("MacAddress", problem, ErrorCode::ADDR_INVALID_OR_RESERVED)
    }
}
