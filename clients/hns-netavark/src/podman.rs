use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use hns_net::{Cidr, Guid, IfName, Mac};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::error::PluginError;

/// A network as podman keeps it (netavark's `types::Network`). Fields that mean nothing to HNS are passed over.
#[derive(Debug, Clone, Deserialize)]
pub struct Network {
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub network_interface: String,
    #[serde(default, deserialize_with = "or_default")]
    pub subnets: Vec<Subnet>,
    #[serde(default, deserialize_with = "or_default")]
    pub routes: Vec<Route>,
    /// In a create: both families are wanted. Later: there is an IPv6 subnet.
    #[serde(default)]
    pub ipv6_enabled: bool,
    #[serde(default)]
    pub internal: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub network_dns_servers: Vec<IpAddr>,
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub ipam_options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Subnet {
    #[serde(deserialize_with = "parsed")]
    pub subnet: Cidr,
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    #[serde(default)]
    pub lease_range: Option<LeaseRange>,
}

/// Both ends belong to it; an absent end is the subnet's.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LeaseRange {
    #[serde(default)]
    pub start_ip: Option<IpAddr>,
    #[serde(default)]
    pub end_ip: Option<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Route {
    #[serde(deserialize_with = "parsed")]
    pub destination: Cidr,
    pub gateway: IpAddr,
    #[serde(default)]
    pub metric: Option<u32>,
}

/// A container on one network: what `setup` and `teardown` read.
#[derive(Debug, Clone, Deserialize)]
pub struct Container {
    pub container_id: String,
    #[serde(default)]
    pub container_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub port_mappings: Vec<PortMapping>,
    pub network: Network,
    pub network_options: Membership,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: any free one.
    #[serde(default)]
    pub host_port: u16,
    /// Empty: all addresses of the host.
    #[serde(default, deserialize_with = "or_default")]
    pub host_ip: String,
    /// `tcp`, `udp`, `sctp`, or several of them with commas between.
    #[serde(default, deserialize_with = "or_default")]
    pub protocol: String,
    /// That many consecutive ports; 0 is 1.
    #[serde(default)]
    pub range: u16,
}

/// What is said about one container on one network.
#[derive(Debug, Clone, Deserialize)]
pub struct Membership {
    #[serde(deserialize_with = "parsed")]
    pub interface_name: IfName,
    #[serde(default, deserialize_with = "or_default")]
    pub static_ips: Vec<IpAddr>,
    #[serde(default, deserialize_with = "parsed_or_none")]
    pub static_mac: Option<Mac>,
    #[serde(default, deserialize_with = "or_default")]
    pub aliases: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
}

/// The namespace of our endpoint ids (RFC 9562 section 5.5): a random UUID that stays.
const ENDPOINTS: Uuid = Uuid::from_u128(0x0b7f_5d92_63c4_4c0e_9a31_7d0e_2f94_11c6);

impl Network {
    /// The id of the HNS network that podman's network is, unless it is bound to another: half of podman's id.
    pub fn guid(&self) -> Result<Guid, PluginError> {
        let wrong = || PluginError::NetworkId { network: self.name.clone(), id: self.id.clone() };
        let half = self.id.get(..32).filter(|half| half.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let uuid = half.and_then(|half| Uuid::try_parse(half).ok()).ok_or_else(wrong)?;
        Ok(Guid::from_bytes(uuid.into_bytes()))
    }
}

impl Container {
    /// The id of the endpoint: podman puts a container on a network once at most.
    pub fn endpoint_guid(&self) -> Guid {
        let name = format!("{}/{}", self.container_id, self.network.id);
        Guid::from_bytes(Uuid::new_v5(&ENDPOINTS, name.as_bytes()).into_bytes())
    }

    /// What a person calls it.
    pub fn name(&self) -> &str {
        if self.container_name.is_empty() { &self.container_id } else { &self.container_name }
    }
}

/// `null` is as good as absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn parsed_or_none<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}
