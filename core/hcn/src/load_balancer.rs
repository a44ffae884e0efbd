use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_net::{Family, Guid};
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found, base_to_v2, check_name, pass_over_base};
use crate::modify::MembersChange;

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// A HostComputeLoadBalancer (hcn-api 3.4, 5.7): what goes to its addresses and ports goes to one of its backends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadBalancer {
    pub id: Option<Guid>,
    pub name: String,
    pub owner: Option<String>,
    /// In an answer: the network of the backends. In a create: of a load balancer that has none yet.
    pub network: Option<Guid>,
    /// The backends, local and remote endpoints.
    pub endpoints: Vec<Guid>,
    /// The source of what is led to a backend, unless it returns directly.
    pub source_vip: Option<IpAddr>,
    /// Empty: the host's own addresses.
    pub frontends: Vec<IpAddr>,
    pub mappings: Vec<LoadBalancerMapping>,
    pub flags: LoadBalancerFlags,
    pub params: LoadBalancerParams,
}

/// HCN `LoadBalancerFlags`, a bit mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadBalancerFlags(pub u32);

impl LoadBalancerFlags {
    /// Answers go straight back to the client.
    pub const DIRECT_SERVER_RETURN: u32 = 1;
    pub const IPV6: u32 = 2;

    const TABLE: &'static [(&'static str, u32)] =
        &[("EnableDirectServerReturn", Self::DIRECT_SERVER_RETURN), ("IPv6", Self::IPV6)];

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// One port, or all, of the frontend addresses and where it leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadBalancerMapping {
    /// 0: every protocol.
    pub protocol: u8,
    /// The frontend's port; 0: every port.
    pub external: u16,
    /// The backends' port; 0: as it came.
    pub internal: u16,
    pub distribution: Distribution,
    /// How long a client without connections keeps its backend; absent: the daemon's choice (ours).
    pub affinity_seconds: Option<u32>,
    pub flags: MappingFlags,
}

/// HCN `LoadBalancerDistribution`: which packets of a client go to the same backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Those of one connection.
    #[default]
    PerConnection,
    SourceIpProtocol,
    SourceIp,
}

impl Distribution {
    const TABLE: &'static [(&'static str, u64, Self)] = &[
        ("None", 0, Self::PerConnection),
        ("SourceIPProtocol", 1, Self::SourceIpProtocol),
        ("SourceIP", 2, Self::SourceIp),
    ];

    fn number(self) -> u64 {
        Self::TABLE.iter().find(|(.., known)| *known == self).map_or(0, |(_, number, _)| *number)
    }
}

/// HCN `LoadBalancerPortMappingFlags`, a bit mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MappingFlags(pub u32);

impl MappingFlags {
    /// Served for endpoints of the network only.
    pub const INTERNAL: u32 = 1;
    /// Reached from the host, too.
    pub const LOCAL_ROUTED_VIP: u32 = 2;
    pub const USE_MUX: u32 = 4;
    /// The backend sees the frontend's address as the destination.
    pub const PRESERVE_DIP: u32 = 8;
    /// The frontend's address is not the network's own.
    pub const VIP_EXTERNAL_IP: u32 = 16;

    const TABLE: &'static [(&'static str, u32)] = &[
        ("EnableInternalLoadBalancer", Self::INTERNAL),
        ("LocalRoutedVip", Self::LOCAL_ROUTED_VIP),
        ("UseMux", Self::USE_MUX),
        ("EnablePreserveDip", Self::PRESERVE_DIP),
        ("VipExternalIp", Self::VIP_EXTERNAL_IP),
    ];

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// What HCN's load balancer has no field for, kept in its `AdditionalParams`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadBalancerParams {
    /// Shares of new connections, 1 to 1000; absent: 1.
    pub weights: BTreeMap<Guid, u16>,
    /// Backends that keep their connections and get no new ones.
    pub draining: BTreeSet<Guid>,
    /// Keys of others, echoed as they came.
    pub others: Map<String, Value>,
}

/// The largest share of a backend.
pub const WEIGHT_MAX: u16 = 1000;

impl LoadBalancer {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let mut mappings = Vec::new();
        let balancer = Self {
            id: fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?.filter(|id| *id != Guid::ZERO),
            name: fields.text(&["Name"])?.unwrap_or_default(),
            owner: fields.text(&["Owner"])?,
            network: fields.parsed(&["HostComputeNetwork"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            endpoints: fields.parsed_list(&["HostComputeEndpoints"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            source_vip: fields.parsed(&["SourceVIP"], ErrorCode::INVALID_IP)?,
            frontends: fields.parsed_list(&["FrontendVIPs", "VirtualIPs"], ErrorCode::INVALID_IP)?,
            mappings: {
                for found in fields.list(&["PortMappings"])? {
                    mappings.push(LoadBalancerMapping::from_v2(&found)?);
                }
                mappings
            },
            flags: LoadBalancerFlags(fields.flags(&["Flags"], LoadBalancerFlags::TABLE)?),
            params: LoadBalancerParams::from_v2(&mut fields)?,
        };
        pass_over_base(&mut fields)?;
        balancer.check(&fields)?;
        fields.finish()?;
        check_name(&balancer.name, CODE)?;
        Ok(balancer)
    }

    /// What a Modify asks of a load balancer: clients send the whole document, older ones an envelope (hcn-api 2.4).
    pub fn change_from_v2(document: &Value) -> Result<MembersChange<Self>, DocumentError> {
        MembersChange::from_v2(document, CODE, Self::from_v2)
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), DocumentError> {
        if self.mappings.is_empty() {
            return Err(fields.error("PortMappings", "a load balancer needs a port mapping"));
        }
        if let Some(twice) =
            self.endpoints.iter().enumerate().find(|(n, id)| self.endpoints[..*n].contains(id))
        {
            return Err(fields.error("HostComputeEndpoints", format!("{} is named twice", twice.1)));
        }
        for address in &self.frontends {
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                let problem = format!("{address} is not an address that a client can connect to");
                return Err(DocumentError::new("FrontendVIPs", problem, ErrorCode::INVALID_IP));
            }
        }
        self.check_families()
    }

    /// The families of its addresses: one only, which `Flags` names.
    fn check_families(&self) -> Result<(), DocumentError> {
        let family = self.family();
        let stranger = |address: &&IpAddr| Family::of(**address) != family;
        let fault = |field: &str, address: &IpAddr| {
            let problem = match family {
                Family::V4 => {
                    format!("{address} is IPv6, and a load balancer is of one family: set flag 2 (IPv6)")
                }
                Family::V6 => format!("{address} is IPv4, but Flags says IPv6"),
            };
            DocumentError::new(field, problem, ErrorCode::INVALID_IP)
        };
        if let Some(address) = self.frontends.iter().find(stranger) {
            return Err(fault("FrontendVIPs", address));
        }
        self.source_vip.iter().find(stranger).map_or(Ok(()), |address| Err(fault("SourceVIP", address)))
    }

    #[must_use]
    pub fn family(&self) -> Family {
        if self.flags.has(LoadBalancerFlags::IPV6) { Family::V6 } else { Family::V4 }
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = base_to_v2(self.id, &self.name, self.owner.as_ref());
        if let Some(network) = self.network {
            out.insert("HostComputeNetwork".into(), json!(network.to_string()));
        }
        out.insert(
            "HostComputeEndpoints".into(),
            self.endpoints.iter().map(|id| json!(id.to_string())).collect(),
        );
        out.insert(
            "SourceVIP".into(),
            json!(self.source_vip.map(|address| address.to_string()).unwrap_or_default()),
        );
        out.insert(
            "FrontendVIPs".into(),
            self.frontends.iter().map(|address| json!(address.to_string())).collect(),
        );
        out.insert("PortMappings".into(), self.mappings.iter().map(|mapping| mapping.to_v2()).collect());
        out.insert("Flags".into(), json!(self.flags.0));
        out.insert("AdditionalParams".into(), self.params.to_v2());
        Value::Object(out)
    }
}

impl LoadBalancerMapping {
    fn from_v2(found: &Found<'_>) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(found.value, &found.path, CODE)?;
        let mapping = Self {
            // 256 is how ACLs write "any"; it means the same here.
            protocol: fields.number(&["Protocol"], 256)?.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            external: fields.number_u16(&["ExternalPort"])?.unwrap_or(0),
            internal: fields.number_u16(&["InternalPort"])?.unwrap_or(0),
            distribution: fields
                .choice(&["DistributionType"], Distribution::TABLE, CODE)?
                .unwrap_or_default(),
            affinity_seconds: fields.number_u32(&["AffinityTimeoutSeconds"])?.filter(|seconds| *seconds > 0),
            flags: MappingFlags(fields.flags(&["Flags"], MappingFlags::TABLE)?),
        };
        mapping.check(&fields)?;
        fields.finish()?;
        Ok(mapping)
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), DocumentError> {
        if ![0, 6, 17, 132].contains(&self.protocol) {
            let problem = format!("{} is not TCP 6, UDP 17, SCTP 132 or 0 for all protocols", self.protocol);
            return Err(fields.error("Protocol", problem));
        }
        if self.external == 0 && self.internal != 0 {
            let problem = "every port of the frontend (0) cannot lead to one port; leave InternalPort out";
            return Err(fields.error("InternalPort", problem));
        }
        if self.affinity_seconds.is_some() && self.distribution == Distribution::PerConnection {
            let problem = "without affinity (DistributionType 1 or 2) it has no meaning";
            return Err(fields.error("AffinityTimeoutSeconds", problem));
        }
        Ok(())
    }

    fn to_v2(self) -> Value {
        let mut out = json!({
            "Protocol": self.protocol,
            "InternalPort": self.internal,
            "ExternalPort": self.external,
            "DistributionType": self.distribution.number(),
            "Flags": self.flags.0,
        });
        if let Some(seconds) = self.affinity_seconds {
            out["AffinityTimeoutSeconds"] = json!(seconds);
        }
        out
    }
}

impl LoadBalancerParams {
    fn from_v2(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let Some(mut params) = fields.object(&["AdditionalParams"])? else { return Ok(Self::default()) };
        let draining = params.parsed_list(&["Draining"], ErrorCode::GUID_CONVERSION_FAILURE)?;
        Ok(Self {
            weights: weights(&mut params)?,
            draining: draining.into_iter().collect(),
            others: params.rest(),
        })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if !self.weights.is_empty() {
            let weights = self.weights.iter().map(|(id, weight)| (id.to_string(), json!(weight)));
            out.insert("Weights".into(), Value::Object(weights.collect()));
        }
        if !self.draining.is_empty() {
            out.insert("Draining".into(), self.draining.iter().map(|id| json!(id.to_string())).collect());
        }
        out.extend(self.others.clone());
        Value::Object(out)
    }
}

fn weights(params: &mut Fields<'_>) -> Result<BTreeMap<Guid, u16>, DocumentError> {
    let Some(found) = params.take(&["Weights"]) else { return Ok(BTreeMap::new()) };
    let Value::Object(named) = found.value else {
        let problem = "expected an object of endpoint ids and numbers";
        return Err(DocumentError::new(found.path, problem, CODE));
    };
    let read = |(key, value): (&String, &Value)| {
        let path = format!("{}.{key}", found.path);
        let id = key
            .parse::<Guid>()
            .map_err(|error| DocumentError::new(&path, error, ErrorCode::GUID_CONVERSION_FAILURE))?;
        let weight =
            value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| (1..=WEIGHT_MAX).contains(n));
        let problem = || format!("{value} is not a share from 1 to {WEIGHT_MAX}; 0 is said by Draining");
        Ok((id, weight.ok_or_else(|| DocumentError::new(&path, problem(), CODE))?))
    };
    named.iter().map(read).collect()
}
