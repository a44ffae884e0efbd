//! The host as the gateway of containers under the MAC address of its adapter: a network of the type `L2Bridge` that has a subnet of
//! its own for this host, in which the host is by an endpoint in its own namespace. It routes the subnet, and the LAN reaches it by
//! routes to the host.

use std::net::IpAddr;

use hns_net::{Family, Guid, IfAddr};

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::external::Lan;
use crate::namespace::NamespaceOrigin;
use crate::network::Network;
use crate::world::World;
use hns_hcn::NetworkType;

/// Whether an endpoint may get the address that its network names for its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayAddress {
    Reserved,
    /// It is the gateway.
    Free,
}

impl World {
    /// The endpoints by which the host itself is on a network.
    pub fn hosts_seats_on(&self, network: Guid) -> impl Iterator<Item = &Endpoint> {
        let namespaces = self.hosts_namespaces.iter().filter_map(|id| self.namespace(*id).ok());
        let members = namespaces.flat_map(crate::Namespace::members).filter_map(|id| self.endpoint(id).ok());
        members.filter(move |endpoint| endpoint.network == network)
    }

    /// Whether an endpoint is one by which the host routes for the containers of its network.
    #[must_use]
    pub fn is_gateway(&self, endpoint: &Endpoint) -> bool {
        let may_be =
            self.network(endpoint.network).is_ok_and(|network| network.kind() == NetworkType::L2Bridge);
        may_be && self.hosts_seats_on(endpoint.network).any(|seat| seat.id == endpoint.id)
    }

    /// By family, IPv4 first: whether the host routes for an endpoint. Its default route leads to an address by which the host is on the
    /// same network, or it is the host's itself.
    #[must_use]
    pub fn is_behind_host(&self, endpoint: &Endpoint) -> [bool; 2] {
        if !self.network(endpoint.network).is_ok_and(|network| network.kind() == NetworkType::L2Bridge) {
            return [false; 2];
        }
        let seats: Vec<&Endpoint> = self.hosts_seats_on(endpoint.network).collect();
        let is_own = |address: IpAddr| {
            seats.iter().flat_map(|seat| seat.addresses()).any(|own| own.address() == address)
        };
        let is_seat = seats.iter().any(|seat| seat.id == endpoint.id);
        [Family::V4, Family::V6].map(|family| {
            let mut defaults = endpoint.routes().iter().filter(|route| route.is_default());
            is_seat
                || defaults
                    .any(|route| route.next_hop.is_some_and(|hop| Family::of(hop) == family && is_own(hop)))
        })
    }

    /// On a LAN the host is by its own adapter or bridge, and not by an endpoint as well, unless that has a subnet of its own.
    pub(crate) fn refuse_host_on_lan(&self, endpoint: Guid, namespace: Guid) -> Result<(), ModelError> {
        let there = self.endpoint(endpoint)?;
        let network = self.network(there.network)?;
        let is_host = self.namespace(namespace)?.origin() == NamespaceOrigin::Host;
        if !is_host {
            return refuse_gateways_address(there, network);
        }
        match network.lan() {
            Some(Lan::Adapter(uplink))
                if network.kind() == NetworkType::L2Bridge && uplink.vlan.is_some() =>
            {
                Err(ModelError::GatewayInVlan { endpoint, uplink })
            }
            Some(lan) if !self.may_host_route_for(network) => Err(ModelError::HostOnLan { endpoint, lan }),
            _ => Ok(()),
        }
    }

    /// Whether an endpoint in this namespace may have its network's gateway address.
    pub(crate) fn gateway_address_in(&self, namespace: Option<Guid>, network: Guid) -> GatewayAddress {
        let namespace = namespace.and_then(|id| self.namespace(id).ok());
        let is_hosts = namespace.is_some_and(|namespace| namespace.origin() == NamespaceOrigin::Host);
        match self.network(network) {
            Ok(network) if is_hosts && self.may_host_route_for(network) => GatewayAddress::Free,
            _ => GatewayAddress::Reserved,
        }
    }

    /// The host is in no VLAN of its adapter, and hears nothing that comes back there.
    fn may_host_route_for(&self, network: &Network) -> bool {
        let is_own = |address: &IpAddr| network.prefixes().any(|prefix| prefix.contains(*address));
        let is_there = || self.hosts_own_on(network.id()).is_ok_and(|own| own.iter().any(is_own));
        let uplink = network.uplink().filter(|uplink| uplink.vlan.is_none());
        network.kind() == NetworkType::L2Bridge && uplink.is_some() && !is_there()
    }
}

/// Who has the gateway's own address is the gateway, and no container.
pub(crate) fn refuse_gateways_address(endpoint: &Endpoint, network: &Network) -> Result<(), ModelError> {
    let is_gateways =
        |address: &IpAddr| network.kind() == NetworkType::L2Bridge && network.beside.contains(address);
    match endpoint.addresses().map(IfAddr::address).find(is_gateways) {
        Some(address) => Err(ModelError::GatewaysAddress { endpoint: endpoint.id, address }),
        None => Ok(()),
    }
}
