//! One of the four look-ups of a ruleset: prefixes, each leading to the row of the rules whose condition holds there.
//!
//! A condition is a set of keys that one or more rules ask for. A prefix's row has the positions of all conditions that contain
//! it, its own and those of the prefixes around it, because the kernel's trie answers with the longest match alone:
//!
//! ```text
//!   rule 0: from 10.0.0.0/8       10.0.0.0/8  -> {0, 2}
//!   rule 1: from 10.1.0.0/16      10.1.0.0/16 -> {0, 1, 2}
//!   rule 2: from anywhere         no prefix   -> {2}
//! ```

use std::sync::Arc;

use hns_abi::{Addr, AddressClassKey, Be16, DIM_LOCAL_PORT, Map, PortClassKey};

use super::Entries;
use super::chunks::{Chunks, by_slot};
use super::hash::{QuickMap, scatter};
use super::journal::Journal;
use super::prefix::{Condition, Prefix};

#[derive(Debug)]
pub(super) struct Dimension {
    space: Space,
    /// The row of keys that no prefix contains.
    miss: u32,
    /// With the place of its row.
    prefixes: Vec<(Prefix, u32)>,
}

/// Which trie, and which part of it.
#[derive(Debug, Clone, Copy)]
struct Space {
    number: u32,
    ports: bool,
}

/// Rows of one dimension by the sum of their conditions' prints: rows of equal conditions are made once.
struct Rows<'a> {
    /// By condition: the positions that ask for it.
    positions: Vec<Vec<u32>>,
    /// The row of the positions that ask for nothing.
    base: Vec<u32>,
    known: QuickMap<u128, u32>,
    chunks: &'a mut Chunks,
    journal: &'a mut Journal,
}

impl Dimension {
    /// `asks`: by position what its rule asks of this dimension; absent: nothing.
    pub fn build<'a>(
        ruleset: u32,
        dimension: usize,
        slots: usize,
        asks: impl Iterator<Item = Option<&'a Arc<Condition>>>,
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> Self {
        let ports = dimension >= DIM_LOCAL_PORT;
        let space = Space { number: ruleset << 1 | u32::from(dimension % 2 == 1), ports };
        let mut always = Vec::new();
        let mut numbers: QuickMap<&Arc<Condition>, usize> = QuickMap::default();
        let mut positions: Vec<Vec<u32>> = Vec::new();
        for (position, ask) in (0..).zip(asks) {
            let Some(condition) = ask else {
                always.push(position);
                continue;
            };
            let number = *numbers.entry(condition).or_insert_with(|| {
                positions.push(Vec::new());
                positions.len() - 1
            });
            positions[number].push(position);
        }
        let mut marks: Vec<(Prefix, usize)> = numbers
            .into_iter()
            .flat_map(|(condition, number)| condition.prefixes.iter().map(move |prefix| (*prefix, number)))
            .collect();
        marks.sort_unstable();
        let base = chunks.edited(&vec![0; slots], &by_slot(always), journal);
        let mut rows = Rows { positions, base, known: QuickMap::default(), chunks, journal };
        let miss = rows.row(&[]);
        let prefixes = rows.of_prefixes(&marks);
        for (prefix, row) in &prefixes {
            space.put(*prefix, *row, rows.journal);
        }
        rows.end();
        chunks.enter(space.map(), prefixes.len());
        Self { space, miss, prefixes }
    }

    /// Where the row of [`hns_abi::Ruleset::miss`] lies.
    pub const fn miss(&self) -> u32 {
        self.miss
    }

    pub fn dissolve(self, chunks: &mut Chunks, journal: &mut Journal) {
        chunks.leave(self.space.map(), self.prefixes.len());
        for (prefix, row) in self.prefixes {
            self.space.delete(prefix, journal);
            chunks.give_back_row(row);
        }
        chunks.give_back_row(self.miss);
    }

    pub fn entries(&self, all: &mut Entries) {
        for (prefix, row) in &self.prefixes {
            match self.space.key(*prefix) {
                Key::Address(key) => all.add(Map::AddressClasses, &key, row),
                Key::Port(key) => all.add(Map::PortClasses, &key, row),
            }
        }
    }
}

impl Rows<'_> {
    /// One row a prefix. `marks`: prefixes in order, a larger one before those inside it, with the condition that names it.
    fn of_prefixes(&mut self, marks: &[(Prefix, usize)]) -> Vec<(Prefix, u32)> {
        let mut rows = Vec::new();
        // What is around the prefix at hand: larger prefixes, and how many conditions began there.
        let mut around: Vec<(Prefix, usize)> = Vec::new();
        let mut active: Vec<usize> = Vec::new();
        for named in marks.chunk_by(|(one, _), (next, _)| one == next) {
            let prefix = named[0].0;
            while let Some((_, begun)) = around.pop_if(|(outer, _)| !outer.contains(prefix)) {
                active.truncate(active.len() - begun);
            }
            active.extend(named.iter().map(|(_, condition)| *condition));
            around.push((prefix, named.len()));
            rows.push((prefix, self.row(&active)));
        }
        rows
    }

    /// The place of the row where these conditions hold, with one user more.
    fn row(&mut self, conditions: &[usize]) -> u32 {
        let print = conditions.iter().fold(0, |sum: u128, number| sum.wrapping_add(print(*number)));
        if let Some(known) = self.known.get(&print) {
            self.chunks.share_row(*known);
            return *known;
        }
        let positions = conditions.iter().flat_map(|number| &self.positions[*number]).copied();
        let row = self.chunks.edited(&self.base, &by_slot(positions), self.journal);
        let place = self.chunks.take_row(row, self.journal);
        self.known.insert(print, place);
        place
    }

    fn end(self) {
        self.base.iter().for_each(|chunk| self.chunks.give_back(*chunk));
    }
}

/// A number for a condition, such that sums of different ones differ.
fn print(condition: usize) -> u128 {
    let number = (condition as u64) << 1;
    u128::from(scatter(number)) << 64 | u128::from(scatter(number | 1))
}

enum Key {
    Address(AddressClassKey),
    Port(PortClassKey),
}

impl Space {
    const fn map(self) -> Map {
        if self.ports { Map::PortClasses } else { Map::AddressClasses }
    }

    fn key(self, prefix: Prefix) -> Key {
        let prefixlen = 32 + u32::from(prefix.length);
        let bytes = prefix.bits.to_be_bytes();
        if self.ports {
            let port = Be16::new(u16::from_be_bytes([bytes[2], bytes[3]]));
            Key::Port(PortClassKey {
                prefixlen,
                space: self.number,
                protocol: bytes[0],
                zero: bytes[1],
                port,
            })
        } else {
            Key::Address(AddressClassKey { prefixlen, space: self.number, addr: Addr { b: bytes } })
        }
    }

    fn put(self, prefix: Prefix, row: u32, journal: &mut Journal) {
        match self.key(prefix) {
            Key::Address(key) => journal.put(Map::AddressClasses, &key, &row),
            Key::Port(key) => journal.put(Map::PortClasses, &key, &row),
        }
    }

    fn delete(self, prefix: Prefix, journal: &mut Journal) {
        match self.key(prefix) {
            Key::Address(key) => journal.delete(Map::AddressClasses, &key),
            Key::Port(key) => journal.delete(Map::PortClasses, &key),
        }
    }
}
