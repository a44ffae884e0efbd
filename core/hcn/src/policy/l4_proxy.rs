use std::net::{IpAddr, SocketAddr};

use hns_net::{Cidr, Family, PortRange, Transport};
use serde_json::Value;

use super::address;
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// Outbound traffic of an endpoint that is led to a proxy (hcn-api 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L4Proxy {
    /// Destinations; empty: any.
    pub destinations: Vec<Cidr>,
    /// Destination ports; empty: any.
    pub ports: Vec<PortRange>,
    pub transport: Transport,
    /// Destinations that are left alone.
    pub exceptions: Vec<Cidr>,
    pub proxy: SocketAddr,
    /// Whether packets leave for the proxy with the host's address.
    pub outbound_nat: bool,
}

impl L4Proxy {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_proxy =
            fields.error("Destination", "a proxy needs its address and port, such as 10.0.0.5:3128");
        let destinations = address::prefixes(&mut fields, &["IP"])?;
        let ports = address::ports(&mut fields, &["Port"])?;
        let transport = match fields.number(&["Protocol"], 255)?.filter(|number| *number != 0) {
            None => Transport::Tcp,
            Some(number) => {
                Transport::from_number(number).map_err(|error| fields.error("Protocol", error))?
            }
        };
        let exceptions = address::prefixes(&mut fields, &["Exceptions", "ExceptionList"])?;
        let proxy = fields.text(&["Destination"])?.ok_or(no_proxy)?;
        let proxy = proxy_address(&proxy, &ports).map_err(|problem| fields.error("Destination", problem))?;
        let outbound_nat = fields.flag(&["OutboundNat"])?.unwrap_or(false);
        let family = Family::of(proxy.ip());
        if let Some(other) = destinations.iter().find(|prefix| prefix.family() != family) {
            let problem = format!("{other} cannot be led to {proxy}: the families differ");
            return Err(fields.error("IP", problem));
        }
        fields.finish()?;
        Ok(Self { destinations, ports, transport, exceptions, proxy, outbound_nat })
    }
}

/// `10.0.0.5:3128`, or an address alone when the proxy listens on the one port that is led to it.
fn proxy_address(text: &str, ports: &[PortRange]) -> Result<SocketAddr, String> {
    let wrong = || format!("\"{text}\" is not an address and port, such as 10.0.0.5:3128 or [fd00::5]:3128");
    let same_port = || match ports {
        [port] if port.is_single() => Some(port.start()),
        _ => None,
    };
    let alone = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, same_port()?));
    let proxy = text.parse::<SocketAddr>().ok().or_else(alone).ok_or_else(wrong)?;
    if proxy.port() == 0 || proxy.ip().is_unspecified() || proxy.ip().is_multicast() {
        return Err(wrong());
    }
    Ok(proxy)
}
