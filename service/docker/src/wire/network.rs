use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::or_default;

#[derive(Debug, Deserialize)]
pub(crate) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: Map<String, Value>,
    #[serde(rename = "IPv4Data", default, deserialize_with = "or_default")]
    pub v4: Vec<IpamData>,
    #[serde(rename = "IPv6Data", default, deserialize_with = "or_default")]
    pub v6: Vec<IpamData>,
}

/// What the IPAM driver said of one subnet.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct IpamData {
    /// A prefix; that of everything (`0.0.0.0/0`) when the IPAM driver leaves the choice to us.
    #[serde(default, deserialize_with = "or_default")]
    pub pool: String,
    /// With the length of the pool: `10.50.0.1/24`.
    #[serde(default, deserialize_with = "or_default")]
    pub gateway: String,
    #[serde(default, deserialize_with = "or_default")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// Calls that only name a network.
#[derive(Debug, Deserialize)]
pub(crate) struct OfNetwork {
    #[serde(rename = "NetworkID")]
    pub network: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GwAllocCheck {
    #[serde(default, deserialize_with = "or_default")]
    pub options: Map<String, Value>,
}
