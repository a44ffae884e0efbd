use hns_net::{Cidr, PortRange};
use serde_json::Value;

use super::address;
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// Redirection to a proxy inside the endpoint's own namespace (hcn-api 5.4): a service mesh's sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L4WfpProxy {
    /// Where connections to the endpoint go; absent: they are left alone.
    pub inbound_port: Option<u16>,
    /// Where connections from the endpoint go; absent: they are left alone.
    pub outbound_port: Option<u16>,
    pub filter: FilterTuple,
    /// Whose own connections are left alone: a user of the namespace, by name or number.
    pub user: Option<String>,
    pub inbound_exceptions: ProxyExceptions,
    pub outbound_exceptions: ProxyExceptions,
}

/// Which connections a proxy takes; an empty list stands for "any".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterTuple {
    pub protocols: Vec<u8>,
    pub local: Vec<Cidr>,
    pub remote: Vec<Cidr>,
    pub local_ports: Vec<PortRange>,
    pub remote_ports: Vec<PortRange>,
    /// The lowest of several policies decides.
    pub priority: u16,
}

/// Remote addresses and destination ports that a proxy leaves alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyExceptions {
    pub addresses: Vec<Cidr>,
    pub ports: Vec<PortRange>,
}

impl L4WfpProxy {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let neither =
            fields.error("OutboundProxyPort", "a proxy needs InboundProxyPort, OutboundProxyPort or both");
        let proxy = Self {
            inbound_port: port(&mut fields, "InboundProxyPort")?,
            outbound_port: port(&mut fields, "OutboundProxyPort")?,
            filter: FilterTuple::from_fields(fields.object(&["FilterTuple"])?)?,
            user: fields.text(&["UserSID"])?,
            inbound_exceptions: ProxyExceptions::from_fields(fields.object(&["InboundExceptions"])?)?,
            outbound_exceptions: ProxyExceptions::from_fields(fields.object(&["OutboundExceptions"])?)?,
        };
        fields.finish()?;
        if proxy.inbound_port.is_none() && proxy.outbound_port.is_none() { Err(neither) } else { Ok(proxy) }
    }
}

fn port(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<u16>, DocumentError> {
    Ok(fields.number_u16(&[name])?.filter(|port| *port != 0))
}

impl FilterTuple {
    fn from_fields(fields: Option<Fields<'_>>) -> Result<Self, DocumentError> {
        let Some(mut fields) = fields else { return Ok(Self::default()) };
        let filter = Self {
            protocols: address::protocols(&mut fields, &["Protocols"])?,
            local: address::prefixes(&mut fields, &["LocalAddresses"])?,
            remote: address::prefixes(&mut fields, &["RemoteAddresses"])?,
            local_ports: address::ports(&mut fields, &["LocalPorts"])?,
            remote_ports: address::ports(&mut fields, &["RemotePorts"])?,
            priority: fields.number_u16(&["Priority"])?.unwrap_or(0),
        };
        fields.finish()?;
        Ok(filter)
    }
}

impl ProxyExceptions {
    fn from_fields(fields: Option<Fields<'_>>) -> Result<Self, DocumentError> {
        let Some(mut fields) = fields else { return Ok(Self::default()) };
        let exceptions = Self {
            addresses: address::prefixes(&mut fields, &["IpAddressExceptions"])?,
            ports: address::ports(&mut fields, &["PortExceptions"])?,
        };
        fields.finish()?;
        Ok(exceptions)
    }
}
