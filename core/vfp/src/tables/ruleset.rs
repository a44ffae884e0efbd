//! One ordered list of rules as the programs search it: the place in the list is the rule's position.

use std::sync::Arc;

use hns_abi::{ACTION_ALLOW, ACTION_BLOCK, ACTION_PASS, CHUNK_BITS, DIMENSIONS, Map, RuleEntry, RuleKey};

use crate::model::{Acl, Action, Rule};

use super::Entries;
use super::chunks::Chunks;
use super::conditions::Maker;
use super::dimension::Dimension;
use super::hash;
use super::journal::Journal;

#[derive(Debug)]
pub(super) struct Ruleset {
    number: u32,
    slots: usize,
    items: Vec<Item>,
    dimensions: [Dimension; DIMENSIONS],
}

/// A rule, and where its Pass leads to: the first position behind its tier.
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
        let next = u32::try_from(items.len() + rules.len()).unwrap_or(u32::MAX);
        let item = |rule: &Rule| Item { hash: hash::of_rule(rule), next, rule: Arc::new(rule.clone()) };
        items.extend(rules.iter().map(item));
    }
    items
}

/// Of a whole list.
pub(super) fn content(items: &[Item]) -> u64 {
    items.iter().fold(0, |sum, item| hash::scatter(sum ^ item.hash ^ u64::from(item.entry().next)))
}

impl Item {
    fn entry(&self) -> RuleEntry {
        let (action, next) = match self.rule.action {
            Action::Block => (ACTION_BLOCK, 0),
            Action::Allow => (ACTION_ALLOW, 0),
            Action::Pass => (ACTION_PASS, self.next),
        };
        RuleEntry { packets: 0, action: action.into(), next }
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
    pub fn build(number: u32, items: Vec<Item>, chunks: &mut Chunks, journal: &mut Journal) -> Self {
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
        let ruleset = Self { number, slots, items, dimensions };
        journal.put(Map::Rulesets, &number, &ruleset.header());
        ruleset
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
        journal.delete(Map::Rulesets, &self.number);
        for dimension in self.dimensions {
            dimension.dissolve(chunks, journal);
        }
        for (position, _) in (0..).zip(&self.items) {
            journal.delete(Map::Rules, &RuleKey { ruleset: self.number, position });
        }
    }

    fn header(&self) -> hns_abi::Ruleset {
        hns_abi::Ruleset {
            chunks: u32::try_from(self.slots).unwrap_or(0),
            first: 0,
            miss: std::array::from_fn(|dimension| self.dimensions[dimension].miss()),
        }
    }

    pub fn entries(&self, all: &mut Entries) {
        all.add(Map::Rulesets, &self.number, &self.header());
        for (position, item) in (0..).zip(&self.items) {
            all.add(Map::Rules, &RuleKey { ruleset: self.number, position }, &item.entry());
        }
        self.dimensions.iter().for_each(|dimension| dimension.entries(all));
    }
}
