//! The daemon through its socket: one persistent connection, HCN documents.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, ensure};
use hns_testbed::{Answer, Api, Host, Netns};
use serde_json::{Value, json};

use crate::contender::{Contender, Slot};

/// A connection, the network to create on, and the namespaces that were registered before.
#[derive(Debug)]
pub struct Ours {
    api: Api,
    network: String,
    /// Of each endpoint, beside its port mapping.
    rules: Vec<Value>,
    namespaces: Vec<String>,
    endpoints: HashMap<usize, String>,
}

impl Ours {
    /// Connects, and registers the slots' namespaces.
    pub fn new(socket: &Path, network: String, rules: Vec<Value>, slots: &[Slot]) -> anyhow::Result<Self> {
        let mut api = Api::connect(socket)?;
        let namespaces: anyhow::Result<Vec<String>> =
            slots.iter().map(|slot| register(&mut api, &slot.netns)).collect();
        Ok(Self { api, network, rules, namespaces: namespaces?, endpoints: HashMap::new() })
    }
}

/// So many different ACLs.
pub fn acls(count: u16) -> Vec<Value> {
    let settings = |number: u16| {
        json!({"Action": "Allow", "Direction": "In", "Priority": 100 + number, "Protocols": "6", "LocalPorts": "80",
            "RemoteAddresses": format!("10.{}.0.0/16", 200 + number)})
    };
    (0..count).map(|number| json!({"Type": "ACL", "Settings": settings(number)})).collect()
}

impl Contender for Ours {
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let namespace = &self.namespaces[slot.number];
        let id = create_with(&mut self.api, &self.network, namespace, slot.port, &self.rules)?;
        self.endpoints.insert(slot.number, id);
        Ok(())
    }

    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let id = self.endpoints.remove(&slot.number).unwrap_or_default();
        document(self.api.delete(&format!("/v2/endpoints/{id}"))?).map(drop)
    }
}

/// Registers a namespace that exists.
pub fn register(api: &mut Api, path: &str) -> anyhow::Result<String> {
    id(api.post("/v2/namespaces", &json!({"Type": "Host", "AdditionalParams": {"Path": path}}))?)
}

/// Makes a NAT network.
pub fn network(api: &mut Api, name: &str, subnet: &str) -> anyhow::Result<String> {
    let subnets = json!([{"IpAddressPrefix": subnet}]);
    let ipams = json!([{"Type": "Static", "Subnets": subnets}]);
    id(api.post("/v2/networks", &json!({"Name": name, "Type": "NAT", "Ipams": ipams}))?)
}

/// Makes a network on the LAN of an adapter.
pub fn network_on(api: &mut Api, name: &str, adapter: &str, subnet: &str) -> anyhow::Result<String> {
    let subnets = json!([{"IpAddressPrefix": subnet}]);
    id(api.post(
        "/v2/networks",
        &json!({
            "Name": name, "Type": "Transparent", "Ipams": [{"Type": "Static", "Subnets": subnets}],
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": adapter}}],
        }),
    )?)
}

/// Makes this host's part of an overlay, of which one other host has a prefix.
pub fn overlay(
    api: &mut Api,
    name: &str,
    own: &str,
    (prefix, host): (&str, Ipv4Addr),
) -> anyhow::Result<String> {
    let subnets = json!([{"IpAddressPrefix": own}]);
    let route = json!({"DestinationPrefix": prefix, "ProviderAddress": host});
    id(api.post(
        "/v2/networks",
        &json!({
            "Name": name, "Type": "Overlay", "Ipams": [{"Type": "Static", "Subnets": subnets}],
            "Policies": [{"Type": "RemoteSubnetRoute", "Settings": route}],
        }),
    )?)
}

/// Makes an endpoint with one port mapping, attached.
pub fn create(api: &mut Api, network: &str, namespace: &str, port: u16) -> anyhow::Result<String> {
    create_with(api, network, namespace, port, &[])
}

fn create_with(
    api: &mut Api,
    network: &str,
    namespace: &str,
    port: u16,
    rules: &[Value],
) -> anyhow::Result<String> {
    let mapping = json!({"Protocol": 6, "InternalPort": 80, "ExternalPort": port});
    let mapping = json!({"Type": "PortMapping", "Settings": mapping});
    let policies: Vec<&Value> = std::iter::once(&mapping).chain(rules).collect();
    let document = json!({"HostComputeNamespace": namespace, "Policies": policies});
    id(api.post(&format!("/v2/networks/{network}/endpoints"), &document)?)
}

/// Makes an endpoint in a new namespace of its own name, with more in its document, and gives its address.
pub fn attach(
    host: &Host,
    api: &mut Api,
    network: &str,
    name: &str,
    more: &Value,
) -> anyhow::Result<(Netns, Ipv4Addr)> {
    let netns = host.add_netns(name);
    let namespace = register(api, &format!("/run/netns/{name}"))?;
    let mut asked = json!({"Name": name, "HostComputeNamespace": namespace});
    for (key, value) in more.as_object().into_iter().flatten() {
        asked[key] = value.clone();
    }
    let made = document(api.post(&format!("/v2/networks/{network}/endpoints"), &asked)?)
        .with_context(|| format!("endpoint {name}"))?;
    let address = made["IpConfigurations"][0]["IpAddress"].as_str().unwrap_or_default().parse();
    let address = address.with_context(|| format!("the address of endpoint {name}: {made}"))?;
    Ok((netns, address))
}

fn id(answer: Answer) -> anyhow::Result<String> {
    let document = document(answer)?;
    Ok(document["ID"].as_str().unwrap_or_default().to_owned())
}

fn document(answer: Answer) -> anyhow::Result<Value> {
    ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text);
    Ok(answer.body)
}
