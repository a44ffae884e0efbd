//! The record of a port, its addresses, its MAC, its meters.

use std::net::IpAddr;

use hns_abi::{
    Addr, AddressKey, Direction, LOW_IFINDEXES, Map, Meter, MeterKey, OWNER_HOST, PORT_OWN_ADDRESSES,
    StationKey,
};
use hns_net::Guid;

use crate::layers::security::link_local;
use crate::model::{Action, Port, Rate, Verdict};

use super::journal::Journal;
use super::{Entries, RULES_MAX, TIERS_MAX, Tables, TablesError};

/// For so long a port that gets its first rules takes over the TCP connections it finds.
const ADOPTION: u64 = 300_000_000_000;

/// What is kept of a port that was set.
#[derive(Debug)]
pub(super) struct PortState {
    pub endpoint: Guid,
    /// Whose sets its rules name.
    pub network: Guid,
    pub switch: Guid,
    pub record: hns_abi::Port,
    /// Where the record stands.
    slot: u32,
    claims: Vec<Claim>,
    meters: [Option<Rate>; 2],
}

/// An address of a network and whose it is: a link's number or [`OWNER_HOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    addr: Addr,
    owner: u32,
}

impl PortState {
    pub fn entries(&self, ifindex: u32, all: &mut Entries) {
        if ifindex >= LOW_IFINDEXES {
            all.add(Map::HighSlots, &ifindex, &self.slot);
        }
        for (direction, rate) in self.meters.iter().enumerate() {
            if let Some(rate) = rate {
                all.add(Map::Meters, &meter_key(self.record.id, direction), &meter(*rate));
            }
        }
    }
}

impl Tables {
    pub(super) fn put_port(
        &mut self,
        ifindex: u32,
        port: &Port,
        now: u64,
        journal: &mut Journal,
    ) -> Result<(), TablesError> {
        refuse_too_many(port)?;
        if self.slots.room() == 0 {
            return Err(TablesError::NoRoom { map: Map::Ports, object: port.endpoint });
        }
        let current = self.ports.get(&ifindex).map_or([0; 2], |old| old.record.ruleset);
        let ruleset = self.take_rules(port, current, journal)?;
        self.put_record(ifindex, port, ruleset, now, journal);
        for old in current {
            self.rulesets.give_back(old);
        }
        Ok(())
    }

    /// The rulesets of both directions, with one user more each. Everything that can fail.
    fn take_rules(
        &mut self,
        port: &Port,
        current: [u32; 2],
        journal: &mut Journal,
    ) -> Result<[u32; 2], TablesError> {
        let no_room = |map| TablesError::NoRoom { map, object: port.endpoint };
        let first_new = self.rulesets.next();
        let first = self.rulesets.take(current[0], &port.acl[0], port.network, journal).map_err(no_room)?;
        match self.rulesets.take(current[1], &port.acl[1], port.network, journal) {
            Ok(second) => Ok([first, second]),
            Err(map) => {
                self.rulesets.abandon(first, first >= first_new);
                Err(no_room(map))
            }
        }
    }

    /// The record, and beside it names and meters.
    fn put_record(&mut self, ifindex: u32, port: &Port, ruleset: [u32; 2], now: u64, journal: &mut Journal) {
        let network = self.switches.take(port.switch());
        let earlier = self.earlier.remove(&ifindex).filter(|record| record.mac == port.mac.octets());
        let old = self.ports.remove(&ifindex);
        let before = old.as_ref().map(|old| old.record).or(earlier);
        let addresses = distinct(&port.addresses);
        let mut record = hns_abi::Port {
            id: before.map_or_else(|| self.next_port(), |before| before.id),
            ifindex,
            network,
            generation: before.map_or(1, |before| before.generation),
            flags: flags(port, addresses.len()),
            zero: 0,
            ruleset,
            fallback: [Direction::In, Direction::Out].map(|direction| fallback(port, direction)),
            mac: port.mac.octets(),
            adopt_until: 0,
            own: std::array::from_fn(|place| addresses.get(place).copied().unwrap_or(Addr::NONE)),
        };
        record.adopt_until = adopt_until(before.as_ref(), &record, now);
        let changed = old.as_ref().map_or(before.is_some(), |old| deciding(&old.record) != deciding(&record));
        if changed {
            record.generation = record.generation.wrapping_add(1);
        }

        let meters = old.as_ref().map_or([None; 2], |old| old.meters);
        put_meters(record.id, meters, port.meters, journal);
        let slot = match &old {
            Some(old) if old.record == record => old.slot,
            _ => self.move_record(old.as_ref().map(|old| old.slot), &record, journal),
        };
        let claims = claims(ifindex, &names(port, addresses), port.confined.as_deref());
        for Claim { addr, owner } in &claims {
            self.addresses.claim(&AddressKey { network, addr: *addr }, ifindex, *owner, journal);
        }
        self.stations.claim(&station_of(&record), ifindex, ifindex, journal);
        if let Some(old) = &old {
            self.give_up_names(ifindex, old, &record, &claims, journal);
            self.switches.give_back(old.switch);
        }
        delete_meters(record.id, meters, port.meters, journal);
        let (endpoint, network, switch) = (port.endpoint, port.network, port.switch());
        self.ports.insert(
            ifindex,
            PortState { endpoint, network, switch, record, slot, claims, meters: port.meters },
        );
    }

    /// Writes a record into a slot of its own, whose room was seen to, and leads its link there.
    fn move_record(&mut self, former: Option<u32>, record: &hns_abi::Port, journal: &mut Journal) -> u32 {
        let slot = self.slots.take().unwrap_or(0);
        if slot != 0 {
            journal.array(Map::Ports, slot, record);
        }
        journal.lead(record.ifindex, slot);
        if let Some(former) = former.filter(|former| *former != 0) {
            self.slots.retire(former);
        }
        slot
    }

    /// The next packet of every connection of the port is judged anew.
    pub(super) fn judge_again(&mut self, ifindex: u32, journal: &mut Journal) {
        let Some(port) = self.ports.get_mut(&ifindex) else { return };
        port.record.generation = port.record.generation.wrapping_add(1);
        let (record, former) = (port.record, port.slot);
        let slot = self.move_record(Some(former), &record, journal);
        if let Some(port) = self.ports.get_mut(&ifindex) {
            port.slot = slot;
        }
    }

    pub(super) fn drop_port(&mut self, ifindex: u32, journal: &mut Journal) {
        self.earlier.remove(&ifindex);
        let Some(old) = self.ports.remove(&ifindex) else { return };
        let network = old.record.network;
        for Claim { addr, .. } in old.claims {
            self.addresses.give_up(&AddressKey { network, addr }, &ifindex, journal);
        }
        self.stations.give_up(&station_of(&old.record), &ifindex, journal);
        journal.lead(ifindex, 0);
        self.slots.retire(old.slot);
        delete_meters(old.record.id, old.meters, [None; 2], journal);
        self.switches.give_back(old.switch);
        for ruleset in old.record.ruleset {
            self.rulesets.give_back(ruleset);
        }
    }

    /// Of the names that `old` had those that it has no longer.
    fn give_up_names(
        &mut self,
        ifindex: u32,
        old: &PortState,
        record: &hns_abi::Port,
        claims: &[Claim],
        journal: &mut Journal,
    ) {
        let network = old.record.network;
        let is_kept = |addr| network == record.network && claims.iter().any(|claim| claim.addr == addr);
        for Claim { addr, .. } in &old.claims {
            if !is_kept(*addr) {
                self.addresses.give_up(&AddressKey { network, addr: *addr }, &ifindex, journal);
            }
        }
        if station_of(&old.record) != station_of(record) {
            self.stations.give_up(&station_of(&old.record), &ifindex, journal);
        }
    }

    fn next_port(&mut self) -> u32 {
        let id = self.ids;
        self.ids += 1;
        id
    }
}

fn refuse_too_many(port: &Port) -> Result<(), TablesError> {
    for direction in [Direction::In, Direction::Out] {
        let acl = &port.acl[direction.index()];
        // The programs go on behind each of these.
        let watched = acl.all_rules().filter(|rule| rule.action == Action::Observe).count();
        let (endpoint, tiers) = (port.endpoint, acl.tiers.len() + watched);
        let rules = acl.rules.len() + acl.tiers.iter().map(|tier| tier.rules.len()).sum::<usize>();
        if tiers > TIERS_MAX {
            return Err(TablesError::TooManyTiers { endpoint, direction, tiers });
        }
        if rules > RULES_MAX {
            return Err(TablesError::TooManyRules { endpoint, direction, rules });
        }
    }
    Ok(())
}

/// A port that gets its first rules opens a span in which connections from before them are taken over.
fn adopt_until(before: Option<&hns_abi::Port>, after: &hns_abi::Port, now: u64) -> u64 {
    let Some(before) = before else { return 0 };
    let filters =
        |record: &hns_abi::Port| record.ruleset != [0; 2] || record.fallback.contains(&hns_abi::ACTION_BLOCK);
    if filters(after) && !filters(before) { now.saturating_add(ADOPTION) } else { before.adopt_until }
}

fn distinct(addresses: &[IpAddr]) -> Vec<Addr> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for addr in addresses.iter().map(|address| Addr::from(*address)) {
        if !distinct.contains(&addr) {
            distinct.push(addr);
        }
    }
    distinct
}

/// Under which addresses the port is found. Neighbours on a LAN use the link-local one, too.
fn names(port: &Port, mut addresses: Vec<Addr>) -> Vec<Addr> {
    if port.external.is_some() {
        let link_local = Addr::from(IpAddr::from(link_local(port.mac)));
        addresses.extend(Some(link_local).filter(|addr| !addresses.contains(addr)));
    }
    addresses
}

/// What a port says of its network's addresses: which are its own, and which the host's.
fn claims(ifindex: u32, own: &[Addr], hosts: Option<&[IpAddr]>) -> Vec<Claim> {
    let mut claims: Vec<_> = own.iter().map(|addr| Claim { addr: *addr, owner: ifindex }).collect();
    let hosts = distinct(hosts.unwrap_or_default());
    let hosts = hosts.into_iter().filter(|addr| !own.contains(addr));
    claims.extend(hosts.map(|addr| Claim { addr, owner: OWNER_HOST }));
    claims
}

fn flags(port: &Port, addresses: usize) -> u32 {
    let filters = port.acl.iter().any(|acl| !acl.is_empty() || acl.fallback == Verdict::Block);
    let metered = |direction: Direction| port.meters[direction.index()].is_some();
    [
        (port.blocked, hns_abi::PORT_BLOCKED),
        (port.guards.spoofing, hns_abi::PORT_GUARD_SPOOF),
        (port.guards.router_advertisements, hns_abi::PORT_GUARD_RA),
        (port.guards.dhcp_servers, hns_abi::PORT_GUARD_DHCP),
        (filters, hns_abi::PORT_STATEFUL),
        (port.quiet, hns_abi::PORT_QUIET),
        (port.plain_redirect, hns_abi::PORT_PLAIN_REDIRECT),
        (metered(Direction::In), hns_abi::PORT_METER_IN),
        (metered(Direction::Out), hns_abi::PORT_METER_OUT),
        (addresses > PORT_OWN_ADDRESSES, hns_abi::PORT_MORE_ADDRESSES),
        (port.ruled, hns_abi::PORT_RULED),
        (port.confined.is_some(), hns_abi::PORT_CONFINED),
        (port.external.is_some(), hns_abi::PORT_EXTERNAL),
        (port.reflected, hns_abi::PORT_REFLECTED),
        (port.overlay, hns_abi::PORT_OVERLAY),
        (port.behind_host[0], hns_abi::PORT_BEHIND_HOST4),
        (port.behind_host[1], hns_abi::PORT_BEHIND_HOST6),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .fold(0, |flags, flag| flags | flag)
}

fn fallback(port: &Port, direction: Direction) -> u8 {
    match port.acl[direction.index()].fallback {
        Verdict::Block => hns_abi::ACTION_BLOCK,
        Verdict::Allow => hns_abi::ACTION_ALLOW,
    }
}

/// A record without what says nothing about whether and how a connection may go on.
fn deciding(record: &hns_abi::Port) -> hns_abi::Port {
    let aside = hns_abi::PORT_QUIET
        | hns_abi::PORT_PLAIN_REDIRECT
        | hns_abi::PORT_METER_IN
        | hns_abi::PORT_METER_OUT
        | hns_abi::PORT_RULED
        | hns_abi::PORT_CONFINED
        | hns_abi::PORT_EXTERNAL
        | hns_abi::PORT_REFLECTED
        | hns_abi::PORT_OVERLAY
        | hns_abi::PORT_BEHIND_HOST4
        | hns_abi::PORT_BEHIND_HOST6;
    hns_abi::Port { generation: 0, adopt_until: 0, flags: record.flags & !aside, ..*record }
}

fn station_of(record: &hns_abi::Port) -> StationKey {
    StationKey { network: record.network, mac: record.mac, zero: 0 }
}

fn put_meters(port: u32, old: [Option<Rate>; 2], new: [Option<Rate>; 2], journal: &mut Journal) {
    for direction in 0..2 {
        if let Some(rate) = new[direction].filter(|_| new[direction] != old[direction]) {
            journal.put(Map::Meters, &meter_key(port, direction), &meter(rate));
        }
    }
}

fn delete_meters(port: u32, old: [Option<Rate>; 2], new: [Option<Rate>; 2], journal: &mut Journal) {
    for direction in 0..2 {
        if old[direction].is_some() && new[direction].is_none() {
            journal.delete(Map::Meters, &meter_key(port, direction));
        }
    }
}

fn meter_key(port: u32, direction: usize) -> MeterKey {
    MeterKey { port, direction: u32::from(direction == Direction::Out.index()) }
}

/// A full bucket.
fn meter(rate: Rate) -> Meter {
    let speed = u128::from(rate.bytes_per_second.max(1));
    let burst = u128::from(rate.burst_bytes) * 1_000_000_000 / speed;
    Meter {
        arrival: 0,
        picoseconds_per_byte: u64::try_from(1_000_000_000_000 / speed).unwrap_or(u64::MAX),
        burst: u64::try_from(burst).unwrap_or(u64::MAX),
    }
}
