use hns_datapath::DatapathError;
use hns_hcn::{DocumentError, ErrorCode};
use hns_host::HostError;
use hns_model::ModelError;
use hns_net::{Guid, Uplink};
use hns_resolver::{Giver, ResolverError};
use hns_store::StoreError;
use hns_wireguard::WireguardError;

use crate::lost_state::Unrecorded;
use crate::trace::Untraceable;

/// Why a request was not performed. Nothing of it stays behind.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{object} document: {source}")]
    Document { object: &'static str, source: DocumentError },
    #[error("{operation}")]
    Host { operation: String, source: HostError },
    #[error("{operation}")]
    Datapath { operation: String, source: DatapathError },
    #[error("{operation}")]
    Encryption { operation: String, source: WireguardError },
    #[error("endpoint {endpoint}: network \"{network}\" has no address for it from the LAN of {uplink}")]
    NoLease { endpoint: Guid, network: String, uplink: Uplink, source: ResolverError },
    #[error("endpoint {endpoint}: {giver} gave an address which somebody has already")]
    LeaseTaken { endpoint: Guid, giver: Giver, source: ModelError },
    #[error("cannot {operation} the record of {object}")]
    Store { operation: &'static str, object: String, source: StoreError },
    #[error("the record {key} cannot be read: {problem}")]
    Record { key: String, problem: String },
    #[error(
        "there are no records, but this host shows what they were of: {found}. Nothing was touched, traffic goes on"
    )]
    Unrecorded { found: Unrecorded },
    #[error("there are records, and nothing to forget")]
    NothingToForget,
    #[error("trace document: {0}")]
    Untraceable(#[from] Untraceable),
    #[error("the service is stopping")]
    Stopping,
}

impl EngineError {
    pub(crate) fn datapath(operation: impl FnOnce() -> String) -> impl FnOnce(DatapathError) -> Self {
        move |source| Self::Datapath { operation: operation(), source }
    }

    pub(crate) fn encryption(operation: impl FnOnce() -> String) -> impl FnOnce(WireguardError) -> Self {
        move |source| Self::Encryption { operation: operation(), source }
    }

    /// The host refused; `operation` says what was to be done, in words that are needed only then.
    pub(crate) fn host(operation: impl FnOnce() -> String) -> impl FnOnce(HostError) -> Self {
        move |source| Self::Host { operation: operation(), source }
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.code(),
            Self::Untraceable(error) => error.code(),
            Self::Document { source, .. } => source.code,
            Self::Host { source: HostError::InterfaceTaken { .. }, .. } => ErrorCode::NAMESPACE_ATTACH_FAILED,
            Self::Host {
                source:
                    HostError::NoSuchNamespace { .. }
                    | HostError::NotANamespace { .. }
                    | HostError::OwnNamespace { .. },
                ..
            } => ErrorCode::INVALID_PARAMETER,
            Self::Host { source: HostError::NoIpv6, .. }
            | Self::Datapath { source: DatapathError::NoSharing { .. }, .. } => {
                ErrorCode::REQUEST_UNSUPPORTED
            }
            Self::Host {
                source: HostError::NoSuchAdapter { .. } | HostError::AdapterUnfit { .. }, ..
            } => ErrorCode::ADAPTER_NOT_FOUND,
            Self::Host {
                source:
                    HostError::NotOurAddress { .. } | HostError::NoWay { .. } | HostError::TunnelPortTaken { .. },
                ..
            } => ErrorCode::INVALID_POLICY,
            Self::Host { source: HostError::TooManyPorts { .. }, .. } => ErrorCode::INVALID_POLICY,
            Self::Datapath { source: DatapathError::TooManyWatches { .. }, .. } => ErrorCode::BUSY,
            Self::Host { .. }
            | Self::Datapath { .. }
            | Self::Encryption { .. }
            | Self::Store { .. }
            | Self::Record { .. }
            | Self::Unrecorded { .. }
            | Self::NothingToForget => ErrorCode::FAIL,
            Self::NoLease { .. } | Self::LeaseTaken { .. } => ErrorCode::NAMESPACE_ATTACH_FAILED,
            Self::Stopping => ErrorCode::MANAGER_STOPPED,
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Untraceable(error) => Some(error.hint()),
            Self::Host { source: HostError::NoSuchNamespace { .. }, .. } => {
                Some("give the path of a network namespace, such as /run/netns/NAME or /proc/PID/ns/net")
            }
            Self::Host { source: HostError::OwnNamespace { .. }, .. } => {
                Some("a namespace of type HostDefault is the host's own, without a path")
            }
            Self::Host { source: HostError::NoIpv6, .. } => Some("leave the IPv6 subnets out"),
            Self::Host {
                source: HostError::NoSuchAdapter { .. } | HostError::AdapterUnfit { .. }, ..
            } => Some(
                "ip link shows which adapters there are; name one of Ethernet that is in no bridge or bond",
            ),
            Self::Host { source: HostError::NotOurAddress { .. } | HostError::NoWay { .. }, .. } => Some(
                "ip addr shows the host's addresses; name the one at which its peers reach it: the policy ProviderAddress",
            ),
            Self::Host { source: HostError::TunnelPortTaken { .. }, .. } => {
                Some("ss -ulpn and ip -d link show type vxlan tell who has the port")
            }
            Self::Datapath { source: DatapathError::NoSharing { .. }, .. } => {
                Some("a network of the type NAT works on this kernel")
            }
            Self::Datapath { source: DatapathError::TooManyWatches { .. }, .. } => {
                Some("end another hnsctl trace --live, or name fewer addresses")
            }
            Self::Host { source: HostError::NoTable, .. } => {
                Some("hnsctl doctor says why the host's rules do not come back")
            }
            Self::Host { source: HostError::TooManyPorts { .. }, .. } => {
                Some("publish fewer ports, or allow hnsd more open files (LimitNOFILE of its unit)")
            }
            Self::Host { source: HostError::NftMissing(_), .. } => Some("install the package nftables"),
            Self::Host { .. } | Self::Datapath { .. } => Some("hnsctl doctor looks for what the host lacks"),
            Self::LeaseTaken { .. } | Self::NoLease { source: ResolverError::Conflict { .. }, .. } => {
                Some("others have taken by themselves what is given out: look at the server's range")
            }
            Self::NoLease {
                source: ResolverError::Refused { .. } | ResolverError::Unusable { .. }, ..
            } => Some("look at the settings of that server"),
            Self::NoLease { source: ResolverError::Silent6 { .. }, .. } => Some(
                "a router of this LAN says that a DHCPv6 server gives addresses (its M flag): look whether one serves this LAN, in this \
                 VLAN; tcpdump -ni ADAPTER 'port 546 or port 547' shows what is asked",
            ),
            Self::NoLease {
                source: ResolverError::NoRouter { .. } | ResolverError::NoPrefix { .. }, ..
            } => Some(
                "look whether a router of this LAN, in this VLAN, advertises a prefix of 64 bits for autonomous addresses; \
                 tcpdump -ni ADAPTER 'icmp6' shows what is asked",
            ),
            Self::NoLease { .. } => Some(
                "look whether a DHCP server serves this LAN, in this VLAN, and has addresses left; \
                 tcpdump -ni ADAPTER 'port 67 or port 68' shows what is asked",
            ),
            Self::Store { source, .. } => source.hint(),
            Self::Record { .. } => Some(
                "hnsd recover shows what can be read of the state and what the backup holds, and puts it in place; nothing is \
                 deleted, and traffic goes on",
            ),
            Self::Unrecorded { .. } => Some(
                "put the state back: the file itself, or a backup of it by hnsd recover; or start once with --forget, \
                 which removes what was found and begins anew",
            ),
            Self::NothingToForget => {
                Some("start without --forget, which is for one start on a host whose records are lost")
            }
            _ => None,
        }
    }

    /// Whether the request was at fault, or the host.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        match self {
            Self::Host { source, .. } => !matches!(
                source,
                HostError::InterfaceTaken { .. }
                    | HostError::NoSuchNamespace { .. }
                    | HostError::NotANamespace { .. }
                    | HostError::OwnNamespace { .. }
                    | HostError::NoIpv6
                    | HostError::NoSuchAdapter { .. }
                    | HostError::AdapterUnfit { .. }
                    | HostError::NotOurAddress { .. }
                    | HostError::NoWay { .. }
                    | HostError::TunnelPortTaken { .. }
                    | HostError::TooManyPorts { .. }
            ),
            Self::Datapath { source, .. } => {
                !matches!(source, DatapathError::NoSharing { .. } | DatapathError::TooManyWatches { .. })
            }
            Self::Encryption { .. }
            | Self::Store { .. }
            | Self::Record { .. }
            | Self::Unrecorded { .. }
            | Self::NothingToForget => true,
            Self::Model(_)
            | Self::Document { .. }
            | Self::Untraceable(_)
            | Self::NoLease { .. }
            | Self::LeaseTaken { .. }
            | Self::Stopping => false,
        }
    }
}
