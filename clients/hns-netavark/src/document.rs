use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use hns_hcn::{NetworkType, Policy, Qos};
use hns_net::{Family, IfName, PortRange, Transport};
use serde_json::{Map, Value, json};

use crate::error::PluginError;
use crate::lease_range;
use crate::options::{self, EndpointOptions, GatewayMode, NetworkOptions};
use crate::podman::{Container, Network, PortMapping, Subnet};

/// Who an object of HNS belongs to, in its `Owner`.
pub const OWNER: &str = "podman";

/// The key of `AdditionalParams` under which we note what podman calls an object.
pub const MARK: &str = "Podman";

/// HCN `EndpointFlags` (hcn-api 3.2).
const DISABLE_ICC: u32 = 2;

/// HCN `NatFlags`: the caller holds the port already. Podman binds the TCP and UDP ports it publishes.
const PORT_RESERVED: u32 = 4;

/// At which moment a network is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// As its user asks for it: what is missing is chosen.
    Creation,
    /// As podman keeps it: complete, so that it can be made again.
    Use,
}

/// The network as HNS is asked for it.
pub fn network(network: &Network, options: &NetworkOptions, moment: Moment) -> Result<Value, PluginError> {
    let kind = kind(network, options)?;
    let mut params = Map::new();
    if let Some(mtu) = options.mtu {
        params.insert("Mtu".into(), json!(mtu.bytes()));
    }
    let ranges = ip_ranges(network)?;
    if !ranges.is_empty() {
        params.insert("IpRange".into(), ranges.into());
    }
    if options.gateway_mode_v4.is_some() || options.gateway_mode_v6.is_some() {
        let name = |mode: Option<GatewayMode>| mode.unwrap_or(GatewayMode::Nat).name();
        let modes = json!({"IPv4": name(options.gateway_mode_v4), "IPv6": name(options.gateway_mode_v6)});
        params.insert("GatewayMode".into(), modes);
    }
    // Podman's --ipv6 asks for both families, also when a subnet names one of them. A netavark
    // that drops the answer of `create`, as one snapshot of its main branch does, leaves podman without any subnet.
    let is_open = moment == Moment::Creation || network.subnets.is_empty();
    if is_open && network.ipv6_enabled {
        params.insert("EnableIPv4".into(), json!(true));
        params.insert("EnableIPv6".into(), json!(true));
    }
    params.insert(
        MARK.into(),
        json!({"NetworkId": network.id, "NetworkName": network.name, "Labels": network.labels}),
    );
    let mut document = json!({
        "ID": network.guid()?.to_string(),
        "Name": options.name.as_ref().unwrap_or(&network.name),
        "Owner": OWNER,
        "Type": kind.name(),
        "AdditionalParams": params,
    });
    if !network.subnets.is_empty() {
        let subnets: Vec<Value> = network.subnets.iter().map(subnet).collect();
        document["Ipams"] = json!([{"Type": "Static", "Subnets": subnets}]);
    }
    let place = place(options);
    if !place.is_empty() {
        document["Policies"] = place.into();
    }
    if let Some(dns) = dns(options) {
        document["Dns"] = dns;
    }
    if !options.mac_pool.is_empty() {
        let range = |range: &hns_net::MacRange| json!({"StartMacAddress": range.start().to_string(), "EndMacAddress": range.end().to_string()});
        document["MacPool"] = json!({"Ranges": options.mac_pool.iter().map(range).collect::<Vec<_>>()});
    }
    Ok(document)
}

/// Where a network is that is not of this host alone.
fn place(options: &NetworkOptions) -> Vec<Value> {
    let adapter = options.interface.iter();
    let adapter =
        adapter.map(|name| json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": name}}));
    let vlan = options.vlan.iter();
    let vlan = vlan.map(|vlan| json!({"Type": "VLAN", "Settings": {"IsolationId": vlan.number()}}));
    let method = options
        .encrypted
        .then(|| json!({"Type": "Encryption", "Settings": {"EncryptionMethodType": "WireGuard"}}));
    adapter.chain(vlan).chain(method).collect()
}

fn kind(network: &Network, options: &NetworkOptions) -> Result<NetworkType, PluginError> {
    match (options.kind, network.internal) {
        (None, false) => Ok(NetworkType::Nat),
        (None, true) => Ok(NetworkType::Internal),
        (Some(kind), true) if !is_internal(kind) => {
            Err(PluginError::InternalWithWayOut { network: network.name.clone(), kind: kind.name() })
        }
        (Some(kind), _) => Ok(kind),
    }
}

/// Whether nothing leads out of networks of this type: podman's `internal`.
pub fn is_internal(kind: NetworkType) -> bool {
    matches!(kind, NetworkType::Internal | NetworkType::Private)
}

fn ip_ranges(network: &Network) -> Result<Vec<Value>, PluginError> {
    let mut ranges = Vec::new();
    for subnet in &network.subnets {
        let blocks = lease_range::blocks(subnet).map_err(|range| PluginError::LeaseRange {
            network: network.name.clone(),
            start: range.start,
            end: range.end,
        })?;
        ranges.extend(blocks.iter().map(|block| json!(block.to_string())));
    }
    Ok(ranges)
}

fn subnet(subnet: &Subnet) -> Value {
    let mut document = json!({"IpAddressPrefix": subnet.subnet.to_string()});
    if let Some(gateway) = subnet.gateway {
        let everything = subnet.subnet.family().default_route().to_string();
        document["Routes"] = json!([{"NextHop": gateway.to_string(), "DestinationPrefix": everything}]);
    }
    document
}

fn dns(options: &NetworkOptions) -> Option<Value> {
    let mut dns = Map::new();
    if let Some(suffix) = &options.dns_suffix {
        dns.insert("Domain".into(), json!(suffix));
    }
    if !options.dns_servers.is_empty() {
        let servers: Vec<String> = options.dns_servers.iter().map(ToString::to_string).collect();
        dns.insert("ServerList".into(), json!(servers));
    }
    (!dns.is_empty()).then_some(Value::Object(dns))
}

/// The endpoint, with its network and its namespace in their places: all that a `setup` asks for, in one document.
pub fn endpoint(container: &Container, netns: &Path) -> Result<Value, PluginError> {
    let (network, membership) = (&container.network, &container.network_options);
    let of_network = options::of_network(&network.name, &network.options)?;
    let options = options::of_endpoint(&network.name, &membership.options)?;
    // `podman network reload` names a fixed address twice: as its user did, and as the container has it.
    let fixed: BTreeSet<IpAddr> = membership.static_ips.iter().copied().collect();
    let addresses: Vec<Value> = fixed.iter().map(|ip| json!({"IpAddress": ip.to_string()})).collect();
    let mut document = json!({
        "ID": container.endpoint_guid().to_string(),
        "Name": container.name(),
        "Owner": OWNER,
        "HostComputeNetwork": around(network, &of_network)?,
        "HostComputeNamespace": {"Type": "Host", "AdditionalParams": {"Path": netns}},
        "IpConfigurations": addresses,
        "Policies": policies(container, &options)?,
        "Routes": routes(network, &of_network),
        "AdditionalParams": {
            "InterfaceName": membership.interface_name.as_str(),
            "GatewayPriority": gateway_priority(&membership.interface_name, &options),
            MARK: {
                "ContainerId": container.container_id,
                "NetworkId": network.id,
                "NetworkName": network.name,
                "Aliases": membership.aliases,
                "Namespace": netns,
            },
        },
    });
    if let Some(mac) = membership.static_mac {
        document["MacAddress"] = json!(mac.to_string());
    }
    if options.disable_icc {
        document["Flags"] = json!(DISABLE_ICC);
    }
    Ok(document)
}

/// The network that a container joins: one that exists, or one like podman's, to be made again if HNS lost it.
fn around(podman: &Network, options: &NetworkOptions) -> Result<Value, PluginError> {
    match &options.existing {
        None => network(podman, options, Moment::Use),
        Some(existing) if existing.parse::<hns_net::Guid>().is_ok() => Ok(json!({"ID": existing})),
        Some(existing) => Ok(json!({"Name": existing})),
    }
}

fn policies(container: &Container, options: &EndpointOptions) -> Result<Vec<Value>, PluginError> {
    let mut policies = Vec::new();
    if let Some(mtu) = options.mtu {
        policies.push(json!({"Type": "InterfaceParameters", "Settings": {"Mtu": mtu.bytes()}}));
    }
    policies.extend(options.rules.iter().map(Policy::to_v2));
    if options.bandwidth_in.is_some() || options.bandwidth_out.is_some() {
        let limits = Qos { outgoing: options.bandwidth_out, incoming: options.bandwidth_in };
        policies.push(Policy::qos(limits).to_v2());
    }
    // As with podman's own networks, nothing is published from an internal one: its container may be on others too.
    if !container.network.internal {
        policies.extend(port_mappings(container)?);
    }
    Ok(policies)
}

/// The container's published ports as policies of an endpoint.
pub fn port_mappings(container: &Container) -> Result<Vec<Value>, PluginError> {
    let mut policies = Vec::new();
    for mapping in &container.port_mappings {
        let protocols = Some(mapping.protocol.as_str()).filter(|text| !text.is_empty()).unwrap_or("tcp");
        for protocol in protocols.split(',') {
            policies.push(port_mapping(container, mapping, protocol.trim())?);
        }
    }
    Ok(policies)
}

fn port_mapping(container: &Container, mapping: &PortMapping, protocol: &str) -> Result<Value, PluginError> {
    let (name, port) = (|| container.name().to_owned(), mapping.container_port);
    let transport: Transport = protocol.to_ascii_lowercase().parse().map_err(|_| PluginError::Protocol {
        container: name(),
        port,
        protocol: protocol.to_owned(),
    })?;
    let count = mapping.range.max(1);
    for start in [mapping.container_port, mapping.host_port.max(1)] {
        PortRange::with_count(start, count).map_err(|source| PluginError::Ports {
            container: name(),
            start,
            count,
            source,
        })?;
    }
    let mut settings = json!({
        "Protocol": transport.number(),
        "InternalPort": mapping.container_port,
        "ExternalPort": mapping.host_port,
        "Flags": if transport == Transport::Sctp { 0 } else { PORT_RESERVED },
    });
    if count > 1 {
        settings["PortCount"] = json!(count);
    }
    if !mapping.host_ip.is_empty() {
        let address: IpAddr = mapping.host_ip.parse().map_err(|_| PluginError::HostAddress {
            container: name(),
            port,
            address: mapping.host_ip.clone(),
        })?;
        settings["VIP"] = json!(address.to_string());
    }
    Ok(json!({"Type": "PortMapping", "Settings": settings}))
}

/// What the subnets' own default routes do not say.
fn routes(network: &Network, options: &NetworkOptions) -> Vec<Value> {
    let route = |hop: String, destination: String, metric: u32| json!({"NextHop": hop, "DestinationPrefix": destination, "Metric": metric});
    let given = network.routes.iter();
    let mut routes: Vec<Value> = given
        .map(|r| route(r.gateway.to_string(), r.destination.to_string(), r.metric.unwrap_or_default()))
        .collect();
    for family in [Family::V4, Family::V6] {
        let everything = family.default_route().to_string();
        let mut subnets = network.subnets.iter().filter(|subnet| subnet.subnet.family() == family);
        let gateway = subnets.find_map(|subnet| subnet.gateway);
        match (gateway, options.metric) {
            _ if options.no_default_route => {
                routes.push(route(family.unspecified().to_string(), everything, 0));
            }
            (Some(gateway), Some(metric)) if !network.internal => {
                routes.push(route(gateway.to_string(), everything, metric.into()));
            }
            _ => {}
        }
    }
    routes
}

/// As the user says, or by the order podman gives the interfaces: `eth0` before `eth1`. Without it the order would be
/// chance, since netavark sets up a container's networks in no order of its user's.
fn gateway_priority(interface: &IfName, options: &EndpointOptions) -> i32 {
    let turn = interface.as_str().strip_prefix("eth").and_then(|digits| digits.parse::<i32>().ok());
    options.gateway_priority.unwrap_or_else(|| -turn.unwrap_or_default().clamp(0, 99))
}
