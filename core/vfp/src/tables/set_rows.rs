//! What the rules of a ruleset ask of the sets that an address is in: two look-ups more, local and remote.
//!
//! A set belongs to a network and to no ruleset. An address leads to a *class*, the combination of sets that it is in (`sets`), and
//! a class to the row of the rules whose sets are all in it:
//!
//! ```text
//!   rule 0: from sets web, prod     class {web}       -> {1, 2}
//!   rule 1: from set web            class {web, prod} -> {0, 1, 2}
//!   rule 2: names no set            every other one   -> {2}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use hns_abi::{Map, SetRowKey};

use crate::model::Addresses;

use super::Entries;
use super::chunks::{Chunks, by_slot};
use super::journal::Journal;
use super::sets::{Class, SetNumbers};

#[derive(Debug)]
pub(super) struct SetRows {
    space: u32,
    asks: Vec<Ask>,
    /// The row of the positions that ask for nothing.
    base: Vec<u32>,
    /// The same as a row of `directory`: of all classes that meet nothing.
    miss: u32,
    /// By class: where its row lies.
    rows: BTreeMap<u32, u32>,
}

/// Rules that ask for the same sets.
#[derive(Debug)]
struct Ask {
    /// By number: the address is in all of them.
    sets: BTreeSet<u32>,
    positions: Vec<u32>,
}

impl SetRows {
    /// `side`: 0 local, 1 remote. `asks`: by position what its rule asks of this side.
    pub fn build<'a>(
        (ruleset, side): (u32, u32),
        slots: usize,
        asks: impl Iterator<Item = &'a Addresses>,
        numbers: &mut SetNumbers,
        (chunks, journal): (&mut Chunks, &mut Journal),
    ) -> Self {
        let mut always = Vec::new();
        let mut named: BTreeMap<BTreeSet<u32>, Vec<u32>> = BTreeMap::new();
        for (position, ask) in (0..).zip(asks) {
            if ask.sets().is_empty() {
                always.push(position);
            } else {
                let sets = ask.sets().iter().map(|id| numbers.of(id)).collect();
                named.entry(sets).or_default().push(position);
            }
        }
        let base = chunks.edited(&vec![0; slots], &by_slot(always), journal);
        let whole = chunks.edited(&base, &[], journal);
        let miss = chunks.take_row(whole, journal);
        let asks = named.into_iter().map(|(sets, positions)| Ask { sets, positions }).collect();
        Self { space: ruleset << 1 | side, asks, base, miss, rows: BTreeMap::new() }
    }

    pub const fn miss(&self) -> u32 {
        self.miss
    }

    pub fn names_one_of(&self, sets: &BTreeSet<u32>) -> bool {
        self.asks.iter().any(|ask| !ask.sets.is_disjoint(sets))
    }

    pub fn named(&self) -> impl Iterator<Item = u32> {
        self.asks.iter().flat_map(|ask| &ask.sets).copied()
    }

    /// A class that addresses may lead to from now on.
    pub fn add_class(&mut self, number: u32, class: &Class, chunks: &mut Chunks, journal: &mut Journal) {
        let met = self.asks.iter().filter(|ask| ask.sets.iter().all(|set| class.sets.contains(set)));
        let positions: Vec<u32> = met.flat_map(|ask| &ask.positions).copied().collect();
        if positions.is_empty() || self.rows.contains_key(&number) {
            return;
        }
        let row = chunks.edited(&self.base, &by_slot(positions), journal);
        let row = chunks.take_row(row, journal);
        chunks.enter(Map::SetRows, 1);
        journal.put(Map::SetRows, &self.key(number), &row);
        self.rows.insert(number, row);
    }

    /// A class that no address leads to any more.
    pub fn drop_class(&mut self, number: u32, chunks: &mut Chunks, journal: &mut Journal) {
        if let Some(row) = self.rows.remove(&number) {
            chunks.leave(Map::SetRows, 1);
            journal.delete(Map::SetRows, &self.key(number));
            chunks.give_back_row(row);
        }
    }

    pub fn dissolve(mut self, chunks: &mut Chunks, journal: &mut Journal) {
        let classes: Vec<u32> = self.rows.keys().copied().collect();
        for class in classes {
            self.drop_class(class, chunks, journal);
        }
        chunks.give_back_row(self.miss);
        self.base.iter().for_each(|chunk| chunks.give_back(*chunk));
    }

    pub fn entries(&self, all: &mut Entries) {
        for (class, row) in &self.rows {
            all.add(Map::SetRows, &self.key(*class), row);
        }
    }

    const fn key(&self, class: u32) -> SetRowKey {
        SetRowKey { space: self.space, class }
    }
}
