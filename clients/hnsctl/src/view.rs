//! What tables show of the documents. A field that is missing shows as nothing: a table is no place to fail.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::port_spec::PortSpec;

const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

pub fn text<'a>(document: &'a Value, key: &str) -> &'a str {
    document.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub fn list<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field of `AdditionalParams`.
pub fn param<'a>(document: &'a Value, key: &str) -> Option<&'a Value> {
    document.get("AdditionalParams")?.get(key)
}

/// What the host shows of the object: a field of `Health.Extra`.
pub fn shown<'a>(document: &'a Value, key: &str) -> Option<&'a Value> {
    document.get("Health")?.get("Extra")?.get(key)
}

pub fn id(document: &Value) -> &str {
    text(document, "ID")
}

/// What an operator calls the object: its name, or its id when it has none.
pub fn name_or_id(document: &Value) -> &str {
    match text(document, "Name") {
        "" => id(document),
        name => name,
    }
}

/// The id under `key`, when it is one.
pub fn reference<'a>(document: &'a Value, key: &str) -> Option<&'a str> {
    Some(text(document, key)).filter(|id| !id.is_empty() && *id != NO_ID)
}

/// Names by id in upper case, to show a reference by its name.
pub fn names(documents: &[Value]) -> HashMap<String, String> {
    documents.iter().map(|one| (id(one).to_ascii_uppercase(), name_or_id(one).to_owned())).collect()
}

/// The name behind an id, or the beginning of the id when it has no name.
pub fn name_of(names: &HashMap<String, String>, id: &str) -> String {
    match names.get(&id.to_ascii_uppercase()) {
        Some(name) if !name.eq_ignore_ascii_case(id) => name.clone(),
        _ => id.chars().take(8).collect(),
    }
}

fn subnets(network: &Value) -> impl Iterator<Item = &Value> {
    list(network, "Ipams").iter().flat_map(|ipam| list(ipam, "Subnets"))
}

/// Its subnets, or where they come from instead.
pub fn prefixes(network: &Value) -> String {
    if list(network, "Ipams").iter().any(|ipam| text(ipam, "Type") == "Dhcp") {
        return "DHCP".to_owned();
    }
    join(subnets(network).map(|subnet| text(subnet, "IpAddressPrefix").to_owned()))
}

pub fn gateways(network: &Value) -> String {
    let defaults = subnets(network)
        .flat_map(|subnet| list(subnet, "Routes"))
        .filter(|route| matches!(text(route, "DestinationPrefix"), "0.0.0.0/0" | "::/0"));
    join(defaults.map(|route| text(route, "NextHop").to_owned()))
}

/// The addresses of an endpoint with their prefix lengths.
pub fn addresses(endpoint: &Value) -> String {
    join(list(endpoint, "IpConfigurations").iter().map(|one| {
        let address = text(one, "IpAddress");
        one.get("PrefixLength").map_or(address.to_owned(), |length| format!("{address}/{length}"))
    }))
}

pub fn bare_addresses(endpoint: &Value) -> Vec<IpAddr> {
    list(endpoint, "IpConfigurations").iter().filter_map(|one| text(one, "IpAddress").parse().ok()).collect()
}

/// The host that has a remote endpoint.
pub fn host_of_remote(endpoint: &Value) -> Option<&str> {
    let is_host = |policy: &&Value| policy["Type"] == "ProviderAddress";
    let host = list(endpoint, "Policies").iter().find(is_host)?["Settings"]["ProviderAddress"].as_str();
    host.filter(|_| endpoint["Flags"].as_u64().unwrap_or_default() & 1 != 0)
}

/// The port mappings of an endpoint, as `-p` takes them.
pub fn ports(endpoint: &Value) -> String {
    join(list(endpoint, "Policies").iter().filter_map(PortSpec::of_policy).map(|spec| spec.to_string()))
}

/// The ids of the endpoints in a namespace.
pub fn members(namespace: &Value) -> impl Iterator<Item = &str> {
    list(namespace, "Resources")
        .iter()
        .filter(|resource| text(resource, "Type") == "Endpoint")
        .filter_map(|resource| resource.get("Data")?.get("ID")?.as_str())
}

pub fn join(parts: impl Iterator<Item = String>) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

/// A value on one line: text as it is, everything else as JSON.
pub fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
