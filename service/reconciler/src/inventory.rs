//! What records are of, for whoever has to choose between them.

use std::collections::BTreeSet;
use std::fmt;

use hns_net::{Guid, IfName};
use hns_store::Record;

use crate::records::{self, Reader};

/// What some records hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub networks: usize,
    pub endpoints: usize,
    pub namespaces: usize,
    /// The host's ends of the endpoints that are attached.
    pub ports: BTreeSet<IfName>,
    /// Endpoints of networks that are not among the records: no start brings them back.
    pub stranded: usize,
}

impl Inventory {
    /// Counts records that can be read; see [`is_readable`].
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut inventory = Self::default();
        let mut networks = BTreeSet::new();
        let mut wanted = Vec::new();
        for record in records {
            match read(record) {
                Some(Kind::Network(id)) => drop(networks.insert(id)),
                Some(Kind::Endpoint { network, port, .. }) => {
                    wanted.push(network);
                    inventory.ports.extend(port);
                }
                Some(Kind::Namespace(_)) => inventory.namespaces += 1,
                Some(Kind::Other) | None => {}
            }
        }
        inventory.networks = networks.len();
        inventory.endpoints = wanted.len();
        inventory.stranded =
            wanted.iter().filter(|network| network.is_none_or(|id| !networks.contains(&id))).count();
        inventory
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { networks, endpoints, namespaces, .. } = self;
        write!(f, "{networks} networks, {endpoints} endpoints, {namespaces} namespaces")
    }
}

/// Whether a record is one that a start can read.
#[must_use]
pub fn is_readable(record: &Record) -> bool {
    read(record).is_some()
}

enum Kind {
    Network(Guid),
    Endpoint { id: Guid, network: Option<Guid>, port: Option<IfName> },
    Namespace(Guid),
    Other,
}

fn read(record: &Record) -> Option<Kind> {
    let (prefix, id) = record.key.split_once('/')?;
    if prefix == "meta" {
        return Some(Kind::Other);
    }
    let reader = Reader::new(&record.key, &record.value).ok()?;
    let kind = match record.key.strip_suffix(id)? {
        records::NETWORKS => Kind::Network(reader.network().ok()?.id?),
        records::ENDPOINTS => {
            let read = reader.endpoint().ok()?;
            Kind::Endpoint {
                id: read.document.id?,
                network: read.document.network,
                port: read.attachment.map(|attachment| attachment.port),
            }
        }
        records::NAMESPACES => Kind::Namespace(reader.namespace().ok()?.document.id?),
        records::LEASES => return reader.leases().is_ok().then_some(Kind::Other),
        _ => return None,
    };
    let (Kind::Network(own) | Kind::Endpoint { id: own, .. } | Kind::Namespace(own)) = &kind else {
        return Some(kind);
    };
    // What damage has made of a key is not the key of its document.
    (records::key(&format!("{prefix}/"), *own) == record.key).then_some(kind)
}

#[cfg(test)]
mod tests {
    use hns_store::Revision;
    use serde_json::json;

    use super::*;

    const NET: &str = "8A9B0C1D-0000-4000-8000-000000000001";
    const OTHER: &str = "8A9B0C1D-0000-4000-8000-000000000002";

    fn record(key: &str, value: &str) -> Record {
        let revision = Revision::new(1);
        Record { key: key.to_owned(), value: value.into(), created: revision, modified: revision }
    }

    fn network(key: &str) -> Record {
        let value = json!({"Schema": 1, "Document": {"ID": NET, "Name": "nat", "Type": "NAT"}});
        record(key, &value.to_string())
    }

    fn endpoint(network: &str) -> Record {
        let value = json!({"Schema": 1, "Document": {"ID": OTHER, "HostComputeNetwork": network}});
        record(&format!("endpoints/{OTHER}"), &value.to_string())
    }

    #[test]
    fn records_are_counted_and_endpoints_without_their_network_told() {
        let all = [network(&format!("networks/{NET}")), endpoint(NET), record("meta/boot", "x")];
        let found = Inventory::of(&all);
        assert_eq!(found.to_string(), "1 networks, 1 endpoints, 0 namespaces");
        assert_eq!(found.stranded, 0);
        assert_eq!(Inventory::of(&all[1..]).stranded, 1);
        assert!(all.iter().all(is_readable));
    }

    #[test]
    fn what_damage_has_made_of_a_record_is_not_read() {
        let garbled = [
            network(&format!("networks/{OTHER}")),
            network("netwXrks/1"),
            network("networks"),
            record(&format!("networks/{NET}"), "{\"Schema\":1,\"Docu"),
            record(&format!("networks/{NET}"), "{\"Schema\":99}"),
        ];
        for record in garbled {
            assert!(!is_readable(&record), "{record:?}");
        }
    }
}
