//! By which keys the other hosts of encrypted overlays are known: each host has one, and each key is one host's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use hns_hcn::{self as hcn, RemoteSubnetRoute};
use hns_net::PublicKey;

use crate::network::Network;
use crate::overlay::encryption_of;

/// What is known of the keys while the routes of an overlay are read.
pub(crate) struct Keys {
    /// This host's, where the overlay is encrypted.
    own: Option<PublicKey>,
    is_encrypted: bool,
    hosts: BTreeMap<PublicKey, IpAddr>,
    keys: BTreeMap<IpAddr, PublicKey>,
    inner: BTreeMap<Ipv6Addr, PublicKey>,
}

impl Keys {
    /// With what other overlays say of the hosts.
    pub fn of<'n>(document: &hcn::Network, others: impl Iterator<Item = &'n Network>) -> Self {
        let encryption = encryption_of(document);
        let mut keys = Self {
            own: encryption.and_then(|encryption| encryption.public_key),
            is_encrypted: encryption.is_some(),
            hosts: BTreeMap::new(),
            keys: BTreeMap::new(),
            inner: BTreeMap::new(),
        };
        for (host, key) in others.flat_map(Network::remote_subnets).filter_map(known_by) {
            keys.note(host, key);
        }
        keys
    }

    fn note(&mut self, host: IpAddr, key: PublicKey) {
        self.hosts.insert(key, host);
        self.keys.insert(host, key);
        self.inner.insert(key.inner_address(), key);
    }

    /// Adds what one route says.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn take(&mut self, route: &RemoteSubnetRoute) -> Result<(), String> {
        let host = route.provider;
        let key = match (route.public_key, self.is_encrypted) {
            (Some(key), true) => key,
            (None, false) => return Ok(()),
            (Some(_), false) => {
                return Err(format!(
                    "a key of host {host}, and this network is not encrypted: without the key what goes there is in clear, with \
                     Encryption it is not"
                ));
            }
            (None, true) => {
                return Err(format!(
                    "the network is encrypted, and the key of host {host} is absent; hnsctl network inspect shows it there \
                     (10.244.2.0/24={host},key=..)"
                ));
            }
        };
        if self.own == Some(key) {
            return Err(format!("{key} is the key of this host, not of {host}"));
        }
        if let Some(other) = self.hosts.get(&key).filter(|other| **other != host) {
            return Err(format!("{key} is the key of host {other}, not of {host} as well"));
        }
        if let Some(other) = self.keys.get(&host).filter(|other| **other != key) {
            return Err(format!("host {host} has the key {other}; a host has one"));
        }
        let inner = key.inner_address();
        let own = self.own.filter(|own| own.inner_address() == inner);
        if let Some(other) = own.or_else(|| self.inner.get(&inner).copied().filter(|other| *other != key)) {
            return Err(format!("{key} and {other} begin alike; make another key on one of their hosts"));
        }
        self.note(host, key);
        Ok(())
    }
}

fn known_by(route: &RemoteSubnetRoute) -> Option<(IpAddr, PublicKey)> {
    Some((route.provider, route.public_key?))
}
