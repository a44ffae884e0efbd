use std::net::IpAddr;

use hns_net::{Cidr, Family};
use serde_json::{Map, Value, json};

use super::address;
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// Where packets of an endpoint to a prefix go (hcn-api 5.4), as a policy and as a part of a HostComputeRoute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdnRoute {
    pub destination: Cidr,
    /// Absent: the endpoint's gateway.
    pub next_hop: Option<IpAddr>,
    /// To the host's own stack, instead of being on-link.
    pub need_encap: bool,
    /// Keep the route in step with endpoints that come and go.
    pub automatic_monitor: bool,
}

impl SdnRoute {
    pub(crate) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_prefix =
            fields.error("DestinationPrefix", "a route needs a destination, such as 10.96.0.0/12");
        let wrong_family =
            |hop: IpAddr, to: Cidr| format!("{hop} cannot be the next hop to {to}: the families differ");
        let prefixes = address::prefixes(&mut fields, &["DestinationPrefix"])?;
        let next_hop: Option<IpAddr> = fields.parsed(&["NextHop"], CODE)?;
        let need_encap = fields.flag(&["NeedEncap"])?.unwrap_or(false);
        let automatic_monitor = fields.flag(&["AutomaticEndpointMonitor"])?.unwrap_or(false);
        let [destination] = prefixes[..] else { return Err(no_prefix) };
        let next_hop = next_hop.filter(|hop| !hop.is_unspecified());
        if let Some(hop) = next_hop.filter(|hop| Family::of(*hop) != destination.family()) {
            return Err(fields.error("NextHop", wrong_family(hop, destination)));
        }
        if next_hop.is_some_and(|hop| hop.is_multicast() || hop.is_loopback()) {
            return Err(fields.error("NextHop", "a next hop is the address of one neighbour"));
        }
        fields.finish()?;
        Ok(Self { destination, next_hop, need_encap, automatic_monitor })
    }

    /// The settings that say this.
    #[must_use]
    pub fn to_settings(self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("DestinationPrefix".into(), json!(self.destination.to_string()));
        if let Some(hop) = self.next_hop {
            out.insert("NextHop".into(), json!(hop.to_string()));
        }
        out.insert("NeedEncap".into(), json!(self.need_encap));
        if self.automatic_monitor {
            out.insert("AutomaticEndpointMonitor".into(), json!(true));
        }
        out
    }
}
