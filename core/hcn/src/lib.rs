//! The HNS documents: JSON as clients of the Windows Host Network Service write and read it.
//!
//! One object has two views, v2 (HCN) and v1 (HNSCall). This crate holds the object's typed form, one file
//! a resource, with `from_v2`/`to_v2` beside it; a v1 view is another pair of functions on the same type.
//!
//! Reading is tolerant exactly where clients need it (key case, enumerations as names or numbers, `null`
//! and `""` for absent, numbers in strings; hcn-api 1.3) and refuses everything else with the path of the
//! field, such as `Ipams[0].Subnets[1].IpAddressPrefix`. Values are parsed once, into the types of
//! `hns-net`; settings of policies are kept verbatim beside, because clients compare them (rule Q22).
//!
//! Answers that no client sends back (drops, connections) are read with less: what a newer daemon adds is passed over.
//!
//! To add a field: read it in `from_v2`, write it in `to_v2`, and the round-trip property covers it.
//!
//! Never here: defaults that need other objects, invariants between objects (`hns-model` has them), I/O.

mod code;
mod dns;
mod drops;
mod endpoint;
mod fields;
mod flow;
mod host_route;
mod live_trace;
mod load_balancer;
mod modify;
mod namespace;
mod network;
mod notification;
mod packet;
mod policy;
mod port_params;
mod port_rules;
mod protocol;
mod query;
mod route;
mod timestamp;
mod trace;

pub use code::ErrorCode;
pub use dns::Dns;
pub use drops::{DropCount, DroppedPacket, PortOwner, RuleName, RuleOrigin};
pub use endpoint::{Endpoint, EndpointFlags, EndpointParams, IpConfiguration};
pub use fields::{DocumentError, check_name, escape_steering};
pub use flow::{Flow, Sides};
pub use host_route::HostRoute;
pub use live_trace::{LiveTraceRequest, Onward, SeenPacket};
pub use load_balancer::{
    Distribution, LoadBalancer, LoadBalancerFlags, LoadBalancerMapping, LoadBalancerParams, MappingFlags,
    WEIGHT_MAX,
};
pub use modify::{
    EndpointResource, MembersChange, ModifyRequest, NamespaceResource, NetworkResource, RequestType,
};
pub use namespace::{Namespace, NamespaceParams, NamespaceType, Resource};
pub use network::{
    GatewayMode, GatewayModes, IpSubnet, Ipam, IpamType, Network, NetworkFlags, NetworkParams, NetworkType,
    Subnet, SubnetFlags,
};
pub use notification::{Notification, NotificationType};
pub use packet::PacketWords;
pub use policy::{
    Acl, Addresses, Bandwidth, DEFAULT_PRIORITY, Encryption, FilterTuple, IcmpType, L4Proxy, L4WfpProxy,
    NatFlags, OutboundNat, PeerTextError, Policy, PolicySettings, PortMapping, ProxyExceptions, Qos,
    RateTextError, RemoteSubnetRoute, RuleAction, RuleDirection, RuleMatch, RuleText, RuleTextError,
    RuleType, SdnRoute, SetPolicy, SetValues, TierAcl, TierAclRule, TierRuleText, peers_of_option, router_of,
    rules_of_option,
};
pub use port_params::PortParams;
pub use port_rules::{PortRules, RuleCount};
pub use protocol::{EtherType, IpProtocol, ProtocolError, TcpFlags};
pub use query::Query;
pub use route::Route;
pub use timestamp::{Timestamp, TimestampError};
pub use trace::{Trace, TraceEnd, TraceRequest, TraceResult, TraceStep, TraceVerdict};

/// The schema version written into every document.
pub const SCHEMA: (u32, u32) = (2, 16);

/// The HNS version the documents carry: `(major << 32) | minor`. 15.0 promises what hcn-api 6 lists up to
/// there; features beyond what this daemon does are not reached through the documents' `Version`.
pub const HNS_VERSION: (u32, u32) = (15, 0);

/// The `Version` field of a document.
#[must_use]
pub const fn version_number() -> u64 {
    (HNS_VERSION.0 as u64) << 32 | HNS_VERSION.1 as u64
}
