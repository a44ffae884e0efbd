//! What the daemon found inside the container, and what of it a later plugin of the chain has told of by itself.

use std::net::IpAddr;

use hns_net::{Cidr, IfAddr, Mac};
use serde_json::Value;

use crate::told::{Told, ToldInterface};

/// The daemon's answer to `check`.
pub(crate) struct Inspection {
    addresses: Vec<IfAddr>,
    differences: Vec<Difference>,
}

/// One thing that is not as the endpoint has it.
struct Difference {
    kind: Kind,
    detail: String,
}

/// What a later plugin may change as well as a result can say it; all else is nobody's to change.
enum Kind {
    Mac { found: Option<Mac> },
    Mtu { found: Option<u64> },
    Address { wanted: IfAddr },
    Route { destination: Cidr, via: Option<IpAddr>, found: Option<(Option<IpAddr>, u64)> },
    Other,
}

impl Inspection {
    pub fn read(answer: &Value) -> Self {
        let list = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten();
        let addresses = list("Addresses").filter_map(parsed).collect();
        let differences = list("Differences").map(Difference::read).collect();
        Self { addresses, differences }
    }

    /// The sentences of the differences that `prevResult` does not tell of.
    pub fn untold<'a>(
        &'a self,
        told: &'a Told,
        interface: &'a ToldInterface,
        place: usize,
    ) -> impl Iterator<Item = &'a str> {
        let untold = self.differences.iter().filter(move |one| !one.is_told(told, interface, place));
        untold.map(|one| one.detail.as_str())
    }

    pub fn has_address(&self, address: IfAddr) -> bool {
        self.addresses.contains(&address)
    }

    pub fn lacks_address(&self, address: IfAddr) -> bool {
        self.differences.iter().any(|one| matches!(one.kind, Kind::Address { wanted } if wanted == address))
    }

    pub fn has_mac(&self, mac: Mac) -> bool {
        self.differences.iter().any(|one| matches!(one.kind, Kind::Mac { found } if found == Some(mac)))
    }

    pub fn has_mtu(&self, mtu: u64) -> bool {
        self.differences.iter().any(|one| matches!(one.kind, Kind::Mtu { found } if found == Some(mtu)))
    }

    /// Whether the route of the endpoint is not there as it should be.
    pub fn lacks_route(&self, wanted: Cidr, gateway: Option<IpAddr>) -> bool {
        let is_it = |one: &Difference| matches!(one.kind, Kind::Route { destination, via, .. } if (destination, via) == (wanted, gateway));
        self.differences.iter().any(is_it)
    }
}

impl Difference {
    fn read(one: &Value) -> Self {
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
        Self {
            kind: Kind::read(text("Property"), &one["Wanted"], &one["Found"]).unwrap_or(Kind::Other),
            detail: text("Detail").to_owned(),
        }
    }

    /// Whether the result says what was found: then whoever wrote it there made it so.
    fn is_told(&self, told: &Told, interface: &ToldInterface, place: usize) -> bool {
        match self.kind {
            Kind::Mac { found } => found.is_some() && interface.parsed_mac().ok().flatten() == found,
            // Results before 1.1.0 cannot say it.
            Kind::Mtu { found } => interface.mtu.is_none() || interface.mtu == found,
            Kind::Address { wanted } => told.ips_of(place).all(|ip| ip.address != wanted),
            Kind::Route { destination, via, found } => match told.route(destination, via) {
                None => true,
                Some(route) => {
                    found.is_some_and(|(gateway, metric)| gateway == via && route.priority == Some(metric))
                }
            },
            Kind::Other => false,
        }
    }
}

impl Kind {
    fn read(property: &str, wanted: &Value, found: &Value) -> Option<Self> {
        Some(match property {
            "MacAddress" => Self::Mac { found: parsed(found) },
            "Mtu" => Self::Mtu { found: found.as_u64() },
            "Address" => Self::Address { wanted: parsed(wanted)? },
            "Route" => Self::Route {
                destination: parsed(&wanted["DestinationPrefix"])?,
                via: parsed(&wanted["NextHop"]),
                found: found["Metric"].as_u64().map(|metric| (parsed(&found["NextHop"]), metric)),
            },
            _ => return None,
        })
    }
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}
