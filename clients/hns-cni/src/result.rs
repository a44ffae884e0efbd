//! What an ADD answers, in the shape of each version of the specification.

use std::net::IpAddr;

use hns_hcn::{Dns, DocumentError, Endpoint, ErrorCode, Network, PolicySettings, Route};
use hns_net::{Cidr, Family, IfAddr, IfName, Mac, Mtu};
use serde_json::{Map, Value, json};

use crate::conf::merged;
use crate::version::Version;

/// An attachment as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    pub interfaces: Vec<Interface>,
    pub ips: Vec<Ip>,
    pub routes: Vec<Route>,
    pub dns: Dns,
    /// The network's name in HNS.
    pub network: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: IfName,
    pub mac: Option<Mac>,
    /// The container's namespace; absent for the host's end.
    pub sandbox: Option<String>,
    pub mtu: Mtu,
}

/// An address of the container's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    pub address: IfAddr,
    pub gateway: Option<IpAddr>,
}

impl Added {
    /// Reads the daemon's answer to the one request. `sandbox` is `CNI_NETNS` as the runtime wrote it.
    pub fn from_answer(mut answer: Value, interface: &IfName, sandbox: &str) -> Result<Self, DocumentError> {
        let port = answer.pointer("/Health/Extra/Port").and_then(Value::as_str).map(str::to_owned);
        let missing = |field: &str| DocumentError::new(field, "missing", ErrorCode::INVALID_ENDPOINT);
        let fields = answer.as_object_mut().ok_or_else(|| missing(""))?;
        let network =
            fields.shift_remove("HostComputeNetwork").ok_or_else(|| missing("HostComputeNetwork"))?;
        fields.shift_remove("HostComputeNamespace");
        let network = Network::from_v2(&network)?;
        let endpoint = Endpoint::from_v2(&answer)?;
        let mtu = mtu_of(&endpoint).or(network.params.mtu).unwrap_or(Mtu::ETHERNET);
        let host_end = port.and_then(|port| port.parse().ok()).map(|name| Interface {
            name,
            mac: None,
            sandbox: None,
            mtu,
        });
        let inside =
            Interface { name: interface.clone(), mac: endpoint.mac, sandbox: Some(sandbox.to_owned()), mtu };
        let routes: Vec<Route> =
            endpoint.routes.iter().copied().filter(|route| route.next_hop.is_some()).collect();
        let ips = endpoint.addresses.iter().filter_map(|configured| {
            let address = configured.address?;
            let length = configured.prefix_length.unwrap_or(Family::of(address).bits());
            let address = IfAddr::new(address, length).ok()?;
            Some(Ip { address, gateway: gateway_of(address, &routes, &network) })
        });
        Ok(Self {
            interfaces: host_end.into_iter().chain([inside]).collect(),
            ips: ips.collect(),
            routes,
            dns: merged(endpoint.dns, network.dns),
            network: network.name,
        })
    }

    /// The result document.
    pub fn render(&self, version: Version) -> Value {
        let mut document = json!({"cniVersion": version.text()});
        if version < Version::V0_3_0 {
            for (key, family) in [("ip4", Family::V4), ("ip6", Family::V6)] {
                if let Some(ip) = self.ips.iter().find(|ip| ip.address.family() == family) {
                    document[key] = self.render_family(ip);
                }
            }
        } else {
            let interfaces = self.interfaces.iter().map(|interface| interface.render(version));
            document["interfaces"] = interfaces.collect();
            document["ips"] = self.ips.iter().map(|ip| self.render_ip(ip, version)).collect();
            document["routes"] = self.routes.iter().map(|route| render_route(route, version)).collect();
        }
        document["dns"] = render_dns(&self.dns);
        document
    }

    fn render_ip(&self, ip: &Ip, version: Version) -> Value {
        // The container's interface comes last.
        let mut out = json!({"interface": self.interfaces.len().saturating_sub(1)});
        if version < Version::V1_0_0 {
            out["version"] = json!(if ip.address.family() == Family::V4 { "4" } else { "6" });
        }
        out["address"] = json!(ip.address.to_string());
        if let Some(gateway) = ip.gateway {
            out["gateway"] = json!(gateway.to_string());
        }
        out
    }

    /// An address as it was told before 0.3.0, with its routes.
    fn render_family(&self, ip: &Ip) -> Value {
        let mut out = json!({"ip": ip.address.to_string()});
        if let Some(gateway) = ip.gateway {
            out["gateway"] = json!(gateway.to_string());
        }
        let family = |route: &&Route| route.destination.family() == ip.address.family();
        let routes = self.routes.iter().filter(family);
        out["routes"] = routes.map(|route| render_route(route, Version::V0_2_0)).collect();
        out
    }
}

impl Interface {
    fn render(&self, version: Version) -> Value {
        let mut out = json!({"name": self.name.as_str()});
        if let Some(mac) = self.mac {
            out["mac"] = json!(mac.colons());
        }
        if let Some(sandbox) = &self.sandbox {
            out["sandbox"] = json!(sandbox);
        }
        if version >= Version::V1_1_0 {
            out["mtu"] = json!(self.mtu.bytes());
        }
        out
    }
}

fn mtu_of(endpoint: &Endpoint) -> Option<Mtu> {
    endpoint.policies.iter().find_map(|policy| match policy.meaning {
        PolicySettings::InterfaceParameters { mtu } => Some(mtu),
        _ => None,
    })
}

/// The gateway by which the container leaves, or else the one that its subnet has.
fn gateway_of(address: IfAddr, routes: &[Route], network: &Network) -> Option<IpAddr> {
    let default = |route: &&Route| route.is_default() && route.destination.family() == address.family();
    let by_route = routes.iter().find(default).and_then(|route| route.next_hop);
    by_route.or_else(|| {
        let holds = |prefix: Cidr| prefix.contains(address.address());
        network.subnets().find(|subnet| subnet.prefix.is_some_and(holds))?.gateway()
    })
}

fn render_route(route: &Route, version: Version) -> Value {
    let mut out = json!({"dst": route.destination.to_string()});
    if let Some(gateway) = route.next_hop {
        out["gw"] = json!(gateway.to_string());
    }
    if version >= Version::V1_1_0 && route.metric != 0 {
        out["priority"] = json!(route.metric);
    }
    out
}

fn render_dns(dns: &Dns) -> Value {
    let mut out = Map::new();
    if !dns.servers.is_empty() {
        let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
        out.insert("nameservers".to_owned(), json!(servers));
    }
    if let Some(domain) = &dns.domain {
        out.insert("domain".to_owned(), json!(domain));
    }
    if !dns.search.is_empty() {
        out.insert("search".to_owned(), json!(dns.search));
    }
    if !dns.options.is_empty() {
        out.insert("options".to_owned(), json!(dns.options));
    }
    Value::Object(out)
}
