//! All rulesets. Equal lists of rules are one ruleset, and a ruleset never changes: a port that gets other rules gets another
//! ruleset, by the number in its record. What nobody uses any more stays in the maps, because a program may be in the midst of
//! it, until the daemon knows that no program is ([`Rulesets::release`]).

use std::collections::{BTreeMap, VecDeque};

use hns_abi::Map;
use hns_net::Guid;

use crate::model::{Acl, Rule};

use super::Entries;
use super::chunks::{Capacity, Chunks};
use super::hash::QuickMap;
use super::journal::Journal;
use super::places::Places;
use super::prefix::Prefix;
use super::ruleset::{self, Item, Ruleset};
use super::sets::{self, NetworkSets};

#[derive(Debug)]
pub(super) struct Rulesets {
    last: u32,
    pub all: BTreeMap<u32, Shared>,
    by_content: QuickMap<u64, Vec<u32>>,
    /// Without a user, still in the maps: when each lost its last one.
    pub retired: VecDeque<(u64, Retired)>,
    pub losses: u64,
    pub chunks: Chunks,
    /// By network.
    pub sets: BTreeMap<Guid, NetworkSets>,
    /// In `set_spaces`, of networks.
    pub places: Places,
    /// The last one that was given; so of [`classes`](Self::classes).
    pub spaces: u32,
    pub classes: u32,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub ruleset: Ruleset,
    /// Of rules that name sets: whose.
    network: Option<Guid>,
    content: u64,
    users: u32,
}

/// What no packet is led to any more, unless a program is in the midst of it.
#[derive(Debug)]
pub(super) enum Retired {
    Ruleset(u32),
    /// A combination of sets of this network.
    Class(Guid, u32),
    /// Where a network's addresses had their classes, and which.
    Space(u32, Vec<(Prefix, u32)>),
}

impl Rulesets {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            last: 0,
            all: BTreeMap::new(),
            by_content: QuickMap::default(),
            retired: VecDeque::new(),
            losses: 0,
            chunks: Chunks::new(capacity),
            sets: BTreeMap::new(),
            places: Places::new(hns_abi::SET_SPACES_MAX),
            spaces: 0,
            classes: 0,
        }
    }

    /// The ruleset that says `acl` on a network, with one user more; 0: it has no rules. `current`: the one to be taken rather than
    /// another.
    pub fn take(
        &mut self,
        current: u32,
        acl: &Acl,
        network: Guid,
        journal: &mut Journal,
    ) -> Result<u32, Map> {
        let items = ruleset::items(acl);
        if items.is_empty() {
            return Ok(0);
        }
        let network = ruleset::name_sets(&items).then_some(network);
        let content = ruleset::content(&items);
        if let Some(number) = self.find(current, content, network, &items) {
            self.share(number);
            return Ok(number);
        }
        if let Some(own) = self.all.get_mut(&current).filter(|shared| shared.users == 1)
            && own.content == content
            && own.network == network
            && own.ruleset.acts_as(&items)
        {
            // Labels are not in the maps.
            own.ruleset.relabel(items);
            own.users += 1;
            return Ok(current);
        }
        self.build(content, network, items, journal)
    }

    fn build(
        &mut self,
        content: u64,
        network: Option<Guid>,
        items: Vec<Item>,
        journal: &mut Journal,
    ) -> Result<u32, Map> {
        let number = self.last + 1;
        if let Some(network) = network {
            self.sets_of(network, journal)?.rulesets.insert(number);
        }
        let sets = network.and_then(|network| self.sets.get_mut(&network));
        let ruleset = Ruleset::build(number, items, sets, &mut self.chunks, journal);
        if let Some(map) = self.chunks.overdrawn() {
            ruleset.dissolve(&mut self.chunks, &mut Journal::default());
            self.leave_sets(network, number);
            return Err(map);
        }
        self.last = number;
        self.all.insert(number, Shared { ruleset, network, content, users: 1 });
        self.by_content.entry(content).or_default().push(number);
        Ok(number)
    }

    /// One user less; 0 is nobody's.
    pub fn give_back(&mut self, number: u32) {
        let Some(shared) = self.all.get_mut(&number) else { return };
        shared.users -= 1;
        if shared.users == 0 {
            self.losses += 1;
            self.retired.push_back((self.losses, Retired::Ruleset(number)));
        }
    }

    /// As [`give_back`](Self::give_back), of a ruleset whose entries never reached the maps if nobody else uses it.
    pub fn abandon(&mut self, number: u32, is_new: bool) {
        self.give_back(number);
        if is_new && self.revive(number) {
            self.dissolve(number, &mut Journal::default());
        }
    }

    /// The last loss, if there is any to release.
    pub fn former(&self) -> Option<u64> {
        self.retired.back().map(|(loss, _)| *loss)
    }

    /// Takes out of the maps what was lost up to this loss, now that no program looks at it.
    pub fn release(&mut self, former: u64, journal: &mut Journal) {
        while let Some((_, retired)) = self.retired.pop_front_if(|(loss, _)| *loss <= former) {
            match retired {
                Retired::Ruleset(number) => self.dissolve(number, journal),
                Retired::Class(network, class) => self.dissolve_class(network, class, journal),
                Retired::Space(space, prefixes) => {
                    self.chunks.leave(Map::SetClasses, prefixes.len());
                    for (prefix, _) in prefixes {
                        journal.delete(Map::SetClasses, &sets::key(space, prefix));
                    }
                }
            }
        }
    }

    /// The number that the next new ruleset gets.
    pub const fn next(&self) -> u32 {
        self.last + 1
    }

    pub fn rule_at(&self, ruleset: u32, position: u32) -> Option<&Rule> {
        self.all.get(&ruleset)?.ruleset.rule_at(position)
    }

    pub fn rules(&self, ruleset: u32) -> impl Iterator<Item = (u32, &Rule)> {
        (0..).zip(self.all.get(&ruleset).into_iter().flat_map(|shared| shared.ruleset.rules()))
    }

    pub fn entries(&self, all: &mut Entries) {
        self.all.values().for_each(|shared| shared.ruleset.entries(all));
        self.sets.values().for_each(|sets| sets.entries(all));
        for (_, retired) in &self.retired {
            let Retired::Space(space, prefixes) = retired else { continue };
            for (prefix, class) in prefixes {
                all.add(Map::SetClasses, &sets::key(*space, *prefix), class);
            }
        }
    }

    pub fn chunks_in_use(&self) -> usize {
        self.chunks.in_use()
    }

    pub fn directory_in_use(&self) -> usize {
        self.chunks.directory_in_use()
    }

    /// A ruleset of just these rules, labels included; the current one rather than another.
    fn find(&self, current: u32, content: u64, network: Option<Guid>, items: &[Item]) -> Option<u32> {
        let same = |number: &u32| {
            self.all.get(number).is_some_and(|shared| {
                shared.network == network && shared.ruleset.acts_as(items) && shared.ruleset.reads_as(items)
            })
        };
        let numbers = self.by_content.get(&content)?;
        let own = numbers.iter().filter(|number| **number == current);
        let others = numbers.iter().filter(|number| **number != current);
        own.chain(others).copied().find(same)
    }

    fn share(&mut self, number: u32) {
        self.revive(number);
        if let Some(shared) = self.all.get_mut(&number) {
            shared.users += 1;
        }
    }

    /// Says whether it was retired.
    fn revive(&mut self, number: u32) -> bool {
        let is_it = |retired: &Retired| matches!(retired, Retired::Ruleset(other) if *other == number);
        let place = self.retired.iter().position(|(_, retired)| is_it(retired));
        place.and_then(|place| self.retired.remove(place)).is_some()
    }

    fn dissolve(&mut self, number: u32, journal: &mut Journal) {
        let Some(shared) = self.all.remove(&number) else { return };
        if let Some(numbers) = self.by_content.get_mut(&shared.content) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_content.remove(&shared.content);
            }
        }
        shared.ruleset.dissolve(&mut self.chunks, journal);
        self.leave_sets(shared.network, number);
    }

    fn leave_sets(&mut self, network: Option<Guid>, number: u32) {
        let Some(network) = network else { return };
        if let Some(sets) = self.sets.get_mut(&network) {
            sets.rulesets.remove(&number);
        }
        self.drop_unused_sets(network);
    }
}
