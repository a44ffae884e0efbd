use std::net::IpAddr;

use hns_hcn::{ErrorCode, IpProtocol};
use hns_model::Lan;
use hns_net::Guid;

/// Why there is no such packet. Each names the field that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untraceable {
    #[error("{field}: endpoint {endpoint} is attached to no namespace, and has no port")]
    NotAttached { field: &'static str, endpoint: Guid },
    #[error(
        "{field}: endpoint {endpoint} has no address yet, and nothing would tell its packets from those of others"
    )]
    NoAddress { field: &'static str, endpoint: Guid },
    #[error("{field}: the datapath knows no port of endpoint {endpoint}")]
    NotProgrammed { field: &'static str, endpoint: Guid },
    #[error("To.Address: endpoint {endpoint} does not have the address {address}")]
    NotItsAddress { endpoint: Guid, address: IpAddr },
    #[error("To: there are no two addresses of one family: from {from}, to {to}")]
    Families { from: String, to: String },
    #[error("From: neither it nor To, {address}, is an endpoint, at whose port packets are judged")]
    NoEndpoint { address: IpAddr },
    #[error("From: neither it nor To is an endpoint, at whose port packets are seen")]
    NoEndpointAtAll,
    #[error("From.Address: {address} is that of endpoint {endpoint}")]
    IsAnEndpoint { address: IpAddr, endpoint: Guid },
    #[error("Protocol: {protocol} is not one of {destination}'s family")]
    Protocol { protocol: IpProtocol, destination: IpAddr },
    #[error("{field}: endpoint {endpoint} is on the LAN of {lan}, where packets are not traced yet")]
    OnTheLan { field: &'static str, endpoint: Guid, lan: Lan },
    #[error("IcmpType: {kind} of icmpv6 is neighbour discovery, which is more than a type")]
    Discovery { kind: u8 },
}

impl Untraceable {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::NotAttached { .. } | Self::NotProgrammed { .. } => ErrorCode::ENDPOINT_NOT_ATTACHED,
            Self::NoAddress { .. } => ErrorCode::INVALID_IP,
            Self::NotItsAddress { .. } | Self::Families { .. } => ErrorCode::INVALID_IP,
            Self::OnTheLan { .. } => ErrorCode::REQUEST_UNSUPPORTED,
            Self::NoEndpoint { .. }
            | Self::NoEndpointAtAll
            | Self::IsAnEndpoint { .. }
            | Self::Protocol { .. }
            | Self::Discovery { .. } => ErrorCode::INVALID_PARAMETER,
        }
    }

    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::NotAttached { .. } => "attach it first: hnsctl endpoint attach",
            Self::NotProgrammed { .. } | Self::NoAddress { .. } => "hnsctl endpoint inspect shows its health",
            Self::NotItsAddress { .. } => {
                "hnsctl endpoint inspect shows those it has; leave the address out to have one chosen"
            }
            Self::Families { .. } => "name an address of the family that both have",
            Self::NoEndpoint { .. } | Self::NoEndpointAtAll => "hnsctl endpoint ls shows which there are",
            Self::IsAnEndpoint { .. } => "name the endpoint in From.Endpoint",
            Self::Protocol { .. } => "icmp stands for that of either family",
            Self::OnTheLan { .. } => "hnsctl drops and hnsctl flows show what its port does",
            Self::Discovery { .. } => "whether it is dropped is in hnsctl drops: spoofed-nd, rogue-ra",
        }
    }
}
