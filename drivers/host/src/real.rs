//! The host we run on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hns_model::Bridge;
use hns_net::{Cidr, Family, Guid, IfAddr, IfName, Mac, Uplink};
use hns_planner::{Announcement, Element, Forwarding, Inside, Observed, Port, Step, Switch, Target};

use crate::adapter::{self, Told};
use crate::ear::{Ear, PacketEar};
use crate::encrypted::TunnelEnds;
use crate::held_ports::HeldPorts;
use crate::link;
use crate::namespace::{self, Namespace, path_of_target};
use crate::nat::batch;
use crate::nat::table;
use crate::netlink::{self, Netlink, Pool, Senders};
use crate::nsid::Numbers;
use crate::question::Asking;
use crate::reflection::Probe;
use crate::veth::Style;
use crate::{
    Adapter, BridgeNetfilter, Finding, FlowFilter, Host, HostError, HostPorts, LinkStats, NamespaceIdentity,
    PortHolder, Question, Scope, Settings, TakenPort, Underlay, UnderlayWish, Watch, address, announce,
    bridge, conntrack, diagnose, external, foreign_bridges, group, input_drops, inside, listener, observe,
    reserved_chain, ruleset, stats, sysctl, underlay, veth, watch, ways_out,
};

/// The kernel, seen from the namespace in which this was made.
#[derive(Debug)]
pub struct RealHost {
    run_dir: PathBuf,
    home: Namespace,
    /// Whether the kernel has IPv6 at all.
    ipv6: bool,
    route: Pool,
    netfilter: Pool,
    senders: Arc<Senders>,
    announcer: announce::Announcer,
    numbers: Numbers,
    held_ports: HeldPorts,
    told: Told,
    /// Ports that were unplugged since the reaper last came.
    unplugged: AtomicUsize,
    /// Held while what follows from others' rules and bridges is compared with what we hold of it.
    following: Mutex<()>,
}

impl RealHost {
    /// The host of the calling thread's network namespace, with our run-time files in `run_dir`.
    pub fn new(run_dir: PathBuf) -> Result<Self, HostError> {
        let senders = Arc::new(Senders::default());
        let route = Pool::new(netlink::Family::Route, Arc::clone(&senders));
        let numbers = route.with(Numbers::below_those_given)?;
        Ok(Self {
            told: Told::in_folder(run_dir.join("adapters")),
            run_dir,
            home: Namespace::own()?,
            ipv6: sysctl::has_ipv6(),
            route,
            netfilter: Pool::new(netlink::Family::Netfilter, Arc::clone(&senders)),
            senders,
            announcer: announce::Announcer::default(),
            numbers,
            held_ports: HeldPorts::default(),
            unplugged: AtomicUsize::new(0),
            following: Mutex::new(()),
        })
    }

    /// Where the namespaces that we make are held.
    #[must_use]
    pub fn namespaces_dir(&self) -> PathBuf {
        self.run_dir.join("netns")
    }

    fn tunnel_ends(&self) -> TunnelEnds<'_> {
        TunnelEnds { home: &self.home, path: self.run_dir.join("encrypted"), ipv6: self.ipv6 }
    }

    fn style(&self) -> Style {
        Style { ipv6: self.ipv6, hairpin: sysctl::bridges_call_ip_rules() }
    }

    fn observe_everything(&self) -> Result<Observed, HostError> {
        let (rules, chains) = self.netfilter.with(table::observe)?.unzip();
        let mut observed = Observed {
            namespaces: namespace::list(&self.namespaces_dir())?.into_iter().collect(),
            rules,
            chains: chains.unwrap_or_default(),
            forwarding: sysctl::forwarding()?,
            ..Observed::default()
        };
        self.route.with(|netlink| {
            observe::everything(netlink, self.ipv6, &mut observed)?;
            observed.stations = self.told.stations(netlink)?;
            for name in self.told.switches()? {
                observed.switches.entry(name).or_insert_with(adapter::switch_without_bridge);
            }
            self.see_whether_served(netlink, &mut observed)
        })?;
        Ok(observed)
    }

    fn observe_switch(&self, name: &IfName) -> Result<Observed, HostError> {
        let mut observed = Observed { forwarding: sysctl::forwarding()?, ..Observed::default() };
        self.route.with(|netlink| {
            observe::switch(netlink, name, self.ipv6, &mut observed)?;
            self.see_whether_served(netlink, &mut observed)
        })?;
        Ok(observed)
    }

    /// An external switch whose adapter does not take in what it needs has no wire.
    fn see_whether_served(&self, netlink: &mut Netlink, observed: &mut Observed) -> Result<(), HostError> {
        if !observed.switches.values().any(|switch| switch.wired) {
            return Ok(());
        }
        let served = self.told.served(netlink)?;
        for (name, switch) in &mut observed.switches {
            switch.wired &= served.contains(name);
        }
        Ok(())
    }

    fn observe_port(&self, name: &IfName) -> Result<Observed, HostError> {
        let mut observed = Observed::default();
        self.route.with(|netlink| observe::port(netlink, name, &mut observed))?;
        Ok(observed)
    }

    fn plug(&self, port: &Port) -> Result<(), HostError> {
        let opened =
            path_of_target(&port.target).map(|path| Namespace::open_given(path, &self.home)).transpose()?;
        let target = opened.as_ref().unwrap_or(&self.home);
        self.route.with(|near| match veth::create(near, target, port, &self.numbers) {
            Err(error) if error.is_errno(libc::EEXIST) => self.plug_over(port, target, near),
            result => result,
        })?;
        let configured = self.set_up(port, target);
        if configured.is_err() {
            // Half a port is none. The first failure is the one to tell.
            let _ = self.unplug(&port.name);
            return configured;
        }
        Ok(())
    }

    /// Opens a port that was plugged in and has its filter by now. Only now do the links settle: asked for while the near end
    /// is down, the kernel would wait for a grace period and find nothing.
    fn open(&self, name: &IfName, target: &Target, interface: &IfName) -> Result<(), HostError> {
        let style = self.style();
        self.route.with(|near| {
            veth::open(near, name, style)?;
            link::settle(near, name);
            Ok(())
        })?;
        if *target == Target::Engine {
            // Nobody has raised the far end yet.
            return Ok(());
        }
        let opened =
            path_of_target(target).map(|path| Namespace::open_given(path, &self.home)).transpose()?;
        let target = opened.as_ref().unwrap_or(&self.home);
        // The port is open by now. Without this the kernel's own pace is what remains.
        if let Ok(far) = target.within(&self.home, || Netlink::open(netlink::Family::Route)) {
            link::settle(&far, interface);
        }
        Ok(())
    }

    /// Sets up the far end.
    fn set_up(&self, port: &Port, target: &Namespace) -> Result<(), HostError> {
        if port.target == Target::Engine {
            // It is the engine's from here on.
            return Ok(());
        }
        let mut far = target.within(&self.home, || {
            veth::prepare(port, self.ipv6)?;
            Netlink::open(netlink::Family::Route)
        })?;
        self.configure(port, target, &mut far)
    }

    fn configure(&self, port: &Port, target: &Namespace, far: &mut Netlink) -> Result<(), HostError> {
        match veth::configure(far, port, self.ipv6) {
            // The target's default is that interfaces have no IPv6.
            Err(error) if error.is_errno(libc::EACCES) => {
                target.within(&self.home, || sysctl::enable_ipv6(&port.interface))?;
                veth::configure(far, port, self.ipv6)
            }
            result => result,
        }
    }

    fn readdress(&self, port: &Port, before: &Port) -> Result<(), HostError> {
        let opened =
            path_of_target(&port.target).map(|path| Namespace::open_given(path, &self.home)).transpose()?;
        let target = opened.as_ref().unwrap_or(&self.home);
        let mut far = target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        target.within(&self.home, || veth::let_ipv6(port, before, self.ipv6))?;
        veth::readdress(&mut far, port, before, self.ipv6)?;
        target.within(&self.home, || veth::leave_ipv6(port, before, self.ipv6))
    }

    /// Plugs in where one of the two names is taken already.
    fn plug_over(&self, port: &Port, target: &Namespace, near: &mut Netlink) -> Result<(), HostError> {
        let Some(existing) = link::find(near, &port.name)? else {
            return self.plug_stray(port, target, near);
        };
        if existing.group == group::REAP {
            // The reaper has not come yet; the name is needed now.
            veth::delete(near, &port.name)?;
            return veth::create(near, target, port, &self.numbers);
        }
        let far = &mut target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        if veth::is_same(near, far, port)? {
            return veth::replug(near, port);
        }
        Err(HostError::LinkTaken { name: port.name.clone() })
    }

    /// Plugs in where the far end may still be in its place, and somebody has renamed the near one, or moved it away.
    ///
    /// Whoever owns the container chooses what its end says of the other, numbers and all. So only a link is taken for the other end
    /// that says the same, and that no port of ours bears the name of.
    fn plug_stray(&self, port: &Port, target: &Namespace, near: &mut Netlink) -> Result<(), HostError> {
        let far = &mut target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        let is_end = |link: &link::Link| {
            link.kind.as_deref() == Some("veth") && link.mac == Some(port.mac) && link.peer_elsewhere
        };
        let Some(far_end) = link::find(far, &port.interface)?.filter(is_end) else {
            return Err(HostError::InterfaceTaken {
                interface: port.interface.clone(),
                namespace: target.path().display().to_string(),
            });
        };
        let peer = far_end.peer.map(|index| link::find_by_index(near, index)).transpose()?.flatten();
        let is_renamed = |peer: &link::Link| {
            peer.group == group::OURS && peer.peer_elsewhere && group::Role::of(&peer.name).is_none()
        };
        match peer {
            Some(peer) if is_renamed(&peer) && peer.peer == Some(far_end.index) => {
                link::rename(near, peer.index, &port.name)?;
                veth::replug(near, port)
            }
            _ => {
                veth::delete(far, &port.interface)?;
                veth::create(near, target, port, &self.numbers)
            }
        }
    }

    fn unplug(&self, name: &IfName) -> Result<(), HostError> {
        if self.route.with(|netlink| veth::unplug(netlink, name))? {
            self.unplugged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn load_tables(&self, chains: bool) -> Result<(), HostError> {
        table::load(&table::render(chains), |nft| self.senders.add(nft))
    }

    fn add_elements(&self, elements: &[Element]) -> Result<(), HostError> {
        self.prepare_quiet_ports(elements)?;
        self.netfilter.with(|netlink| batch::add(netlink, elements))
    }

    fn prepare_quiet_ports(&self, elements: &[Element]) -> Result<(), HostError> {
        let ports = elements.iter().filter_map(|element| match element {
            Element::QuietPort(name) => Some(name),
            _ => None,
        });
        let mut ports = ports.peekable();
        if ports.peek().is_none() {
            return Ok(());
        }
        let mut gateways = Vec::new();
        self.route.with(|netlink| {
            for port in ports {
                gateways.extend(bridge::gateway_of_port(netlink, port)?);
            }
            Ok(())
        })?;
        self.netfilter.with(|netlink| batch::add_gateways(netlink, &gateways))
    }

    /// Half a switch is none, unless it was there before.
    fn make_switch(&self, switch: &Switch) -> Result<(), HostError> {
        let is_new = self.route.with(|netlink| link::find_index(netlink, &switch.name))?.is_none();
        let made = self.route.with(|netlink| {
            bridge::make(netlink, switch, self.ipv6)?;
            self.lead_out(netlink, switch)
        });
        if made.is_err() && is_new {
            // The first failure is the one to tell.
            let _ = self.remove_switch(&switch.name);
        }
        made
    }

    /// Of an external switch: the port that stands for the wire, and an adapter that takes in more than its own.
    fn lead_out(&self, netlink: &mut Netlink, switch: &Switch) -> Result<(), HostError> {
        let Some(uplink) = &switch.uplink else { return Ok(()) };
        let nowhere = self.run_dir.join("nowhere");
        external::wire(netlink, &self.home, &nowhere, &switch.name, self.ipv6)?;
        self.told.share(netlink, &uplink.adapter, &switch.name)
    }

    fn remove_switch(&self, name: &IfName) -> Result<(), HostError> {
        // Its group delete takes along what waits for the reaper.
        self.unplugged.store(0, Ordering::Relaxed);
        self.route.with(|netlink| {
            // While its bridge is there, the next look finds that something is left to do.
            self.told.leave(netlink, name)?;
            bridge::remove(netlink, name)
        })
    }

    fn forward(&self, wanted: Forwarding) -> Result<(), HostError> {
        let before = sysctl::forwarding()?;
        for family in [(Family::V4, wanted.v4 && !before.v4), (Family::V6, wanted.v6 && !before.v6)]
            .into_iter()
            .filter_map(|(family, turns_on)| turns_on.then_some(family))
        {
            let path = self.forwarding_mark(family);
            fs::write(&path, "").map_err(|source| HostError::File { operation: "write", path, source })?;
        }
        sysctl::forward(wanted)?;
        self.route.with(bridge::close_again)
    }

    /// A file that says, until the next boot, that it was us who made the host forward this family.
    fn forwarding_mark(&self, family: Family) -> PathBuf {
        self.run_dir.join(match family {
            Family::V4 => "forwards-ipv4",
            Family::V6 => "forwards-ipv6",
        })
    }

    /// An earlier daemon kept switches in namespaces of their own. The kernel would remove the links there some time
    /// later, and until then the names of their far ends in the containers would be taken.
    fn remove_namespace(&self, path: &Path) -> Result<(), HostError> {
        if let Ok(namespace) = Namespace::open(path) {
            namespace.within(&self.home, || {
                let mut inside = Netlink::open(netlink::Family::Route)?;
                link::delete_group(&mut inside, group::OURS).map(drop)
            })?;
        }
        namespace::remove(path)
    }

    /// Whether another engine's rules count on seeing bridged frames.
    fn bridge_netfilter_is_needed(&self) -> Result<bool, HostError> {
        let chains = self.netfilter.with(ruleset::chains)?;
        Ok(chains.iter().any(ruleset::Chain::is_of_an_engine))
    }
}

impl Host for RealHost {
    fn prepare(&self, settings: &Settings) -> Result<(), HostError> {
        let path = self.namespaces_dir();
        let fail = |source| HostError::File { operation: "make", path: path.clone(), source };
        fs::create_dir_all(&path).map_err(fail)?;
        namespace::sweep(&path)?;
        let off = match settings.bridge_netfilter {
            BridgeNetfilter::Keep => false,
            BridgeNetfilter::Off => true,
            BridgeNetfilter::Auto => !self.bridge_netfilter_is_needed()?,
        };
        if off {
            for name in sysctl::BRIDGE_CALLS {
                sysctl::set(name, "0")?;
            }
        }
        Ok(())
    }

    fn observe(&self, scope: &Scope) -> Result<Observed, HostError> {
        match scope {
            Scope::Everything => self.observe_everything(),
            Scope::Switch(name) => self.observe_switch(name),
            Scope::Port(name) => self.observe_port(name),
        }
    }

    fn execute(&self, step: &Step) -> Result<(), HostError> {
        match step {
            Step::Forward(wanted) => self.forward(*wanted),
            Step::LoadTable { chains } => self.load_tables(*chains),
            Step::AddChains => {
                self.netfilter.with(|netlink| table::add_chains(netlink, |nft| self.senders.add(nft)))
            }
            Step::RemoveChains => {
                self.netfilter.with(|netlink| table::remove_chains(netlink, |nft| self.senders.add(nft)))
            }
            Step::MakeNamespace(spec) => namespace::make(&spec.path),
            Step::RemoveNamespace(spec) => self.remove_namespace(&spec.path),
            Step::MakeSwitch(switch) => self.make_switch(switch),
            Step::RemoveSwitch { name } => self.remove_switch(name),
            Step::PlugPort(port) => self.plug(port),
            Step::ReplugPort(port) => self.route.with(|netlink| veth::replug(netlink, port)),
            Step::FilterPort { name, .. } => Err(HostError::NotTheHosts { object: name.to_string() }),
            Step::SetSets { network, .. } => Err(HostError::NotTheHosts { object: network.to_string() }),
            Step::JoinAdapter { switch, .. } | Step::LeaveAdapter { switch } => {
                Err(HostError::NotTheHosts { object: switch.to_string() })
            }
            Step::MakeTunnel { device } => {
                self.route.with(|netlink| self.tunnel_ends().make(netlink, *device))
            }
            Step::RemoveTunnel { device } => {
                self.route.with(|netlink| self.tunnel_ends().remove(netlink, *device))
            }
            Step::SetOverlay { network, .. } => Err(HostError::NotTheHosts { object: network.to_string() }),
            Step::AddStation(station) => self.route.with(|netlink| self.told.add_station(netlink, station)),
            Step::RemoveStation(station) => {
                self.route.with(|netlink| self.told.remove_station(netlink, station))
            }
            Step::OpenPort { name, target, interface } => self.open(name, target, interface),
            Step::AddressPort { port, before } => self.readdress(port, before),
            Step::UnplugPort { name } => self.unplug(name),
            Step::AddElements(elements) => self.add_elements(elements),
            Step::RemoveElements(elements) => self.netfilter.with(|netlink| batch::remove(netlink, elements)),
        }
    }

    fn reap(&self) -> Result<usize, HostError> {
        let counted = self.unplugged.swap(0, Ordering::Relaxed);
        let any = self.route.with(|netlink| link::delete_group(netlink, group::REAP))?;
        // Unplugged by an earlier life of the daemon: there was at least one.
        Ok(if any { counted.max(1) } else { 0 })
    }

    fn announce(&self, announcement: &Announcement) -> Result<(), HostError> {
        self.route.with(|netlink| self.announcer.announce(netlink, announcement))
    }

    fn transmit(&self, switch: &IfName, frame: &[u8]) -> Result<(), HostError> {
        self.route.with(|netlink| self.announcer.transmit(netlink, switch, frame))
    }

    fn listen(&self, uplink: &Uplink, station: Mac) -> Result<Box<dyn Ear>, HostError> {
        let ear = self.route.with(|netlink| PacketEar::open(netlink, uplink, station))?;
        Ok(Box::new(ear))
    }

    fn flush_flows(&self, filters: &[FlowFilter]) -> Result<usize, HostError> {
        let own = self.addresses()?.into_iter().map(|(_, address)| address.address()).collect();
        self.netfilter.with(|netlink| conntrack::flush(netlink, filters, &own))
    }

    fn stats(&self, port: &IfName) -> Result<LinkStats, HostError> {
        self.route.with(|netlink| stats::read(netlink, port))
    }

    fn adapter(&self, uplink: &Uplink) -> Result<Adapter, HostError> {
        self.route.with(|netlink| adapter::look(netlink, uplink))
    }

    fn is_answered(&self, question: &Question) -> Result<bool, HostError> {
        let asking = self.route.with(|netlink| Asking::prepare(netlink, question))?;
        // Others use the socket while we wait.
        asking.map_or(Ok(false), |asking| asking.is_answered())
    }

    fn is_reflected(&self, uplink: &Uplink) -> Result<bool, HostError> {
        let probe = self.route.with(|netlink| Probe::prepare(netlink, uplink))?;
        probe.is_reflected()
    }

    fn routes(&self, beside: Option<&Uplink>) -> Result<Vec<Cidr>, HostError> {
        self.route.with(|netlink| adapter::routes_beside(netlink, beside, self.ipv6))
    }

    fn forwarding(&self) -> Result<Forwarding, HostError> {
        sysctl::forwarding()
    }

    fn bridges(&self) -> Result<Vec<Bridge>, HostError> {
        self.route.with(|netlink| foreign_bridges::list(netlink, self.ipv6))
    }

    fn addresses(&self) -> Result<Vec<(IfName, IfAddr)>, HostError> {
        self.route.with(|netlink| {
            let held = address::list(netlink, None)?;
            let links = link::find_all(netlink, held.iter().map(|held| held.link))?;
            let named = |held: address::Held| Some((links.get(&held.link)?.name.parse().ok()?, held.address));
            Ok(held.into_iter().filter_map(named).collect())
        })
    }

    fn addresses_beside(&self, uplink: &Uplink) -> Result<BTreeSet<IpAddr>, HostError> {
        self.route.with(|netlink| adapter::addresses_beside(netlink, uplink))
    }

    fn underlay(&self, wish: &UnderlayWish) -> Result<Underlay, HostError> {
        self.route.with(|netlink| underlay::find(netlink, wish))
    }

    fn open_encrypted(&self, address: Ipv6Addr) -> Result<File, HostError> {
        self.tunnel_ends().open(address)
    }

    fn identify(&self, target: &Target) -> Result<NamespaceIdentity, HostError> {
        match path_of_target(target) {
            None => self.home.identity(),
            Some(path) => Namespace::open_given(path, &self.home)?.identity(),
        }
    }

    fn interfaces_in(&self, target: &Target) -> Result<Vec<IfName>, HostError> {
        let names = match path_of_target(target) {
            None => self.route.with(link::names),
            Some(path) => {
                let target = Namespace::open_given(path, &self.home)?;
                let mut far = target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
                link::names(&mut far)
            }
        };
        let mut names: Vec<IfName> = names?.into_values().collect();
        names.sort();
        Ok(names)
    }

    fn look_inside(&self, port: &Port) -> Result<Inside, HostError> {
        let opened = match path_of_target(&port.target)
            .map(|path| Namespace::open_given(path, &self.home))
            .transpose()
        {
            Err(
                HostError::NoSuchNamespace { .. }
                | HostError::NotANamespace { .. }
                | HostError::OwnNamespace { .. },
            ) => {
                return Ok(Inside::NoNamespace);
            }
            opened => opened?,
        };
        let target = opened.as_ref().unwrap_or(&self.home);
        let far = &mut target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        self.route.with(|near| inside::look(near, far, port, self.ipv6))
    }

    fn hold_ports(&self, holder: Guid, ports: &[HostPorts]) -> Result<Vec<TakenPort>, HostError> {
        self.held_ports.hold(holder, ports)
    }

    fn port_holder(&self, taken: &TakenPort) -> PortHolder {
        listener::holder(taken)
    }

    fn release_ports(&self, holder: Guid) {
        self.held_ports.release(holder);
    }

    fn watch(&self) -> Result<Watch, HostError> {
        watch::start(&self.route, Arc::clone(&self.senders))
    }

    fn diagnose(&self, known: &[IfName]) -> Result<Vec<Finding>, HostError> {
        let mut findings = diagnose::kernel(self.ipv6)?;
        findings.extend(self.netfilter.with(|netlink| diagnose::foreign_rules(netlink, known))?);
        findings.extend(self.route.with(|netlink| diagnose::leaks(netlink, known))?);
        Ok(findings)
    }

    fn open_reserved_chain(&self) -> Result<(), HostError> {
        let forwards_for_us = |family| self.forwarding_mark(family).exists();
        self.netfilter.with(|netlink| reserved_chain::open(netlink, forwards_for_us))
    }

    fn follow_ways_out(&self) -> Result<(), HostError> {
        let _alone = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        ways_out::follow(&self.route, &self.netfilter, self.ipv6)
    }

    fn follow_host_firewall(&self) -> Result<usize, HostError> {
        let _alone = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        self.netfilter.with(input_drops::follow)
    }
}
