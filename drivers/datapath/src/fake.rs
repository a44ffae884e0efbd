//! A datapath in memory. It behaves as the real one as far as [`Datapath`] can tell, and it can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hns_net::{Guid, IfName, Uplink};
use hns_vfp::model::{Devices, Overlay, Port, Sets, Switchboard};

use crate::stream::{Address, EVERY_TOPIC, Hub, Stream};
use crate::watches::Watches;
use crate::{
    Collected, Datapath, DatapathError, DropCount, DropEvent, Flow, FlowFilter, HeldUplink, RuleCount,
    Sighting, Snapshot, Wanted, Watch, snapshot,
};

/// A datapath in memory. Clones are the same one.
///
/// ```
/// use hns_datapath::{Datapath, FakeDatapath};
///
/// let datapath = FakeDatapath::new().fail_on_call(1);
/// assert!(datapath.held().is_ok());
/// assert!(datapath.held().is_err());
/// ```
#[derive(Clone, Default)]
pub struct FakeDatapath {
    state: Arc<Mutex<State>>,
    drops: Arc<Hub<DropEvent>>,
    sightings: Arc<Hub<Sighting>>,
    watches: Arc<Watches>,
}

#[derive(Debug, Default)]
struct State {
    board: Switchboard,
    /// Numbers that links have, in the order in which they were first named.
    links: BTreeMap<IfName, u32>,
    links_made: u32,
    /// Links that other programs have removed.
    lost: BTreeSet<IfName>,
    attached: BTreeSet<IfName>,
    uplinks: BTreeMap<IfName, HeldUplink>,
    drops: Vec<DropCount>,
    flows: Vec<Flow>,
    rule_counters: BTreeMap<Guid, Vec<RuleCount>>,
    upgrades: usize,
    calls: usize,
    fail_at: Option<usize>,
}

impl State {
    fn index(&mut self, name: &IfName) -> u32 {
        *self.links.entry(name.clone()).or_insert_with(|| {
            self.links_made += 1;
            self.links_made
        })
    }

    fn held(&self, name: &IfName) -> Option<Port> {
        self.board.ports.get(self.links.get(name)?).cloned()
    }

    fn forget(&mut self, name: &IfName) {
        self.attached.remove(name);
        if let Some(index) = self.links.get(name) {
            self.board.ports.remove(index);
        }
    }
}

/// Of events that happen while their followers look; here no time passes.
const NOW: Address = Address { time: 0, topics: EVERY_TOPIC };

/// What the tests of others do to the datapath behind our back, and how they look at it.
impl FakeDatapath {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `n`-th call from now on (counted from 0) fail before it does anything, once. Calls are those of
    /// [`Datapath`].
    #[must_use]
    pub fn fail_on_call(self, n: usize) -> Self {
        self.fail_next(n);
        self
    }

    /// As [`fail_on_call`](Self::fail_on_call), on a datapath that is in use.
    pub fn fail_next(&self, n: usize) {
        let mut state = self.state();
        state.fail_at = Some(state.calls + n);
    }

    /// How many calls it has had.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// How often the programs were renewed.
    #[must_use]
    pub fn upgrades(&self) -> usize {
        self.state().upgrades
    }

    /// All that was set.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        self.state().board.clone()
    }

    /// What was set for this port.
    #[must_use]
    pub fn port(&self, name: &IfName) -> Option<Port> {
        self.state().held(name)
    }

    /// Another program deletes the link: its port is gone, and cannot be set before the link is made again.
    pub fn lose_link(&self, name: &IfName) {
        let mut state = self.state();
        state.attached.remove(name);
        state.uplinks.retain(|port, held| port != name && held.uplink.adapter != *name);
        state.lost.insert(name.clone());
    }

    /// A link of this name is made again, with a number of its own.
    pub fn make_link(&self, name: &IfName) {
        let mut state = self.state();
        state.forget(name);
        state.links.remove(name);
        state.lost.remove(name);
    }

    /// Another program takes our filters off the link.
    pub fn detach(&self, name: &IfName) {
        self.state().attached.remove(name);
    }

    pub fn set_drops(&self, drops: Vec<DropCount>) {
        self.state().drops = drops;
    }

    pub fn set_flows(&self, flows: Vec<Flow>) {
        self.state().flows = flows;
    }

    pub fn set_rule_counters(&self, endpoint: Guid, counters: Vec<RuleCount>) {
        self.state().rule_counters.insert(endpoint, counters);
    }

    /// A packet is dropped.
    pub fn tell(&self, event: &DropEvent) {
        self.drops.tell(NOW, event);
    }

    /// A packet passes a port, or is dropped there, and is shown to those who watch its connection.
    pub fn see(&self, sighting: &Sighting) {
        let topics = self.watches.of_packet(sighting.network, &sighting.packet);
        self.sightings.tell(Address { topics, ..NOW }, sighting);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless this is the call that should fail.
    fn call(&self) -> Result<MutexGuard<'_, State>, DatapathError> {
        let mut state = self.state();
        let call = state.calls;
        state.calls += 1;
        if state.fail_at == Some(call) {
            state.fail_at = None;
            return Err(DatapathError::Injected { call });
        }
        Ok(state)
    }
}

impl Datapath for FakeDatapath {
    fn set_port(&self, name: &IfName, port: &Arc<Port>) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if state.lost.contains(name) {
            return Err(DatapathError::NoSuchLink { name: name.clone() });
        }
        let index = state.index(name);
        state.board.ports.insert(index, Port::clone(port));
        state.attached.insert(name.clone());
        Ok(())
    }

    fn remove_port(&self, name: &IfName) -> Result<(), DatapathError> {
        self.call()?.forget(name);
        Ok(())
    }

    fn held(&self) -> Result<BTreeMap<IfName, Arc<Port>>, DatapathError> {
        let state = self.call()?;
        let held = |name: &IfName| Some((name.clone(), Arc::new(state.held(name)?)));
        Ok(state.attached.iter().filter_map(held).collect())
    }

    fn held_at(&self, name: &IfName) -> Result<Option<Arc<Port>>, DatapathError> {
        let state = self.call()?;
        Ok(state.held(name).filter(|_| state.attached.contains(name)).map(Arc::new))
    }

    fn set_sets(&self, network: Guid, sets: &Arc<Sets>) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if sets.is_empty() {
            state.board.sets.remove(&network);
        } else {
            state.board.sets.insert(network, Arc::clone(sets));
        }
        Ok(())
    }

    fn held_sets(&self) -> Result<BTreeMap<Guid, Arc<Sets>>, DatapathError> {
        Ok(self.call()?.board.sets.clone())
    }

    fn set_uplink(
        &self,
        port: &IfName,
        uplink: &Uplink,
        hosts_own: &BTreeSet<IpAddr>,
    ) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if let Some(name) = [port, &uplink.adapter].into_iter().find(|name| state.lost.contains(*name)) {
            return Err(DatapathError::NoSuchLink { name: name.clone() });
        }
        let held = HeldUplink { uplink: uplink.clone(), hosts_own: hosts_own.clone() };
        state.uplinks.insert(port.clone(), held);
        state.board.hosts_own.insert(uplink.switch_id(), hosts_own.clone());
        Ok(())
    }

    fn set_hosts_own(&self, port: &IfName, hosts_own: &BTreeSet<IpAddr>) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if let Some(held) = state.uplinks.get_mut(port) {
            held.hosts_own.clone_from(hosts_own);
            let switch = held.uplink.switch_id();
            state.board.hosts_own.insert(switch, hosts_own.clone());
        }
        Ok(())
    }

    fn remove_uplink(&self, port: &IfName) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if let Some(held) = state.uplinks.remove(port) {
            state.board.hosts_own.remove(&held.uplink.switch_id());
        }
        Ok(())
    }

    fn held_uplinks(&self) -> Result<BTreeMap<IfName, HeldUplink>, DatapathError> {
        Ok(self.call()?.uplinks.clone())
    }

    fn set_overlay(
        &self,
        network: Guid,
        device: &IfName,
        clear: Option<&IfName>,
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError> {
        let mut state = self.call()?;
        if let Some(lost) = std::iter::once(device).chain(clear).find(|name| state.lost.contains(*name)) {
            return Err(DatapathError::NoSuchLink { name: lost.clone() });
        }
        let devices = Devices { tunnel: state.index(device), clear: clear.map(|clear| state.index(clear)) };
        state.board.overlays.insert(network, (devices, Arc::clone(overlay)));
        Ok(())
    }

    fn remove_overlay(&self, network: Guid) -> Result<(), DatapathError> {
        self.call()?.board.overlays.remove(&network);
        Ok(())
    }

    fn held_overlays(&self) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError> {
        let state = self.call()?;
        let known = state.board.overlays.iter();
        Ok(known.map(|(network, (_, overlay))| (*network, Arc::clone(overlay))).collect())
    }

    fn heard(&self, _network: Guid) -> Result<BTreeMap<IpAddr, Duration>, DatapathError> {
        // No packet ever passes here.
        self.call().map(|_| BTreeMap::new())
    }

    fn upgrade(&self) -> Result<(), DatapathError> {
        self.call()?.upgrades += 1;
        Ok(())
    }

    fn drops(&self) -> Result<Vec<DropCount>, DatapathError> {
        Ok(self.call()?.drops.clone())
    }

    fn follow_drops(&self) -> Result<Stream<DropEvent>, DatapathError> {
        let _counted = self.call()?;
        Ok(self.drops.follow(NOW).0)
    }

    fn watch(&self, watch: &Watch) -> Result<Stream<Sighting>, DatapathError> {
        let _counted = self.call()?;
        let places = self.watches.take(watch)?;
        let (stream, _) = self.sightings.follow(Address { topics: places, ..NOW });
        self.watches.begin(places, drop);
        let watches = Arc::clone(&self.watches);
        Ok(stream.ending_with(move || {
            watches.end(places, drop);
            watches.free(places);
        }))
    }

    fn flows(&self, filter: &FlowFilter) -> Result<Vec<Flow>, DatapathError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let state = self.call()?;
        Ok(state.flows.iter().filter(|flow| filter.matches(flow)).take(limit).cloned().collect())
    }

    fn snapshot(&self, wanted: &Wanted<'_>) -> Result<Snapshot, DatapathError> {
        let (board, flows) = {
            let state = self.call()?;
            (state.board.clone(), state.flows.clone())
        };
        Ok(snapshot::of_memory(board, &flows, wanted))
    }

    fn rule_counters(&self, endpoint: Guid) -> Result<Vec<RuleCount>, DatapathError> {
        Ok(self.call()?.rule_counters.get(&endpoint).cloned().unwrap_or_default())
    }

    fn collect(&self) -> Result<Collected, DatapathError> {
        // No packet ever passes here, so no connection grows old.
        self.call().map(|_| Collected::default())
    }
}
