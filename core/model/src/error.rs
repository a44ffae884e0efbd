use std::net::IpAddr;

use hns_hcn::{DocumentError, ErrorCode};
use hns_net::{Cidr, Family, Guid, IfName, PortRange, Transport, Uplink};

use crate::external::Lan;

/// Why a request cannot be granted. Each names the object, and where one is at fault the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("{object} document: {source}")]
    Document { object: &'static str, source: DocumentError },
    #[error("network {0} was not found")]
    NetworkNotFound(Guid),
    #[error("there is no network named \"{0}\"")]
    NoNetworkNamed(String),
    #[error("endpoint {0} was not found")]
    EndpointNotFound(Guid),
    #[error("namespace {0} was not found")]
    NamespaceNotFound(Guid),
    #[error("a network named \"{name}\" exists already: {id}")]
    NetworkNameTaken { name: String, id: Guid },
    #[error("ID {0} is in use already")]
    IdTaken(Guid),
    #[error("prefix {prefix} of network \"{network}\" overlaps {other} of network \"{holder}\"")]
    PrefixTaken { network: String, prefix: Cidr, other: Cidr, holder: String },
    #[error("prefix {prefix} of network \"{network}\" overlaps the host's route to {route}")]
    PrefixRouted { network: String, prefix: Cidr, route: Cidr },
    #[error("no free {family} prefix is left for network \"{network}\"; name one with a subnet")]
    NoPrefixLeft { network: String, family: Family },
    #[error("network \"{network}\" has no free address left in {range}")]
    Exhausted { network: String, range: Cidr },
    #[error("network \"{network}\" has no free MAC address left in its pool")]
    MacsExhausted { network: String },
    #[error("network \"{network}\" has no subnet that holds {address}")]
    NoSubnet { network: String, address: IpAddr },
    #[error("network \"{network}\" has no subnet to take an address from")]
    NoSubnets { network: String },
    #[error(
        "network \"{network}\" is the bridge {bridge} of the administrator's: nobody has told which {family} addresses are free on its LAN"
    )]
    AddressNeeded { network: String, bridge: IfName, family: Family },
    #[error(
        "endpoint {endpoint} has no address: those of network \"{network}\" come from the LAN's DHCP server, which is asked when an endpoint joins a namespace"
    )]
    Unaddressed { endpoint: Guid, network: String },
    #[error("address {address} of network \"{network}\" is {why}")]
    AddressTaken { network: String, address: IpAddr, why: String },
    #[error("MAC address {mac} of network \"{network}\" belongs to endpoint {holder}")]
    MacTaken { network: String, mac: hns_net::Mac, holder: Guid },
    #[error("host port {ports}/{transport}{} is taken by {holder}", at.map(|at| format!(" on {at}")).unwrap_or_default())]
    PortTaken { ports: PortRange, transport: Transport, at: Option<IpAddr>, holder: String },
    #[error("no free host port is left for {count} consecutive {transport} ports")]
    NoPortLeft { count: u16, transport: Transport },
    #[error("endpoint {endpoint} is in namespace {namespace} already")]
    InNamespaceAlready { endpoint: Guid, namespace: Guid },
    #[error("endpoint {endpoint} is in the sandbox {sandbox} already")]
    InSandboxAlready { endpoint: Guid, sandbox: String },
    #[error("\"{0}\" is no pool of addresses")]
    NoPool(String),
    #[error("prefix {prefix} overlaps {other} of {holder}")]
    PoolTaken { prefix: Cidr, other: Cidr, holder: String },
    #[error("network \"{network}\" has no subnet {asked}")]
    NoSuchSubnet { network: String, asked: String },
    #[error("endpoint {endpoint} is for containers: the host itself is on {lan} already")]
    HostOnLan { endpoint: Guid, lan: Lan },
    #[error(
        "endpoint {endpoint} is for containers: the host is in no VLAN of its adapter, and would not hear what comes back on {uplink}"
    )]
    GatewayInVlan { endpoint: Guid, uplink: Uplink },
    #[error(
        "endpoint {endpoint} has {address}, the address of its network's gateway: it is the host's, and for no container"
    )]
    GatewaysAddress { endpoint: Guid, address: IpAddr },
    #[error(
        "network \"{network}\" is the bridge {bridge} of this host's administrator, which is not ours to remove"
    )]
    NotOurs { network: String, bridge: IfName },
    #[error("network \"{network}\" wants a switch of its own, and {uplink} has that of network \"{holder}\"")]
    SwitchShared { network: String, uplink: Uplink, holder: String },
    #[error(
        "network \"{network}\" cannot share the switch on {uplink}, which is of the type {kind} for network \"{holder}\": name another \
         adapter or VLAN"
    )]
    SwitchOfAnotherType { network: String, uplink: Uplink, holder: String, kind: &'static str },
    #[error("endpoint {0} is attached to no namespace")]
    NotAttached(Guid),
    #[error("endpoint {endpoint} is not in namespace {namespace}")]
    NotInNamespace { endpoint: Guid, namespace: Guid },
    #[error("endpoint {0} is remote: it has no port on this host")]
    Remote(Guid),
    #[error("namespace {namespace} has an interface named {interface} already")]
    InterfaceTaken { namespace: Guid, interface: IfName },
    #[error("namespace {holder} stands for {path} already")]
    NamespaceTaken { path: String, holder: Guid },
    #[error("network \"{network}\" has all the {limit} ports it can have")]
    SwitchFull { network: String, limit: u32 },
    #[error("endpoint {endpoint} has no policy like the {kind} to remove")]
    PolicyNotFound { endpoint: Guid, kind: &'static str },
    #[error("network \"{network}\" has no policy like the {policy} to remove")]
    NoSuchNetworkPolicy { network: String, policy: String },
    #[error("set \"{set}\" of network \"{network}\" is named by {user}")]
    SetInUse { network: String, set: String, user: String },
}

impl ModelError {
    pub(crate) fn network(
        field: impl Into<String>,
        problem: impl std::fmt::Display,
        code: ErrorCode,
    ) -> Self {
        Self::Document { object: "network", source: DocumentError::new(field, problem, code) }
    }

    pub(crate) fn endpoint(
        field: impl Into<String>,
        problem: impl std::fmt::Display,
        code: ErrorCode,
    ) -> Self {
        Self::Document { object: "endpoint", source: DocumentError::new(field, problem, code) }
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Document { source, .. } => source.code,
            Self::NetworkNotFound(_) | Self::NoNetworkNamed(_) => ErrorCode::NETWORK_NOT_FOUND,
            Self::EndpointNotFound(_) => ErrorCode::ENDPOINT_NOT_FOUND,
            Self::NamespaceNotFound(_) | Self::NotInNamespace { .. } => ErrorCode::ELEMENT_NOT_FOUND,
            Self::NetworkNameTaken { .. } | Self::IdTaken(_) => ErrorCode::NETWORK_ALREADY_EXISTS,
            Self::PoolTaken { .. }
            | Self::PrefixTaken { .. }
            | Self::PrefixRouted { .. }
            | Self::NoPrefixLeft { .. } => ErrorCode::INVALID_SUBNET,
            Self::NoSubnets { .. } | Self::NoSuchSubnet { .. } | Self::NoPool(_) => {
                ErrorCode::SUBNET_NOT_FOUND
            }
            Self::NoSubnet { .. } => ErrorCode::INVALID_IP,
            Self::Exhausted { .. }
            | Self::AddressNeeded { .. }
            | Self::AddressTaken { .. }
            | Self::MacsExhausted { .. }
            | Self::MacTaken { .. } => ErrorCode::ADDR_INVALID_OR_RESERVED,
            Self::PortTaken { .. } | Self::NoPortLeft { .. } => ErrorCode::PORT_ALREADY_EXISTS,
            Self::InNamespaceAlready { .. } => ErrorCode::ENDPOINT_NAMESPACE_ALREADY_EXISTS,
            Self::InSandboxAlready { .. } => ErrorCode::ENDPOINT_ALREADY_ATTACHED,
            Self::NotAttached(_) => ErrorCode::ENDPOINT_NOT_ATTACHED,
            Self::Unaddressed { .. } => ErrorCode::REQUEST_UNSUPPORTED,
            Self::Remote(_) => ErrorCode::INVALID_REMOTE_ENDPOINT_OPERATION,
            Self::HostOnLan { .. } | Self::GatewayInVlan { .. } | Self::GatewaysAddress { .. } => {
                ErrorCode::REQUEST_UNSUPPORTED
            }
            Self::SwitchShared { .. } | Self::SwitchOfAnotherType { .. } | Self::NotOurs { .. } => {
                ErrorCode::SHARED_SWITCH_MODIFICATION
            }
            Self::InterfaceTaken { .. } | Self::SwitchFull { .. } => ErrorCode::NAMESPACE_ATTACH_FAILED,
            Self::NamespaceTaken { .. } => ErrorCode::INVALID_PARAMETER,
            Self::PolicyNotFound { .. } | Self::NoSuchNetworkPolicy { .. } => ErrorCode::POLICY_NOT_FOUND,
            Self::SetInUse { .. } => ErrorCode::ENTITY_HAS_REFERENCES,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PrefixRouted { .. } => {
                Some("choose a prefix that no route of the host leads to, or none: a free one is found")
            }
            Self::PortTaken { .. } => Some("choose another host port, or 0 to be given a free one"),
            Self::Exhausted { .. } => Some("remove endpoints, or give the network a larger range"),
            Self::InNamespaceAlready { .. } | Self::InSandboxAlready { .. } => {
                Some("detach the endpoint first")
            }
            Self::AddressNeeded { .. } => Some("name one that nobody on the LAN has (--ip)"),
            Self::NotOurs { .. } => Some(
                "the network goes with the bridge: ip link delete, or what made it (networkd, NetworkManager, ..)",
            ),
            Self::SetInUse { .. } => Some("remove the rules and sets that name it first"),
            _ => None,
        }
    }
}
