//! The one request that an ADD costs: the endpoint's document with those of its network and namespace in it.

use std::path::Path;

use hns_hcn::{NetworkType, Route};
use hns_net::{Family, Guid};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::conf::{Conf, NetworkConf, Reference, Requested, Subnet, merged};
use crate::delegate::Lease;
use crate::environment::Attachment;

/// Who owns what this plugin makes, in the daemon's books.
pub(crate) const OWNER: &str = "cni";

/// The key of our marks in `AdditionalParams`.
pub(crate) const MARKS: &str = "Cni";

/// The namespace of the ids below (RFC 9562, 5.5). Never change it: a DEL finds its endpoint by nothing else.
const IDS: Uuid = Uuid::from_u128(0x8a5f_6c1e_0d3b_5e47_9c52_b1d4_7e60_a93f);

/// The id of an attachment's endpoint. A DEL knows nothing more than the names in it.
pub(crate) fn endpoint_id(attachment: &Attachment, network: &str) -> Guid {
    let Attachment { container_id, interface } = attachment;
    let name = format!("{container_id}/{interface}/{network}");
    Guid::from_bytes(Uuid::new_v5(&IDS, name.as_bytes()).into_bytes())
}

/// What the request is made from.
pub(crate) struct Request<'a> {
    pub attachment: &'a Attachment,
    /// The network's name to the runtime.
    pub network: &'a str,
    pub namespace: &'a Path,
    pub conf: &'a Conf,
    /// What an IPAM plugin gave.
    pub lease: Option<&'a Lease>,
}

impl Request<'_> {
    /// The body of `POST /v2/endpoints`.
    pub fn document(&self) -> Value {
        let Attachment { container_id, interface } = self.attachment;
        let conf = self.conf;
        let lease_dns = self.lease.map(|lease| lease.dns.clone()).unwrap_or_default();
        let mut marks = Map::new();
        marks.insert("ContainerId".to_owned(), json!(container_id));
        marks.insert("IfName".to_owned(), json!(interface.as_str()));
        marks.insert("NetworkName".to_owned(), json!(self.network));
        marks.extend(conf.marks.clone());
        let mut policies = conf.policies.clone();
        if let Some(mtu) = conf.mtu {
            policies.push(json!({"Type": "InterfaceParameters", "Settings": {"Mtu": mtu.bytes()}}));
        }
        let mut document = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0},
            "ID": endpoint_id(self.attachment, self.network).to_string(),
            "Name": format!("{container_id}_{}", self.network),
            "Owner": OWNER,
            "HostComputeNetwork": self.network_document(&conf.network),
            "HostComputeNamespace":
                {"Type": "Host", "AdditionalParams": {"Path": self.namespace.to_string_lossy()}},
            "IpConfigurations": self.addresses(),
            "Dns": merged(conf.dns.clone(), lease_dns).to_v2(),
            "Routes": self.routes(),
            "Policies": policies,
            "AdditionalParams": {"InterfaceName": interface.as_str(), MARKS: marks},
        });
        if let Some(mac) = conf.mac {
            document["MacAddress"] = json!(mac.to_string());
        }
        document
    }

    fn network_document(&self, network: &NetworkConf) -> Value {
        let mut document = match &network.reference {
            Reference::Id(id) => json!({"ID": id.to_string()}),
            Reference::Name(name) => json!({"Name": name}),
        };
        document["Owner"] = json!(OWNER);
        let Some(kind) = network.kind else { return document };
        document["Type"] = json!(kind.name());
        let subnets = self.subnets();
        if !subnets.is_empty() {
            let documents: Vec<Value> = subnets.iter().map(subnet_document).collect();
            document["Ipams"] = json!([{"Type": "Static", "Subnets": documents}]);
        }
        let mut policies = network.policies.clone();
        if let Some(adapter) = &network.adapter {
            policies.push(json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": adapter}}));
        }
        if !policies.is_empty() {
            document["Policies"] = json!(policies);
        }
        let params = self.network_params(network, &subnets);
        if !params.is_empty() {
            document["AdditionalParams"] = Value::Object(params);
        }
        document
    }

    fn network_params(&self, network: &NetworkConf, subnets: &[Subnet]) -> Map<String, Value> {
        let mut params = Map::new();
        if let Some(mtu) = self.conf.mtu {
            params.insert("Mtu".to_owned(), json!(mtu.bytes()));
        }
        let blocks: Vec<String> =
            subnets.iter().flat_map(Subnet::blocks).map(|block| block.to_string()).collect();
        if !blocks.is_empty() {
            params.insert("IpRange".to_owned(), json!(blocks));
        }
        if network.routed {
            params.insert("GatewayMode".to_owned(), json!("routed"));
        }
        for (key, enabled) in [("EnableIPv4", network.enable_v4), ("EnableIPv6", network.enable_v6)] {
            if let Some(enabled) = enabled {
                params.insert(key.to_owned(), json!(enabled));
            }
        }
        params
    }

    /// The configuration's subnets, and those of addresses that an IPAM plugin took from elsewhere.
    fn subnets(&self) -> Vec<Subnet> {
        let mut subnets = self.conf.subnets.clone();
        for given in self.lease.iter().flat_map(|lease| &lease.addresses) {
            let address = given.address.address();
            match subnets.iter_mut().find(|subnet| subnet.prefix.contains(address)) {
                Some(subnet) => subnet.gateway = subnet.gateway.or(given.gateway),
                None => subnets.extend(given.prefix().map(|prefix| Subnet {
                    prefix,
                    gateway: given.gateway.filter(|gateway| prefix.contains(*gateway)),
                    range: None,
                })),
            }
        }
        subnets
    }

    fn addresses(&self) -> Vec<Value> {
        let given = self.lease.iter().flat_map(|lease| &lease.addresses).map(|given| Requested {
            address: given.address.address(),
            length: Some(given.address.length()),
        });
        let asked = self.conf.addresses.iter().copied();
        let document = |requested: Requested| match requested.length {
            Some(length) => json!({"IpAddress": requested.address.to_string(), "PrefixLength": length}),
            None => json!({"IpAddress": requested.address.to_string()}),
        };
        given.chain(asked).map(document).collect()
    }

    fn routes(&self) -> Vec<Value> {
        let conf = self.conf;
        let mut routes: Vec<Route> = conf.routes.routes.clone();
        if let Some(lease) = self.lease {
            routes.extend(lease.routes.routes.iter().copied());
        }
        if conf.by_bridge_gateway {
            for subnet in self.subnets() {
                let destination = subnet.prefix.family().default_route();
                let hop = subnet.bridge_gateway();
                if hop.is_some() && !routes.iter().any(|route| route.destination == destination) {
                    routes.push(Route { destination, next_hop: hop, metric: 0 });
                }
            }
        }
        if let Some(lease) = self.lease {
            // The gateway that the IPAM plugin names is the one, also on a network that has another.
            for (address, gateway) in lease.addresses.iter().filter_map(|g| Some((g.address, g.gateway?))) {
                let destination = address.family().default_route();
                if !routes.iter().any(|route| route.destination == destination) {
                    routes.push(Route { destination, next_hop: Some(gateway), metric: 0 });
                }
            }
        }
        if !conf.default_route {
            routes.retain(|route| !route.is_default());
            // A default route to nowhere says that there is to be none.
            routes.extend([Family::V4, Family::V6].map(|family| Route {
                destination: family.default_route(),
                next_hop: None,
                metric: 0,
            }));
        }
        let has_no_way_out = conf.network.kind == Some(NetworkType::Internal);
        routes.retain(|route| !(has_no_way_out && route.is_default() && route.next_hop.is_some()));
        routes.iter().map(Route::to_v2).collect()
    }
}

fn subnet_document(subnet: &Subnet) -> Value {
    let mut document = json!({"IpAddressPrefix": subnet.prefix.to_string()});
    if let Some(gateway) = subnet.gateway {
        let destination = subnet.prefix.family().default_route();
        document["Routes"] =
            json!([{"NextHop": gateway.to_string(), "DestinationPrefix": destination.to_string()}]);
    }
    document
}
