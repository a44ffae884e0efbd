//! Keys that several objects may claim: the latest claim holds, and passes to the one before when it is given up.

use std::collections::BTreeMap;

use hns_abi::Map;
use zerocopy::{Immutable, IntoBytes};

use super::Entries;
use super::journal::Journal;

/// What one map leads to, by claimant `O`.
#[derive(Debug)]
pub(super) struct Owners<O, V> {
    map: Map,
    /// By the bytes of the key.
    claims: BTreeMap<Vec<u8>, Vec<(O, V)>>,
}

impl<O, V> Owners<O, V>
where
    O: PartialEq,
    V: Copy + PartialEq + IntoBytes + Immutable,
{
    pub const fn new(map: Map) -> Self {
        Self { map, claims: BTreeMap::new() }
    }

    pub fn claim(&mut self, key: &(impl IntoBytes + Immutable), owner: O, value: V, journal: &mut Journal) {
        let claims = self.claims.entry(key.as_bytes().to_vec()).or_default();
        let before = claims.last().map(|(_, value)| *value);
        match claims.iter_mut().find(|(other, _)| *other == owner) {
            Some((_, old)) => *old = value,
            None => claims.push((owner, value)),
        }
        let after = claims.last().map(|(_, value)| *value);
        if let Some(value) = after.filter(|_| after != before) {
            journal.put(self.map, key, &value);
        }
    }

    pub fn give_up(&mut self, key: &(impl IntoBytes + Immutable), owner: &O, journal: &mut Journal) {
        let Some(claims) = self.claims.get_mut(key.as_bytes()) else { return };
        let before = claims.last().map(|(_, value)| *value);
        claims.retain(|(other, _)| other != owner);
        match claims.last() {
            None => {
                self.claims.remove(key.as_bytes());
                journal.delete(self.map, key);
            }
            Some((_, value)) if Some(*value) != before => journal.put(self.map, key, value),
            Some(_) => {}
        }
    }

    pub fn entries(&self, all: &mut Entries) {
        for (key, claims) in &self.claims {
            if let Some((_, value)) = claims.last() {
                all.add(self.map, key.as_slice(), value);
            }
        }
    }
}
