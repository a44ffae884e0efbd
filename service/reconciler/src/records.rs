//! How objects are written down: their HCN document, and beside it what only this host knows of them.

use std::net::IpAddr;

use hns_hcn as hcn;
use hns_host::NamespaceIdentity;
use hns_model::{
    Attachment, Endpoint, Grant, LanLease, LanServer, LeaseBook, LeaseKind, Namespace, NamespaceOrigin,
    Network, Seat, Term,
};
use hns_net::{Cidr, Guid};
use serde_json::{Value, json};

use crate::error::EngineError;

/// The shape of the records. A change that old records do not fit gets the next number and a reader for
/// this one.
const SCHEMA: u64 = 1;

pub(crate) const NETWORKS: &str = "networks/";
pub(crate) const ENDPOINTS: &str = "endpoints/";
pub(crate) const NAMESPACES: &str = "namespaces/";
pub(crate) const LEASES: &str = "leases/";
/// Written once the default network was made or declined.
pub(crate) const INITIALISED: &str = "meta/initialised";
/// The boot during which the records were written.
pub(crate) const BOOT: &str = "meta/boot";

pub(crate) fn key(prefix: &str, id: Guid) -> String {
    format!("{prefix}{id}")
}

pub(crate) fn network(network: &Network) -> Vec<u8> {
    bytes(&json!({ "Schema": SCHEMA, "Document": network.document().to_v2() }))
}

pub(crate) fn endpoint(endpoint: &Endpoint) -> Vec<u8> {
    let attachment = endpoint.attachment().map(|attachment| {
        json!({
            "Namespace": attachment.namespace().map(|id| id.to_string()),
            "Order": attachment.order(),
            "Sandbox": attachment.sandbox(),
            "Interface": attachment.interface.as_str(),
            "Port": attachment.port.as_str(),
            "Segment": attachment.segment,
        })
    });
    bytes(&json!({
        "Schema": SCHEMA,
        "Document": endpoint.document().to_v2(),
        "Attachments": endpoint.attachments(),
        "Attachment": attachment,
        "DhcpLease": endpoint.lease(LeaseKind::Dhcp).map(lease_value),
        "Dhcp6Lease": endpoint.lease(LeaseKind::Dhcp6).map(lease_value),
        "AdvertisedLease": endpoint.lease(LeaseKind::Advertised).map(lease_value),
    }))
}

fn lease_value(lease: &LanLease) -> Value {
    let route = |route: &hcn::Route| json!([route.destination.to_string(), route.next_hop]);
    let Term { obtained, renew_after, rebind_after, lifetime } = lease.term;
    let (server_id, is_managed) = match &lease.grant {
        Grant::Dhcp => (None, None),
        Grant::Dhcp6 { server_id } => (Some(server_id), None),
        Grant::Advertised { is_managed } => (None, Some(is_managed)),
    };
    json!({
        "Address": lease.addresses.first().map(ToString::to_string),
        "Further": lease.addresses.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>(),
        "ServerId": server_id,
        "Managed": is_managed,
        "Routes": lease.routes.iter().map(route).collect::<Vec<_>>(),
        "Dns": lease.dns,
        "Domain": lease.domain,
        "Search": lease.search,
        "Server": lease.server.address,
        "ServerMac": lease.server.mac.to_string(),
        "Term": [obtained, u64::from(renew_after), u64::from(rebind_after), u64::from(lifetime)],
    })
}

pub(crate) fn namespace(namespace: &Namespace, identity: Option<NamespaceIdentity>) -> Vec<u8> {
    let origin = match namespace.origin() {
        NamespaceOrigin::Ours => "Ours",
        NamespaceOrigin::Given => "Given",
        NamespaceOrigin::Lent => "Lent",
        NamespaceOrigin::Host => "Host",
    };
    bytes(&json!({
        "Schema": SCHEMA,
        "Document": namespace.record().to_v2(),
        "Origin": origin,
        "Identity": identity.map(|identity| [identity.device, identity.inode]),
    }))
}

pub(crate) fn leases(book: &LeaseBook) -> Vec<u8> {
    let leases: Vec<String> = book.leases().map(|address| address.to_string()).collect();
    bytes(&json!({ "Schema": SCHEMA, "Leases": leases }))
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A record under reading.
pub(crate) struct Reader<'a> {
    key: &'a str,
    value: Value,
}

pub(crate) struct EndpointRecord {
    pub document: hcn::Endpoint,
    pub attachment: Option<Attachment>,
    pub attachments: u32,
    pub leases: Vec<LanLease>,
}

pub(crate) struct NamespaceRecord {
    pub document: hcn::Namespace,
    pub origin: NamespaceOrigin,
    pub identity: Option<NamespaceIdentity>,
}

impl<'a> Reader<'a> {
    pub fn new(key: &'a str, bytes: &[u8]) -> Result<Self, EngineError> {
        let unreadable = |problem: String| EngineError::Record { key: key.to_owned(), problem };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        match value["Schema"].as_u64() {
            Some(SCHEMA) => Ok(Self { key, value }),
            other => Err(unreadable(format!("schema {other:?} is not known to this version"))),
        }
    }

    fn error(&self, problem: impl ToString) -> EngineError {
        EngineError::Record { key: self.key.to_owned(), problem: problem.to_string() }
    }

    pub fn network(&self) -> Result<hcn::Network, EngineError> {
        hcn::Network::from_record(&self.value["Document"]).map_err(|error| self.error(error))
    }

    pub fn endpoint(&self) -> Result<EndpointRecord, EngineError> {
        let document =
            hcn::Endpoint::from_record(&self.value["Document"]).map_err(|error| self.error(error))?;
        let attachment = match &self.value["Attachment"] {
            Value::Null => None,
            attachment => Some(self.attachment(attachment)?),
        };
        let attachments = self.value["Attachments"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let leases = [
            ("DhcpLease", LeaseKind::Dhcp),
            ("Dhcp6Lease", LeaseKind::Dhcp6),
            ("AdvertisedLease", LeaseKind::Advertised),
        ];
        let leases = leases.map(|(name, kind)| (&self.value[name], kind));
        let leases = leases.into_iter().filter(|(value, _)| !value.is_null());
        let leases = leases.map(|(value, kind)| self.lease(value, kind)).collect::<Result<_, _>>()?;
        Ok(EndpointRecord { document, attachment, attachments, leases })
    }

    fn lease(&self, value: &Value, kind: LeaseKind) -> Result<LanLease, EngineError> {
        let missing = || self.error("no whole lease of the LAN");
        let number = |place: usize| value["Term"][place].as_u64().ok_or_else(missing);
        let seconds = |place| u32::try_from(number(place)?).map_err(|error| self.error(error));
        let routes = value["Routes"].as_array().ok_or_else(missing)?;
        let route = |route: &Value| {
            let destination: Cidr = parsed(&route[0])?;
            Some(hcn::Route { destination, next_hop: parsed(&route[1]), metric: 0 })
        };
        let grant = match kind {
            LeaseKind::Dhcp => Grant::Dhcp,
            LeaseKind::Dhcp6 => Grant::Dhcp6 { server_id: octets(&value["ServerId"]).ok_or_else(missing)? },
            // Absent in records of versions that asked no DHCPv6 server.
            LeaseKind::Advertised => {
                Grant::Advertised { is_managed: value["Managed"].as_bool().unwrap_or(false) }
            }
        };
        // A router may give none. The further ones are absent in records of versions that knew leases of DHCP alone.
        let first = Some(&value["Address"]).filter(|value| kind != LeaseKind::Advertised || !value.is_null());
        let further = value["Further"].as_array().map_or(&[][..], Vec::as_slice);
        let addresses = first.into_iter().chain(further);
        let search = value["Search"].as_array().map_or(&[][..], Vec::as_slice);
        let servers = value["Dns"].as_array().ok_or_else(missing)?;
        Ok(LanLease {
            grant,
            addresses: addresses.map(parsed).collect::<Option<_>>().ok_or_else(missing)?,
            routes: routes.iter().map(route).collect::<Option<_>>().ok_or_else(missing)?,
            dns: servers.iter().map(parsed).collect::<Option<_>>().ok_or_else(missing)?,
            domain: value["Domain"].as_str().map(str::to_owned),
            search: search.iter().map(parsed).collect::<Option<_>>().ok_or_else(missing)?,
            server: LanServer {
                address: parsed(&value["Server"]).ok_or_else(missing)?,
                mac: parsed(&value["ServerMac"]).ok_or_else(missing)?,
            },
            term: Term {
                obtained: number(0)?,
                renew_after: seconds(1)?,
                rebind_after: seconds(2)?,
                lifetime: seconds(3)?,
            },
        })
    }

    fn attachment(&self, value: &Value) -> Result<Attachment, EngineError> {
        let text =
            |name: &str| value[name].as_str().ok_or_else(|| self.error(format!("no Attachment.{name}")));
        let number =
            |name: &str| value[name].as_u64().ok_or_else(|| self.error(format!("no Attachment.{name}")));
        let seat = match value["Sandbox"].as_str() {
            Some(path) => Seat::Sandbox(path.into()),
            None => Seat::Namespace {
                id: text("Namespace")?.parse().map_err(|error| self.error(error))?,
                order: u32::try_from(number("Order")?).map_err(|error| self.error(error))?,
            },
        };
        Ok(Attachment {
            seat,
            interface: text("Interface")?.parse().map_err(|error| self.error(error))?,
            port: text("Port")?.parse().map_err(|error| self.error(error))?,
            segment: u16::try_from(number("Segment")?).map_err(|error| self.error(error))?,
        })
    }

    pub fn leases(&self) -> Result<Vec<IpAddr>, EngineError> {
        let leases = self.value["Leases"].as_array().ok_or_else(|| self.error("no Leases"))?;
        let address = |lease: &Value| lease.as_str().unwrap_or_default().parse();
        leases.iter().map(address).collect::<Result<_, _>>().map_err(|error| self.error(error))
    }

    pub fn namespace(&self) -> Result<NamespaceRecord, EngineError> {
        let document =
            hcn::Namespace::from_record(&self.value["Document"]).map_err(|error| self.error(error))?;
        let origin = match self.value["Origin"].as_str() {
            Some("Ours") => NamespaceOrigin::Ours,
            Some("Given") => NamespaceOrigin::Given,
            Some("Lent") => NamespaceOrigin::Lent,
            Some("Host") => NamespaceOrigin::Host,
            other => return Err(self.error(format!("origin {other:?} is not known"))),
        };
        let identity = &self.value["Identity"];
        let identity = identity[0]
            .as_u64()
            .zip(identity[1].as_u64())
            .map(|(device, inode)| NamespaceIdentity { device, inode });
        Ok(NamespaceRecord { document, origin, identity })
    }
}

fn octets(value: &Value) -> Option<Vec<u8>> {
    value.as_array()?.iter().map(|octet| u8::try_from(octet.as_u64()?).ok()).collect()
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let route = |to: &str, via: Option<&str>| hcn::Route {
            destination: to.parse().unwrap(),
            next_hop: via.map(|via| via.parse().unwrap()),
            metric: 0,
        };
        let lease = LanLease {
            grant: Grant::Dhcp,
            addresses: ["198.18.0.7/24", "198.18.1.7/24"].map(|one| one.parse().unwrap()).into(),
            routes: vec![route("203.0.113.1/32", None), route("0.0.0.0/0", Some("198.18.0.254"))],
            dns: vec!["198.18.0.53".parse().unwrap()],
            domain: Some("corp.example".into()),
            search: vec!["lab.example".into()],
            server: LanServer {
                address: "198.18.0.254".parse().unwrap(),
                mac: "02:00:00:00:00:01".parse().unwrap(),
            },
            term: Term { obtained: 1, renew_after: 2, rebind_after: 3, lifetime: 4 },
        };
        let reader = Reader { key: "endpoints/x", value: Value::Null };
        let server_id = vec![0, 3, 0, 255];
        let managed = Grant::Advertised { is_managed: true };
        for (grant, addresses) in [
            (Grant::Dhcp, lease.addresses.clone()),
            (Grant::Dhcp6 { server_id }, lease.addresses.clone()),
            (managed.clone(), lease.addresses.clone()),
            (managed, Vec::new()),
        ] {
            let lease = LanLease { grant, addresses, ..lease.clone() };
            assert_eq!(reader.lease(&lease_value(&lease), lease.kind()).unwrap(), lease);
        }
        let written = lease_value(&lease);
        for key in ["Address", "Routes", "Dns", "Server", "ServerMac", "Term"] {
            let mut damaged = written.clone();
            damaged[key] = Value::Null;
            assert!(reader.lease(&damaged, LeaseKind::Dhcp).is_err(), "without {key}");
        }
    }
}
