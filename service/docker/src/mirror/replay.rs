//! The CreateNetwork call that Docker once made, told again from what its API shows of the network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_net::{Family, IfAddr};
use serde_json::{Map, Value, json};

use super::view::{DockerNetwork, DockerSubnet};

/// The body of the call.
pub(super) fn create_network(network: &DockerNetwork) -> Value {
    let generic: Map<_, _> = network.options.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut options = Map::new();
    options.insert("com.docker.network.generic".into(), Value::Object(generic));
    options.insert("com.docker.network.enable_ipv6".into(), json!(network.enable_v6));
    if let Some(enabled) = network.enable_v4 {
        options.insert("com.docker.network.enable_ipv4".into(), json!(enabled));
    }
    if network.internal {
        options.insert("com.docker.network.internal".into(), json!(true));
    }
    json!({
        "NetworkID": network.id,
        "Options": options,
        "IPv4Data": data(network, Family::V4),
        "IPv6Data": data(network, Family::V6),
    })
}

fn data(network: &DockerNetwork, family: Family) -> Vec<Value> {
    let subnets = network.subnets.iter().filter(|subnet| subnet.prefix.family() == family);
    subnets.map(subnet).collect()
}

fn subnet(subnet: &DockerSubnet) -> Value {
    let within = |address: IpAddr| IfAddr::within(address, subnet.prefix).to_string();
    let aux: BTreeMap<_, _> =
        subnet.aux_addresses.iter().map(|(name, address)| (name.clone(), within(*address))).collect();
    let mut data =
        json!({ "AddressSpace": "LocalDefault", "Pool": subnet.prefix.to_string(), "AuxAddresses": aux });
    if let Some(gateway) = subnet.gateway {
        data["Gateway"] = json!(within(gateway));
    }
    data
}
