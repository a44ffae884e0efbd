//! The room that all rulesets share: `chunks`, where equal chunks are stored once, `directory`, where equal rows are, and how many
//! entries the hashes and tries have.

use std::collections::BTreeMap;

use hns_abi::{CHUNK_BITS, CHUNK_WORDS, CHUNKS_PER_ROW, Map};

use super::hash::QuickMap;
use super::journal::Journal;
use super::runs::Runs;

pub(super) type Bits = [u64; CHUNK_WORDS];

/// How many elements the maps have, as powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub directory: u32,
    pub chunks: u32,
    pub ports: u32,
    pub rulesets: u32,
    pub rules: u32,
    /// Of addresses, and of ports.
    pub classes: u32,
    pub set_classes: u32,
    pub set_rows: u32,
}

impl Default for Capacity {
    /// As the maps are declared. 10,000 rules of different addresses take up to a fifth of `directory`.
    fn default() -> Self {
        Self {
            directory: hns_abi::DIRECTORY_MAX.ilog2(),
            chunks: hns_abi::CHUNKS_MAX.ilog2(),
            ports: hns_abi::PORTS_MAX.ilog2(),
            rulesets: hns_abi::RULESETS_MAX.ilog2(),
            rules: hns_abi::RULE_ENTRIES_MAX.ilog2(),
            classes: hns_abi::CLASSES_MAX.ilog2(),
            set_classes: hns_abi::SET_CLASSES_MAX.ilog2(),
            set_rows: hns_abi::SET_ROWS_MAX.ilog2(),
        }
    }
}

impl Capacity {
    /// The entries that a hash or trie takes.
    fn of(self, map: Map) -> usize {
        let logarithm = match map {
            Map::Rulesets => self.rulesets,
            Map::Rules => self.rules,
            Map::AddressClasses | Map::PortClasses => self.classes,
            Map::SetClasses => self.set_classes,
            Map::SetRows => self.set_rows,
            _ => return usize::MAX,
        };
        1 << logarithm
    }
}

#[derive(Debug)]
pub(super) struct Chunks {
    directory: Runs,
    /// By the place in `directory`.
    rows: QuickMap<u32, Row>,
    rows_by_content: QuickMap<Box<[u32]>, u32>,
    capacity: Capacity,
    /// Of the hashes and tries.
    entries: BTreeMap<Map, usize>,
    bits: Vec<Bits>,
    users: Vec<u32>,
    by_content: QuickMap<Bits, u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    chunks: Box<[u32]>,
    users: u32,
}

impl Chunks {
    pub fn new(capacity: Capacity) -> Self {
        let zero = [0; CHUNK_WORDS];
        Self {
            directory: Runs::new(capacity.directory, CHUNKS_PER_ROW.ilog2()),
            rows: QuickMap::default(),
            rows_by_content: QuickMap::default(),
            capacity,
            entries: BTreeMap::new(),
            bits: vec![zero],
            users: vec![1],
            by_content: std::iter::once((zero, 0)).collect(),
            free: Vec::new(),
        }
    }

    /// The chunk with these bits, with one user more.
    fn take(&mut self, bits: &Bits, journal: &mut Journal) -> u32 {
        if let Some(&chunk) = self.by_content.get(bits) {
            self.users[chunk as usize] += 1;
            return chunk;
        }
        let chunk = self.free.pop().unwrap_or_else(|| {
            self.bits.push([0; CHUNK_WORDS]);
            self.users.push(0);
            u32::try_from(self.bits.len() - 1).unwrap_or(u32::MAX)
        });
        self.bits[chunk as usize] = *bits;
        self.users[chunk as usize] = 1;
        self.by_content.insert(*bits, chunk);
        journal.array(Map::Chunks, chunk, bits);
        chunk
    }

    pub fn give_back(&mut self, chunk: u32) {
        let place = chunk as usize;
        self.users[place] -= 1;
        if self.users[place] == 0 {
            self.by_content.remove(&self.bits[place]);
            self.free.push(chunk);
        }
    }

    /// The chunks of a row with some bits set, with one user more each.
    pub fn edited(&mut self, row: &[u32], set: &[(usize, Bits)], journal: &mut Journal) -> Vec<u32> {
        let mut edited = row.to_vec();
        edited.iter().for_each(|chunk| self.users[*chunk as usize] += 1);
        for (slot, more) in set {
            let old = edited[*slot];
            let mut bits = self.bits[old as usize];
            bits.iter_mut().zip(more).for_each(|(bits, more)| *bits |= more);
            edited[*slot] = self.take(&bits, journal);
            self.give_back(old);
        }
        edited
    }

    /// The place in `directory` of the row of these chunks, whose users it takes over; with one user more.
    pub fn take_row(&mut self, chunks: Vec<u32>, journal: &mut Journal) -> u32 {
        if let Some(&place) = self.rows_by_content.get(chunks.as_slice()) {
            chunks.iter().for_each(|chunk| self.give_back(*chunk));
            self.share_row(place);
            return place;
        }
        let chunks = chunks.into_boxed_slice();
        let place = self.directory.take(size(&chunks));
        if place == Runs::BEYOND {
            chunks.iter().for_each(|chunk| self.give_back(*chunk));
            return place;
        }
        journal.array(Map::Directory, place, &*chunks);
        self.rows_by_content.insert(chunks.clone(), place);
        self.rows.insert(place, Row { chunks, users: 1 });
        place
    }

    pub fn share_row(&mut self, place: u32) {
        match self.rows.get_mut(&place) {
            Some(row) => row.users += 1,
            None => self.directory.share_beyond(),
        }
    }

    pub fn give_back_row(&mut self, place: u32) {
        let Some(row) = self.rows.get_mut(&place) else { return self.directory.give_back(place, 1) };
        row.users -= 1;
        if row.users > 0 {
            return;
        }
        let Some(row) = self.rows.remove(&place) else { return };
        self.rows_by_content.remove(&row.chunks);
        self.directory.give_back(place, size(&row.chunks));
        row.chunks.iter().for_each(|chunk| self.give_back(*chunk));
    }

    /// The map that what was taken does not fit into.
    pub fn overdrawn(&self) -> Option<Map> {
        if self.directory.is_overdrawn() {
            Some(Map::Directory)
        } else if self.bits.len() - self.free.len() > self.room() || self.is_beyond() {
            Some(Map::Chunks)
        } else {
            let full = |(map, entries): &(&Map, &usize)| **entries > self.capacity.of(**map);
            self.entries.iter().find(full).map(|(map, _)| *map)
        }
    }

    /// So many entries more, which may be too many until [`overdrawn`](Self::overdrawn) was asked.
    pub fn enter(&mut self, map: Map, entries: usize) {
        *self.entries.entry(map).or_default() += entries;
    }

    pub fn leave(&mut self, map: Map, entries: usize) {
        if let Some(count) = self.entries.get_mut(&map) {
            *count -= entries;
        }
    }

    const fn room(&self) -> usize {
        1 << self.capacity.chunks
    }

    /// Whether a chunk beyond the array's end is in use, though one before it is free.
    fn is_beyond(&self) -> bool {
        self.users.iter().skip(self.room()).any(|users| *users > 0)
    }

    pub fn in_use(&self) -> usize {
        self.by_content.len() - 1
    }

    pub fn directory_in_use(&self) -> usize {
        self.directory.in_use()
    }
}

fn size(row: &[u32]) -> u32 {
    u32::try_from(row.len()).unwrap_or(u32::MAX)
}

/// Bits of a row by chunk, from positions.
pub(super) fn by_slot(positions: impl IntoIterator<Item = u32>) -> Vec<(usize, Bits)> {
    let mut slots: Vec<(usize, Bits)> = Vec::new();
    for position in positions {
        let position = position as usize;
        let (slot, word, bit) = (position / CHUNK_BITS, position % CHUNK_BITS / 64, 1 << (position % 64));
        let found = slots.iter().position(|(other, _)| *other == slot).unwrap_or_else(|| {
            slots.push((slot, [0; CHUNK_WORDS]));
            slots.len() - 1
        });
        slots[found].1[word] |= bit;
    }
    slots
}
