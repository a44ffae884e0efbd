//! From the model to the entries of the maps, a change at a time.
//!
//! [`Tables`] keeps what the maps hold. Every call answers with ordered [`Write`]s that somebody else carries out; between
//! any two of them a packet meets the policy of before or that of after, never a mixture: a ruleset is complete before a port's record
//! names it, a record before its link leads to it, and neither is touched before [`Tables::release`].
//!
//! * [`rulesets`](self): ordered rules as bit vectors. A rule has a *position*; `dimension` turns the rules' conditions on one
//!   thing (an address, a protocol and port) into prefixes that lead to *rows* of bits.
//! * `sets`: the address sets of networks, from an address to the combination of sets it is in; `set_rows`: from there to a row.
//! * `port`: the record of a port; `slots`: where it stands.
//! * `chunks`: the room that rulesets share; `places`: elements of arrays.
//! * [`machine`]: reads the same entries as the programs in `bpf/` do.
//!
//! Never here: I/O, clocks, randomness. Numbers of ports, networks and rulesets are never given twice.

mod chunks;
mod conditions;
mod dimension;
mod hash;
mod journal;
pub mod machine;
mod numbers;
mod overlay;
mod owners;
mod places;
mod port;
mod position;
mod prefix;
mod ruleset;
mod rulesets;
mod runs;
mod set_rows;
mod sets;
mod slots;
mod uplink;

use std::collections::BTreeMap;

use hns_abi::{Direction, Map};
use hns_net::Guid;
use zerocopy::{Immutable, IntoBytes};

use crate::model::{Port, Rule, Sets};

pub use chunks::Capacity;
use journal::Journal;
pub use journal::Write;
use numbers::Numbers;
use owners::Owners;
use port::PortState;
pub use position::cause_at;
use rulesets::Rulesets;
use slots::Slots;

/// Most rules of one direction of a port.
pub const RULES_MAX: usize = hns_abi::RULES_MAX;

/// Most tiers of one direction of a port: the programs follow no more Pass rules.
pub const TIERS_MAX: usize = hns_abi::TIERS_MAX;

/// Why a change could not be made; the tables are then as before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    #[error(
        "endpoint {endpoint} has {rules} rules for one direction ({direction:?}); a port takes {RULES_MAX}"
    )]
    TooManyRules { endpoint: Guid, direction: Direction, rules: usize },
    #[error(
        "endpoint {endpoint} has {tiers} tiers and watched rules for one direction ({direction:?}); a port takes {TIERS_MAX}"
    )]
    TooManyTiers { endpoint: Guid, direction: Direction, tiers: usize },
    #[error("no room in map {} for {object}", map.name())]
    NoRoom { map: Map, object: Guid },
}

/// What was given up at some moment and before: rules, and records of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Former {
    rules: Option<u64>,
    records: Option<u64>,
}

/// What should be in the hashes and LPM tries: (map, key) to value. The counters of `rules` and the times of `meters` are
/// those of a new entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries(pub BTreeMap<(Map, Vec<u8>), Vec<u8>>);

impl Entries {
    fn add(
        &mut self,
        map: Map,
        key: &(impl IntoBytes + Immutable + ?Sized),
        value: &(impl IntoBytes + Immutable),
    ) {
        self.0.insert((map, key.as_bytes().to_vec()), value.as_bytes().to_vec());
    }
}

/// How many elements of the arrays are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub directory: usize,
    pub chunks: usize,
}

/// What the maps of policy hold.
#[derive(Debug)]
pub struct Tables {
    ids: u32,
    /// Networks, and external switches that networks share.
    switches: Numbers,
    ports: BTreeMap<u32, PortState>,
    addresses: Owners<u32, u32>,
    stations: Owners<u32, u32>,
    uplinks: BTreeMap<Guid, uplink::Joined>,
    overlays: BTreeMap<Guid, overlay::Joined>,
    rulesets: Rulesets,
    slots: Slots,
    /// Records of ports of an earlier run, until they are set again.
    earlier: BTreeMap<u32, hns_abi::Port>,
}

impl Tables {
    /// For empty maps; the first port gets this number.
    #[must_use]
    pub fn new(first_port_id: u32) -> Self {
        Self::with_capacity(first_port_id, Capacity::default())
    }

    /// For empty maps of another size.
    #[must_use]
    pub fn with_capacity(first_port_id: u32, capacity: Capacity) -> Self {
        Self {
            ids: first_port_id.max(1),
            switches: Numbers::default(),
            ports: BTreeMap::new(),
            addresses: Owners::new(Map::Addresses),
            stations: Owners::new(Map::Stations),
            uplinks: BTreeMap::new(),
            overlays: BTreeMap::new(),
            rulesets: Rulesets::new(capacity),
            slots: Slots::new(1 << capacity.ports),
            earlier: BTreeMap::new(),
        }
    }

    /// For empty maps of policy beside flows that live on. `ports`: what an earlier run left in `ports`. A port that is set
    /// again under the same link and MAC keeps its number and goes on with the next generation; new ones get higher numbers.
    #[must_use]
    pub fn resume(ports: &BTreeMap<u32, hns_abi::Port>) -> Self {
        let highest = ports.values().map(|port| port.id).max().unwrap_or(0);
        Self { earlier: ports.clone(), ..Self::new(highest.saturating_add(1)) }
    }

    /// Makes the maps say what `port` asks, from whatever they said of the port of this link. `now_ns`: `CLOCK_MONOTONIC`.
    pub fn set_port(&mut self, ifindex: u32, port: &Port, now_ns: u64) -> Result<Vec<Write>, TablesError> {
        let mut journal = Journal::default();
        self.put_port(ifindex, port, now_ns, &mut journal)?;
        Ok(journal.writes)
    }

    /// Makes these the address sets of a network. The connections of ports whose rules name one that has changed are judged again.
    pub fn set_sets(&mut self, network: Guid, sets: &Sets) -> Result<Vec<Write>, TablesError> {
        let mut journal = Journal::default();
        let no_room = |map| TablesError::NoRoom { map, object: network };
        let ruled =
            self.ports.values().filter(|port| port.network == network && port.record.ruleset != [0; 2]);
        if ruled.count() > self.slots.room() {
            return Err(no_room(Map::Ports));
        }
        let rulesets = self.rulesets.set_sets(network, sets, &mut journal).map_err(no_room)?;
        let names_one =
            |port: &PortState| port.record.ruleset.iter().any(|ruleset| rulesets.contains(ruleset));
        let named: Vec<u32> =
            self.ports.iter().filter(|(_, port)| names_one(port)).map(|(ifindex, _)| *ifindex).collect();
        for ifindex in named {
            self.judge_again(ifindex, &mut journal);
        }
        Ok(journal.writes)
    }

    pub fn remove_port(&mut self, ifindex: u32) -> Vec<Write> {
        let mut journal = Journal::default();
        self.drop_port(ifindex, &mut journal);
        journal.writes
    }

    /// The rules that no port obeys any more, and the records that no link leads to, which are still in the maps; if there are any.
    #[must_use]
    pub fn former(&self) -> Option<Former> {
        let (rules, records) = (self.rulesets.former(), self.slots.former());
        (rules.is_some() || records.is_some()).then_some(Former { rules, records })
    }

    /// Gives their room to others. To be called only once every program that ran when [`former`] named them has ended.
    ///
    /// [`former`]: Self::former
    pub fn release(&mut self, former: Former) -> Vec<Write> {
        let mut journal = Journal::default();
        if let Some(rules) = former.rules {
            self.rulesets.release(rules, &mut journal);
        }
        if let Some(records) = former.records {
            self.slots.release(records);
        }
        journal.writes
    }

    /// The rule that drops and flows name by its place.
    #[must_use]
    pub fn rule_at(&self, ruleset: u32, position: u32) -> Option<&Rule> {
        self.rulesets.rule_at(ruleset, position)
    }

    /// The rules of a ruleset in their order, with their positions.
    pub fn rules(&self, ruleset: u32) -> impl Iterator<Item = (u32, &Rule)> {
        self.rulesets.rules(ruleset)
    }

    /// The endpoint of the port with this number.
    #[must_use]
    pub fn port_of(&self, id: u32) -> Option<Guid> {
        self.ports.values().find(|port| port.record.id == id).map(|port| port.endpoint)
    }

    /// The record of the port of this link.
    #[must_use]
    pub fn record(&self, ifindex: u32) -> Option<&hns_abi::Port> {
        self.ports.get(&ifindex).map(|port| &port.record)
    }

    /// How much of the arrays is taken.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { directory: self.rulesets.directory_in_use(), chunks: self.rulesets.chunks_in_use() }
    }

    /// All entries that the hashes and tries should have now.
    #[must_use]
    pub fn everything(&self) -> BTreeMap<(Map, Vec<u8>), Vec<u8>> {
        let mut all = Entries::default();
        self.addresses.entries(&mut all);
        self.stations.entries(&mut all);
        self.rulesets.entries(&mut all);
        for (ifindex, port) in &self.ports {
            port.entries(*ifindex, &mut all);
        }
        self.uplinks.values().for_each(|uplink| uplink::entries(uplink, &mut all));
        self.overlays.values().for_each(|overlay| overlay::entries(overlay, &mut all));
        all.0
    }
}
