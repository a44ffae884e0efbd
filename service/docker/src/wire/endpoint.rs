use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::or_default;

#[derive(Debug, Deserialize)]
pub(crate) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(rename = "Interface", default, deserialize_with = "or_default")]
    pub interface: Interface,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: Map<String, Value>,
}

/// In a request what the IPAM driver and the user chose, in an answer what we chose: never a field that was set.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Interface {
    /// With the length of the subnet: `10.51.0.77/24`.
    #[serde(
        rename = "Address",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub v4: String,
    #[serde(
        rename = "AddressIPv6",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub v6: String,
    /// With colons.
    #[serde(
        rename = "MacAddress",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub mac: String,
}

/// Calls that only name an endpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct OfEndpoint {
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Join {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// The file that holds the container's network namespace.
    #[serde(rename = "SandboxKey")]
    pub sandbox: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct JoinAnswer {
    pub interface_name: InterfaceName,
    /// Empty where traffic does not leave by this network.
    pub gateway: String,
    #[serde(rename = "GatewayIPv6")]
    pub gateway_v6: String,
    pub static_routes: Vec<StaticRoute>,
    /// Without a gateway and without this, Docker plugs the container into a bridge of its own as well.
    pub disable_gateway_service: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InterfaceName {
    /// The link in our namespace, which Docker moves.
    pub src_name: String,
    /// The name in the container, to which Docker adds a number.
    pub dst_prefix: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StaticRoute {
    pub destination: String,
    /// 0: by the next hop; 1: on the link.
    pub route_type: u8,
    pub next_hop: String,
}

/// ProgramExternalConnectivity.
#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: ProgramOptions,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ProgramOptions {
    #[serde(rename = "com.docker.network.portmap", default, deserialize_with = "or_default")]
    pub ports: Vec<PortBinding>,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortBinding {
    /// IANA's number: 6, 17 or 132.
    pub proto: u64,
    pub port: u16,
    /// Empty: all addresses of the host.
    #[serde(rename = "HostIP", default, deserialize_with = "or_default")]
    pub host_ip: String,
    /// 0: any free port.
    #[serde(default, deserialize_with = "or_default")]
    pub host_port: u16,
    /// Above `host_port`: any free one of these ports.
    #[serde(default, deserialize_with = "or_default")]
    pub host_port_end: u16,
}
