//! Reads the entries as the programs in `bpf/` do: longest matches, rows, the AND of rows, Pass.
//!
//! The maps here are plain collections that [`Write`]s are carried out on. Tests hold what this finds against
//! `Acl::decide`, the meaning of rules.

use std::collections::BTreeMap;

use hns_abi::{
    ACTION_OBSERVE, ACTION_PASS, Addr, AddressClassKey, AddressKey, Be16, CHUNK_BITS, CHUNK_WORDS, DIM_LOCAL,
    DIM_LOCAL_PORT, DIM_LOCAL_SETS, DIM_REMOTE, DIM_REMOTE_PORT, DIMENSIONS, Direction, LOW_IFINDEXES, Map,
    PLAIN_DIMENSIONS, Port, PortClassKey, RuleEntry, RuleKey, Ruleset, SetClassKey, SetRowKey,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::layers::acl::Facts;

use super::Write;

/// The maps of policy.
#[derive(Debug, Clone, Default)]
pub struct Maps {
    /// Hashes and tries.
    pub entries: BTreeMap<(Map, Vec<u8>), Vec<u8>>,
    pub slots: Vec<u32>,
    /// By slot.
    pub ports: BTreeMap<u32, Port>,
    pub set_spaces: Vec<u32>,
    pub directory: Vec<u32>,
    pub chunks: Vec<[u64; CHUNK_WORDS]>,
    /// How many keys of the tries have each length.
    lengths: BTreeMap<(Map, u32), u32>,
}

/// What decides about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The rule at a position of a ruleset.
    Rule {
        ruleset: u32,
        position: u32,
        action: u8,
    },
    Fallback {
        action: u8,
    },
}

impl Found {
    #[must_use]
    pub const fn action(self) -> u8 {
        match self {
            Self::Rule { action, .. } | Self::Fallback { action } => action,
        }
    }
}

impl Maps {
    /// Empty maps; what the arrays lack is zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn carry_out(&mut self, write: &Write) {
        match write {
            Write::Put { map, key, value } => {
                if self.entries.insert((*map, key.clone()), value.clone()).is_none() {
                    *self.lengths.entry((*map, length(key))).or_default() += 1;
                }
            }
            Write::Delete { map, key } => {
                if self.entries.remove(&(*map, key.clone())).is_some() {
                    *self.lengths.entry((*map, length(key))).or_default() -= 1;
                }
            }
            Write::Array { map: Map::Slots, index, bytes } => fill(&mut self.slots, *index, bytes),
            Write::Array { map: Map::Ports, index, bytes } => {
                self.ports.extend(Port::read_from_bytes(bytes).ok().map(|port| (*index, port)));
            }
            Write::Array { map: Map::SetSpaces, index, bytes } => fill(&mut self.set_spaces, *index, bytes),
            Write::Array { map: Map::Directory, index, bytes } => fill(&mut self.directory, *index, bytes),
            Write::Array { index, bytes, .. } => fill(&mut self.chunks, *index, bytes),
        }
    }

    /// The value under `key` in a hash.
    #[must_use]
    pub fn get<V: FromBytes>(&self, map: Map, key: &(impl IntoBytes + Immutable)) -> Option<V> {
        let value = self.entries.get(&(map, key.as_bytes().to_vec()))?;
        V::read_from_bytes(value).ok()
    }

    /// The record of the port at link `ifindex`.
    #[must_use]
    pub fn port(&self, ifindex: u32) -> Option<Port> {
        let slot = if ifindex < LOW_IFINDEXES {
            self.slots.get(ifindex as usize).copied()
        } else {
            self.get(Map::HighSlots, &ifindex)
        };
        self.ports.get(&slot.filter(|slot| *slot != 0)?).copied()
    }

    /// Who decides about a connection of the port at link `ifindex`, and how.
    #[must_use]
    pub fn decide(&self, ifindex: u32, direction: Direction, facts: &Facts) -> Option<Found> {
        let port = self.port(ifindex)?;
        let ruleset = port.ruleset[direction.index()];
        let fallback = Found::Fallback { action: port.fallback[direction.index()] };
        if ruleset == 0 {
            return Some(fallback);
        }
        Some(self.search(ruleset, facts).unwrap_or(fallback))
    }

    fn search(&self, ruleset: u32, facts: &Facts) -> Option<Found> {
        let header: Ruleset = self.get(Map::Rulesets, &ruleset)?;
        let rows = self.rows(ruleset, &header, facts);
        let mut from = 0;
        loop {
            let position = self.first(&header, &rows, from)?;
            let entry: RuleEntry = self.get(Map::Rules, &RuleKey { ruleset, position })?;
            if ![ACTION_PASS, ACTION_OBSERVE].map(u32::from).contains(&entry.action) {
                let action = u8::try_from(entry.action).ok()?;
                return Some(Found::Rule { ruleset, position, action });
            }
            from = entry.next;
        }
    }

    fn rows(&self, ruleset: u32, header: &Ruleset, facts: &Facts) -> [u32; DIMENSIONS] {
        let (local_port, remote_port) = match facts.protocol {
            6 | 17 | 132 => (facts.local_port, facts.remote_port),
            1 | 58 => (u16::from(facts.icmp.0) << 8 | u16::from(facts.icmp.1), 0),
            _ => (0, 0),
        };
        let mut rows = header.miss;
        let set_space = self.set_spaces.get(header.sets as usize).copied().unwrap_or(0);
        let addresses = [(DIM_LOCAL, facts.local), (DIM_REMOTE, facts.remote)];
        for (place, (dimension, address)) in addresses.into_iter().enumerate() {
            let space = ruleset << 1 | u32::from(place == 1);
            let class = self.class(set_space, address.into());
            let key = |class| SetRowKey { space, class };
            if let Some(row) = class.and_then(|class| self.get(Map::SetRows, &key(class))) {
                rows[DIM_LOCAL_SETS + place] = row;
            }
            if let Some(row) = self.longest_address(space, address.into()) {
                rows[dimension] = row;
            }
        }
        let ports = [(DIM_LOCAL_PORT, local_port), (DIM_REMOTE_PORT, remote_port)];
        for (place, (dimension, port)) in ports.into_iter().enumerate() {
            let space = ruleset << 1 | u32::from(place == 1);
            if let Some(row) = self.longest_port(space, facts.protocol, port) {
                rows[dimension] = row;
            }
        }
        rows
    }

    /// The first position from `from` on that is in all rows.
    fn first(&self, header: &Ruleset, rows: &[u32; DIMENSIONS], from: u32) -> Option<u32> {
        let from = from as usize;
        let rows = if header.sets == 0 { &rows[..PLAIN_DIMENSIONS] } else { rows };
        for slot in from / CHUNK_BITS..header.chunks as usize {
            for word in 0..CHUNK_WORDS {
                let all = rows.iter().fold(u64::MAX, |all, row| all & self.word(*row, slot, word));
                let start = slot * CHUNK_BITS + word * 64;
                let late = match from.saturating_sub(start) {
                    0 => u64::MAX,
                    skipped @ 1..64 => u64::MAX << skipped,
                    _ => 0,
                };
                if all & late != 0 {
                    let bit = (all & late).trailing_zeros() as usize;
                    return u32::try_from(start + bit).ok();
                }
            }
        }
        None
    }

    fn word(&self, row: u32, slot: usize, word: usize) -> u64 {
        let chunk = self.directory.get(row as usize + slot).copied().unwrap_or(0);
        self.chunks.get(chunk as usize).map_or(0, |chunk| chunk[word])
    }

    fn longest_address(&self, space: u32, addr: Addr) -> Option<u32> {
        self.longest(Map::AddressClasses, 128, |length| {
            let b = cut(u128::from_be_bytes(addr.b), length).to_be_bytes();
            AddressClassKey { prefixlen: 32 + length, space, addr: Addr { b } }
        })
    }

    fn class(&self, space: u32, addr: Addr) -> Option<u32> {
        self.longest(Map::SetClasses, 128, |length| {
            let b = cut(u128::from_be_bytes(addr.b), length).to_be_bytes();
            SetClassKey { prefixlen: 32 + length, space, addr: Addr { b } }
        })
    }

    fn longest_port(&self, space: u32, protocol: u8, port: u16) -> Option<u32> {
        let bits = u128::from(protocol) << 120 | u128::from(port) << 96;
        self.longest(Map::PortClasses, 32, |length| {
            let b = cut(bits, length).to_be_bytes();
            let port = Be16::new(u16::from_be_bytes([b[2], b[3]]));
            PortClassKey { prefixlen: 32 + length, space, protocol: b[0], zero: b[1], port }
        })
    }

    fn longest<K: IntoBytes + Immutable>(&self, map: Map, bits: u32, key: impl Fn(u32) -> K) -> Option<u32> {
        let in_use = |length: &u32| self.lengths.get(&(map, 32 + length)).is_some_and(|keys| *keys > 0);
        (0..=bits).rev().filter(in_use).find_map(|length| self.get(map, &key(length)))
    }

    /// The link of the port that has an address.
    #[must_use]
    pub fn owner(&self, network: u32, addr: Addr) -> Option<u32> {
        self.get(Map::Addresses, &AddressKey { network, addr })
    }
}

const fn cut(bits: u128, length: u32) -> u128 {
    if length == 0 { 0 } else { bits & (u128::MAX << (128 - length)) }
}

/// The first field of a trie's key.
fn length(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn fill<T: FromBytes + Clone + Default + Sized>(array: &mut Vec<T>, index: u32, bytes: &[u8]) {
    let elements = bytes.chunks_exact(size_of::<T>()).filter_map(|bytes| T::read_from_bytes(bytes).ok());
    for (at, element) in (index as usize..).zip(elements) {
        if array.len() <= at {
            array.resize(at + 1, T::default());
        }
        array[at] = element;
    }
}
