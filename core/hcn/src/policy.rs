//! Policies: their settings as they came, and their meaning, one file a type.

mod acl;
mod adapter;
mod address;
mod encryption;
mod l4_proxy;
mod l4_wfp_proxy;
mod option_text;
mod outbound_nat;
mod overlay;
mod peer_text;
mod port_mapping;
mod qos;
mod rule_text;
mod sdn_route;
mod set;
mod tier_acl;

use std::net::IpAddr;

use hns_net::{Cidr, IfName, Mac, Mtu, PortRange, VlanId, Vni};
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found};

pub use acl::{Acl, IcmpType, RuleAction, RuleDirection, RuleMatch, RuleType};
pub use address::Addresses;
pub use encryption::Encryption;
pub use l4_proxy::L4Proxy;
pub use l4_wfp_proxy::{FilterTuple, L4WfpProxy, ProxyExceptions};
pub use option_text::{RateTextError, rules_of_option};
pub use outbound_nat::OutboundNat;
pub use overlay::{RemoteSubnetRoute, router_of};
pub use peer_text::{PeerTextError, peers_of_option};
pub use port_mapping::{NatFlags, PortMapping};
pub use qos::{Bandwidth, Qos};
pub use rule_text::{DEFAULT_PRIORITY, RuleText, RuleTextError, TierRuleText};
pub use sdn_route::SdnRoute;
pub use set::{SetPolicy, SetValues};
pub use tier_acl::{TierAcl, TierAclRule};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// A policy: its settings as they came (clients read them back and compare), and what they mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The type's canonical spelling.
    pub kind: &'static str,
    pub settings: Map<String, Value>,
    pub meaning: PolicySettings,
}

/// The policies whose settings this daemon reads. Every other known type is kept by name so that the
/// error for it can say "not supported here" rather than "unknown".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySettings {
    PortMapping(PortMapping),
    Acl(Acl),
    TierAcl(TierAcl),
    Qos(Qos),
    OutboundNat(OutboundNat),
    SdnRoute(SdnRoute),
    L4Proxy(L4Proxy),
    L4WfpProxy(Box<L4WfpProxy>),
    /// Of a network.
    Set(SetPolicy),
    /// Of a network: a rule of each of its endpoints.
    NetworkAcl(Acl),
    InterfaceParameters {
        mtu: Mtu,
    },
    /// Of a network: the adapter that it shares with the host (`NetAdapterName`, `InterfaceConstraint`).
    Adapter(IfName),
    /// Of a network or a subnet.
    Vlan(VlanId),
    /// Of a network: a prefix that another host has.
    RemoteSubnetRoute(RemoteSubnetRoute),
    /// Where tunnels end: of a network, on this host.
    ProviderAddress(IpAddr),
    /// Of a network: the MAC address of the router of this host's part (`DrMacAddress`).
    Router(Mac),
    /// Of a network: the UDP port of its tunnel.
    VxlanPort(u16),
    /// Of a subnet.
    Vsid(Vni),
    /// Of an overlay: the host has a port on it.
    HostRoute,
    /// Of an overlay: what goes from host to host is encrypted.
    Encryption(Encryption),
    PortName,
    Other,
}

/// Every policy type of HCN (hcn-api 5.2 to 5.4).
const TYPES: &[&str] = &[
    "PortMapping",
    "ACL",
    "QOS",
    "L2Driver",
    "OutBoundNAT",
    "SDNRoute",
    "L4Proxy",
    "L4WFPPROXY",
    "ProviderAddress",
    "PortName",
    "EncapOverhead",
    "InterfaceConstraint",
    "Encryption",
    "VLAN",
    "VSID",
    "InterfaceParameters",
    "Iov",
    "TierAcl",
    "VmNic",
    "Firewall",
    "SourceMacAddress",
    "NetAdapterName",
    "VSwitchExtension",
    "DrMacAddress",
    "AutomaticDNS",
    "RemoteSubnetRoute",
    "VxlanPort",
    "HostRoute",
    "SetPolicy",
    "LayerConstraint",
    "NetworkACL",
    "NeighborDiscovery",
];

impl Policy {
    /// A policy by itself, such as a member of an answer's `Policies`; nothing for the empty object.
    pub fn from_document(document: &Value) -> Result<Option<Self>, DocumentError> {
        Self::from_v2(&Found { value: document, path: String::new() })
    }

    /// The policy at `found`, or nothing for the empty object that some clients send (hcn-api 5.10).
    pub(crate) fn from_v2(found: &Found<'_>) -> Result<Option<Self>, DocumentError> {
        let mut fields = Fields::of(found.value, &found.path, CODE)?;
        let kind = fields.text(&["Type"])?;
        let type_path = fields.path("Type");
        let settings = fields.take(&["Settings", "Data"]);
        let Some(kind) = kind else {
            if settings.is_none() && fields.finish().is_ok() {
                return Ok(None);
            }
            return Err(DocumentError::new(type_path, "a policy needs a type", CODE));
        };
        let known = TYPES.iter().find(|known| known.eq_ignore_ascii_case(&kind)).ok_or_else(|| {
            let problem = format!("\"{kind}\" is no policy type; known: {}", TYPES.join(", "));
            DocumentError::new(type_path, problem, ErrorCode::INVALID_POLICY_TYPE)
        })?;
        let (settings, path) = match settings {
            Some(Found { value: Value::Object(map), path }) => {
                fields.finish()?;
                (map.clone(), path)
            }
            // An InterfaceConstraint may come as a bare string; the settings of others may stand flat.
            Some(found) => {
                return Err(DocumentError::new(found.path, "expected an object of settings", CODE));
            }
            None => (fields.rest(), found.path.clone()),
        };
        let meaning = meaning(known, &Value::Object(settings.clone()), &path)?;
        Ok(Some(Self { kind: known, settings, meaning }))
    }

    /// The same port mapping with the host ports that the server chose, as it is reported.
    #[must_use]
    pub fn with_external(mut self, ports: PortRange) -> Self {
        if let PolicySettings::PortMapping(mapping) = &mut self.meaning {
            mapping.external = Some(ports);
            let spelled = self.settings.keys().find(|key| key.eq_ignore_ascii_case("ExternalPort")).cloned();
            self.settings.insert(spelled.unwrap_or_else(|| "ExternalPort".to_owned()), json!(ports.start()));
        }
        self
    }

    /// A port mapping made by this daemon's own code.
    #[must_use]
    pub fn port_mapping(mapping: PortMapping) -> Self {
        let mut settings = Map::new();
        if let Some(transport) = mapping.transport {
            settings.insert("Protocol".into(), json!(transport.number()));
        }
        settings.insert("InternalPort".into(), json!(mapping.internal.start()));
        settings.insert("ExternalPort".into(), json!(mapping.external.map_or(0, PortRange::start)));
        if !mapping.internal.is_single() {
            settings.insert("PortCount".into(), json!(mapping.internal.count()));
        }
        if let Some(address) = mapping.address {
            settings.insert("VIP".into(), json!(address.to_string()));
        }
        settings.insert("Flags".into(), json!(mapping.flags.0));
        Self { kind: "PortMapping", settings, meaning: PolicySettings::PortMapping(mapping) }
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        json!({ "Type": self.kind, "Settings": self.settings })
    }

    #[must_use]
    pub fn as_port_mapping(&self) -> Option<&PortMapping> {
        match &self.meaning {
            PolicySettings::PortMapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The policy of a network on the LAN of this adapter.
    #[must_use]
    pub fn adapter(name: IfName) -> Self {
        let settings = Map::from_iter([("NetworkAdapterName".to_owned(), json!(name.as_str()))]);
        Self { kind: "NetAdapterName", settings, meaning: PolicySettings::Adapter(name) }
    }

    /// The policy of a network in a VLAN.
    #[must_use]
    pub fn vlan(vlan: VlanId) -> Self {
        let settings = Map::from_iter([("IsolationId".to_owned(), json!(vlan.number()))]);
        Self { kind: "VLAN", settings, meaning: PolicySettings::Vlan(vlan) }
    }

    /// Source translation of everything but what goes to these prefixes, which are of one family.
    #[must_use]
    pub fn outbound_nat(exceptions: Vec<Cidr>) -> Self {
        let listed: Vec<String> = exceptions.iter().map(Cidr::to_string).collect();
        let settings = listed.first().map(|_| ("Exceptions".to_owned(), json!(listed)));
        let meaning = PolicySettings::OutboundNat(OutboundNat { exceptions, ..OutboundNat::default() });
        Self { kind: "OutBoundNAT", settings: settings.into_iter().collect(), meaning }
    }

    /// A route of a HostComputeRoute, as the policy of its endpoints that it stands for.
    #[must_use]
    pub fn sdn_route(route: SdnRoute) -> Self {
        Self { kind: "SDNRoute", settings: route.to_settings(), meaning: PolicySettings::SdnRoute(route) }
    }

    /// The address set that this policy makes.
    #[must_use]
    pub fn as_set(&self) -> Option<&SetPolicy> {
        match &self.meaning {
            PolicySettings::Set(set) => Some(set),
            _ => None,
        }
    }

    /// The adapter that this policy names.
    #[must_use]
    pub fn as_adapter(&self) -> Option<&IfName> {
        match &self.meaning {
            PolicySettings::Adapter(name) => Some(name),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_vlan(&self) -> Option<VlanId> {
        match &self.meaning {
            PolicySettings::Vlan(vlan) => Some(*vlan),
            _ => None,
        }
    }

    /// Whether it says on which switch its network is, which nothing changes later.
    #[must_use]
    pub const fn is_of_switch(&self) -> bool {
        matches!(
            self.meaning,
            PolicySettings::Adapter(_)
                | PolicySettings::Vlan(_)
                | PolicySettings::ProviderAddress(_)
                | PolicySettings::Router(_)
                | PolicySettings::VxlanPort(_)
                | PolicySettings::HostRoute
                | PolicySettings::Encryption(_)
        )
    }

    /// The conditions of its rules; none of a policy without rules.
    pub fn rule_matches(&self) -> impl Iterator<Item = &RuleMatch> {
        let (rule, tier) = match &self.meaning {
            PolicySettings::Acl(acl) | PolicySettings::NetworkAcl(acl) => (Some(&acl.matches), None),
            PolicySettings::TierAcl(tier) => (None, Some(&tier.rules)),
            _ => (None, None),
        };
        rule.into_iter().chain(tier.into_iter().flatten().map(|rule| &rule.matches))
    }

    /// The direction of its rules, if it has any.
    #[must_use]
    pub fn rule_direction(&self) -> Option<RuleDirection> {
        match &self.meaning {
            PolicySettings::Acl(acl) | PolicySettings::NetworkAcl(acl) => Some(acl.direction),
            PolicySettings::TierAcl(tier) => Some(tier.direction),
            _ => None,
        }
    }

    /// The ids of the sets that its rules or its values name.
    pub fn named_sets(&self) -> impl Iterator<Item = &str> {
        let of_rules = self.rule_matches().flat_map(|m| m.local.sets().iter().chain(m.remote.sets()));
        let nested = self.as_set().map_or(&[][..], SetPolicy::nested);
        of_rules.chain(nested).map(String::as_str)
    }

    /// Whether a Remove that names `other` means this policy: a set by its id, others by type and meaning, where
    /// the settings are read, else by their values (key order and key case do not count).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        match (&self.meaning, &other.meaning) {
            (PolicySettings::Other | PolicySettings::PortName, _) => {
                same_values(&self.settings, &other.settings)
            }
            (PolicySettings::Set(mine), PolicySettings::Set(theirs)) => mine.id == theirs.id,
            (mine, theirs) => mine == theirs,
        }
    }
}

fn same_values(mine: &Map<String, Value>, theirs: &Map<String, Value>) -> bool {
    let lower = |map: &Map<String, Value>| {
        map.iter()
            .map(|(k, v)| (k.to_ascii_lowercase(), v.clone()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    lower(mine) == lower(theirs)
}

fn meaning(kind: &str, settings: &Value, path: &str) -> Result<PolicySettings, DocumentError> {
    match kind {
        "PortMapping" => Ok(PolicySettings::PortMapping(PortMapping::from_settings(settings, path)?)),
        "ACL" => Ok(PolicySettings::Acl(Acl::from_settings(settings, path)?)),
        "NetworkACL" => Ok(PolicySettings::NetworkAcl(Acl::from_settings(settings, path)?)),
        "TierAcl" => Ok(PolicySettings::TierAcl(TierAcl::from_settings(settings, path)?)),
        "QOS" => Ok(PolicySettings::Qos(Qos::from_settings(settings, path)?)),
        "OutBoundNAT" => Ok(PolicySettings::OutboundNat(OutboundNat::from_settings(settings, path)?)),
        "SDNRoute" => Ok(PolicySettings::SdnRoute(SdnRoute::from_settings(settings, path)?)),
        "L4Proxy" => Ok(PolicySettings::L4Proxy(L4Proxy::from_settings(settings, path)?)),
        "L4WFPPROXY" => Ok(PolicySettings::L4WfpProxy(Box::new(L4WfpProxy::from_settings(settings, path)?))),
        "SetPolicy" => Ok(PolicySettings::Set(SetPolicy::from_settings(settings, path)?)),
        "PortName" => Ok(PolicySettings::PortName),
        "NetAdapterName" => adapter::by_name(settings, path).map(PolicySettings::Adapter),
        "InterfaceConstraint" => adapter::by_constraint(settings, path).map(PolicySettings::Adapter),
        "VLAN" => adapter::vlan(settings, path).map(PolicySettings::Vlan),
        "RemoteSubnetRoute" => {
            RemoteSubnetRoute::from_settings(settings, path).map(PolicySettings::RemoteSubnetRoute)
        }
        "ProviderAddress" => overlay::provider(settings, path).map(PolicySettings::ProviderAddress),
        "DrMacAddress" => overlay::router(settings, path).map(PolicySettings::Router),
        "VxlanPort" => overlay::port(settings, path).map(PolicySettings::VxlanPort),
        "HostRoute" => overlay::host_route(settings, path).map(|()| PolicySettings::HostRoute),
        "Encryption" => Encryption::from_settings(settings, path).map(PolicySettings::Encryption),
        "VSID" => overlay::vsid(settings, path).map(PolicySettings::Vsid),
        "InterfaceParameters" => {
            let mut fields = Fields::of(settings, path, CODE)?;
            let bytes = fields.number(&["Mtu"], u64::from(u32::MAX))?.unwrap_or(0);
            let mtu = Mtu::new(bytes).map_err(|error| fields.error("Mtu", error))?;
            fields.finish()?;
            Ok(PolicySettings::InterfaceParameters { mtu })
        }
        _ => Ok(PolicySettings::Other),
    }
}

/// The policies of a document or of a Modify request; empty objects are skipped.
pub(crate) fn policies_from_v2(
    fields: &mut Fields<'_>,
    names: &[&'static str],
) -> Result<Vec<Policy>, DocumentError> {
    let mut policies = Vec::new();
    for found in fields.list(names)? {
        policies.extend(Policy::from_v2(&found)?);
    }
    Ok(policies)
}
