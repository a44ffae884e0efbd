use std::net::IpAddr;

use hns_net::{Family, Mac};
use serde_json::{Map, Value, json};

use crate::document::is_internal;
use crate::error::PluginError;
use crate::podman::Container;

/// What podman is told of an endpoint (netavark's `types::StatusBlock`), from the daemon's answer.
pub fn of_endpoint(container: &Container, endpoint: &Value) -> Result<Value, PluginError> {
    let missing = |field| PluginError::Answer { network: container.network.name.clone(), field };
    let mac = text(endpoint, "MacAddress").and_then(|mac| mac.parse::<Mac>().ok());
    let subnets: Vec<Value> =
        list(endpoint, "IpConfigurations").iter().filter_map(|ip| address(endpoint, ip)).collect();
    if subnets.is_empty() {
        return Err(missing("IpConfigurations"));
    }
    let interface = json!({
        "mac_address": mac.ok_or_else(|| missing("MacAddress"))?.colons(),
        "subnets": subnets,
    });
    let name = container.network_options.interface_name.as_str();
    Ok(json!({
        "interfaces": {name: interface},
        "dns_server_ips": name_servers(container, endpoint),
        "dns_search_domains": search_domains(endpoint),
    }))
}

fn address(endpoint: &Value, configuration: &Value) -> Option<Value> {
    let address: IpAddr = text(configuration, "IpAddress")?.parse().ok()?;
    let length = configuration.get("PrefixLength")?.as_u64()?;
    let mut shown = json!({"ipnet": format!("{address}/{length}")});
    let everything = Family::of(address).default_route().to_string();
    let is_default = |route: &&Value| text(route, "DestinationPrefix") == Some(&everything);
    let hop = list(endpoint, "Routes").iter().find(is_default).and_then(|route| text(route, "NextHop"));
    let gateway = hop.and_then(|hop| hop.parse::<IpAddr>().ok()).filter(|hop| !hop.is_unspecified());
    if let Some(gateway) = gateway {
        shown["gateway"] = json!(gateway.to_string());
    }
    Some(shown)
}

/// Those that `podman network update --dns-add` gave the network, then those it has in HNS.
fn name_servers(container: &Container, endpoint: &Value) -> Vec<String> {
    let mut servers: Vec<String> =
        container.network.network_dns_servers.iter().map(ToString::to_string).collect();
    for server in list(&endpoint["HostComputeNetwork"]["Dns"], "ServerList").iter().filter_map(Value::as_str)
    {
        if !servers.iter().any(|known| known == server) {
            servers.push(server.to_owned());
        }
    }
    servers
}

fn search_domains(endpoint: &Value) -> Vec<&str> {
    let dns = &endpoint["HostComputeNetwork"]["Dns"];
    let mut domains: Vec<&str> = list(dns, "Search").iter().filter_map(Value::as_str).collect();
    if let Some(domain) = text(dns, "Domain").filter(|domain| !domains.contains(domain)) {
        domains.insert(0, domain);
    }
    domains
}

/// Podman's network with what HNS made of it.
pub fn of_network(
    asked: Map<String, Value>,
    name: &str,
    network: &Value,
) -> Result<Map<String, Value>, PluginError> {
    let missing = |field| PluginError::Answer { network: name.to_owned(), field };
    let subnets: Vec<Value> = list(network, "Ipams")
        .iter()
        .flat_map(|ipam| list(ipam, "Subnets"))
        .filter_map(|subnet| of_subnet(&asked, subnet))
        .collect();
    if subnets.is_empty() {
        return Err(missing("Ipams"));
    }
    let has_v6 =
        subnets.iter().any(|subnet| text(subnet, "subnet").is_some_and(|prefix| prefix.contains(':')));
    let kind = text(network, "Type").ok_or_else(|| missing("Type"))?;
    let internal = hns_hcn::Network::from_v2(&json!({"Type": kind})).is_ok_and(|read| is_internal(read.kind));
    let mut answer = asked;
    answer.insert("subnets".into(), subnets.into());
    answer.insert("ipv6_enabled".into(), has_v6.into());
    answer.insert("internal".into(), internal.into());
    if let Some(switch) = text(&network["Health"]["Extra"], "Switch") {
        answer.insert("network_interface".into(), switch.into());
    }
    Ok(answer)
}

fn of_subnet(asked: &Map<String, Value>, subnet: &Value) -> Option<Value> {
    let prefix = text(subnet, "IpAddressPrefix")?;
    let asked = asked.get("subnets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let same = asked.iter().find(|asked| text(asked, "subnet") == Some(prefix));
    let mut shown = json!({"subnet": prefix});
    let is_default = |route: &&Value| text(route, "DestinationPrefix").is_some_and(|to| to.ends_with("/0"));
    if let Some(gateway) = list(subnet, "Routes").iter().find(is_default).and_then(|r| text(r, "NextHop")) {
        shown["gateway"] = json!(gateway);
    }
    if let Some(range) = same.and_then(|same| same.get("lease_range")).filter(|range| !range.is_null()) {
        shown["lease_range"] = range.clone();
    }
    Some(shown)
}

fn text<'v>(document: &'v Value, key: &str) -> Option<&'v str> {
    document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn list<'v>(document: &'v Value, key: &str) -> &'v [Value] {
    document.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
