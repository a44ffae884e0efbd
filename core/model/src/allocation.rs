//! What an endpoint takes from its network: addresses, a MAC address, the way out.

use std::net::IpAddr;

use hns_hcn::{self as hcn, IpConfiguration, NetworkType, Route};
use hns_net::{Cidr, Family, Guid};

use crate::error::ModelError;
use crate::gateway::GatewayAddress;
use crate::ipam::Claim;
use crate::network::Network;
use crate::remote;

impl Network {
    /// An address is nobody's again.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        self.beside.remove(&address);
        self.pools.iter_mut().for_each(|pool| {
            pool.release(address);
        });
    }
}

/// Takes the addresses and the MAC address of an endpoint from its network's pools.
pub(crate) fn allocate(
    document: &mut hcn::Endpoint,
    network: &mut Network,
    id: Guid,
    gateway: GatewayAddress,
) -> Result<(), ModelError> {
    if remote::is_remote(document) {
        return remote::claim(document, network, id);
    }
    let mut granted: Vec<IpAddr> = Vec::new();
    let chosen = match network.has_dhcp() {
        // The LAN does.
        true => Ok(()),
        false => addresses(document, network, gateway, &mut granted),
    };
    let outcome =
        chosen.and_then(|()| mac(document, network, id)).inspect(|()| complete_routes(document, network));
    if outcome.is_err() {
        granted.into_iter().for_each(|address| network.give_back(address));
    }
    outcome
}

fn addresses(
    document: &mut hcn::Endpoint,
    network: &mut Network,
    gateway: GatewayAddress,
    granted: &mut Vec<IpAddr>,
) -> Result<(), ModelError> {
    for configured in &mut document.addresses {
        let Some(address) = configured.address else { continue };
        claim(network, address, gateway)?;
        granted.push(address);
        let prefix = network.prefixes().find(|prefix| prefix.contains(address));
        configured.prefix_length = configured.prefix_length.or(prefix.map(Cidr::length));
    }
    for family in [Family::V4, Family::V6] {
        let has = document.addresses.iter().filter_map(|c| c.address).any(|a| Family::of(a) == family);
        if has || !network.has_family(family) {
            continue;
        }
        let pools = || network.pools.iter().filter(|pool| pool.prefix().family() == family);
        let range = pools().next().map(crate::ipam::Pool::range);
        let name = network.document.name.clone();
        let mut of_family = network.pools.iter_mut().filter(|pool| pool.prefix().family() == family);
        let found = of_family.find_map(|pool| Some((pool.allocate()?, pool.prefix())));
        let Some((address, prefix)) = found else {
            if let Some(refusal) = network.refuses_choice(family) {
                return Err(refusal);
            }
            let range = range.unwrap_or(family.default_route());
            return Err(ModelError::Exhausted { network: name, range });
        };
        granted.push(address);
        document.addresses.push(IpConfiguration::of(address, prefix.length()));
    }
    // Clients read the IPv4 one first (hcn-api 3.2).
    document.addresses.sort_by_key(|configured| configured.address.map(Family::of));
    if document.addresses.is_empty() {
        if let Some(refusal) = network.refuses_choice(Family::V4) {
            return Err(refusal);
        }
        return Err(ModelError::NoSubnets { network: network.name().to_owned() });
    }
    Ok(())
}

fn claim(network: &mut Network, address: IpAddr, gateway: GatewayAddress) -> Result<(), ModelError> {
    let name = network.document.name.clone();
    let is_gateways = gateway == GatewayAddress::Free && network.gateways().any(|(_, own)| own == address);
    let pool = network.pools.iter_mut().find(|pool| pool.prefix().contains(address));
    let why = match pool.map(|pool| pool.claim(address)) {
        Some(Claim::Granted) => return Ok(()),
        Some(Claim::Reserved) if is_gateways && network.beside.insert(address) => return Ok(()),
        Some(Claim::Reserved) if is_gateways => "in use by another endpoint".to_owned(),
        Some(Claim::Reserved) => "reserved: the gateway's, an auxiliary or the subnet's own".to_owned(),
        Some(Claim::InUse) => "in use by another endpoint".to_owned(),
        Some(Claim::Outside) | None if network.adopted().is_none() => {
            return Err(ModelError::NoSubnet { network: name, address });
        }
        Some(Claim::Outside) | None if network.beside.insert(address) => return Ok(()),
        Some(Claim::Outside) | None => "in use by another endpoint".to_owned(),
    };
    Err(ModelError::AddressTaken { network: name, address, why })
}

fn mac(document: &mut hcn::Endpoint, network: &mut Network, id: Guid) -> Result<(), ModelError> {
    if let Some(mac) = document.mac {
        let taken = |holder| ModelError::MacTaken { network: network.document.name.clone(), mac, holder };
        return network.macs.claim(mac, id).map_err(taken);
    }
    let first = document.addresses.iter().find_map(|configured| configured.address);
    let offset = first.and_then(|address| {
        let pool = network.pools.iter().find(|pool| pool.prefix().contains(address))?;
        Some(pool.offset(address))
    });
    let chosen = network.macs.allocate(offset.unwrap_or(0), id);
    let name = || network.document.name.clone();
    document.mac = Some(chosen.ok_or_else(|| ModelError::MacsExhausted { network: name() })?);
    if network.document.mac_pool.len() != network.macs.ranges().len() {
        network.document.mac_pool = network.macs.ranges().to_vec();
    }
    Ok(())
}

/// Gives every family of the endpoint the default route of its subnet, unless the document says
/// something about that family's default itself. Networks without a way out get none (T-INT-1).
fn complete_routes(document: &mut hcn::Endpoint, network: &Network) {
    if network.kind() == NetworkType::Internal {
        return;
    }
    for configured in &document.addresses {
        let Some(address) = configured.address else { continue };
        let said = |route: &Route| route.is_default() && route.destination.family() == Family::of(address);
        if document.routes.iter().any(said) {
            continue;
        }
        let gateway = network.gateways().find(|(prefix, _)| prefix.contains(address));
        if let Some((_, gateway)) = gateway.filter(|(_, gateway)| *gateway != address) {
            let destination = Family::of(address).default_route();
            document.routes.push(Route { destination, next_hop: Some(gateway), metric: 0 });
        }
    }
}
