use std::net::IpAddr;

use hns_net::{Cidr, Family};
use serde_json::{Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found};

/// A route of a subnet or an endpoint (HCN `Route`). The one to `0.0.0.0/0` or `::/0` carries the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub destination: Cidr,
    /// Absent: the document named none, or `0.0.0.0`, which says "no default route" on purpose.
    pub next_hop: Option<IpAddr>,
    /// 0: the default.
    pub metric: u16,
}

impl Route {
    pub(crate) fn from_v2(found: &Found<'_>, code: ErrorCode) -> Result<Option<Self>, DocumentError> {
        let mut fields = Fields::of(found.value, &found.path, code)?;
        let next_hop: Option<IpAddr> = fields.parsed(&["NextHop"], ErrorCode::INVALID_IP)?;
        let destination: Option<Cidr> = fields.parsed(&["DestinationPrefix"], ErrorCode::INVALID_PREFIX)?;
        let metric = fields.number_u16(&["Metric"])?.unwrap_or(0);
        let path = fields.path("NextHop");
        fields.finish()?;
        let destination = match (destination, next_hop) {
            (Some(destination), _) => destination,
            (None, Some(hop)) => Family::of(hop).default_route(),
            // Clients send `[{}]` when there is no gateway (hcn-api 8.7).
            (None, None) => return Ok(None),
        };
        if let Some(hop) = next_hop
            && Family::of(hop) != destination.family()
        {
            let problem = format!("{hop} cannot be the next hop to {destination}: the families differ");
            return Err(DocumentError::new(path, problem, ErrorCode::INVALID_IP));
        }
        let next_hop = next_hop.filter(|hop| !hop.is_unspecified());
        if next_hop.is_some_and(|hop| hop.is_multicast() || hop.is_loopback()) {
            return Err(DocumentError::new(
                path,
                "a next hop is the address of one neighbour",
                ErrorCode::INVALID_IP,
            ));
        }
        Ok(Some(Self { destination, next_hop, metric }))
    }

    pub(crate) fn list_from_v2(
        fields: &mut Fields<'_>,
        names: &[&'static str],
        code: ErrorCode,
    ) -> Result<Vec<Self>, DocumentError> {
        let mut routes = Vec::new();
        for found in fields.list(names)? {
            routes.extend(Self::from_v2(&found, code)?);
        }
        Ok(routes)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let next_hop = self.next_hop.unwrap_or(self.destination.family().unspecified());
        json!({
            "NextHop": next_hop.to_string(),
            "DestinationPrefix": self.destination.to_string(),
            "Metric": self.metric,
        })
    }

    #[must_use]
    pub fn is_default(&self) -> bool {
        self.destination.is_default()
    }
}
