//! All rulesets: equal lists of rules are one, a list that only one port uses is changed in place.

use std::collections::BTreeMap;

use hns_abi::Map;

use crate::model::{Acl, Rule};

use super::Entries;
use super::chunks::{Capacity, Chunks};
use super::hash::QuickMap;
use super::journal::Journal;
use super::ruleset::{Change, Leftover, Ruleset};
use super::sequence::{self, Wish};

#[derive(Debug)]
pub(super) struct Rulesets {
    last: u32,
    all: BTreeMap<u32, Shared>,
    by_content: QuickMap<u64, Vec<u32>>,
    chunks: Chunks,
}

#[derive(Debug)]
struct Shared {
    ruleset: Ruleset,
    content: u64,
    users: u32,
}

/// What becomes of one direction of a port.
pub(super) enum Plan<'a> {
    /// Has this ruleset, 0: none, ready to be used.
    Ready(u32),
    /// Keeps its ruleset, which is changed.
    Change { ruleset: u32, wishes: Vec<Wish<'a>>, change: Change },
}

impl Plan<'_> {
    pub const fn ruleset(&self) -> u32 {
        match self {
            Self::Ready(ruleset) | Self::Change { ruleset, .. } => *ruleset,
        }
    }
}

/// Changes that packets are judged by already, until the rests are swept up.
pub(super) struct Rest {
    ruleset: u32,
    leftover: Leftover,
}

impl Rulesets {
    pub fn new(capacity: Capacity) -> Self {
        Self { last: 0, all: BTreeMap::new(), by_content: QuickMap::default(), chunks: Chunks::new(capacity) }
    }

    /// How to get from ruleset `current` (0: none) to `acl`. A ruleset that is not the current one gets one user more.
    /// `in_place`: whether the current one may be changed.
    pub fn plan<'a>(
        &mut self,
        current: u32,
        acl: &'a Acl,
        in_place: bool,
        journal: &mut Journal,
    ) -> Result<Plan<'a>, Map> {
        let wishes = sequence::wishes(acl);
        if wishes.iter().all(|wish| wish.rule.is_none()) {
            return Ok(Plan::Ready(0));
        }
        let content = sequence::content(&wishes);
        if let Some(ruleset) = self.find(current, content, &wishes) {
            if ruleset != current {
                self.share(ruleset);
            }
            return Ok(Plan::Ready(ruleset));
        }
        let own = self.all.get_mut(&current).filter(|shared| shared.users == 1);
        if let Some(shared) = own {
            if shared.content == content && acts_as(&shared.ruleset, &wishes) {
                shared.ruleset.relabel(&wishes);
                return Ok(Plan::Ready(current));
            }
            let change = in_place.then(|| shared.ruleset.plan(&wishes)).flatten();
            if let Some(change) = change {
                self.forget_content(current);
                return Ok(Plan::Change { ruleset: current, wishes, change });
            }
        }
        self.build(content, &wishes, journal).map(Plan::Ready)
    }

    /// With one user.
    fn build(&mut self, content: u64, wishes: &[Wish], journal: &mut Journal) -> Result<u32, Map> {
        let number = self.last + 1;
        let ruleset = Ruleset::build(number, wishes, &mut self.chunks, journal);
        if let Some(map) = self.chunks.overdrawn() {
            ruleset.dissolve(&mut self.chunks, &mut Journal::default());
            return Err(map);
        }
        self.last = number;
        self.all.insert(number, Shared { ruleset, content, users: 1 });
        self.by_content.entry(content).or_default().push(number);
        Ok(number)
    }

    /// Turns planned changes into rulesets of their own unless all of them fit into the maps for certain.
    pub fn secure(&mut self, plans: &mut [Plan<'_>], journal: &mut Journal) -> Result<(), Map> {
        let (mut rows, mut chunks, mut slots) = (0, 0, 1);
        for plan in plans.iter() {
            if let Plan::Change { ruleset, change, .. } = plan {
                let Some(shared) = self.all.get(ruleset) else { continue };
                let needs = shared.ruleset.needs(change);
                rows += needs.0;
                chunks += needs.1;
                slots = slots.max(shared.ruleset.slots());
            }
        }
        let runs = self.chunks.directory.available(u32::try_from(slots).unwrap_or(u32::MAX));
        if rows <= runs && chunks <= self.chunks.available() {
            return Ok(());
        }
        for plan in plans {
            if let Plan::Change { ruleset, wishes, .. } = plan {
                let built = self.build(sequence::content(wishes), wishes, journal)?;
                self.remember_content(*ruleset);
                *plan = Plan::Ready(built);
            }
        }
        Ok(())
    }

    /// Undoes plans that are not carried out. `current`: what the port had and keeps.
    pub fn abandon(&mut self, plans: Vec<Plan<'_>>, current: [u32; 2]) {
        for (direction, plan) in plans.into_iter().enumerate() {
            match plan {
                Plan::Ready(ruleset) if ruleset != current[direction] => {
                    self.give_back(ruleset, &mut Journal::default());
                }
                Plan::Ready(_) => {}
                Plan::Change { ruleset, .. } => self.remember_content(ruleset),
            }
        }
        self.chunks.settle();
    }

    /// Carries a planned change out up to the point where packets are judged by it.
    pub fn carry_out(&mut self, plan: Plan<'_>, journal: &mut Journal) -> Option<Rest> {
        let Plan::Change { ruleset, wishes, change } = plan else { return None };
        let shared = self.all.get_mut(&ruleset)?;
        let leftover = shared.ruleset.change(change, &mut self.chunks, journal);
        shared.content = sequence::content(&wishes);
        self.remember_content(ruleset);
        Some(Rest { ruleset, leftover })
    }

    pub fn clean(&mut self, rest: Rest, journal: &mut Journal) {
        if let Some(shared) = self.all.get_mut(&rest.ruleset) {
            shared.ruleset.clean(rest.leftover, &mut self.chunks, journal);
        }
    }

    /// One user less; 0 is nobody's.
    pub fn give_back(&mut self, ruleset: u32, journal: &mut Journal) {
        let Some(shared) = self.all.get_mut(&ruleset) else { return };
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        self.forget_content(ruleset);
        if let Some(shared) = self.all.remove(&ruleset) {
            shared.ruleset.dissolve(&mut self.chunks, journal);
        }
    }

    /// The end of a change.
    pub fn settle(&mut self) {
        self.chunks.settle();
    }

    pub fn rule_at(&self, ruleset: u32, position: u32) -> Option<&Rule> {
        self.all.get(&ruleset)?.ruleset.rule_at(position)
    }

    pub fn rules(&self, ruleset: u32) -> impl Iterator<Item = (u32, &Rule)> {
        let items = self.all.get(&ruleset).map(|shared| shared.ruleset.items());
        items.into_iter().flatten().filter_map(|item| Some((item.position, item.rule.as_deref()?)))
    }

    pub fn entries(&self, all: &mut Entries) {
        self.all.values().for_each(|shared| shared.ruleset.entries(all));
    }

    pub fn chunks_in_use(&self) -> usize {
        self.chunks.in_use()
    }

    pub fn directory_in_use(&self) -> usize {
        self.chunks.directory.in_use()
    }

    /// A ruleset of just these rules; the current one rather than another.
    fn find(&self, current: u32, content: u64, wishes: &[Wish]) -> Option<u32> {
        let same = |number: &u32| {
            self.all.get(number).is_some_and(|shared| {
                acts_as(&shared.ruleset, wishes)
                    && shared.ruleset.items().iter().zip(wishes).all(|(item, wish)| item.reads_as(wish))
            })
        };
        let numbers = self.by_content.get(&content)?;
        let own = numbers.iter().filter(|number| **number == current);
        let others = numbers.iter().filter(|number| **number != current);
        own.chain(others).copied().find(same)
    }

    fn share(&mut self, ruleset: u32) {
        if let Some(shared) = self.all.get_mut(&ruleset) {
            shared.users += 1;
        }
    }

    fn forget_content(&mut self, ruleset: u32) {
        let Some(shared) = self.all.get(&ruleset) else { return };
        if let Some(numbers) = self.by_content.get_mut(&shared.content) {
            numbers.retain(|number| *number != ruleset);
            if numbers.is_empty() {
                self.by_content.remove(&shared.content);
            }
        }
    }

    fn remember_content(&mut self, ruleset: u32) {
        if let Some(shared) = self.all.get(&ruleset) {
            self.by_content.entry(shared.content).or_default().push(ruleset);
        }
    }
}

fn acts_as(ruleset: &Ruleset, wishes: &[Wish]) -> bool {
    let items = ruleset.items();
    items.len() == wishes.len() && items.iter().zip(wishes).all(|(item, wish)| item.acts_as(wish))
}
