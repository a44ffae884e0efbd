//! One of the four look-ups of a ruleset: a tree of prefixes, each leading to the row of the conditions that hold there.
//!
//! A condition is a set of keys that one or more rules ask for. A prefix's row holds the positions of all conditions that
//! contain it, its own and those of the prefixes around it, because the kernel's trie answers with the longest match alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hns_abi::{Addr, AddressClassKey, Be16, DIM_LOCAL_PORT, Map, PortClassKey};

use super::Entries;
use super::chunks::{Bits, Chunks, by_slot};
use super::hash::QuickMap;
use super::journal::Journal;
use super::prefix::{Condition, Prefix};
use super::rows::{Rows, print};

/// Which trie, and which part of it.
#[derive(Debug, Clone, Copy)]
struct Space {
    number: u32,
    ports: bool,
}

#[derive(Debug)]
pub(super) struct Dimension {
    space: Space,
    rows: Rows,
    /// The row of keys that no prefix contains.
    miss: u32,
    nodes: BTreeMap<Prefix, Node>,
    numbers: QuickMap<Arc<Condition>, u32>,
    conditions: BTreeMap<u32, Asked>,
    last: u32,
}

#[derive(Debug)]
struct Node {
    row: u32,
    /// The next larger prefix around it that has a node.
    parent: Option<Prefix>,
    /// Conditions that name this very prefix.
    conditions: u32,
}

/// A condition and the positions of the rules that ask for it.
#[derive(Debug)]
struct Asked {
    condition: Arc<Condition>,
    positions: BTreeSet<u32>,
}

/// A position and what its rule asks of this dimension; absent: nothing.
pub(super) type Ask = (u32, Option<Arc<Condition>>);

/// Conditions that begin or end, while their prefixes are gone through in order.
struct Sweep {
    /// By prefix, then by condition.
    marks: Vec<(Prefix, u32)>,
    /// The positions of each condition.
    positions: BTreeMap<u32, Vec<u32>>,
    adds: bool,
    /// What became of a row where these conditions hold.
    known: QuickMap<(u32, u128), u32>,
}

impl Dimension {
    pub fn new(
        ruleset: u32,
        dimension: usize,
        slots: usize,
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> Self {
        let ports = dimension >= DIM_LOCAL_PORT;
        let mut rows = Rows::new(slots);
        let miss = rows.take_empty(chunks, journal);
        Self {
            space: Space { number: ruleset << 1 | u32::from(dimension % 2 == 1), ports },
            rows,
            miss,
            nodes: BTreeMap::new(),
            numbers: QuickMap::default(),
            conditions: BTreeMap::new(),
            last: 0,
        }
    }

    /// Where the row of [`hns_abi::Ruleset::miss`] lies; the same for the whole life of the ruleset.
    pub fn miss(&self) -> u32 {
        self.rows.place(self.miss)
    }

    /// The most rows and chunks that a change may take before anything is given back. `touched`: how many chunks of a row the
    /// positions lie in.
    pub fn needs(&self, come: &[Ask], go: &[Ask], touched: usize) -> (usize, usize) {
        let mut going: BTreeMap<u32, usize> = BTreeMap::new();
        for condition in go.iter().filter_map(|(_, ask)| ask.as_ref()) {
            if let Some(number) = self.numbers.get(condition) {
                *going.entry(*number).or_default() += 1;
            }
        }
        let new =
            come.iter().filter_map(|(_, ask)| ask.as_ref()).filter(|ask| !self.numbers.contains_key(*ask));
        let gone = going
            .iter()
            .filter_map(|(number, count)| {
                self.conditions.get(number).filter(|asked| asked.positions.len() == *count)
            })
            .map(|asked| &asked.condition);
        // A prefix that comes lies in the ranges of those around it that come with it: once more for each.
        let coming: usize = new.clone().map(|condition| condition.prefixes.len()).sum();
        let nested = coming.min(129);
        let inside = |condition: &Arc<Condition>| -> usize {
            let nodes = |prefix: &Prefix| self.nodes.range(*prefix..=prefix.last()).count();
            condition.prefixes.iter().map(nodes).sum()
        };
        let rows = new.chain(gone).map(inside).sum::<usize>() + coming * (nested + 1);
        (rows, (rows + 2 * (self.rows.count() + rows)).saturating_mul(touched))
    }

    /// New positions, of which no row has a bit and no packet is judged by yet.
    pub fn add(&mut self, asks: &[Ask], chunks: &mut Chunks, journal: &mut Journal) {
        let mut always = Vec::new();
        let mut more: BTreeMap<u32, (u32, Vec<u32>)> = BTreeMap::new();
        let mut new: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (position, ask) in asks {
            let Some(condition) = ask else {
                always.push(*position);
                continue;
            };
            if let Some(&number) = self.numbers.get(condition) {
                if let Some(positions) = new.get_mut(&number) {
                    positions.push(*position);
                } else if let Some(&mark) =
                    self.conditions.get(&number).and_then(|asked| asked.positions.first())
                {
                    more.entry(number).or_insert_with(|| (mark, Vec::new())).1.push(*position);
                }
                continue;
            }
            self.last += 1;
            self.numbers.insert(Arc::clone(condition), self.last);
            let asked = Asked { condition: Arc::clone(condition), positions: BTreeSet::new() };
            self.conditions.insert(self.last, asked);
            new.insert(self.last, vec![*position]);
        }
        let marked: Vec<_> = more.values().cloned().collect();
        self.rows.set(&always, &marked, chunks, journal);
        for (number, positions) in more.iter().map(|(n, (_, p))| (n, p)).chain(&new) {
            if let Some(asked) = self.conditions.get_mut(number) {
                asked.positions.extend(positions);
            }
        }
        let mut sweep = self.sweep(new, true);
        for (prefix, _) in &sweep.marks {
            self.grow(*prefix);
        }
        self.run(&mut sweep, chunks, journal);
    }

    /// Positions that packets are no longer judged by.
    pub fn remove(&mut self, asks: &[Ask], chunks: &mut Chunks, journal: &mut Journal) {
        let mut stale = Vec::new();
        let mut gone: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut touched: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (position, ask) in asks {
            let number = ask.as_ref().and_then(|condition| self.numbers.get(condition).copied());
            match number.and_then(|number| Some((number, self.conditions.get_mut(&number)?))) {
                None => stale.push(*position),
                Some((number, asked)) => {
                    asked.positions.remove(position);
                    touched.entry(number).or_default().push(*position);
                }
            }
        }
        for (number, positions) in touched {
            if self.conditions.get(&number).is_some_and(|asked| asked.positions.is_empty()) {
                gone.insert(number, positions);
            } else {
                stale.extend(positions);
            }
        }
        self.rows.clear(&stale, chunks, journal);
        let ends: Vec<u32> = gone.keys().copied().collect();
        let mut sweep = self.sweep(gone, false);
        self.run(&mut sweep, chunks, journal);
        let mut barren: Vec<Prefix> = sweep.marks.iter().map(|(prefix, _)| *prefix).collect();
        barren.dedup();
        for prefix in barren {
            self.prune(prefix, chunks, journal);
        }
        for number in ends {
            if let Some(asked) = self.conditions.remove(&number) {
                self.numbers.remove(&asked.condition);
            }
        }
    }

    fn sweep(&self, conditions: BTreeMap<u32, Vec<u32>>, adds: bool) -> Sweep {
        let mut marks = Vec::new();
        for number in conditions.keys() {
            let prefixes = self.conditions.get(number).map(|asked| &asked.condition.prefixes);
            marks.extend(prefixes.into_iter().flatten().map(|prefix| (*prefix, *number)));
        }
        marks.sort_unstable();
        Sweep { marks, positions: conditions, adds, known: QuickMap::default() }
    }

    /// A node for `prefix`, at first with the row of what is around it.
    fn grow(&mut self, prefix: Prefix) {
        if let Some(node) = self.nodes.get_mut(&prefix) {
            node.conditions += 1;
            return;
        }
        let mut around = self.nodes.range(..prefix).next_back().map(|(before, _)| *before);
        while let Some(before) = around.filter(|before| !before.contains(prefix)) {
            around = self.nodes.get(&before).and_then(|node| node.parent);
        }
        let row = around.and_then(|around| self.nodes.get(&around)).map_or(self.miss, |node| node.row);
        self.rows.share(row);
        for (_, node) in self.nodes.range_mut(prefix..=prefix.last()) {
            if node.parent == around {
                node.parent = Some(prefix);
            }
        }
        self.nodes.insert(prefix, Node { row, parent: around, conditions: 1 });
    }

    /// Removes the node of `prefix` unless a condition names it still.
    fn prune(&mut self, prefix: Prefix, chunks: &mut Chunks, journal: &mut Journal) {
        if self.nodes.get(&prefix).is_none_or(|node| node.conditions > 0) {
            return;
        }
        let Some(gone) = self.nodes.remove(&prefix) else { return };
        for (_, node) in self.nodes.range_mut(prefix..=prefix.last()) {
            if node.parent == Some(prefix) {
                node.parent = gone.parent;
            }
        }
        self.space.delete(prefix, journal);
        self.rows.give_back(gone.row, chunks);
    }

    /// Gives every node inside the marked prefixes the row it has with, or without, the conditions of the marks around it.
    fn run(&mut self, sweep: &mut Sweep, chunks: &mut Chunks, journal: &mut Journal) {
        let marks = std::mem::take(&mut sweep.marks);
        let mut next = 0;
        while let Some((top, _)) = marks.get(next) {
            // What is around the node at hand: marked prefixes, and how many conditions began there.
            let mut around: Vec<(Prefix, usize)> = Vec::new();
            let mut active: Vec<u32> = Vec::new();
            for (prefix, node) in self.nodes.range_mut(*top..=top.last()) {
                while let Some((_, begun)) = around.pop_if(|(outer, _)| !outer.contains(*prefix)) {
                    active.truncate(active.len() - begun);
                }
                let first = next;
                while let Some((_, number)) = marks.get(next).filter(|(marked, _)| marked == prefix) {
                    active.push(*number);
                    next += 1;
                }
                around.push((*prefix, next - first));
                if !sweep.adds {
                    node.conditions -= u32::try_from(next - first).unwrap_or(0);
                    if node.conditions == 0 {
                        continue;
                    }
                }
                let row = sweep.row(node.row, &active, &mut self.rows, chunks, journal);
                let old = std::mem::replace(&mut node.row, row);
                self.space.put(*prefix, self.rows.place(row), journal);
                self.rows.give_back(old, chunks);
            }
        }
        sweep.marks = marks;
        for (_, row) in sweep.known.drain() {
            self.rows.give_back(row, chunks);
        }
    }

    /// The ruleset is no longer used by anybody.
    pub fn dissolve(self, chunks: &mut Chunks, journal: &mut Journal) {
        let Self { space, mut rows, miss, nodes, .. } = self;
        for (prefix, node) in nodes {
            space.delete(prefix, journal);
            rows.give_back(node.row, chunks);
        }
        rows.give_back(miss, chunks);
    }

    pub fn entries(&self, all: &mut Entries) {
        for (prefix, node) in &self.nodes {
            let row = self.rows.place(node.row);
            match self.space.key(*prefix) {
                Key::Address(key) => all.add(Map::AddressClasses, &key, &row),
                Key::Port(key) => all.add(Map::PortClasses, &key, &row),
            }
        }
    }
}

impl Sweep {
    /// What `row` becomes where the conditions `active` begin or end; with one user more.
    fn row(
        &mut self,
        row: u32,
        active: &[u32],
        rows: &mut Rows,
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> u32 {
        let sum = active.iter().fold(0_u128, |sum, number| sum.wrapping_add(print(*number)));
        if let Some(&known) = self.known.get(&(row, sum)) {
            rows.share(known);
            return known;
        }
        let positions = active.iter().filter_map(|number| self.positions.get(number)).flatten().copied();
        let edits: Vec<(usize, Bits, Bits)> = by_slot(positions)
            .into_iter()
            .map(|(slot, bits)| if self.adds { (slot, bits, [0; 8]) } else { (slot, [0; 8], bits) })
            .collect();
        let adds = self.adds;
        let change = |print: u128| if adds { print.wrapping_add(sum) } else { print.wrapping_sub(sum) };
        let found = rows.derive(row, change, &edits, chunks, journal);
        rows.share(found);
        self.known.insert((row, sum), found);
        found
    }
}

enum Key {
    Address(AddressClassKey),
    Port(PortClassKey),
}

impl Space {
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
