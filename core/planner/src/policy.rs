//! From what documents ask of an endpoint's port to the policy of its filter.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_abi::Direction;
use hns_hcn::{EndpointFlags, NetworkType, PortParams, SetPolicy, SetValues};
use hns_model::{Attachment, Endpoint, NamespaceOrigin, Network, World};
use hns_net::{Cidr, Family, IfAddr, UplinkMode};
use hns_vfp::Port;
use hns_vfp::model::{Guards, Sets, both};

use crate::acl;

/// What the filter of an attached endpoint's port holds it to. An endpoint that waits for an address has no MAC address, and
/// no port.
#[must_use]
pub fn port_policy(endpoint: &Endpoint, network: &Network, world: &World) -> Option<Port> {
    let said = endpoint.document().params.port.over(network.document().params.port);
    let is_gateway = world.is_gateway(endpoint);
    let rules =
        |direction, default| acl::compile(endpoint.policies(), network.policies(), direction, default);
    // The host forwards what others have sent.
    let guards = Guards { spoofing: guards(said).spoofing && !is_gateway, ..guards(said) };
    Some(Port {
        endpoint: endpoint.id(),
        network: network.id(),
        mac: endpoint.mac()?,
        addresses: endpoint.addresses().map(IfAddr::address).collect(),
        guards,
        blocked: false,
        quiet: endpoint.has_flag(EndpointFlags::DISABLE_ICC),
        plain_redirect: is_host_seat(endpoint, world),
        behind_host: world.is_behind_host(endpoint),
        external: network.uplink().map(|uplink| uplink.switch_id()),
        reflected: network.uplink().is_some_and(|uplink| uplink.mode == UplinkMode::Reflected),
        overlay: network.tunnel().is_some(),
        ruled: network.has_host_port(),
        confined: hosts_on(network),
        acl: both(rules(Direction::In, said.acl_default_in), rules(Direction::Out, said.acl_default_out)),
        meters: acl::meters(endpoint.policies()),
    })
}

/// Whether its vNIC is in the host's own namespace, where there is no short way into.
fn is_host_seat(endpoint: &Endpoint, world: &World) -> bool {
    let namespace = endpoint.attachment().and_then(Attachment::namespace);
    let namespace = namespace.and_then(|id| world.namespace(id).ok());
    namespace.is_some_and(|namespace| namespace.origin() == NamespaceOrigin::Host)
}

/// The host's addresses on a network that nothing leaves, and everybody's; on a Private one the host has none.
fn hosts_on(network: &Network) -> Option<Vec<IpAddr>> {
    let leads_out = matches!(
        network.kind(),
        NetworkType::Nat
            | NetworkType::Overlay
            | NetworkType::Transparent
            | NetworkType::L2Bridge
            | NetworkType::L2Tunnel
    );
    let hosts = || network.gateways().filter(|_| network.has_host_port()).map(|(_, gateway)| gateway);
    let broadcasts = || network.prefixes().filter(|prefix| prefix.family() == Family::V4).map(Cidr::last);
    (!leads_out).then(|| hosts().chain(broadcasts()).collect())
}

/// The address sets of a network, with nested ones resolved.
#[must_use]
pub fn network_sets(network: &Network) -> Sets {
    let all: BTreeMap<&str, &SetPolicy> = network.sets().map(|set| (set.id.as_str(), set)).collect();
    Sets::new(all.values().map(|set| (set.id.clone(), members(set, &all))))
}

/// No set is nested in itself.
fn members(set: &SetPolicy, all: &BTreeMap<&str, &SetPolicy>) -> Vec<Cidr> {
    match &set.values {
        SetValues::Addresses(members) => members.clone(),
        SetValues::Sets(ids) => {
            let nested = ids.iter().filter_map(|id| all.get(id.as_str()));
            nested.flat_map(|nested| members(nested, all)).collect()
        }
    }
}

fn guards(said: PortParams) -> Guards {
    Guards {
        spoofing: said.spoof_guard.unwrap_or(true),
        router_advertisements: said.ra_guard.unwrap_or(true),
        dhcp_servers: said.dhcp_guard.unwrap_or(true),
    }
}
