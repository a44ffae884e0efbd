//! The address sets of networks, as tables of their own: from an address to its *class*, the combination of sets that it is in.
//!
//! ```text
//!   set web:  10.0.0.2, 10.0.0.3        10.0.0.0/24 -> {prod}
//!   set prod: 10.0.0.0/24               10.0.0.2    -> {prod, web}
//!                                       10.0.0.3    -> {prod, web}
//! ```
//!
//! What each ruleset makes of a class is its own (`set_rows`). An address that changes its class is one write, which a packet meets or
//! does not. A change of several addresses could be met half made, by a packet from one to another of them: its entries are
//! written anew to another *space*, which the network's rulesets look into from one write to `set_spaces` on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hns_abi::{Addr, Map, SetClassKey};
use hns_net::Guid;

use crate::model::Sets;

use super::Entries;
use super::journal::Journal;
use super::prefix::{Condition, Prefix};
use super::rulesets::{Retired, Rulesets};
use super::set_rows::SetRows;

/// The sets of one network.
#[derive(Debug)]
pub(super) struct NetworkSets {
    /// In `set_spaces`, as long as the network has sets or rules that name some.
    pub place: u32,
    /// Of [`SetClassKey`].
    space: u32,
    pub numbers: SetNumbers,
    /// As they were set.
    content: Sets,
    /// By number.
    members: BTreeMap<u32, Condition>,
    entries: BTreeMap<Prefix, Entry>,
    /// How many entries have a length.
    lengths: BTreeMap<u8, usize>,
    classes: BTreeMap<u32, Class>,
    by_content: HashMap<BTreeSet<u32>, u32>,
    /// That name sets of this network.
    pub rulesets: BTreeSet<u32>,
}

/// What is said of a block of addresses.
#[derive(Debug, Default)]
struct Entry {
    /// Sets that have just this block.
    own: BTreeSet<u32>,
    /// Of the sets that contain it; 0 as long as it is not written.
    class: u32,
}

/// A combination of sets.
#[derive(Debug)]
pub(super) struct Class {
    /// By number.
    pub sets: BTreeSet<u32>,
    /// How many entries lead to it.
    users: usize,
    retired: bool,
}

/// Ids of sets by the numbers that stand for them, those of sets that rules name in vain as well.
#[derive(Debug, Default)]
pub(super) struct SetNumbers {
    last: u32,
    by_id: BTreeMap<String, u32>,
}

impl SetNumbers {
    pub fn of(&mut self, id: &str) -> u32 {
        if let Some(number) = self.by_id.get(id) {
            return *number;
        }
        self.last += 1;
        self.by_id.insert(id.to_owned(), self.last);
        self.last
    }
}

/// A block of addresses that leads to another class; 0: to none of its own.
struct Move {
    prefix: Prefix,
    before: u32,
    after: u32,
}

impl NetworkSets {
    pub fn new(place: u32, space: u32) -> Self {
        Self {
            place,
            space,
            numbers: SetNumbers::default(),
            content: Sets::default(),
            members: BTreeMap::new(),
            entries: BTreeMap::new(),
            lengths: BTreeMap::new(),
            classes: BTreeMap::new(),
            by_content: HashMap::new(),
            rulesets: BTreeSet::new(),
        }
    }

    pub fn classes(&self) -> impl Iterator<Item = (u32, &Class)> {
        self.classes.iter().map(|(number, class)| (*number, class))
    }

    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.rulesets.is_empty()
    }

    pub fn entries(&self, all: &mut Entries) {
        for (prefix, entry) in &self.entries {
            all.add(Map::SetClasses, &key(self.space, *prefix), &entry.class);
        }
    }

    /// Takes these sets for those of the network: what becomes of its blocks.
    fn turn_into(&mut self, wanted: &Sets, last_class: &mut u32) -> Vec<Move> {
        let edits = self.edits(wanted);
        self.content = wanted.clone();
        for (prefix, set, is_in) in &edits {
            self.mark(*prefix, *set, *is_in);
        }
        let mut moves = Vec::new();
        let mut root: Option<Prefix> = None;
        for (prefix, ..) in edits {
            if root.is_none_or(|root| !root.contains(prefix)) {
                self.classify(prefix, &mut moves, last_class);
                root = Some(prefix);
            }
        }
        moves
    }

    /// Which blocks come into which sets, and which leave them, in order.
    fn edits(&mut self, wanted: &Sets) -> Vec<(Prefix, u32, bool)> {
        let mut edits = Vec::new();
        for id in self.content.changed(wanted) {
            let set = self.numbers.of(id);
            let after = Condition::of_blocks(wanted.members(id));
            let before = self.members.remove(&set);
            let old = before.as_ref().map_or(&[][..], |before| &before.prefixes);
            difference(old, &after.prefixes, |prefix, is_in| edits.push((prefix, set, is_in)));
            if !after.prefixes.is_empty() {
                self.members.insert(set, after);
            }
        }
        edits.sort_unstable();
        edits
    }

    fn mark(&mut self, prefix: Prefix, set: u32, is_in: bool) {
        let lengths = &mut self.lengths;
        let entry = self.entries.entry(prefix).or_insert_with(|| {
            *lengths.entry(prefix.length).or_default() += 1;
            Entry::default()
        });
        if is_in {
            entry.own.insert(set);
        } else {
            entry.own.remove(&set);
        }
    }

    /// Gives this block and those inside it the classes that their marks lead to; those without a mark go.
    fn classify(&mut self, root: Prefix, moves: &mut Vec<Move>, last_class: &mut u32) {
        let mut around = vec![(root, self.sets_around(root))];
        let inside: Vec<Prefix> = self.entries.range(root..=root.last()).map(|(prefix, _)| *prefix).collect();
        for prefix in inside {
            while around.len() > 1 && around.last().is_some_and(|(outer, _)| !outer.contains(prefix)) {
                around.pop();
            }
            let Some(entry) = self.entries.get(&prefix) else { continue };
            let before = entry.class;
            if entry.own.is_empty() {
                self.remove(prefix);
                moves.extend((before != 0).then_some(Move { prefix, before, after: 0 }));
                continue;
            }
            let outer = around.last().map(|(_, sets)| sets);
            let sets: BTreeSet<u32> = outer.into_iter().flatten().chain(&entry.own).copied().collect();
            let after = self.class_of(&sets, last_class);
            around.push((prefix, sets));
            if after != before {
                moves.push(Move { prefix, before, after });
                self.lead(prefix, before, after);
            }
        }
    }

    /// The sets that larger blocks are in.
    fn sets_around(&self, root: Prefix) -> BTreeSet<u32> {
        let outer =
            self.lengths.range(..root.length).filter_map(|(length, _)| self.entries.get(&root.cut(*length)));
        outer.flat_map(|entry| &entry.own).copied().collect()
    }

    /// Numbers are never given twice: a class of sets that are gone may still be in the maps.
    fn class_of(&mut self, sets: &BTreeSet<u32>, last: &mut u32) -> u32 {
        if let Some(class) = self.by_content.get(sets) {
            return *class;
        }
        *last += 1;
        self.by_content.insert(sets.clone(), *last);
        self.classes.insert(*last, Class { sets: sets.clone(), users: 0, retired: false });
        *last
    }

    /// Whether packets may see one of these moves and not yet another.
    fn may_be_half_made(&self, moves: &[Move]) -> bool {
        let of_family = |v4| moves.iter().filter(|moved| moved.prefix.is_v4() == v4).count();
        !self.rulesets.is_empty() && (of_family(true) > 1 || of_family(false) > 1)
    }

    /// How many entries the moves add before they take any away.
    fn more_entries(&self, moves: &[Move]) -> usize {
        if self.may_be_half_made(moves) {
            self.entries.len()
        } else {
            moves.iter().filter(|moved| moved.before == 0).count()
        }
    }

    fn lead(&mut self, prefix: Prefix, before: u32, after: u32) {
        if let Some(entry) = self.entries.get_mut(&prefix) {
            entry.class = after;
        }
        self.count(before, after);
    }

    fn count(&mut self, before: u32, after: u32) {
        if let Some(class) = self.classes.get_mut(&before) {
            class.users -= 1;
        }
        if let Some(class) = self.classes.get_mut(&after) {
            class.users += 1;
        }
    }

    fn remove(&mut self, prefix: Prefix) {
        let Some(entry) = self.entries.remove(&prefix) else { return };
        self.count(entry.class, 0);
        if let Some(count) = self.lengths.get_mut(&prefix.length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.length);
            }
        }
    }

    /// Forgets a class that nothing leads to.
    fn forget_class(&mut self, number: u32) {
        if let Some(class) = self.classes.remove(&number) {
            self.by_content.remove(&class.sets);
        }
    }

    /// Which prefixes stood in the map before these moves, and with which classes.
    fn written_before(&self, moves: &[Move]) -> Vec<(Prefix, u32)> {
        let mut written: BTreeMap<Prefix, u32> =
            self.entries.iter().map(|(p, entry)| (*p, entry.class)).collect();
        for moved in moves {
            written.remove(&moved.prefix);
            if moved.before != 0 {
                written.insert(moved.prefix, moved.before);
            }
        }
        written.into_iter().collect()
    }

    /// The numbers of changed sets. Ids that neither a set nor a rule has any more lose theirs.
    fn numbers_of(&mut self, changed: &BTreeSet<&str>, in_rules: &BTreeSet<u32>) -> BTreeSet<u32> {
        let numbers = changed.iter().map(|id| self.numbers.of(id)).collect();
        let members = &self.members;
        self.numbers.by_id.retain(|_, number| members.contains_key(number) || in_rules.contains(number));
        numbers
    }
}

/// One that is in one list alone; of lists in order.
fn difference(old: &[Prefix], new: &[Prefix], mut see: impl FnMut(Prefix, bool)) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one == other => {
                old.next();
                new.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                see(**one, false);
                old.next();
            }
            (_, Some(other)) => {
                see(**other, true);
                new.next();
            }
            _ => return,
        }
    }
}

pub(super) const fn key(space: u32, prefix: Prefix) -> SetClassKey {
    let addr = Addr { b: prefix.bits.to_be_bytes() };
    SetClassKey { prefixlen: 32 + prefix.length as u32, space, addr }
}

impl Rulesets {
    /// The sets of a network, to be named by a ruleset.
    pub fn sets_of(&mut self, network: Guid, journal: &mut Journal) -> Result<&mut NetworkSets, Map> {
        if !self.sets.contains_key(&network) {
            let place = self.places.take().ok_or(Map::SetSpaces)?;
            self.spaces += 1;
            journal.array(Map::SetSpaces, place, &self.spaces);
            self.sets.insert(network, NetworkSets::new(place, self.spaces));
        }
        self.sets.get_mut(&network).ok_or(Map::SetSpaces)
    }

    /// Makes these the sets of a network; says which rulesets name one that has changed.
    pub fn set_sets(
        &mut self,
        network: Guid,
        wanted: &Sets,
        journal: &mut Journal,
    ) -> Result<BTreeSet<u32>, Map> {
        let before = self.sets.get(&network).map_or_else(Sets::default, |sets| sets.content.clone());
        if before.changed(wanted).is_empty() {
            return Ok(BTreeSet::new());
        }
        let newest = self.classes;
        self.sets_of(network, journal)?;
        let Some(sets) = self.sets.get_mut(&network) else { return Ok(BTreeSet::new()) };
        let moves = sets.turn_into(wanted, &mut self.classes);
        let more = sets.more_entries(&moves);
        self.chunks.enter(Map::SetClasses, more);
        if let Err(map) = self.make_rows(network, newest, journal) {
            self.chunks.leave(Map::SetClasses, more);
            self.take_back(network, &before, newest);
            return Err(map);
        }
        self.publish(network, &moves, journal);
        let affected = self.naming(network, &before.changed(wanted));
        self.drop_unused_sets(network);
        Ok(affected)
    }

    /// Rows for the classes that came after `newest`, in each ruleset that names sets.
    fn make_rows(&mut self, network: Guid, newest: u32, journal: &mut Journal) -> Result<(), Map> {
        let Some(sets) = self.sets.get(&network) else { return Ok(()) };
        for ruleset in &sets.rulesets {
            let Some(shared) = self.all.get_mut(ruleset) else { continue };
            for rows in shared.ruleset.set_rows_mut() {
                for (number, class) in sets.classes.range(newest + 1..) {
                    rows.add_class(*number, class, &mut self.chunks, journal);
                }
            }
            self.chunks.overdrawn().map_or(Ok(()), Err)?;
        }
        self.chunks.overdrawn().map_or(Ok(()), Err)
    }

    /// Nothing of it has reached the maps.
    fn take_back(&mut self, network: Guid, before: &Sets, newest: u32) {
        let Some(sets) = self.sets.get_mut(&network) else { return };
        sets.turn_into(before, &mut self.classes);
        let fresh: Vec<u32> = sets.classes.range(newest + 1..).map(|(number, _)| *number).collect();
        for class in fresh {
            self.dissolve_class(network, class, &mut Journal::default());
        }
        self.drop_unused_sets(network);
    }

    /// Lets packets see the moves.
    fn publish(&mut self, network: Guid, moves: &[Move], journal: &mut Journal) {
        let Some(sets) = self.sets.get_mut(&network) else { return };
        if sets.may_be_half_made(moves) {
            self.spaces += 1;
            let left = std::mem::replace(&mut sets.space, self.spaces);
            for (prefix, entry) in &sets.entries {
                journal.put(Map::SetClasses, &key(sets.space, *prefix), &entry.class);
            }
            journal.array(Map::SetSpaces, sets.place, &sets.space);
            let written = sets.written_before(moves);
            self.losses += 1;
            self.retired.push_back((self.losses, Retired::Space(left, written)));
        } else {
            for Move { prefix, after, .. } in moves {
                match after {
                    0 => journal.delete(Map::SetClasses, &key(sets.space, *prefix)),
                    class => journal.put(Map::SetClasses, &key(sets.space, *prefix), class),
                }
            }
            let deleted = moves.iter().filter(|moved| moved.after == 0).count();
            self.chunks.leave(Map::SetClasses, deleted);
        }
        self.retire_classes(network, moves);
    }

    fn retire_classes(&mut self, network: Guid, moves: &[Move]) {
        let Some(sets) = self.sets.get_mut(&network) else { return };
        for Move { before, after, .. } in moves {
            if let Some(class) = sets.classes.get_mut(after).filter(|class| class.retired) {
                class.retired = false;
                let is_it = |retired: &Retired| matches!(retired, Retired::Class(of, class) if (*of, class) == (network, after));
                self.retired.retain(|(_, retired)| !is_it(retired));
            }
            let lost = sets.classes.get_mut(before).filter(|class| class.users == 0 && !class.retired);
            if let Some(class) = lost {
                class.retired = true;
                self.losses += 1;
                self.retired.push_back((self.losses, Retired::Class(network, *before)));
            }
        }
    }

    /// The rulesets of a network that name one of these sets.
    fn naming(&mut self, network: Guid, changed: &BTreeSet<&str>) -> BTreeSet<u32> {
        let Some(sets) = self.sets.get_mut(&network) else { return BTreeSet::new() };
        let rows_of =
            |number: &u32| self.all.get(number).into_iter().flat_map(|shared| shared.ruleset.set_rows());
        let in_rules = sets.rulesets.iter().flat_map(rows_of).flat_map(SetRows::named).collect();
        let changed = sets.numbers_of(changed, &in_rules);
        let names_one = |number: &&u32| rows_of(number).any(|rows| rows.names_one_of(&changed));
        sets.rulesets.iter().filter(names_one).copied().collect()
    }

    pub fn dissolve_class(&mut self, network: Guid, class: u32, journal: &mut Journal) {
        let Some(sets) = self.sets.get_mut(&network) else { return };
        for ruleset in &sets.rulesets {
            let Some(shared) = self.all.get_mut(ruleset) else { continue };
            for rows in shared.ruleset.set_rows_mut() {
                rows.drop_class(class, &mut self.chunks, journal);
            }
        }
        sets.forget_class(class);
    }

    pub fn drop_unused_sets(&mut self, network: Guid) {
        let unused = self.sets.get(&network).filter(|sets| sets.is_unused()).map(|sets| sets.place);
        if let Some(place) = unused {
            // No ruleset leads there any more.
            self.places.give_back(place);
            self.sets.remove(&network);
        }
    }
}
