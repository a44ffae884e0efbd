//! A host in memory. It behaves as the real one as far as [`Host`] can tell, and it can be made to fail.

mod kernel;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hns_model::{Bridge, is_of_a_program};
use hns_net::{Cidr, Guid, IfAddr, IfName, Mac, Mtu, Uplink};
use hns_planner::{Announcement, Element, Forwarding, Inside, Observed, Port, Step, Target, Vnic};

use crate::event::Wake;
use crate::{
    Adapter, Asker, Ear, Finding, FlowFilter, Host, HostError, HostEvent, HostPorts, Level, LinkStats,
    NamespaceIdentity, PortHolder, Question, Scope, Settings, TakenPort, Underlay, UnderlayWish, Watch,
};
use kernel::{Kernel, Link, SpaceId};

/// A host in memory. Clones are the same host, as two programs on one machine would see it.
///
/// ```
/// use hns_host::{FakeHost, Host, Scope};
///
/// let host = FakeHost::new().fail_on_call(1);
/// assert!(host.observe(&Scope::Everything).is_ok());
/// assert!(host.observe(&Scope::Everything).is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct FakeHost {
    kernel: Arc<Mutex<Kernel>>,
}

/// What the tests of others do to the host behind our back, and how they look at it.
impl FakeHost {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `n`-th call from now on (counted from 0) fail before it does anything, once. Calls are those
    /// of [`Host`], except `watch`, and what is asked behind the requests as well, at any time: `adapter`, `is_answered`, `is_reflected`.
    #[must_use]
    pub fn fail_on_call(self, n: usize) -> Self {
        self.fail_next(n);
        self
    }

    /// As [`fail_on_call`](Self::fail_on_call), on a host that is in use.
    pub fn fail_next(&self, n: usize) {
        let mut kernel = self.kernel();
        kernel.fail_at = Some(kernel.calls + n);
    }

    /// How many calls it has had.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.kernel().calls
    }

    /// All our links, those that wait for the reaper included.
    #[must_use]
    pub fn links(&self) -> Vec<IfName> {
        self.kernel().links.keys().cloned().collect()
    }

    /// What is in our table; empty also when there is no table.
    #[must_use]
    pub fn elements(&self) -> Vec<Element> {
        self.kernel().elements.iter().flatten().cloned().collect()
    }

    #[must_use]
    pub fn announcements(&self) -> Vec<Announcement> {
        self.kernel().announcements.clone()
    }

    /// Makes a namespace that is not ours, as a container runtime does.
    pub fn add_foreign_namespace(&self, path: impl Into<PathBuf>) {
        self.kernel().make_namespace(path.into());
    }

    /// Removes any namespace with everything in it, as a runtime does when its container ends.
    pub fn remove_foreign_namespace(&self, path: impl AsRef<Path>) {
        let gone = self.kernel().remove_namespace(path.as_ref());
        self.tell_ports_gone(gone);
    }

    /// Another program deletes a link of ours.
    pub fn delete_link(&self, name: &IfName) {
        let gone = self.kernel().delete_link(name);
        for link in gone {
            self.tell(match link {
                (name, Link::Bridge(_)) => HostEvent::SwitchGone(name),
                (name, Link::Port(_)) => HostEvent::PortGone(name),
            });
        }
    }

    /// Another program pulls a port out of its bridge.
    pub fn unplug(&self, port: &IfName) {
        if self.kernel().lose_bridge(port) {
            self.tell(HostEvent::PortChanged(port.clone()));
        }
    }

    /// The container's owner changes its end of a port.
    pub fn change_inside(&self, port: &IfName, change: impl FnOnce(&mut Vnic)) {
        if let Some(Link::Port(port)) = self.kernel().links.get_mut(port) {
            change(&mut port.vnic);
        }
    }

    /// Another program flushes the ruleset.
    pub fn flush_rules(&self) {
        {
            let mut kernel = self.kernel();
            (kernel.elements, kernel.chains) = (None, false);
        }
        self.tell(HostEvent::RulesChanged);
    }

    /// Another program adds a route.
    pub fn add_route(&self, to: Cidr) {
        self.kernel().routes.push(to);
        self.tell(HostEvent::RoutesChanged(to));
    }

    /// Gives the host itself an address, on `interface`.
    pub fn add_address(&self, interface: &IfName, address: IfAddr) {
        self.kernel().addresses.push((interface.clone(), address));
    }

    /// What all adapters have.
    pub const ADAPTER_MAC: Mac = Mac::new([0x02, 0, 0, 0, 0xad, 0x01]);

    /// Puts an adapter into the host.
    pub fn add_adapter(&self, name: &IfName) {
        self.kernel().adapters.insert(name.clone());
    }

    /// What lies between an adapter and its LAN lets the adapter's own station alone through.
    pub fn filter_stations(&self, adapter: &IfName) {
        self.kernel().filtered.insert(adapter.clone());
    }

    /// What lies behind an adapter sends back what it gets.
    pub fn reflect(&self, adapter: &IfName) {
        self.kernel().reflected.insert(adapter.clone());
    }

    /// The administrator makes a bridge, or changes it.
    pub fn set_bridge(&self, bridge: Bridge) {
        self.kernel().bridges.insert(bridge.name.clone(), bridge);
        self.tell(HostEvent::BridgesChanged);
    }

    /// The administrator deletes a bridge; what was on it stays without one.
    pub fn remove_bridge(&self, name: &IfName) {
        let ports = self.kernel().remove_bridge(name);
        ports.into_iter().for_each(|port| self.tell(HostEvent::PortChanged(port)));
        self.tell(HostEvent::BridgesChanged);
    }

    /// A process of the host listens on a port.
    pub fn occupy(&self, taken: TakenPort, holder: PortHolder) {
        self.kernel().holders.push((taken, holder));
    }

    /// The ports that are held, by holder.
    #[must_use]
    pub fn held_ports(&self) -> BTreeMap<Guid, Vec<HostPorts>> {
        self.kernel().held_ports.clone()
    }

    /// Sends an event to every watcher.
    pub fn tell(&self, event: HostEvent) {
        let watchers = self.kernel().watchers.clone();
        for watcher in watchers {
            watcher.send(event.clone());
        }
    }

    fn tell_ports_gone(&self, ports: Vec<IfName>) {
        for port in ports {
            self.tell(HostEvent::PortGone(port));
        }
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel, unless this is the call that should fail.
    fn call(&self) -> Result<MutexGuard<'_, Kernel>, HostError> {
        let mut kernel = self.kernel();
        let call = kernel.calls;
        kernel.calls += 1;
        if kernel.fail_at == Some(call) {
            kernel.fail_at = None;
            return Err(HostError::Injected { call });
        }
        Ok(kernel)
    }
}

impl Host for FakeHost {
    fn prepare(&self, _settings: &Settings) -> Result<(), HostError> {
        self.call().map(drop)
    }

    fn observe(&self, scope: &Scope) -> Result<Observed, HostError> {
        let kernel = self.call()?;
        Ok(match scope {
            Scope::Everything => kernel.observe_everything(),
            Scope::Switch(name) => kernel.observe_switch(name),
            Scope::Port(name) => kernel.observe_port(name),
        })
    }

    fn execute(&self, step: &Step) -> Result<(), HostError> {
        let gone = self.call()?.execute(step)?;
        self.tell_ports_gone(gone);
        Ok(())
    }

    fn reap(&self) -> Result<usize, HostError> {
        Ok(self.call()?.reap())
    }

    fn announce(&self, announcement: &Announcement) -> Result<(), HostError> {
        let mut kernel = self.call()?;
        kernel.find_bridge_or_uplink(&announcement.link)?;
        kernel.announcements.push(announcement.clone());
        Ok(())
    }

    fn transmit(&self, switch: &IfName, _frame: &[u8]) -> Result<(), HostError> {
        self.call()?.find_bridge(switch).map(drop)
    }

    fn listen(&self, uplink: &Uplink, _station: Mac) -> Result<Box<dyn Ear>, HostError> {
        self.adapter(uplink)?;
        Ok(Box::new(Silence))
    }

    fn flush_flows(&self, _filters: &[FlowFilter]) -> Result<usize, HostError> {
        // No packet ever passes here, so no connection is tracked.
        self.call().map(|_| 0)
    }

    fn stats(&self, port: &IfName) -> Result<LinkStats, HostError> {
        self.call()?.port(port).map(|_| LinkStats::default())
    }

    fn routes(&self, beside: Option<&Uplink>) -> Result<Vec<Cidr>, HostError> {
        let kernel = self.call()?;
        let own = |route: &&Cidr| {
            let adapters =
                kernel.addresses.iter().filter(|(name, _)| beside.is_some_and(|b| b.adapter == *name));
            adapters.map(|(_, address)| address.prefix()).any(|prefix| prefix == **route)
        };
        Ok(kernel.routes.iter().filter(|route| !own(route)).copied().collect())
    }

    fn adapter(&self, uplink: &Uplink) -> Result<Adapter, HostError> {
        let kernel = self.kernel();
        if kernel.adapters.contains(&uplink.adapter) {
            Ok(Adapter { mtu: Mtu::ETHERNET, mac: Self::ADAPTER_MAC })
        } else {
            Err(HostError::NoSuchAdapter { name: uplink.adapter.clone() })
        }
    }

    /// Everybody who is asked for is there.
    fn is_answered(&self, question: &Question) -> Result<bool, HostError> {
        let adapter = &question.uplink.adapter;
        let kernel = self.kernel();
        if !kernel.adapters.contains(adapter) {
            return Err(HostError::NoSuchAdapter { name: adapter.clone() });
        }
        Ok(question.asker == Asker::Host || !kernel.filtered.contains(adapter))
    }

    fn is_reflected(&self, uplink: &Uplink) -> Result<bool, HostError> {
        self.adapter(uplink)?;
        Ok(self.kernel().reflected.contains(&uplink.adapter))
    }

    fn bridges(&self) -> Result<Vec<Bridge>, HostError> {
        let kernel = self.call()?;
        let candidates = kernel.bridges.values().filter(|bridge| !is_of_a_program(bridge.name.as_str()));
        Ok(candidates.cloned().collect())
    }

    fn forwarding(&self) -> Result<Forwarding, HostError> {
        Ok(self.call()?.forwarding)
    }

    fn addresses(&self) -> Result<Vec<(IfName, IfAddr)>, HostError> {
        Ok(self.call()?.all_addresses())
    }

    fn addresses_beside(&self, uplink: &Uplink) -> Result<BTreeSet<IpAddr>, HostError> {
        let kernel = self.call()?;
        let own = kernel.addresses.iter().filter(|_| uplink.vlan.is_none());
        Ok(own.map(|(_, address)| address.address()).collect())
    }

    fn open_encrypted(&self, _address: Ipv6Addr) -> Result<File, HostError> {
        let path = std::path::Path::new("/dev/null");
        let failed = |source| HostError::File { operation: "open", path: path.to_owned(), source };
        self.call().and_then(|_| File::open(path).map_err(failed))
    }

    fn underlay(&self, wish: &UnderlayWish) -> Result<Underlay, HostError> {
        let kernel = self.call()?;
        let own = |address: IpAddr| kernel.addresses.iter().any(|(_, held)| held.address() == address);
        let address = match wish {
            UnderlayWish::Address(address) if !own(*address) => {
                return Err(HostError::NotOurAddress { address: *address });
            }
            UnderlayWish::Address(address) => *address,
            UnderlayWish::Adapter(name) => {
                let held = kernel.addresses.iter().find(|(link, _)| link == name);
                held.ok_or_else(|| HostError::NoSuchAdapter { name: name.clone() })?.1.address()
            }
            UnderlayWish::WayTo(_) | UnderlayWish::WayOut => {
                let first = kernel.addresses.first().map(|(_, held)| held.address());
                first.unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)))
            }
        };
        Ok(Underlay { address, mtu: Mtu::ETHERNET })
    }

    fn identify(&self, target: &Target) -> Result<NamespaceIdentity, HostError> {
        let SpaceId(inode) = self.call()?.space_of_target(target)?;
        Ok(NamespaceIdentity { device: 4, inode })
    }

    fn interfaces_in(&self, target: &Target) -> Result<Vec<IfName>, HostError> {
        let kernel = self.call()?;
        let space = kernel.space_of_target(target)?;
        Ok(kernel.interfaces_in(space))
    }

    fn look_inside(&self, port: &Port) -> Result<Inside, HostError> {
        Ok(self.call()?.look_inside(port))
    }

    fn hold_ports(&self, holder: Guid, ports: &[HostPorts]) -> Result<Vec<TakenPort>, HostError> {
        let mut kernel = self.call()?;
        if ports.is_empty() {
            kernel.held_ports.remove(&holder);
        } else {
            kernel.held_ports.insert(holder, ports.to_vec());
        }
        let is_wanted = |taken: &TakenPort| {
            let covers = |held: &HostPorts| held.ports.iter().any(|port| port == taken.port);
            ports.iter().any(|held| held.transport == taken.transport && covers(held))
        };
        Ok(kernel.holders.iter().map(|(taken, _)| *taken).filter(is_wanted).collect())
    }

    fn port_holder(&self, taken: &TakenPort) -> PortHolder {
        let kernel = self.kernel();
        let holder = kernel.holders.iter().find(|(other, _)| other == taken);
        holder.map(|(_, holder)| holder.clone()).unwrap_or_default()
    }

    fn release_ports(&self, holder: Guid) {
        self.kernel().held_ports.remove(&holder);
    }

    fn watch(&self) -> Result<Watch, HostError> {
        let (sender, events) = Watch::channel();
        let valve = Arc::new(Valve(Mutex::new(Some(sender))));
        self.kernel().watchers.push(Arc::clone(&valve));
        Ok(Watch::new(events, valve, None))
    }

    fn diagnose(&self, switches: &[IfName]) -> Result<Vec<Finding>, HostError> {
        let kernel = self.call()?;
        let leaks = kernel.host_bridges().filter(|name| !switches.contains(name));
        let mut findings: Vec<Finding> = leaks
            .map(|name| Finding {
                check: "leaks",
                level: Level::Warn,
                detail: format!("{name} belongs to no network"),
                hint: Some(format!("ip link delete {name}")),
            })
            .collect();
        if findings.is_empty() {
            findings.push(Finding { check: "leaks", level: Level::Ok, detail: "none".into(), hint: None });
        }
        Ok(findings)
    }

    fn open_reserved_chain(&self) -> Result<(), HostError> {
        self.call().map(drop)
    }

    /// No other program has bridges here.
    fn follow_ways_out(&self) -> Result<(), HostError> {
        Ok(())
    }

    /// No other program has rules here.
    fn follow_host_firewall(&self) -> Result<usize, HostError> {
        Ok(0)
    }
}

/// Nobody is on the LANs of this host.
struct Silence;

impl Ear for Silence {
    fn hear(&self, _patience: Duration) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// The sending end of one watch. Once shut, its reader sees the end.
#[derive(Debug)]
pub(crate) struct Valve(Mutex<Option<SyncSender<HostEvent>>>);

impl Valve {
    fn send(&self, event: HostEvent) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full or deserted stream loses the event; a test that needs it reads in time.
            let _ = sender.try_send(event);
        }
    }
}

impl Wake for Valve {
    fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
