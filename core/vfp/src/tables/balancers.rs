//! Load balancers: a service for each pair of frontend and mapping, one Maglev table for each balancer, and backends.
//!
//! A balancer without frontends listens on the node's own addresses, which is the host's business: it has no services here.
//! Its scope is the network: the ports of that network are marked [`hns_abi::PORT_BALANCED`] while there is a service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_abi::{Addr, BACKEND_DRAINING, Be16, Map, Service, ServiceKey};
use hns_net::{Guid, Mac};
use zerocopy::IntoBytes;

use crate::model::{Affinity, Backend, Balancer, BalancerMapping};

use super::chunks::Capacity;
use super::hash::Mix;
use super::journal::Journal;
use super::maglev::{self, Candidate};
use super::owners::Owners;
use super::runs::Runs;
use super::{Entries, Tables, TablesError};

#[derive(Debug)]
pub(super) struct Balancers {
    all: BTreeMap<Guid, State>,
    services: Owners<Guid, Service>,
    backends: BTreeMap<Destination, Shared>,
    last_backend: u32,
    last_service: u32,
    choices: Runs,
}

/// Backends are one when they are reached alike.
type Destination = (IpAddr, Option<Mac>);

#[derive(Debug)]
struct Shared {
    number: u32,
    /// Balancers, and those of them that drain it.
    users: u32,
    draining: u32,
    /// As the map has it.
    value: hns_abi::Backend,
}

#[derive(Debug)]
struct State {
    network: Guid,
    /// By key; the number stays while the key does, because affinities hang on it.
    services: Vec<(ServiceKey, Service)>,
    backends: BTreeMap<Destination, bool>,
    candidates: Vec<Candidate>,
    table: Table,
}

/// A run of `choices`.
#[derive(Debug, Default, Clone, Copy)]
struct Table {
    start: u32,
    size: u32,
}

impl Balancers {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            all: BTreeMap::new(),
            services: Owners::new(Map::Services),
            backends: BTreeMap::new(),
            last_backend: 0,
            last_service: 0,
            choices: Runs::new(capacity.choices, 0),
        }
    }

    /// Whether a network has services.
    pub fn serve(&self, network: Guid) -> bool {
        self.all.values().any(|state| state.network == network && !state.services.is_empty())
    }

    /// The balancer of the service with this number.
    pub fn service_of(&self, number: u32) -> Option<Guid> {
        let has = |state: &State| state.services.iter().any(|(_, service)| service.id == number);
        self.all.iter().find(|(_, state)| has(state)).map(|(id, _)| *id)
    }

    fn set(&mut self, balancer: &Balancer, scope: u32, journal: &mut Journal) -> Result<(), TablesError> {
        let old = self.all.remove(&balancer.id).unwrap_or_else(|| State::empty(balancer.network));
        let backends: BTreeMap<Destination, bool> =
            balancer.backends.iter().map(|backend| (destination(backend), backend.draining)).collect();
        self.enlist(&backends, &old.backends, journal);
        let candidates = self.candidates(balancer);
        let Some(table) = self.table(&candidates, &old, journal) else {
            self.dismiss(&backends, &mut Journal::default());
            self.all.insert(balancer.id, old);
            self.choices.settle();
            return Err(TablesError::NoRoom { map: Map::Choices, object: balancer.id });
        };
        let services = self.services(balancer, scope, table, &old);
        for (key, service) in &services {
            self.services.claim(key, balancer.id, *service, journal);
        }
        for (key, _) in &old.services {
            if !services.iter().any(|(other, _)| same(other, key)) {
                self.services.give_up(key, &balancer.id, journal);
            }
        }
        if old.table.size > 0 && old.table.start != table.start {
            self.choices.give_back(old.table.start, old.table.size);
        }
        self.dismiss(&old.backends, journal);
        let state = State { network: balancer.network, services, backends, candidates, table };
        self.all.insert(balancer.id, state);
        self.choices.settle();
        Ok(())
    }

    fn remove(&mut self, id: Guid, journal: &mut Journal) -> Option<Guid> {
        let old = self.all.remove(&id)?;
        for (key, _) in &old.services {
            self.services.give_up(key, &id, journal);
        }
        if old.table.size > 0 {
            self.choices.give_back(old.table.start, old.table.size);
        }
        self.dismiss(&old.backends, journal);
        self.choices.settle();
        Some(old.network)
    }

    /// One user more for each. `old`: what the same balancer used, to be dismissed later.
    fn enlist(
        &mut self,
        backends: &BTreeMap<Destination, bool>,
        old: &BTreeMap<Destination, bool>,
        journal: &mut Journal,
    ) {
        for (destination, draining) in backends {
            let shared = self.backends.entry(*destination).or_insert_with(|| {
                self.last_backend += 1;
                Shared { number: self.last_backend, users: 0, draining: 0, value: NOWHERE }
            });
            shared.users += 1;
            shared.draining += u32::from(*draining);
            let leaving = old.get(destination);
            let users = shared.users - u32::from(leaving.is_some());
            let draining = shared.draining - u32::from(leaving == Some(&true));
            shared.tell(*destination, users == draining, journal);
        }
    }

    /// One user less for each.
    fn dismiss(&mut self, backends: &BTreeMap<Destination, bool>, journal: &mut Journal) {
        for (destination, draining) in backends {
            let Some(shared) = self.backends.get_mut(destination) else { continue };
            shared.users -= 1;
            shared.draining -= u32::from(*draining);
            if shared.users > 0 {
                shared.tell(*destination, shared.users == shared.draining, journal);
                continue;
            }
            journal.delete(Map::Backends, &shared.number);
            self.backends.remove(destination);
        }
    }

    fn candidates(&self, balancer: &Balancer) -> Vec<Candidate> {
        let fit = balancer.backends.iter().filter(|backend| !backend.draining && backend.weight > 0);
        let mut candidates: Vec<Candidate> = fit
            .filter_map(|backend| {
                let destination = destination(backend);
                let number = self.backends.get(&destination)?.number;
                Some(Candidate { name: name(destination), number, weight: backend.weight })
            })
            .collect();
        candidates.sort_unstable();
        candidates.dedup_by_key(|candidate| candidate.number);
        candidates
    }

    /// The old table when the backends are the same. None: no room.
    fn table(&mut self, candidates: &[Candidate], old: &State, journal: &mut Journal) -> Option<Table> {
        if candidates == old.candidates {
            return Some(old.table);
        }
        if candidates.is_empty() {
            return Some(Table::default());
        }
        let size = maglev::size(candidates.len(), old.table.size);
        let start = self.choices.take(size);
        if self.choices.is_overdrawn() {
            self.choices.give_back(start, size);
            return None;
        }
        journal.array(Map::Choices, start, maglev::table(candidates, size).as_slice());
        Some(Table { start, size })
    }

    fn services(
        &mut self,
        balancer: &Balancer,
        scope: u32,
        table: Table,
        old: &State,
    ) -> Vec<(ServiceKey, Service)> {
        let mut services: Vec<(ServiceKey, Service)> = Vec::new();
        for mapping in &balancer.mappings {
            for frontend in &balancer.frontends {
                let (protocol, port) = (mapping.protocol, Be16::new(mapping.external));
                let key = ServiceKey { scope, protocol, zero: 0, port, vip: Addr::from(*frontend) };
                if services.iter().any(|(other, _)| same(other, &key)) {
                    continue;
                }
                let known = old.services.iter().find(|(other, _)| same(other, &key));
                let id = known.map_or_else(|| self.next_service(), |(_, service)| service.id);
                services.push((key, service(id, balancer, mapping, table)));
            }
        }
        services
    }

    fn next_service(&mut self) -> u32 {
        self.last_service += 1;
        self.last_service
    }

    pub fn choices_in_use(&self) -> usize {
        self.choices.in_use()
    }

    pub fn entries(&self, all: &mut Entries) {
        self.services.entries(all);
        for shared in self.backends.values() {
            all.add(Map::Backends, &shared.number, &shared.value);
        }
    }
}

const NOWHERE: hns_abi::Backend = hns_abi::Backend { addr: Addr::NONE, mac: [0; 6], flags: 0 };

impl State {
    const fn empty(network: Guid) -> Self {
        Self {
            network,
            services: Vec::new(),
            backends: BTreeMap::new(),
            candidates: Vec::new(),
            table: Table { start: 0, size: 0 },
        }
    }
}

impl Shared {
    fn tell(&mut self, (address, mac): Destination, draining: bool, journal: &mut Journal) {
        let flags = if draining { BACKEND_DRAINING } else { 0 };
        let value = hns_abi::Backend { addr: address.into(), mac: mac.map_or([0; 6], Mac::octets), flags };
        if self.value != value {
            journal.put(Map::Backends, &self.number, &value);
            self.value = value;
        }
    }
}

fn same(one: &ServiceKey, other: &ServiceKey) -> bool {
    one.as_bytes() == other.as_bytes()
}

const fn destination(backend: &Backend) -> Destination {
    (backend.address, backend.mac)
}

fn name(destination: Destination) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut mix = Mix::default();
    (Addr::from(destination.0), destination.1).hash(&mut mix);
    mix.finish()
}

fn service(id: u32, balancer: &Balancer, mapping: &BalancerMapping, table: Table) -> Service {
    let affinity = match mapping.affinity {
        Affinity::PerConnection => 0,
        Affinity::SourceAddressAndProtocol => hns_abi::SERVICE_AFFINITY_PROTOCOL,
        Affinity::SourceAddress => hns_abi::SERVICE_AFFINITY,
    };
    let flags = [
        (balancer.dsr, hns_abi::SERVICE_DSR),
        (mapping.internal_only, hns_abi::SERVICE_ILB),
        (mapping.local_routed, hns_abi::SERVICE_LOCAL_ROUTED),
        (mapping.use_mux, hns_abi::SERVICE_USE_MUX),
        (mapping.preserve_destination, hns_abi::SERVICE_PRESERVE_DIP),
    ];
    Service {
        id,
        flags: flags.iter().filter(|(set, _)| *set).fold(affinity, |flags, (_, flag)| flags | flag),
        table: table.start,
        choices: table.size,
        affinity_seconds: mapping.affinity_seconds,
        internal_port: Be16::new(mapping.internal),
        zero: 0,
        source_vip: balancer.source_vip.map_or(Addr::NONE, Addr::from),
    }
}

impl Tables {
    pub(super) fn put_balancer(
        &mut self,
        balancer: &Balancer,
        journal: &mut Journal,
    ) -> Result<(), TablesError> {
        let scope = self.networks.take(balancer.network);
        let old = self.balancers.all.get(&balancer.id).map(|old| old.network);
        if let Err(error) = self.balancers.set(balancer, scope, journal) {
            self.networks.give_back(balancer.network);
            return Err(error);
        }
        self.mark_ports(balancer.network, journal);
        if let Some(old) = old {
            self.mark_ports(old, journal);
            self.networks.give_back(old);
        }
        Ok(())
    }

    pub(super) fn drop_balancer(&mut self, id: Guid, journal: &mut Journal) {
        if let Some(network) = self.balancers.remove(id, journal) {
            self.mark_ports(network, journal);
            self.networks.give_back(network);
        }
    }
}
