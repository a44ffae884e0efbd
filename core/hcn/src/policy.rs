use std::net::IpAddr;

use hns_net::{Family, Mtu, PortRange, Transport};
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found};

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
    InterfaceParameters { mtu: Mtu },
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

/// HCN `NatFlags` of a port mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NatFlags(pub u32);

impl NatFlags {
    pub const IPV6: u32 = 2;
    pub const EXTERNAL_PORT_RESERVED: u32 = 4;

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// A port mapping: ports of the host that lead to ports of the endpoint (hcn-api 5.4, and `PortCount` of
/// ours for a range).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// Absent: TCP and UDP.
    pub transport: Option<Transport>,
    pub internal: PortRange,
    /// Absent: the server chooses.
    pub external: Option<PortRange>,
    /// Absent: every address of the host, of the families the endpoint has.
    pub address: Option<IpAddr>,
    pub flags: NatFlags,
}

impl PortMapping {
    #[must_use]
    pub fn transports(&self) -> &'static [Transport] {
        match self.transport {
            None => &[Transport::Tcp, Transport::Udp],
            Some(Transport::Tcp) => &[Transport::Tcp],
            Some(Transport::Udp) => &[Transport::Udp],
            Some(Transport::Sctp) => &[Transport::Sctp],
        }
    }

    /// Whether the mapping is meant for this family.
    #[must_use]
    pub fn covers(&self, family: Family) -> bool {
        match self.address {
            Some(address) => Family::of(address) == family,
            None => family == Family::V6 || !self.flags.has(NatFlags::IPV6),
        }
    }

    fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let transport = match fields.number(&["Protocol"], 255)? {
            None => None,
            Some(number) => {
                Some(Transport::from_number(number).map_err(|error| fields.error("Protocol", error))?)
            }
        };
        let internal = fields.number_u16(&["InternalPort"])?.unwrap_or(0);
        let external = fields.number_u16(&["ExternalPort"])?.unwrap_or(0);
        let count = fields.number_u16(&["PortCount"])?.unwrap_or(1);
        let address: Option<IpAddr> = fields.parsed(&["VIP"], ErrorCode::INVALID_POLICY)?;
        let flags =
            fields.flags(&["Flags"], &[("LocalRoutedVip", 1), ("IPv6", 2), ("ExternalPortReserved", 4)])?;
        if internal == 0 {
            let path = fields.path("InternalPort");
            let problem = "a port mapping needs the endpoint's port, 1 to 65535";
            return Err(DocumentError::new(path, problem, ErrorCode::INVALID_INTERNAL_PORT));
        }
        let range =
            |start, key| PortRange::with_count(start, count).map_err(|error| fields.error(key, error));
        let key = if count == 0 { "PortCount" } else { "InternalPort" };
        let internal = range(internal, key)?;
        let external = if external == 0 { None } else { Some(range(external, "ExternalPort")?) };
        let mapping = Self { transport, internal, external, address, flags: NatFlags(flags) };
        mapping.check_address(&fields)?;
        Ok(mapping)
    }

    fn check_address(&self, fields: &Fields<'_>) -> Result<(), DocumentError> {
        let Some(address) = self.address else { return Ok(()) };
        if address.is_multicast() {
            return Err(fields.error("VIP", format!("{address} is a group, not an address of the host")));
        }
        if self.flags.has(NatFlags::IPV6) && address.is_ipv4() {
            return Err(fields.error("VIP", format!("{address} is IPv4, but Flags says IPv6")));
        }
        Ok(())
    }
}

impl Policy {
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

    /// Whether a Remove that names `other` means this policy: by type and meaning, where the settings are
    /// read, else by their values (key order and key case do not count).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        match (&self.meaning, &other.meaning) {
            (PolicySettings::Other | PolicySettings::PortName, _) => {
                same_values(&self.settings, &other.settings)
            }
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
        "PortName" => Ok(PolicySettings::PortName),
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
