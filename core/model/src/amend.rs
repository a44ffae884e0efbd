//! What the engines in front tell of an object only after its creation: its name, and marks of theirs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_hcn::{self as hcn, ErrorCode};
use hns_net::{Cidr, Guid, IfAddr};
use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::ipam::Claim;
use crate::network::{self, Network};
use crate::world::World;

/// A key of `AdditionalParams` and its value; without a value it is removed.
pub type ParamChange = (String, Option<Value>);

/// What is to be different about a network. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkAmendment {
    pub name: Option<String>,
    /// From now on dynamic addresses come from these blocks only; addresses in use stay.
    pub ip_range: Option<Vec<Cidr>>,
    /// Named addresses that are never handed out from now on.
    pub aux_addresses: Option<BTreeMap<String, IpAddr>>,
    pub params: Vec<ParamChange>,
}

/// What is to be different about an endpoint. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointAmendment {
    pub name: Option<String>,
    pub params: Vec<ParamChange>,
}

impl World {
    /// Changes a network, the whole of it or nothing; gives the network as it was, for [`World::restore_amended`].
    pub fn amend_network(&mut self, id: Guid, amendment: NetworkAmendment) -> Result<Network, ModelError> {
        let before = self.network(id)?.clone();
        let mut after = before.clone();
        if let Some(name) = amendment.name {
            if let Some(same) = self.networks().find(|other| other.id() != id && other.name() == name) {
                return Err(ModelError::NetworkNameTaken { name, id: same.id() });
            }
            hcn::check_name(&name, ErrorCode::INVALID_NETWORK)
                .map_err(|source| ModelError::Document { object: "network", source })?;
            after.document.name = name;
        }
        apply(&mut after.document.params.others, amendment.params);
        let reordered = amendment.ip_range.is_some() || amendment.aux_addresses.is_some();
        let params = &mut after.document.params;
        params.ip_range = amendment.ip_range.unwrap_or_else(|| std::mem::take(&mut params.ip_range));
        params.aux_addresses =
            amendment.aux_addresses.unwrap_or_else(|| std::mem::take(&mut params.aux_addresses));
        if reordered {
            self.reorder_pools(&mut after)?;
        }
        *self.network_mut(id)? = after;
        Ok(before)
    }

    /// Pools of the network's new ranges, with what its endpoints hold.
    fn reorder_pools(&self, network: &mut Network) -> Result<(), ModelError> {
        network::check_params(&network.document)?;
        let fresh = network.document.subnets().filter_map(|s| network::pool_of(&network.document, s));
        let mut pools: Vec<_> = fresh.collect();
        for leased in network.pools.iter().flat_map(crate::Pool::leases) {
            if let Some(pool) = pools.iter_mut().find(|pool| pool.prefix().contains(leased)) {
                // One that is reserved from now on is nobody's to give back.
                let _ = pool.lease(leased);
            }
        }
        let members = network.endpoints.iter().filter_map(|id| self.endpoint(*id).ok());
        let addresses = members.flat_map(|endpoint| endpoint.addresses().map(IfAddr::address));
        for address in addresses.filter(|address| !network.beside.contains(address)) {
            let Some(pool) = pools.iter_mut().find(|pool| pool.prefix().contains(address)) else { continue };
            if pool.claim(address) == Claim::Reserved {
                let (network, why) = (network.name().to_owned(), "in use by an endpoint".to_owned());
                return Err(ModelError::AddressTaken { network, address, why });
            }
        }
        network.pools = pools;
        Ok(())
    }

    /// Puts a network back as it was before [`World::amend_network`], while nobody else could change it.
    pub fn restore_amended(&mut self, before: Network) {
        if let Ok(network) = self.network_mut(before.id()) {
            *network = before;
        }
    }

    /// Changes an endpoint; gives what takes the change back.
    pub fn amend_endpoint(
        &mut self,
        id: Guid,
        amendment: EndpointAmendment,
    ) -> Result<EndpointAmendment, ModelError> {
        if let Some(name) = &amendment.name {
            hcn::check_name(name, ErrorCode::INVALID_ENDPOINT)
                .map_err(|source| ModelError::Document { object: "endpoint", source })?;
        }
        let document = &mut self.endpoint_mut(id)?.document;
        let name = amendment.name.map(|name| std::mem::replace(&mut document.name, name));
        Ok(EndpointAmendment { name, params: apply(&mut document.params.others, amendment.params) })
    }
}

/// Sets and removes keys; gives what they were.
fn apply(params: &mut Map<String, Value>, changes: Vec<ParamChange>) -> Vec<ParamChange> {
    let mut before = Vec::with_capacity(changes.len());
    for (key, value) in changes {
        let was = match value {
            Some(value) => params.insert(key.clone(), value),
            None => params.remove(&key),
        };
        before.push((key, was));
    }
    before.reverse();
    before
}
