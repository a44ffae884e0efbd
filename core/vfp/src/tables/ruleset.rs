//! One ordered list of rules as the programs search it: the place in the list is the rule's position.

use std::sync::Arc;

use hns_abi::{
    ACTION_ALLOW, ACTION_BLOCK, ACTION_OBSERVE, ACTION_PASS, CHUNK_BITS, DIM_LOCAL_SETS, Map,
    PLAIN_DIMENSIONS, RuleEntry, RuleKey,
};

use crate::model::{Acl, Action, Addresses, Match, Rule};

use super::Entries;
use super::chunks::Chunks;
use super::conditions::Maker;
use super::dimension::Dimension;
use super::hash;
use super::journal::Journal;
use super::set_rows::SetRows;
use super::sets::NetworkSets;

#[derive(Debug)]
pub(super) struct Ruleset {
    number: u32,
    slots: usize,
    items: Vec<Item>,
    dimensions: [Dimension; PLAIN_DIMENSIONS],
    /// Of a ruleset that names sets.
    sets: Option<Sets>,
}

#[derive(Debug)]
struct Sets {
    /// The network's place in `set_spaces`.
    place: u32,
    /// Local and remote.
    rows: [SetRows; 2],
}

/// A rule, and where one that does not decide leads to: the first position behind its tier, or behind itself.
#[derive(Debug)]
pub(super) struct Item {
    /// Of what the rule does, not of its labels.
    hash: u64,
    next: u32,
    rule: Arc<Rule>,
}

/// Tiers in their order, then the rules.
pub(super) fn items(acl: &Acl) -> Vec<Item> {
    let mut items = Vec::with_capacity(acl.rules.len());
    for rules in acl.tiers.iter().map(|tier| &tier.rules).chain([&acl.rules]) {
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let (begin, end) = (items.len(), number(items.len() + rules.len()));
        let item = |(place, rule): (usize, &Rule)| {
            let next = if rule.action == Action::Observe { number(begin + place + 1) } else { end };
            Item { hash: hash::of_rule(rule), next, rule: Arc::new(rule.clone()) }
        };
        items.extend(rules.iter().enumerate().map(item));
    }
    items
}

/// Whether rules name sets.
pub(super) fn name_sets(items: &[Item]) -> bool {
    items.iter().any(|item| item.rule.matches.sets().next().is_some())
}

/// Of a whole list.
pub(super) fn content(items: &[Item]) -> u64 {
    items.iter().fold(0, |sum, item| hash::scatter(sum ^ item.hash ^ u64::from(item.entry().next)))
}

impl Item {
    #[cfg(test)]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    fn entry(&self) -> RuleEntry {
        let (action, next) = match self.rule.action {
            Action::Block => (ACTION_BLOCK, 0),
            Action::Allow => (ACTION_ALLOW, 0),
            Action::Pass => (ACTION_PASS, self.next),
            Action::Observe => (ACTION_OBSERVE, self.next),
        };
        RuleEntry { action: action.into(), next }
    }

    fn acts_as(&self, other: &Self) -> bool {
        self.hash == other.hash && self.entry() == other.entry() && self.rule.matches == other.rule.matches
    }

    fn reads_as(&self, other: &Self) -> bool {
        let labels = |rule: &Rule| (rule.origin, rule.priority);
        self.rule.id == other.rule.id && labels(&self.rule) == labels(&other.rule)
    }
}

impl Ruleset {
    /// `sets`: those of the network, if the rules name any.
    pub fn build(
        number: u32,
        items: Vec<Item>,
        sets: Option<&mut NetworkSets>,
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> Self {
        let slots = items.len().div_ceil(CHUNK_BITS);
        let mut maker = Maker::default();
        let conditions: Vec<_> = items.iter().map(|item| maker.conditions(&item.rule.matches)).collect();
        let dimensions = std::array::from_fn(|dimension| {
            let asks = conditions.iter().map(|conditions| conditions[dimension].as_ref());
            Dimension::build(number, dimension, slots, asks, chunks, journal)
        });
        for (position, item) in (0..).zip(&items) {
            journal.put(Map::Rules, &RuleKey { ruleset: number, position }, &item.entry());
        }
        let sets = sets.map(|sets| Sets::build(number, slots, &items, sets, chunks, journal));
        let ruleset = Self { number, slots, items, dimensions, sets };
        chunks.enter(Map::Rulesets, 1);
        chunks.enter(Map::Rules, ruleset.items.len());
        journal.put(Map::Rulesets, &number, &ruleset.header());
        ruleset
    }

    /// What it asks of the sets of local and remote addresses.
    pub fn set_rows(&self) -> impl Iterator<Item = &SetRows> {
        self.sets.iter().flat_map(|sets| &sets.rows)
    }

    pub fn set_rows_mut(&mut self) -> impl Iterator<Item = &mut SetRows> {
        self.sets.iter_mut().flat_map(|sets| &mut sets.rows)
    }

    pub fn acts_as(&self, items: &[Item]) -> bool {
        self.items.len() == items.len() && self.items.iter().zip(items).all(|(own, other)| own.acts_as(other))
    }

    pub fn reads_as(&self, items: &[Item]) -> bool {
        self.items.iter().zip(items).all(|(own, other)| own.reads_as(other))
    }

    /// Takes over the labels of rules that act as these do.
    pub fn relabel(&mut self, items: Vec<Item>) {
        self.items = items;
    }

    pub fn rule_at(&self, position: u32) -> Option<&Rule> {
        self.items.get(usize::try_from(position).ok()?).map(|item| &*item.rule)
    }

    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.items.iter().map(|item| &*item.rule)
    }

    pub fn dissolve(self, chunks: &mut Chunks, journal: &mut Journal) {
        chunks.leave(Map::Rulesets, 1);
        chunks.leave(Map::Rules, self.items.len());
        journal.delete(Map::Rulesets, &self.number);
        for dimension in self.dimensions {
            dimension.dissolve(chunks, journal);
        }
        for rows in self.sets.into_iter().flat_map(|sets| sets.rows) {
            rows.dissolve(chunks, journal);
        }
        for (position, _) in (0..).zip(&self.items) {
            journal.delete(Map::Rules, &RuleKey { ruleset: self.number, position });
        }
    }

    fn header(&self) -> hns_abi::Ruleset {
        hns_abi::Ruleset {
            chunks: u32::try_from(self.slots).unwrap_or(0),
            first: 0,
            miss: std::array::from_fn(|dimension| match self.dimensions.get(dimension) {
                Some(plain) => plain.miss(),
                None => self.sets.as_ref().map_or(0, |sets| sets.rows[dimension - DIM_LOCAL_SETS].miss()),
            }),
            sets: self.sets.as_ref().map_or(0, |sets| sets.place),
        }
    }

    pub fn entries(&self, all: &mut Entries) {
        all.add(Map::Rulesets, &self.number, &self.header());
        for (position, item) in (0..).zip(&self.items) {
            all.add(Map::Rules, &RuleKey { ruleset: self.number, position }, &item.entry());
        }
        self.dimensions.iter().for_each(|dimension| dimension.entries(all));
        self.set_rows().for_each(|rows| rows.entries(all));
    }
}

impl Sets {
    fn build(
        ruleset: u32,
        slots: usize,
        items: &[Item],
        sets: &mut NetworkSets,
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> Self {
        let sides: [fn(&Match) -> &Addresses; 2] = [|matches| &matches.local, |matches| &matches.remote];
        let rows = [0, 1].map(|side| {
            let asks = items.iter().map(|item| sides[side](&item.rule.matches));
            let place = (ruleset, u32::from(side == 1));
            let mut rows = SetRows::build(place, slots, asks, &mut sets.numbers, (chunks, journal));
            for (number, class) in sets.classes() {
                rows.add_class(number, class, chunks, journal);
            }
            rows
        });
        Self { place: sets.place, rows }
    }
}
