//! One ordered list of rules as the programs search it.

use std::sync::Arc;

use hns_abi::{ACTION_ALLOW, ACTION_BLOCK, ACTION_PASS, CHUNK_BITS, DIMENSIONS, Map, RuleEntry, RuleKey};

use crate::model::{Action, Rule};

use super::Entries;
use super::chunks::{Chunks, by_slot};
use super::conditions::{Conditions, Maker};
use super::dimension::{Ask, Dimension};
use super::journal::Journal;
use super::sequence::{self, Item, Wish};

#[derive(Debug)]
pub(super) struct Ruleset {
    number: u32,
    slots: usize,
    items: Vec<Item>,
    dimensions: [Dimension; DIMENSIONS],
    mask: Mask,
}

/// The row of the positions in use: a new one with every change.
#[derive(Debug)]
struct Mask {
    place: u32,
    chunks: Vec<u32>,
}

/// A new version of a ruleset that keeps the positions of what stays.
pub(super) struct Change {
    items: Vec<Item>,
    /// Rules that come, and those that go, with what they ask.
    come: Vec<(Item, Conditions)>,
    go: Vec<(Item, Conditions)>,
}

/// What a change leaves to be done once no packet is judged by the former version.
pub(super) struct Leftover {
    go: Vec<(Item, Conditions)>,
    mask: Mask,
}

impl Ruleset {
    pub fn build(number: u32, wishes: &[Wish], chunks: &mut Chunks, journal: &mut Journal) -> Self {
        let slots = sequence::slots(wishes.len());
        let positions = sequence::spread(wishes.len(), slots);
        let items: Vec<Item> = wishes.iter().zip(positions).map(|(wish, at)| item(wish, at, None)).collect();
        let mut dimensions =
            std::array::from_fn(|dimension| Dimension::new(number, dimension, slots, chunks, journal));
        let mut maker = Maker::default();
        let come = with_conditions(items.iter(), &mut maker);
        for (dimension, tree) in dimensions.iter_mut().enumerate() {
            tree.add(&asks(&come, dimension), chunks, journal);
        }
        put_rules(number, &items, slots, |_| true, journal);
        let mask = Mask::of(&items, slots, chunks, journal);
        let ruleset = Self { number, slots, items, dimensions, mask };
        journal.put(Map::Rulesets, &number, &ruleset.header());
        ruleset
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    pub fn rule_at(&self, position: u32) -> Option<&Rule> {
        let place = self.items.binary_search_by_key(&position, |item| item.position).ok()?;
        self.items[place].rule.as_deref()
    }

    /// Takes over labels, when all decide as before.
    pub fn relabel(&mut self, wishes: &[Wish]) {
        for (item, wish) in self.items.iter_mut().zip(wishes) {
            if !item.reads_as(wish) {
                item.rule = wish.rule.map(|rule| Arc::new(rule.clone()));
            }
        }
    }

    /// None when it needs a ruleset of its own: a gap is used up, or a tier's end has moved.
    pub fn plan(&self, wishes: &[Wish]) -> Option<Change> {
        let staying = sequence::staying(&self.items, wishes);
        let positions = sequence::place(&self.items, &staying, self.slots)?;
        let items: Vec<Item> = wishes
            .iter()
            .zip(positions)
            .zip(&staying)
            .map(|((wish, at), stays)| item(wish, at, stays.map(|place| &self.items[place])))
            .collect();
        let before = sequence::pass_targets(&self.items, self.slots);
        let after = sequence::pass_targets(&items, self.slots);
        let misled = |place: usize| {
            staying[place].is_some_and(|old| sequence::passes(&items[place]) && before[old] != after[place])
        };
        if (0..items.len()).any(misled) {
            return None;
        }
        let mut goes = vec![true; self.items.len()];
        staying.iter().flatten().for_each(|place| goes[*place] = false);
        let mut maker = Maker::default();
        let come = items.iter().zip(&staying).filter(|(_, stays)| stays.is_none()).map(|(item, _)| item);
        let come = with_conditions(come, &mut maker);
        let go = self.items.iter().zip(&goes).filter(|(_, goes)| **goes).map(|(item, _)| item);
        let go = with_conditions(go, &mut maker);
        drop(maker);
        Some(Change { items, come, go })
    }

    /// The most rows and chunks that the change may need before anything is given back.
    pub fn needs(&self, change: &Change) -> (usize, usize) {
        let touched = change.come.iter().chain(&change.go).map(|(item, _)| item.position / 512);
        let mut touched: Vec<u32> = touched.collect();
        touched.sort_unstable();
        touched.dedup();
        let (mut rows, mut chunks) = (1, self.slots);
        for (dimension, tree) in self.dimensions.iter().enumerate() {
            let (come, go) = (asks(&change.come, dimension), asks(&change.go, dimension));
            let needs = tree.needs(&come, &go, touched.len());
            rows += needs.0;
            chunks += needs.1;
        }
        (rows, chunks)
    }

    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Brings in what comes, then in one step makes it count and what goes not count.
    pub fn change(&mut self, change: Change, chunks: &mut Chunks, journal: &mut Journal) -> Leftover {
        for (dimension, tree) in self.dimensions.iter_mut().enumerate() {
            tree.add(&asks(&change.come, dimension), chunks, journal);
        }
        self.items = change.items;
        let come =
            |item: &Item| change.come.binary_search_by_key(&item.position, |(new, _)| new.position).is_ok();
        put_rules(self.number, &self.items, self.slots, come, journal);
        let mask = Mask::of(&self.items, self.slots, chunks, journal);
        let mask = std::mem::replace(&mut self.mask, mask);
        journal.put(Map::Rulesets, &self.number, &self.header());
        Leftover { go: change.go, mask }
    }

    pub fn clean(&mut self, leftover: Leftover, chunks: &mut Chunks, journal: &mut Journal) {
        for (dimension, tree) in self.dimensions.iter_mut().enumerate() {
            tree.remove(&asks(&leftover.go, dimension), chunks, journal);
        }
        for (item, _) in &leftover.go {
            journal.delete(Map::Rules, &key(self.number, item));
        }
        leftover.mask.give_back(chunks);
    }

    pub fn dissolve(self, chunks: &mut Chunks, journal: &mut Journal) {
        journal.delete(Map::Rulesets, &self.number);
        for dimension in self.dimensions {
            dimension.dissolve(chunks, journal);
        }
        for item in self.items.iter().filter(|item| item.rule.is_some()) {
            journal.delete(Map::Rules, &key(self.number, item));
        }
        self.mask.give_back(chunks);
    }

    fn header(&self) -> hns_abi::Ruleset {
        hns_abi::Ruleset {
            chunks: u32::try_from(self.slots).unwrap_or(0),
            mask: self.mask.place,
            miss: std::array::from_fn(|dimension| self.dimensions[dimension].miss()),
        }
    }

    pub fn entries(&self, all: &mut Entries) {
        all.add(Map::Rulesets, &self.number, &self.header());
        for (item, next) in self.items.iter().zip(sequence::pass_targets(&self.items, self.slots)) {
            if let Some(entry) = entry(item, next) {
                all.add(Map::Rules, &key(self.number, item), &entry);
            }
        }
        self.dimensions.iter().for_each(|dimension| dimension.entries(all));
    }
}

impl Mask {
    fn of(items: &[Item], slots: usize, chunks: &mut Chunks, journal: &mut Journal) -> Self {
        let positions = items.iter().filter(|item| item.rule.is_some()).map(|item| item.position);
        let mut row = vec![[0; CHUNK_BITS / 64]; slots];
        for (slot, bits) in by_slot(positions) {
            row[slot] = bits;
        }
        let row: Vec<u32> = row.iter().map(|bits| chunks.take(bits, journal)).collect();
        let place = chunks.directory.take(u32::try_from(slots).unwrap_or(0));
        journal.array(Map::Directory, place, row.as_slice());
        Self { place, chunks: row }
    }

    fn give_back(self, chunks: &mut Chunks) {
        chunks.directory.give_back(self.place, u32::try_from(self.chunks.len()).unwrap_or(0));
        self.chunks.iter().for_each(|chunk| chunks.give_back(*chunk));
    }
}

fn item(wish: &Wish, position: u32, stays: Option<&Item>) -> Item {
    let rule = match stays.filter(|item| item.reads_as(wish)) {
        Some(item) => item.rule.clone(),
        None => wish.rule.map(|rule| Arc::new(rule.clone())),
    };
    Item { position, hash: wish.hash, rule }
}

fn with_conditions<'a>(
    items: impl Iterator<Item = &'a Item>,
    maker: &mut Maker<'a>,
) -> Vec<(Item, Conditions)> {
    items.filter_map(|item| Some((item.clone(), maker.conditions(&item.rule.as_ref()?.matches)))).collect()
}

fn asks(rules: &[(Item, Conditions)], dimension: usize) -> Vec<Ask> {
    rules.iter().map(|(item, conditions)| (item.position, conditions[dimension].clone())).collect()
}

fn put_rules(
    number: u32,
    items: &[Item],
    slots: usize,
    which: impl Fn(&Item) -> bool,
    journal: &mut Journal,
) {
    let targets = sequence::pass_targets(items, slots);
    for (item, next) in items.iter().zip(targets).filter(|(item, _)| which(item)) {
        if let Some(entry) = entry(item, next) {
            journal.put(Map::Rules, &key(number, item), &entry);
        }
    }
}

fn key(ruleset: u32, item: &Item) -> RuleKey {
    RuleKey { ruleset, position: item.position }
}

fn entry(item: &Item, end_of_tier: u32) -> Option<RuleEntry> {
    let (action, next) = match item.rule.as_ref()?.action {
        Action::Block => (ACTION_BLOCK, 0),
        Action::Allow => (ACTION_ALLOW, 0),
        Action::Pass => (ACTION_PASS, end_of_tier),
    };
    Some(RuleEntry { packets: 0, action: action.into(), next })
}
