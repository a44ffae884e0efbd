//! Networks whose containers are on several hosts (hcn-api 5.2, 5.3).

use std::net::{IpAddr, Ipv4Addr};

use hns_net::{Cidr, Family, Mac, PublicKey, Vni};
use serde_json::{Map, Value, json};

use super::{Policy, PolicySettings, address};
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// A prefix of an overlay that another host has: `RemoteSubnetRoute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteSubnetRoute {
    pub destination: Cidr,
    /// Absent: the network's.
    pub vni: Option<Vni>,
    /// Where tunnels end on that host.
    pub provider: IpAddr,
    /// The MAC address of that host's router. Absent: what follows from its provider address.
    pub router: Option<Mac>,
    /// By which the host is known where the overlay is encrypted. Our addition.
    pub public_key: Option<PublicKey>,
}

impl RemoteSubnetRoute {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_prefix =
            fields.error("DestinationPrefix", "a route needs a destination, such as 10.244.2.0/24");
        let prefixes = address::prefixes(&mut fields, &["DestinationPrefix"])?;
        let [destination] = prefixes[..] else { return Err(no_prefix) };
        let vni = vni_in(&mut fields)?;
        let provider = provider_in(&mut fields)?;
        let router: Option<Mac> = fields.parsed(&["DistributedRouterMacAddress"], CODE)?;
        if router.is_some_and(|mac| mac.octets()[0] & 1 == 1) {
            return Err(
                fields.error("DistributedRouterMacAddress", "a router is one station, and this is a group's")
            );
        }
        let public_key = fields.parsed(&["PublicKey"], CODE)?;
        fields.finish()?;
        Ok(Self { destination, vni, provider, router, public_key })
    }

    /// The settings that say this.
    #[must_use]
    pub fn to_settings(&self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("DestinationPrefix".into(), json!(self.destination.to_string()));
        if let Some(vni) = self.vni {
            out.insert("IsolationId".into(), json!(vni.number()));
        }
        out.insert("ProviderAddress".into(), json!(self.provider.to_string()));
        if let Some(router) = self.router {
            out.insert("DistributedRouterMacAddress".into(), json!(router.to_string()));
        }
        if let Some(key) = self.public_key {
            out.insert("PublicKey".into(), json!(key.to_string()));
        }
        out
    }
}

/// 0 is what programs send that leave it to the server.
fn vni_in(fields: &mut Fields<'_>) -> Result<Option<Vni>, DocumentError> {
    let number = fields.number(&["IsolationId"], u64::from(u32::MAX))?.filter(|number| *number != 0);
    number.map(Vni::new).transpose().map_err(|error| fields.error("IsolationId", error))
}

fn provider_in(fields: &mut Fields<'_>) -> Result<IpAddr, DocumentError> {
    let provider: Option<IpAddr> = fields.parsed(&["ProviderAddress"], CODE)?;
    let Some(provider) = provider else { return Err(fields.error("ProviderAddress", "absent")) };
    if provider.to_canonical() != provider {
        let problem = format!("{provider} is an IPv4 address in IPv6 form; write it as IPv4");
        return Err(fields.error("ProviderAddress", problem));
    }
    if !is_of_a_host(provider) {
        let problem = format!("{provider} is the address of no host on a network");
        return Err(fields.error("ProviderAddress", problem));
    }
    Ok(provider)
}

/// Whether tunnels can end at an address.
pub(super) fn is_of_a_host(address: IpAddr) -> bool {
    let is_groups = address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST);
    // Which link it is of nobody can say here.
    let is_of_some_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let is_in_disguise = address.to_canonical() != address;
    !(is_groups || is_of_some_link || is_in_disguise || address.is_unspecified() || address.is_loopback())
}

/// `ProviderAddress`.
pub(super) fn provider(settings: &Value, path: &str) -> Result<IpAddr, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let provider = provider_in(&mut fields)?;
    fields.finish()?;
    Ok(provider)
}

/// `VSID`.
pub(super) fn vsid(settings: &Value, path: &str) -> Result<Vni, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let vni = vni_in(&mut fields)?;
    let absent = fields.error("IsolationId", "absent");
    fields.finish()?;
    vni.ok_or(absent)
}

/// `DrMacAddress`.
pub(super) fn router(settings: &Value, path: &str) -> Result<Mac, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let mac: Option<Mac> = fields.parsed(&["Address"], CODE)?;
    let absent = fields.error("Address", "absent");
    let is_groups = mac.is_some_and(|mac| mac.octets()[0] & 1 == 1);
    if is_groups {
        return Err(fields.error("Address", "a router is one station, and this is a group's"));
    }
    fields.finish()?;
    mac.ok_or(absent)
}

/// `HostRoute`, which says all by its name.
pub(super) fn host_route(settings: &Value, path: &str) -> Result<(), DocumentError> {
    Fields::of(settings, path, CODE)?.finish()
}

/// `VxlanPort`.
pub(super) fn port(settings: &Value, path: &str) -> Result<u16, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let port = fields.number_u16(&["Port"])?.filter(|port| *port != 0);
    let absent = fields.error("Port", "absent");
    fields.finish()?;
    port.ok_or(absent)
}

/// The MAC address of the router on a host whose tunnels end at this address, where nobody says another (hcn-api 8.2): the same on every
/// host, so that peers need not be told.
#[must_use]
pub fn router_of(provider: IpAddr) -> Mac {
    let ([a, b, c, d], family) = match provider {
        IpAddr::V4(address) => (address.octets(), Family::V4),
        IpAddr::V6(address) => {
            // FNV-1a: two hosts may have the same last four bytes.
            let mixed = address
                .octets()
                .iter()
                .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
            (mixed.to_be_bytes(), Family::V6)
        }
    };
    Mac::new([0x0e, if family == Family::V4 { 0x2a } else { 0x2b }, a, b, c, d])
}

impl Policy {
    fn of_overlay(kind: &'static str, key: &str, value: Value, meaning: PolicySettings) -> Self {
        Self { kind, settings: Map::from_iter([(key.to_owned(), value)]), meaning }
    }

    /// Where tunnels end on this host.
    #[must_use]
    pub fn provider(address: IpAddr) -> Self {
        let meaning = PolicySettings::ProviderAddress(address);
        Self::of_overlay("ProviderAddress", "ProviderAddress", json!(address.to_string()), meaning)
    }

    /// The router of this host's part of an overlay.
    #[must_use]
    pub fn router(mac: Mac) -> Self {
        Self::of_overlay("DrMacAddress", "Address", json!(mac.to_string()), PolicySettings::Router(mac))
    }

    #[must_use]
    pub fn vsid(vni: Vni) -> Self {
        Self::of_overlay("VSID", "IsolationId", json!(vni.number()), PolicySettings::Vsid(vni))
    }

    #[must_use]
    pub fn vxlan_port(port: u16) -> Self {
        Self::of_overlay("VxlanPort", "Port", json!(port), PolicySettings::VxlanPort(port))
    }

    #[must_use]
    pub fn remote_subnet(route: RemoteSubnetRoute) -> Self {
        let settings = route.to_settings();
        Self { kind: "RemoteSubnetRoute", settings, meaning: PolicySettings::RemoteSubnetRoute(route) }
    }

    #[must_use]
    pub fn host_route() -> Self {
        Self { kind: "HostRoute", settings: Map::new(), meaning: PolicySettings::HostRoute }
    }

    #[must_use]
    pub const fn as_remote_subnet(&self) -> Option<&RemoteSubnetRoute> {
        match &self.meaning {
            PolicySettings::RemoteSubnetRoute(route) => Some(route),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_provider(&self) -> Option<IpAddr> {
        match self.meaning {
            PolicySettings::ProviderAddress(address) => Some(address),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_router(&self) -> Option<Mac> {
        match self.meaning {
            PolicySettings::Router(mac) => Some(mac),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_vxlan_port(&self) -> Option<u16> {
        match self.meaning {
            PolicySettings::VxlanPort(port) => Some(port),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_vsid(&self) -> Option<Vni> {
        match self.meaning {
            PolicySettings::Vsid(vni) => Some(vni),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_as_it_was_written_and_leaves_out_what_follows() {
        let whole = json!({
            "DestinationPrefix": "10.4.1.0/24", "IsolationId": 4096, "ProviderAddress": "192.0.2.11",
            "DistributedRouterMacAddress": "00-15-5D-AA-BB-CC",
        });
        let route = RemoteSubnetRoute::from_settings(&whole, "P").unwrap();
        assert_eq!(Value::Object(route.to_settings()), whole);
        let short = json!({"DestinationPrefix": "fd00:4:1::/64", "ProviderAddress": "2001:db8::11", "IsolationId": 0});
        let route = RemoteSubnetRoute::from_settings(&short, "P").unwrap();
        assert_eq!((route.vni, route.router), (None, None));
    }

    #[test]
    fn what_is_no_host_no_number_and_no_station_is_refused() {
        let base = [("DestinationPrefix", json!("10.4.1.0/24")), ("ProviderAddress", json!("192.0.2.11"))];
        for (field, value) in [
            ("DestinationPrefix", json!("")),
            ("ProviderAddress", json!("224.0.0.1")),
            ("ProviderAddress", json!("127.0.0.1")),
            ("IsolationId", json!(0x0100_0000)),
            ("DistributedRouterMacAddress", json!("01-00-5E-00-00-01")),
        ] {
            let mut settings: Map<String, Value> =
                base.iter().cloned().map(|(key, value)| (key.to_owned(), value)).collect();
            settings.insert(field.to_owned(), value);
            let error = RemoteSubnetRoute::from_settings(&Value::Object(settings), "P").unwrap_err();
            assert_eq!((error.field.as_str(), error.code), (format!("P.{field}").as_str(), CODE), "{error}");
        }
        assert_eq!(vsid(&json!({"IsolationId": 4097}), "P").map(Vni::number), Ok(4097));
        assert!(vsid(&json!({}), "P").is_err() && port(&json!({"Port": 0}), "P").is_err());
    }

    #[test]
    fn a_routers_mac_follows_from_its_hosts_address() {
        assert_eq!(router_of("192.0.2.11".parse().unwrap()).to_string(), "0E-2A-C0-00-02-0B");
        let [one, other] = ["2001:db8::1", "2001:db8:1::1"].map(|text| router_of(text.parse().unwrap()));
        assert_ne!(one, other);
        assert!(one.to_string().starts_with("0E-2B-"));
    }
}
