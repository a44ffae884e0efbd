use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hns_hcn::{EndpointFlags, GatewayMode, NetworkType};
use hns_model::{Endpoint, LanLease, Namespace, NamespaceOrigin, Network, Seat, World};
use hns_net::{Family, Guid, IfAddr, IfName, Mac, Mtu, PortRange, Uplink, UplinkMode};

use crate::desired::{Desired, Forwarding, NamespaceSpec, Port, Route, Station, Switch, Target};
use crate::outbound;
use crate::overlay::{add_overlay, udp_ports_of};
use crate::policy::{network_sets, port_policy};
use crate::rules::Element;

/// Where on this host our namespaces are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub namespaces: PathBuf,
}

impl Layout {
    /// Where a namespace of ours is.
    #[must_use]
    pub fn namespace(&self, id: Guid) -> PathBuf {
        self.namespaces.join(id.to_string())
    }
}

/// The bridge of a switch: `hns` and eight digits, which leaves room for `.23`, the last segment.
#[must_use]
pub fn switch_name(switch: Guid) -> IfName {
    let name = format!("hns{}", switch.digest(8));
    name.parse().unwrap_or_else(|_| unreachable!("\"hns\" and eight digits make an interface name"))
}

/// The bridge that the ports of a network are on: that of its switch, or the administrator's that it stands for.
#[must_use]
pub fn bridge_of(network: &Network) -> IfName {
    network.adopted().cloned().unwrap_or_else(|| switch_name(network.switch_id()))
}

/// Everything these objects ask of the host.
#[must_use]
pub fn compile(world: &World) -> Desired {
    let mut desired = Desired { chains: Some(needs_chains(world)), ..Desired::default() };
    for network in world.networks() {
        add_network(&mut desired, network, world);
    }
    for namespace in world.namespaces() {
        add_namespace(&mut desired, namespace);
    }
    for endpoint in world.endpoints() {
        add_endpoint(&mut desired, endpoint, world);
    }
    desired
}

/// Whether the chains of our table serve anything: a switch of ours that is no external one, or a port on a bridge of the
/// administrator's, at which what bridges do not forward would come to the host. On an external switch the programs of its ports and
/// of its adapter decide, and the bridge's table, but for endpoints behind the host that it translates.
#[must_use]
pub fn needs_chains(world: &World) -> bool {
    world.networks().any(|network| {
        let attached = network.endpoints().filter_map(|id| world.endpoint(id).ok());
        let mut attached = attached.filter(|endpoint| endpoint.attachment().is_some());
        match network.adopted() {
            Some(_) => attached.next().is_some(),
            None => network.uplink().is_none() || attached.any(|endpoint| is_translated(endpoint, network)),
        }
    })
}

/// Whether the table translates what an endpoint of an external switch sends.
fn is_translated(endpoint: &Endpoint, network: &Network) -> bool {
    network.kind() == NetworkType::L2Bridge && endpoint.outbound_nats().next().is_some()
}

/// What one network asks for, without the endpoints that are attached.
#[must_use]
pub fn compile_network(network: &Network, world: &World) -> Desired {
    let mut desired = Desired::default();
    add_network(&mut desired, network, world);
    desired
}

/// What one endpoint asks for: its port and its elements, when it is attached.
#[must_use]
pub fn compile_endpoint(endpoint: &Endpoint, world: &World) -> Desired {
    let mut desired = Desired::default();
    add_endpoint(&mut desired, endpoint, world);
    desired
}

fn add_network(desired: &mut Desired, network: &Network, world: &World) {
    add_sets(desired, network);
    add_overlay(desired, network, world);
    let Some(switch) = switch_of(network) else { return };
    desired.rules.extend(network_elements(network));
    if network.uplink().is_none() {
        desired.chains = Some(true);
    }
    let forwarding = forwarding_for(network);
    desired.forwarding.v4 |= forwarding.v4;
    desired.forwarding.v6 |= forwarding.v6;
    desired.switches.insert(switch.name.clone(), switch);
}

/// What the policies of a network ask for: its address sets, and its endpoints with all that they ask for.
#[must_use]
pub fn compile_policies(network: &Network, world: &World) -> Desired {
    let mut desired = Desired::default();
    add_sets(&mut desired, network);
    add_overlay(&mut desired, network, world);
    for endpoint in network.endpoints().filter_map(|id| world.endpoint(id).ok()) {
        add_endpoint(&mut desired, endpoint, world);
    }
    desired
}

fn add_sets(desired: &mut Desired, network: &Network) {
    let sets = network_sets(network);
    if !sets.is_empty() {
        desired.sets.insert(network.id(), Arc::new(sets));
    }
}

/// Which families the host must forward for a network.
fn forwarding_for(network: &Network) -> Forwarding {
    let forwards = |family| network.has_way_out() && network.has_family(family);
    Forwarding { v4: forwards(Family::V4), v6: forwards(Family::V6) }
}

/// Which families the host must forward for all objects.
#[must_use]
pub fn forwarding_of(world: &World) -> Forwarding {
    let of_networks = world.networks().map(forwarding_for);
    let gateways = world.networks().flat_map(|network| world.hosts_seats_on(network.id()));
    let all = of_networks.chain(gateways.map(|endpoint| forwarding_by(endpoint, world)));
    all.fold(Forwarding::default(), |all, one| Forwarding { v4: all.v4 || one.v4, v6: all.v6 || one.v6 })
}

/// Which families the host forwards by an endpoint that is a gateway.
fn forwarding_by(endpoint: &Endpoint, world: &World) -> Forwarding {
    let is_gateway = world.is_gateway(endpoint);
    let has = |family| is_gateway && endpoint.addresses().any(|address| address.family() == family);
    Forwarding { v4: has(Family::V4), v6: has(Family::V6) }
}

fn add_namespace(desired: &mut Desired, namespace: &Namespace) {
    if let (NamespaceOrigin::Ours, Some(path)) = (namespace.origin(), namespace.path()) {
        desired.namespaces.insert(path.to_owned(), NamespaceSpec { path: path.to_owned() });
    }
}

fn add_endpoint(desired: &mut Desired, endpoint: &Endpoint, world: &World) {
    let Ok(network) = world.network(endpoint.network()) else { return };
    let Some(port) = port_of(endpoint, network, world) else { return };
    desired.rules.extend(endpoint_elements(endpoint, network));
    // The others' came with their switch.
    if network.adopted().is_some() || is_translated(endpoint, network) {
        desired.chains = Some(true);
    }
    if port.target == Target::Host {
        desired.rules.insert(Element::HostSeat(port.interface.clone()));
    }
    let forwarding = forwarding_by(endpoint, world);
    desired.forwarding.v4 |= forwarding.v4;
    desired.forwarding.v6 |= forwarding.v6;
    // An adapter takes in its own station anyway.
    if let Some(uplink) = network.uplink().filter(|uplink| uplink.mode == UplinkMode::Stations) {
        desired.stations.insert(Station { adapter: uplink.adapter, mac: port.mac });
    }
    if let Some(policy) = port_policy(endpoint, network, world) {
        desired.policies.insert(port.name.clone(), Arc::new(policy));
    }
    desired.ports.insert(port.name.clone(), port);
}

/// The switch of a network; a bridge of the administrator's is not ours to make.
#[must_use]
pub fn switch_of(network: &Network) -> Option<Switch> {
    match (network.adopted(), network.uplink()) {
        (Some(_), _) => None,
        (None, Some(uplink)) => Some(external_switch(uplink)),
        (None, None) => Some(own_switch(network)),
    }
}

fn own_switch(network: &Network) -> Switch {
    let pool = network.document().mac_pool.first();
    // What leaves an overlay by its router, and for no other host, is the host's, whose port the bridge's own device is.
    let router = network.tunnel().map(|tunnel| tunnel.router);
    Switch {
        name: switch_name(network.switch_id()),
        // Every network has a pool, and its first address is the switch's own.
        mac: router.or(pool.map(|range| range.start())).unwrap_or(Mac::new([0x02, 0, 0, 0, 0, 1])),
        mtu: network.mtu(),
        alias: format!("hns network {}", network.name()).chars().take(200).collect(),
        gateways: gateways(network),
        extra_segments: network.extra_segments(),
        hosted: network.has_host_port(),
        loopback: network.has_way_out(),
        uplink: None,
    }
}

/// The same whichever of the networks that share it asks. Its bridge carries what the adapter and the ports do.
fn external_switch(uplink: Uplink) -> Switch {
    let [a, b, c, d, e, ..] = uplink.switch_id().bytes();
    Switch {
        name: switch_name(uplink.switch_id()),
        mac: Mac::new([0x02, a, b, c, d, e]),
        mtu: Mtu::ETHERNET,
        alias: format!("hns external switch: {uplink}"),
        gateways: BTreeSet::new(),
        extra_segments: 0,
        hosted: false,
        loopback: false,
        uplink: Some(uplink),
    }
}

fn gateways(network: &Network) -> BTreeSet<IfAddr> {
    if !network.has_host_port() {
        return BTreeSet::new();
    }
    network.gateways().map(|(prefix, gateway)| IfAddr::within(gateway, prefix)).collect()
}

/// A switch that is named nowhere is closed to the host and to all others.
fn network_elements(network: &Network) -> BTreeSet<Element> {
    let mut elements: BTreeSet<Element> = udp_ports_of(network).map(Element::Tunnel).collect();
    if !network.has_host_port() {
        return elements;
    }
    let switch = switch_name(network.switch_id());
    elements.insert(Element::Switch(switch.clone()));
    for prefix in network.prefixes() {
        elements.insert(Element::Inside { switch: switch.clone(), prefix });
    }
    if network.kind() == NetworkType::Internal {
        elements.insert(Element::Internal(switch));
        return elements;
    }
    for family in [Family::V4, Family::V6].into_iter().filter(|family| network.has_family(*family)) {
        elements.insert(match (network.gateway_mode(family), family) {
            (GatewayMode::Nat, Family::V4) => Element::Masquerade4(switch.clone()),
            (GatewayMode::Nat, Family::V6) => Element::Masquerade6(switch.clone()),
            (GatewayMode::Routed, Family::V4) => Element::Routed4(switch.clone()),
            (GatewayMode::Routed, Family::V6) => Element::Routed6(switch.clone()),
        });
    }
    elements
}

/// What the table holds for one attached endpoint.
#[must_use]
pub fn endpoint_elements(endpoint: &Endpoint, network: &Network) -> BTreeSet<Element> {
    let mut elements = BTreeSet::new();
    let Some(attachment) = endpoint.attachment() else { return elements };
    elements.extend(outbound::elements(endpoint, network));
    if network.has_host_port() {
        let switch = switch_name(network.switch_id());
        elements.extend(
            endpoint
                .addresses()
                .map(|address| Element::Resident { switch: switch.clone(), address: address.address() }),
        );
    }
    if endpoint.has_flag(EndpointFlags::DISABLE_ICC) {
        elements.insert(Element::QuietPort(attachment.port.clone()));
        elements.extend(endpoint.addresses().map(|address| Element::QuietAddress(address.address())));
    }
    for mapping in endpoint.port_mappings() {
        let Some(external) = mapping.external else { continue };
        let at = mapping.address.filter(|address| !address.is_unspecified());
        for to in endpoint.addresses().map(IfAddr::address).filter(|to| mapping.covers(Family::of(*to))) {
            let translated = network.gateway_mode(Family::of(to)) == GatewayMode::Nat;
            for transport in mapping.transports().iter().copied() {
                if translated {
                    publish(&mut elements, at, transport, external, to, mapping.internal);
                } else {
                    elements.insert(Element::Open { address: to, transport, ports: mapping.internal });
                }
            }
        }
    }
    elements
}

/// A run of ports that keep their numbers is one element; nftables cannot shift a run, so one that
/// changes them is an element a port.
fn publish(
    elements: &mut BTreeSet<Element>,
    at: Option<IpAddr>,
    transport: hns_net::Transport,
    external: PortRange,
    to: IpAddr,
    internal: PortRange,
) {
    if external == internal && !external.is_single() {
        elements.insert(Element::PublishRange { at, transport, ports: external, to });
        return;
    }
    for (port, to_port) in external.iter().zip(internal.iter()) {
        elements.insert(Element::Publish { at, transport, port, to, to_port });
    }
}

/// The switch port of an attached endpoint.
#[must_use]
pub fn port_of(endpoint: &Endpoint, network: &Network, world: &World) -> Option<Port> {
    let attachment = endpoint.attachment()?;
    let target = match attachment.seat {
        Seat::Namespace { id, .. } => target_of(world.namespace(id).ok()?)?,
        Seat::Sandbox(_) => Target::Engine,
    };
    let bridge = bridge_of(network);
    let (addresses, routes) = match target {
        // The host reaches its containers by the route of their subnet.
        Target::Host if world.is_gateway(endpoint) => (endpoint.addresses().collect(), Vec::new()),
        // In the host's own namespace the subnet's route is the gateway's; a second one would compete.
        Target::Host => (endpoint.addresses().filter_map(narrow).collect(), Vec::new()),
        Target::Path(_) => (endpoint.addresses().collect(), routes(endpoint, attachment.order())),
        Target::Engine => (Vec::new(), Vec::new()),
    };
    Some(Port {
        name: attachment.port.clone(),
        bridge: Switch::segment_name(&bridge, attachment.segment)?,
        interface: attachment.interface.clone(),
        mac: endpoint.mac()?,
        mtu: endpoint.mtu().unwrap_or(network.mtu()),
        addresses,
        routes,
        until: endpoint.leases().flat_map(ends).collect(),
        target,
    })
}

/// When the addresses of a lease are no longer the endpoint's, if ever.
fn ends(lease: &LanLease) -> impl Iterator<Item = (IpAddr, u64)> {
    lease.addresses.iter().filter_map(|address| Some((address.address(), lease.term.end()?)))
}

fn narrow(address: IfAddr) -> Option<IfAddr> {
    IfAddr::new(address.address(), address.family().bits()).ok()
}

fn target_of(namespace: &Namespace) -> Option<Target> {
    match namespace.origin() {
        NamespaceOrigin::Host => Some(Target::Host),
        NamespaceOrigin::Ours | NamespaceOrigin::Given | NamespaceOrigin::Lent => {
            namespace.path().map(Path::to_owned).map(Target::Path)
        }
    }
}

/// An endpoint's routes. Of several default routes in one namespace the one with the highest gateway
/// priority wins, and of equals the one that came first; Linux takes the lowest metric.
fn routes(endpoint: &Endpoint, order: u32) -> Vec<Route> {
    let low = endpoint.has_flag(EndpointFlags::LOW_METRIC);
    let base = if low { 100 } else { 20_000 - 100 * endpoint.gateway_priority() };
    let metric = u32::try_from(base).unwrap_or(20_000) + order % 100;
    // A LAN may have told its ways before it gives an address of IPv6. Without one a vNIC has no IPv6.
    let has_ipv6 = endpoint.addresses().any(|address| address.family() == Family::V6);
    let usable =
        endpoint.routes().iter().filter(|route| has_ipv6 || route.destination.family() == Family::V4);
    let compiled = usable.filter_map(|route| {
        let wins = if route.metric > 0 { u32::from(route.metric) } else { metric };
        match route.next_hop {
            // A default route without a next hop says "none" (hcn-api 3.2).
            None if route.is_default() => None,
            via => Some(Route { destination: route.destination, via, metric: wins }),
        }
    });
    compiled.collect()
}
