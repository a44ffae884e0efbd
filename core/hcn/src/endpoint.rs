use std::net::IpAddr;

use hns_net::{Guid, IfName, Mac};
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::dns::Dns;
use crate::fields::{DocumentError, Fields, Found, base_to_v2, check_name, pass_over_base};
use crate::policy::{Policy, policies_from_v2};
use crate::port_params::PortParams;
use crate::route::Route;

const CODE: ErrorCode = ErrorCode::INVALID_ENDPOINT;

/// HCN `EndpointFlags`, a bit mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointFlags(pub u32);

impl EndpointFlags {
    pub const REMOTE: u32 = 1;
    pub const DISABLE_ICC: u32 = 2;
    pub const LOW_METRIC: u32 = 8;

    const TABLE: &'static [(&'static str, u32)] = &[
        ("RemoteEndpoint", Self::REMOTE),
        ("DisableInterComputeCommunication", Self::DISABLE_ICC),
        ("EnableMirroring", 4),
        ("EnableLowInterfaceMetric", Self::LOW_METRIC),
        ("OverrideDNSServerOrder", 16),
        ("EnableDhcp", 32),
    ];

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// A HostComputeEndpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub id: Option<Guid>,
    pub name: String,
    pub owner: Option<String>,
    pub network: Option<Guid>,
    /// In a create: attach at once. In an answer: where it is attached.
    pub namespace: Option<Guid>,
    pub policies: Vec<Policy>,
    pub addresses: Vec<IpConfiguration>,
    pub dns: Dns,
    pub routes: Vec<Route>,
    pub mac: Option<Mac>,
    pub flags: EndpointFlags,
    pub params: EndpointParams,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfiguration {
    /// Absent: allocate.
    pub address: Option<IpAddr>,
    pub prefix_length: Option<u8>,
    pub ip_subnet: Option<Guid>,
}

/// What HCN's endpoint document has no field for, kept in its `AdditionalParams`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointParams {
    /// The interface's name in the namespace; absent: `eth0`, `eth1`, ... by order.
    pub interface: Option<IfName>,
    /// Of several endpoints in one namespace the highest gives the default route.
    pub gateway_priority: i32,
    /// What its port does; what is absent is its network's.
    pub port: PortParams,
    /// Keys of others, echoed as they came.
    pub others: Map<String, Value>,
}

/// The largest gateway priority, either way.
pub const GATEWAY_PRIORITY_MAX: i32 = 99;

impl Endpoint {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let endpoint = Self::from_record(document)?;
        check_name(&endpoint.name, CODE)?;
        Ok(endpoint)
    }

    /// A document that was taken when more names were: a daemon reads again what it has written.
    pub fn from_record(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let endpoint = Self {
            id: fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            name: fields.text(&["Name"])?.unwrap_or_default(),
            owner: fields.text(&["Owner"])?,
            network: fields.parsed(&["HostComputeNetwork"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            namespace: fields
                .parsed(&["HostComputeNamespace"], ErrorCode::GUID_CONVERSION_FAILURE)?
                .filter(|id| *id != Guid::ZERO),
            policies: policies_from_v2(&mut fields, &["Policies"])?,
            addresses: ip_configurations(&mut fields)?,
            dns: Dns::from_v2(&mut fields)?,
            routes: Route::list_from_v2(&mut fields, &["Routes"], CODE)?,
            mac: fields.parsed(&["MacAddress"], CODE)?,
            flags: EndpointFlags(fields.flags(&["Flags"], EndpointFlags::TABLE)?),
            params: EndpointParams::from_v2(&mut fields)?,
        };
        pass_over_base(&mut fields)?;
        fields.finish()?;
        Ok(endpoint)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = base_to_v2(self.id, &self.name, self.owner.as_ref());
        if let Some(network) = self.network {
            out.insert("HostComputeNetwork".into(), json!(network.to_string()));
        }
        let namespace = self.namespace.unwrap_or(Guid::ZERO);
        out.insert("HostComputeNamespace".into(), json!(namespace.to_string()));
        out.insert("Policies".into(), self.policies.iter().map(Policy::to_v2).collect());
        out.insert("IpConfigurations".into(), self.addresses.iter().map(IpConfiguration::to_v2).collect());
        out.insert("Dns".into(), self.dns.to_v2());
        out.insert("Routes".into(), self.routes.iter().map(Route::to_v2).collect());
        if let Some(mac) = self.mac {
            out.insert("MacAddress".into(), json!(mac.to_string()));
        }
        out.insert("Flags".into(), json!(self.flags.0));
        out.insert("AdditionalParams".into(), self.params.to_v2());
        Value::Object(out)
    }
}

fn ip_configurations(fields: &mut Fields<'_>) -> Result<Vec<IpConfiguration>, DocumentError> {
    let mut addresses = Vec::new();
    for found in fields.list(&["IpConfigurations"])? {
        addresses.extend(IpConfiguration::from_v2(&found)?);
    }
    Ok(addresses)
}

impl IpConfiguration {
    #[must_use]
    pub fn of(address: IpAddr, prefix_length: u8) -> Self {
        Self { address: Some(address), prefix_length: Some(prefix_length), ip_subnet: None }
    }

    /// Nothing for `{}`, which asks for an address of the network's choice.
    fn from_v2(found: &Found<'_>) -> Result<Option<Self>, DocumentError> {
        let mut fields = Fields::of(found.value, &found.path, CODE)?;
        let address: Option<IpAddr> = fields.parsed(&["IpAddress"], ErrorCode::INVALID_IP)?;
        let length = fields.number(&["PrefixLength"], 128)?.and_then(|n| u8::try_from(n).ok());
        let ip_subnet = fields.parsed(&["IpSubnetId"], ErrorCode::GUID_CONVERSION_FAILURE)?;
        if let (Some(IpAddr::V4(address)), Some(33..)) = (address, length) {
            let problem = format!("{address} is IPv4: at most 32");
            return Err(DocumentError::new(fields.path("PrefixLength"), problem, ErrorCode::INVALID_IP));
        }
        fields.finish()?;
        let address = address.filter(|address| !address.is_unspecified());
        let prefix_length = length.filter(|length| *length > 0);
        Ok(address.is_some().then_some(Self { address, prefix_length, ip_subnet }))
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(address) = self.address {
            out.insert("IpAddress".into(), json!(address.to_string()));
        }
        if let Some(length) = self.prefix_length {
            out.insert("PrefixLength".into(), json!(length));
        }
        if let Some(id) = self.ip_subnet {
            out.insert("IpSubnetId".into(), json!(id.to_string()));
        }
        Value::Object(out)
    }
}

impl EndpointParams {
    fn from_v2(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let Some(mut params) = fields.object(&["AdditionalParams"])? else { return Ok(Self::default()) };
        let interface = params.parsed(&["InterfaceName"], CODE)?;
        let gateway_priority = gateway_priority(&mut params)?;
        let port = PortParams::from_fields(&mut params, CODE)?;
        Ok(Self { interface, gateway_priority, port, others: params.rest() })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(interface) = &self.interface {
            out.insert("InterfaceName".into(), json!(interface.as_str()));
        }
        if self.gateway_priority != 0 {
            out.insert("GatewayPriority".into(), json!(self.gateway_priority));
        }
        self.port.write(&mut out);
        out.extend(self.others.clone());
        Value::Object(out)
    }
}

fn gateway_priority(params: &mut Fields<'_>) -> Result<i32, DocumentError> {
    let Some(found) = params.take(&["GatewayPriority"]) else { return Ok(0) };
    let number = found.value.as_i64().and_then(|n| i32::try_from(n).ok());
    number.filter(|n| n.abs() <= GATEWAY_PRIORITY_MAX).ok_or_else(|| {
        let problem = format!(
            "expected a whole number from -{GATEWAY_PRIORITY_MAX} to {GATEWAY_PRIORITY_MAX}, found {}",
            found.value
        );
        DocumentError::new(found.path, problem, CODE)
    })
}
