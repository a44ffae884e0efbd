//! The way of a new connection through the chains of one table.

use std::collections::BTreeMap;

use hns_net::Family;

use super::region::{Drop, Region};

/// What a rule does with what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Drops or rejects it.
    Stop,
    /// Accepts it, or does something to it that we do not follow.
    Pass,
    Return,
    Jump(String),
    Goto(String),
}

/// One rule as far as it decides; a verdict map decides in several ways.
pub(crate) type Decisions = Vec<(Region, Outcome)>;

/// How much is looked at in one table. Drops beyond that are not found.
const STEPS_MAX: usize = 2_000_000;

pub(crate) struct Walk<'a> {
    chains: &'a BTreeMap<String, Vec<Decisions>>,
    /// Decided earlier, in favour of the connection.
    passed: Vec<Region>,
    /// Gone back to the chain before, from the chains that are being walked.
    returned: Vec<Region>,
    drops: Vec<Drop>,
    steps: usize,
}

/// What the base chain `name` drops for certain by rules that name ports.
pub(crate) fn drops(chains: &BTreeMap<String, Vec<Decisions>>, name: &str, family: Family) -> Vec<Drop> {
    let mut walk = Walk { chains, passed: vec![], returned: vec![], drops: vec![], steps: 0 };
    walk.chain(name, &Region::everything(family));
    walk.drops
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, within: &Region) {
        let entered = self.returned.len();
        let chains = self.chains;
        for rule in chains.get(name).into_iter().flatten() {
            for (region, outcome) in rule {
                self.steps += 1;
                if self.steps > STEPS_MAX {
                    return;
                }
                let region = region.and(within);
                if !region.is_empty() {
                    self.decide(region, outcome);
                }
            }
        }
        self.returned.truncate(entered);
    }

    fn decide(&mut self, region: Region, outcome: &Outcome) {
        match outcome {
            Outcome::Stop => self.stop(&region),
            Outcome::Pass => self.passed.push(region),
            Outcome::Return => self.returned.push(region),
            Outcome::Jump(next) => self.chain(next, &region),
            Outcome::Goto(next) => {
                self.chain(next, &region);
                self.returned.push(region);
            }
        }
    }

    fn stop(&mut self, region: &Region) {
        if !region.exact || !region.names_ports() {
            return;
        }
        let mut left = region.drops();
        for gone in self.passed.iter().chain(&self.returned) {
            self.steps += left.len();
            if left.is_empty() || self.steps > STEPS_MAX {
                return;
            }
            left = left.into_iter().flat_map(|drop| drop.without(gone)).collect();
        }
        self.drops.extend(left);
    }
}
