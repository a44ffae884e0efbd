//! The datapath in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hns_abi::{Direction, HitKey, Map, Reason};
use hns_net::{Guid, IfName, Uplink};
use hns_vfp::model::{Overlay, Port, Sets};
use zerocopy::{FromBytes, IntoBytes};

use crate::bpf::RawMap;
use crate::collector::{self, Collector};
use crate::events::Feeder;
use crate::load::{Hook, Loaded, program_name};
use crate::netlink::Netlink;
use crate::object::OBJECT;
use crate::pins::Pins;
use crate::policy::Policy;
use crate::stream::{Address, EVERY_TOPIC, Stream};
use crate::tunnels::Tunnelled;
use crate::uplinks::Uplinks;
use crate::watches::Watches;
use crate::{
    Collected, Datapath, DatapathError, DropCount, DropEvent, Flow, FlowFilter, HeldUplink, RuleCount,
    Sighting, Snapshot, Wanted, Watch, blocks, clock, gate, grace, hits, link, read, snapshot, tc, tunnels,
    uplinks,
};

const DIRECTIONS: [Direction; 2] = [Direction::Out, Direction::In];

/// What is set once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder that holds our maps while no daemon runs. A bpf file system is mounted where there is none.
    pub pins: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pins: PathBuf::from("/sys/fs/bpf/hns") }
    }
}

/// The programs at the ports of one network namespace.
pub struct RealDatapath {
    shared: Arc<Shared>,
    pins: Pins,
    attachment: Mutex<Attachment>,
    uplinks: Mutex<Uplinks>,
    collector: Mutex<Collector>,
    drops: Feeder<DropEvent>,
    sightings: Feeder<Sighting>,
}

/// What the readers of events need, too.
struct Shared {
    loaded: Loaded,
    policy: Mutex<Policy>,
    watches: Watches,
}

/// What hangs at the links.
struct Attachment {
    netlink: Netlink,
    /// Programs of an older daemon that may stay until ours take over.
    older: BTreeSet<u32>,
    /// Whether our maps have taken the place of the older daemon's.
    pinned: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn map_failed(operation: &'static str, map: Map) -> impl Fn(io::Error) -> DatapathError {
    move |source| DatapathError::Map { operation, map: map.name(), source }
}

impl RealDatapath {
    /// Loads programs and maps, beside those of an older daemon that may still be at work. For links of the calling thread's
    /// network namespace. On a host without eBPF the error [is unavailable](DatapathError::is_unavailable).
    pub fn start(settings: &Settings) -> Result<Self, DatapathError> {
        let pins = Pins::open(&settings.pins)?;
        let earlier = earlier_ports(&pins)?;
        let (loaded, rings) = Loaded::load(OBJECT, &pins)?;
        let mut netlink = Netlink::open()?;
        let mut older = BTreeSet::new();
        for direction in DIRECTIONS {
            older.extend(blocks::program(&mut netlink, direction)?);
        }
        forget_strangers(&loaded, &earlier)?;
        let policy = Mutex::new(Policy::resume(&earlier));
        let shared = Arc::new(Shared { loaded, policy, watches: Watches::default() });
        let explainer = Arc::clone(&shared);
        let drops = Feeder::new("hns-drops", rings.drops, Arc::new(move |bytes| explainer.dropped(bytes)))?;
        let explainer = Arc::clone(&shared);
        let explain = Arc::new(move |bytes: &_| explainer.sighted(bytes));
        let sightings = Feeder::new("hns-sightings", rings.sightings, explain)?;
        Ok(Self {
            shared,
            pins,
            attachment: Mutex::new(Attachment { netlink, older, pinned: false }),
            uplinks: Mutex::default(),
            collector: Mutex::default(),
            drops,
            sightings,
        })
    }

    pub(crate) fn program(&self, direction: Direction) -> BorrowedFd<'_> {
        self.shared.loaded.program(direction)
    }

    pub(crate) fn hooked(&self, hook: Hook) -> Result<BorrowedFd<'_>, DatapathError> {
        self.shared.loaded.hooked(hook)
    }

    pub(crate) fn policy(&self) -> MutexGuard<'_, Policy> {
        lock(&self.shared.policy)
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.shared.loaded
    }

    /// Whether the filters of both blocks are ours, or an older daemon's that ours will replace.
    fn has_filters(&self, attachment: &mut Attachment) -> Result<bool, DatapathError> {
        for direction in DIRECTIONS {
            let ours = self.loaded().program_number(direction);
            match blocks::program(&mut attachment.netlink, direction)? {
                Some(number) if number == ours || attachment.older.contains(&number) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Puts our programs into both blocks; says whether there are blocks.
    fn install(&self, attachment: &mut Attachment) -> Result<bool, DatapathError> {
        for direction in DIRECTIONS {
            let program = self.program(direction);
            let name = program_name(direction);
            if !blocks::install(&mut attachment.netlink, direction, name, program)? {
                return Ok(false);
            }
        }
        attachment.older.clear();
        self.pin(attachment)?;
        Ok(true)
    }

    fn pin(&self, attachment: &mut Attachment) -> Result<(), DatapathError> {
        if !attachment.pinned {
            self.pins.replace(self.loaded().policy())?;
            attachment.pinned = true;
        }
        Ok(())
    }

    fn join(&self, name: &IfName, ifindex: u32) -> Result<(), DatapathError> {
        let reads_in = self.policy().reads_in(ifindex);
        let mut attachment = lock(&self.attachment);
        blocks::join(&mut attachment.netlink, ifindex, name)?;
        // A block that was there a moment ago is gone: with its last link, which is this one.
        if !self.has_filters(&mut attachment)? && !self.install(&mut attachment)? {
            return Err(DatapathError::NoSuchLink { name: name.clone() });
        }
        // An older daemon's programs may not know the gate.
        if reads_in && attachment.older.is_empty() {
            gate::close(&mut attachment.netlink, ifindex, name)?;
        }
        Ok(())
    }

    /// Puts a gate at each port that reads what comes to it, now that our programs know the way through.
    fn close_gates(&self) -> Result<(), DatapathError> {
        let links: Vec<_> = {
            let policy = self.policy();
            let reads_in = |(_, ifindex): &(_, &u32)| policy.reads_in(**ifindex);
            policy.links.iter().filter(reads_in).map(|(name, ifindex)| (name.clone(), *ifindex)).collect()
        };
        let mut attachment = lock(&self.attachment);
        for (name, ifindex) in links {
            match gate::close(&mut attachment.netlink, ifindex, &name) {
                // Nothing to close; whoever repairs the link sets the port again.
                Err(DatapathError::NoSuchLink { .. }) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Shows the connections of our ports, until `see` has enough.
    fn each_flow(&self, mut see: impl FnMut(Flow) -> bool) -> Result<(), DatapathError> {
        let policy = self.policy();
        let records: BTreeMap<u32, (Guid, hns_abi::Port)> = policy
            .links
            .values()
            .filter_map(|ifindex| policy.tables.record(*ifindex))
            .filter_map(|record| Some((record.id, (*policy.endpoints.get(&record.id)?, *record))))
            .collect();
        for map in [Map::Established, Map::Embryonic, Map::Strays] {
            let mut walk = self.loaded().map(map).walk();
            let mut wanted = true;
            loop {
                let more = walk.batch(|key, value| {
                    let key = hns_abi::FlowKey::read_from_bytes(key);
                    let (Ok(key), Ok(value)) = (key, hns_abi::Flow::read_from_bytes(value)) else { return };
                    for (place, side) in value.side.iter().enumerate() {
                        if let Some((endpoint, record)) = records.get(&side.port)
                            && wanted
                        {
                            wanted = see(read::flow(*endpoint, record, (&key, place), side, &policy.tables));
                        }
                    }
                });
                if !more.map_err(map_failed("read", map))? {
                    break;
                }
                if !wanted {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The ports that an older daemon left, by the number of their links.
fn earlier_ports(pins: &Pins) -> Result<BTreeMap<u32, hns_abi::Port>, DatapathError> {
    let mut ports = BTreeMap::new();
    let Some(records) = earlier(pins, Map::Ports)? else { return Ok(ports) };
    for map in [Map::Slots, Map::HighSlots] {
        let Some(slots) = earlier(pins, map)? else { continue };
        let mut walk = slots.walk();
        loop {
            let mut taken = Vec::new();
            let more =
                walk.batch(|_, slot| taken.extend(u32::read_from_bytes(slot).ok().filter(|slot| *slot != 0)));
            let more = more.map_err(map_failed("read", map))?;
            for slot in taken {
                let record = records.get(slot.as_bytes()).map_err(map_failed("read", Map::Ports))?;
                // Of another shape: as good as none.
                let record = record.and_then(|bytes| hns_abi::Port::read_from_bytes(&bytes).ok());
                ports.extend(record.map(|record| (record.ifindex, record)));
            }
            if !more {
                break;
            }
        }
    }
    Ok(ports)
}

fn earlier(pins: &Pins, map: Map) -> Result<Option<RawMap>, DatapathError> {
    let left = pins.left(map)?;
    left.map(|data| RawMap::of(&data, 1)).transpose().map_err(map_failed("open", map))
}

/// Removes connections of ports that are not among those whose numbers go on: new ports may get these numbers.
fn forget_strangers(loaded: &Loaded, ports: &BTreeMap<u32, hns_abi::Port>) -> Result<(), DatapathError> {
    let numbers: BTreeSet<u32> = ports.values().map(|port| port.id).collect();
    let mut collector = Collector::default();
    while collector.collect(loaded, clock::now(), |number| numbers.contains(&number))?.more {}
    collector::collect_drops(loaded, |number| numbers.contains(&number)).map(drop)
}

impl Shared {
    fn dropped(&self, bytes: &[u8]) -> Option<(Address, DropEvent)> {
        let event = hns_abi::DropEvent::read_from_bytes(bytes).ok()?;
        let reason = Reason::from_number(event.reason)?;
        let address = Address { time: event.time, topics: EVERY_TOPIC };
        Some((address, read::dropped(&event, reason, &lock(&self.policy))))
    }

    fn sighted(&self, bytes: &[u8]) -> Option<(Address, Sighting)> {
        let event = hns_abi::Sighting::read_from_bytes(bytes).ok()?;
        let sighting = read::sighting(&event, &lock(&self.policy))?;
        let topics = self.watches.of_network(event.watches, sighting.network);
        Some((Address { time: event.time, topics }, sighting))
    }

    /// Writes the connections to the places that were taken for them, and lets these count.
    fn begin(&self, watch: &Watch, places: u32) -> Result<(), DatapathError> {
        let numbers = (0..hns_abi::WATCHES_MAX).filter(|number| places & 1 << number != 0);
        for (number, connection) in numbers.zip(&watch.connections) {
            self.fill(Map::Watches, number, connection.programmed().as_bytes())?;
        }
        self.watches.begin(places, |counting| self.fill(Map::Watching, 0, counting.as_bytes()))
    }

    /// Takes a watch away. Its places are free once no program looks at them.
    fn end(&self, places: u32) {
        if let Err(error) =
            self.watches.end(places, |counting| self.fill(Map::Watching, 0, counting.as_bytes()))
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a watch stays, and nobody looks at it");
            return;
        }
        grace::wait();
        self.watches.free(places);
    }

    fn fill(&self, map: Map, index: u32, bytes: &[u8]) -> Result<(), DatapathError> {
        let array = self.loaded.array(map).ok_or(io::ErrorKind::Unsupported.into());
        array.and_then(|array| array.write(index, bytes)).map_err(map_failed("fill", map))
    }
}

impl Datapath for RealDatapath {
    fn set_port(&self, name: &IfName, port: &Arc<Port>) -> Result<(), DatapathError> {
        let found = link::index(&lock(&self.attachment).netlink, name)?;
        let programmed = {
            let mut policy = self.policy();
            policy.held.remove(name);
            // The link may have been made again, with another number.
            let old = policy.links.get(name).copied().filter(|old| Some(*old) != found);
            if let Some(old) = old {
                policy.links.remove(name);
                policy.remove(self.loaded(), old)?;
            }
            let Some(ifindex) = found else { return Err(DatapathError::NoSuchLink { name: name.clone() }) };
            policy.links.insert(name.clone(), ifindex);
            policy.program(self.loaded(), ifindex, port).map(|()| ifindex).map_err(|error| (ifindex, error))
        };
        match programmed {
            Ok(ifindex) => {
                self.join(name, ifindex)?;
                self.policy().held.insert(name.clone(), Arc::clone(port));
                Ok(())
            }
            // What cannot be programmed is closed, which takes our filter.
            Err((ifindex, error)) => self.join(name, ifindex).and(Err(error)),
        }
    }

    fn remove_port(&self, name: &IfName) -> Result<(), DatapathError> {
        let mut policy = self.policy();
        policy.held.remove(name);
        let Some(ifindex) = policy.links.remove(name) else { return Ok(()) };
        policy.remove(self.loaded(), ifindex)
    }

    fn held(&self) -> Result<BTreeMap<IfName, Arc<Port>>, DatapathError> {
        let set: Vec<_> = {
            let policy = self.policy();
            let place = |name| policy.links.get(name).map(|ifindex| (*ifindex, policy.reads_in(*ifindex)));
            let held = policy.held.iter();
            held.filter_map(|(name, port)| Some((name.clone(), place(name)?, Arc::clone(port)))).collect()
        };
        let mut attachment = lock(&self.attachment);
        if !self.has_filters(&mut attachment)? {
            return Ok(BTreeMap::new());
        }
        let qdiscs = tc::qdiscs(&mut attachment.netlink)?;
        let (joined, gates) = (blocks::joined(&qdiscs), gate::gates(&qdiscs));
        let mut held = BTreeMap::new();
        for (name, (ifindex, reads_in), port) in set {
            let wants_gate = reads_in && attachment.older.is_empty();
            let stands = joined.contains(&ifindex)
                && (!wants_gate
                    || (gates.contains(&ifindex) && gate::has_way(&mut attachment.netlink, ifindex, &name)?));
            if stands {
                held.insert(name, port);
            }
        }
        Ok(held)
    }

    fn held_at(&self, name: &IfName) -> Result<Option<Arc<Port>>, DatapathError> {
        let (ifindex, reads_in, held) = {
            let policy = self.policy();
            let Some(ifindex) = policy.links.get(name).copied() else { return Ok(None) };
            (ifindex, policy.reads_in(ifindex), policy.held.get(name).cloned())
        };
        let mut attachment = lock(&self.attachment);
        let wants_gate = reads_in && attachment.older.is_empty();
        let stands = self.has_filters(&mut attachment)?
            && link::index(&attachment.netlink, name)? == Some(ifindex)
            && blocks::is_joined(&mut attachment.netlink, ifindex, name)?
            && (!wants_gate || gate::stands(&mut attachment.netlink, ifindex, name)?);
        Ok(held.filter(|_| stands))
    }

    fn set_sets(&self, network: Guid, sets: &Arc<Sets>) -> Result<(), DatapathError> {
        let mut policy = self.policy();
        policy.sets.remove(&network);
        policy.program_sets(self.loaded(), network, sets)?;
        if !sets.is_empty() {
            policy.sets.insert(network, Arc::clone(sets));
        }
        Ok(())
    }

    fn held_sets(&self) -> Result<BTreeMap<Guid, Arc<Sets>>, DatapathError> {
        Ok(self.policy().sets.clone())
    }

    fn set_uplink(
        &self,
        port: &IfName,
        uplink: &Uplink,
        hosts_own: &BTreeSet<IpAddr>,
    ) -> Result<(), DatapathError> {
        let place = uplinks::find(&lock(&self.attachment).netlink, port, uplink)?;
        let held = HeldUplink { uplink: uplink.clone(), hosts_own: hosts_own.clone() };
        let mut uplinks = lock(&self.uplinks);
        self.policy().set_uplink(self.loaded(), uplink.switch_id(), place, hosts_own)?;
        let joined = uplinks.join(self.loaded(), &self.pins, port, held, place);
        if joined.is_err() {
            // Half a way is none; whoever repairs it begins anew.
            uplinks.abandon(&self.pins, port, place);
            self.policy().remove_uplink(self.loaded(), uplink.switch_id())?;
        }
        joined
    }

    fn set_hosts_own(&self, port: &IfName, hosts_own: &BTreeSet<IpAddr>) -> Result<(), DatapathError> {
        let mut uplinks = lock(&self.uplinks);
        let Some((held, place)) = uplinks.joined_at(port) else { return Ok(()) };
        self.policy().set_uplink(self.loaded(), held.uplink.switch_id(), *place, hosts_own)?;
        held.hosts_own.clone_from(hosts_own);
        Ok(())
    }

    fn remove_uplink(&self, port: &IfName) -> Result<(), DatapathError> {
        let mut uplinks = lock(&self.uplinks);
        let Some(uplink) = uplinks.leave(&self.pins, port)? else { return Ok(()) };
        self.policy().remove_uplink(self.loaded(), uplink.switch_id())
    }

    fn held_uplinks(&self) -> Result<BTreeMap<IfName, HeldUplink>, DatapathError> {
        lock(&self.uplinks).held(self.loaded(), &self.pins, &lock(&self.attachment).netlink)
    }

    fn set_overlay(
        &self,
        network: Guid,
        device: &IfName,
        clear: Option<&IfName>,
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError> {
        let tunnelled = Tunnelled::find(&mut lock(&self.attachment).netlink, device, clear, overlay)?;
        let mut uplinks = lock(&self.uplinks);
        self.policy().set_overlay(self.loaded(), network, tunnelled.devices(), overlay)?;
        let opened = uplinks.open_tunnel(self.loaded(), &self.pins, network, tunnelled);
        if opened.is_err() {
            // What the programs know must be what is held; whoever repairs it begins anew.
            uplinks.overlays.remove(&network);
            self.policy().remove_overlay(self.loaded(), network)?;
        }
        opened
    }

    fn remove_overlay(&self, network: Guid) -> Result<(), DatapathError> {
        let mut uplinks = lock(&self.uplinks);
        uplinks.close_tunnel(&self.pins, network)?;
        self.policy().remove_overlay(self.loaded(), network)
    }

    fn held_overlays(&self) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError> {
        lock(&self.uplinks).open_tunnels(self.loaded(), &self.pins, &mut lock(&self.attachment).netlink)
    }

    fn heard(&self, network: Guid) -> Result<BTreeMap<IpAddr, Duration>, DatapathError> {
        let number = self.policy().tables.overlay_number(network);
        let hosts = lock(&self.uplinks).hosts_of(network);
        number.map_or_else(|| Ok(BTreeMap::new()), |number| tunnels::heard(self.loaded(), number, &hosts))
    }

    fn upgrade(&self) -> Result<(), DatapathError> {
        // Without blocks there is nothing to take over; the first port brings them.
        self.install(&mut lock(&self.attachment))?;
        lock(&self.uplinks).upgrade(self.loaded(), &self.pins)?;
        self.close_gates()
    }

    fn drops(&self) -> Result<Vec<DropCount>, DatapathError> {
        let policy = self.policy();
        let mut counts: BTreeMap<(Option<Guid>, Direction, Reason), u64> = BTreeMap::new();
        for ((reason, direction), packets) in &policy.gone {
            *counts.entry((None, *direction, *reason)).or_default() += packets;
        }
        collector::each_drop(self.loaded(), |key, packets| {
            if let Some(reason) = Reason::from_number(key.reason) {
                let endpoint = policy.endpoints.get(&key.port).copied();
                *counts.entry((endpoint, read::direction_of(key.direction), reason)).or_default() += packets;
            }
        })?;
        Ok(counts
            .into_iter()
            .map(|((endpoint, direction, reason), packets)| DropCount {
                endpoint,
                direction,
                reason,
                packets,
            })
            .collect())
    }

    fn follow_drops(&self) -> Result<Stream<DropEvent>, DatapathError> {
        self.drops.follow(EVERY_TOPIC)
    }

    fn watch(&self, watch: &Watch) -> Result<Stream<Sighting>, DatapathError> {
        let places = self.shared.watches.take(watch)?;
        let shared = Arc::clone(&self.shared);
        let end = move || shared.end(places);
        let stream = match self.sightings.follow(places) {
            Ok(stream) => stream.ending_with(end),
            Err(error) => {
                end();
                return Err(error);
            }
        };
        self.shared.begin(watch, places)?;
        Ok(stream)
    }

    fn flows(&self, filter: &FlowFilter) -> Result<Vec<Flow>, DatapathError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut flows = Vec::new();
        self.each_flow(|flow| {
            if filter.matches(&flow) && flows.len() < limit {
                flows.push(flow);
            }
            flows.len() < limit
        })?;
        Ok(flows)
    }

    fn snapshot(&self, wanted: &Wanted<'_>) -> Result<Snapshot, DatapathError> {
        let (ports, sets) = {
            let policy = self.policy();
            (policy.programmed(), policy.sets.clone())
        };
        let overlays = lock(&self.uplinks).known_overlays();
        snapshot::take(self.loaded(), &ports, sets, overlays, wanted)
    }

    fn rule_counters(&self, endpoint: Guid) -> Result<Vec<RuleCount>, DatapathError> {
        let policy = self.policy();
        let records = policy.links.values().filter_map(|ifindex| policy.tables.record(*ifindex));
        let mut counts = Vec::new();
        for record in records.filter(|record| policy.endpoints.get(&record.id) == Some(&endpoint)) {
            for direction in [Direction::In, Direction::Out] {
                let ruleset = record.ruleset[direction.index()];
                for position in 0..positions(self.loaded(), ruleset)? {
                    let Some(rule) = read::rule(&policy.tables, ruleset, position) else { continue };
                    let packets = hits::of(self.loaded(), HitKey { port: record.id, ruleset, position })?;
                    counts.push(RuleCount { direction, position, rule, packets });
                }
            }
        }
        Ok(counts)
    }

    fn collect(&self) -> Result<Collected, DatapathError> {
        let mut policy = self.policy();
        let older_at_work = !lock(&self.attachment).older.is_empty();
        let numbers: BTreeSet<u32> = policy.endpoints.keys().copied().collect();
        let highest = policy.highest;
        // An older daemon's ports may be ours only later, and ports are set while we look.
        let is_ours = |number: u32| older_at_work || number > highest || numbers.contains(&number);
        for (key, packets) in collector::collect_drops(self.loaded(), is_ours)? {
            if let Some(reason) = Reason::from_number(key.reason) {
                *policy.gone.entry((reason, read::direction_of(key.direction))).or_default() += packets;
            }
        }
        let rulesets = policy.rulesets();
        collector::collect_hits(self.loaded(), |key| {
            let own = rulesets.get(&key.port);
            older_at_work || key.port > highest || own.is_some_and(|own| own.contains(&key.ruleset))
        })?;
        let former = policy.tables.former();
        drop(policy);
        if let Some(former) = former {
            grace::wait();
            self.policy().release(self.loaded(), former)?;
        }
        lock(&self.collector).collect(self.loaded(), clock::now(), is_ours)
    }
}

/// How many positions a ruleset has, those in use and those not.
fn positions(loaded: &Loaded, ruleset: u32) -> Result<u32, DatapathError> {
    if ruleset == 0 {
        return Ok(0);
    }
    let value =
        loaded.map(Map::Rulesets).get(ruleset.as_bytes()).map_err(map_failed("read", Map::Rulesets))?;
    let header = value.and_then(|value| hns_abi::Ruleset::read_from_bytes(&value).ok());
    let chunk = u32::try_from(hns_abi::CHUNK_BITS).expect("512");
    Ok(header.map_or(0, |header| header.chunks * chunk))
}
