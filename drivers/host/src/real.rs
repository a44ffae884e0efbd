//! The host we run on.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hns_net::{Cidr, Family, IfAddr, IfName, PortRange, Transport};
use hns_planner::{Announcement, Element, Forwarding, Home, Observed, Port, Step, Target};

use crate::link;
use crate::namespace::{self, Namespace, path_of_home, path_of_target};
use crate::nat::batch;
use crate::nat::element::Set;
use crate::nat::table::{self, Table};
use crate::netlink::{self, Netlink, Pool, Senders};
use crate::nsid::Numbers;
use crate::veth::Style;
use crate::{
    BridgeNetfilter, Finding, FlowFilter, Host, HostError, LinkStats, NamespaceIdentity, PortHolder, Scope,
    Settings, Watch, address, announce, bridge, conntrack, diagnose, group, input_drops, listener, observe,
    reserved_chain, ruleset, stats, sysctl, veth, watch,
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
    announcers: announce::Sockets,
    numbers: Numbers,
    /// Ports of the host's namespace that were unplugged since the reaper last came.
    unplugged: AtomicUsize,
    /// Held alone while the table of bridged frames comes or goes, shared while ports are guarded in it.
    bridge_table: RwLock<()>,
    /// Held while the rules of the host's firewall are compared with what we hold of them.
    following: Mutex<()>,
}

fn name_quiet_ports(elements: &[Element]) -> bool {
    elements.iter().any(|element| matches!(element, Element::QuietPort(_)))
}

fn name_guarded_ports(elements: &[Element]) -> bool {
    elements.iter().any(|element| matches!(element, Element::GuardedPort(_)))
}

impl RealHost {
    /// The host of the calling thread's network namespace, with our run-time files in `run_dir`.
    pub fn new(run_dir: PathBuf) -> Result<Self, HostError> {
        let senders = Arc::new(Senders::default());
        let route = Pool::new(netlink::Family::Route, Arc::clone(&senders));
        let numbers = route.with(Numbers::below_those_given)?;
        Ok(Self {
            run_dir,
            home: Namespace::own()?,
            ipv6: sysctl::has_ipv6(),
            route,
            netfilter: Pool::new(netlink::Family::Netfilter, Arc::clone(&senders)),
            senders,
            announcers: announce::Sockets::default(),
            numbers,
            unplugged: AtomicUsize::new(0),
            bridge_table: RwLock::new(()),
            following: Mutex::new(()),
        })
    }

    /// Where the namespaces that we make are held.
    #[must_use]
    pub fn namespaces_dir(&self) -> PathBuf {
        self.run_dir.join("netns")
    }

    /// Works with a route socket of the home, with the thread in the home's namespace.
    fn in_home<T>(
        &self,
        home: &Home,
        work: impl FnOnce(&mut Netlink) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        match path_of_home(home) {
            None => self.route.with(work),
            Some(path) => Namespace::open(path)?.within(&self.home, || {
                let mut netlink = Netlink::open(netlink::Family::Route)?;
                work(&mut netlink)
            }),
        }
    }

    /// As [`in_home`](Self::in_home); a home that is gone has nothing left to do, and yields the default.
    fn in_home_if_there<T: Default>(
        &self,
        home: &Home,
        work: impl FnOnce(&mut Netlink) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        match self.in_home(home, work) {
            Err(HostError::NoSuchNamespace { .. } | HostError::NotANamespace { .. }) => Ok(T::default()),
            result => result,
        }
    }

    fn style(&self, home: &Home) -> Style {
        Style { ipv6: self.ipv6, hairpin: *home == Home::Host && sysctl::bridges_call_ip_rules() }
    }

    fn observe_everything(&self, apart: &[PathBuf]) -> Result<Observed, HostError> {
        let mut observed = Observed {
            namespaces: namespace::list(&self.namespaces_dir())?.into_iter().collect(),
            rules: self.netfilter.with(table::observe)?,
            forwarding: sysctl::forwarding()?,
            ..Observed::default()
        };
        let homes = std::iter::once(Home::Host).chain(apart.iter().cloned().map(Home::Apart));
        for home in homes {
            self.in_home_if_there(&home, |netlink| {
                observe::everything(netlink, &home, self.ipv6, &mut observed)
            })?;
        }
        Ok(observed)
    }

    fn observe_switch(&self, name: &IfName, home: &Home) -> Result<Observed, HostError> {
        let mut observed = Observed { forwarding: sysctl::forwarding()?, ..Observed::default() };
        if let Some(path) = path_of_home(home)
            && Namespace::open(path).is_ok()
        {
            observed.namespaces.insert(path.to_owned());
        }
        self.in_home_if_there(home, |netlink| {
            observe::switch(netlink, name, home, self.ipv6, &mut observed)
        })?;
        Ok(observed)
    }

    fn observe_port(&self, name: &IfName, home: &Home) -> Result<Observed, HostError> {
        let mut observed = Observed::default();
        self.in_home_if_there(home, |netlink| observe::port(netlink, name, home, &mut observed))?;
        Ok(observed)
    }

    fn plug(&self, port: &Port) -> Result<(), HostError> {
        let opened = path_of_target(&port.target).map(Namespace::open).transpose()?;
        let target = opened.as_ref().unwrap_or(&self.home);
        let style = self.style(&port.home);
        self.in_home(&port.home, |near| match veth::create(near, target, port, style, &self.numbers) {
            Err(error) if error.is_errno(libc::EEXIST) => self.plug_over(port, target, near, style),
            result => result,
        })?;
        let configured = self.set_up(port, target);
        if configured.is_err() {
            // Half a port is none. The first failure is the one to tell.
            let _ = self.unplug(&port.name, &port.home);
            return configured;
        }
        if port.filtered {
            return Ok(());
        }
        self.in_home(&port.home, |near| {
            link::settle(near, &port.name);
            Ok(())
        })
    }

    /// Opens a port that was plugged in and has its filter by now.
    fn open(&self, name: &IfName, home: &Home, target: &Target, interface: &IfName) -> Result<(), HostError> {
        let style = self.style(home);
        self.in_home(home, |near| {
            veth::open(near, name, style)?;
            link::settle(near, name);
            Ok(())
        })?;
        if *target == Target::Engine {
            // Nobody has raised the far end yet.
            return Ok(());
        }
        let opened = path_of_target(target).map(Namespace::open).transpose()?;
        let target = opened.as_ref().unwrap_or(&self.home);
        let far = target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        link::settle(&far, interface);
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
        let configured = match veth::configure(far, port, self.ipv6) {
            // The target's default is that interfaces have no IPv6.
            Err(error) if error.is_errno(libc::EACCES) => {
                target.within(&self.home, || sysctl::enable_ipv6(&port.interface))?;
                veth::configure(far, port, self.ipv6)
            }
            result => result,
        };
        link::settle(far, &port.interface);
        configured
    }

    /// Plugs in where one of the two names is taken already.
    fn plug_over(
        &self,
        port: &Port,
        target: &Namespace,
        near: &mut Netlink,
        style: Style,
    ) -> Result<(), HostError> {
        let Some(existing) = link::find(near, &port.name)? else {
            return Err(HostError::InterfaceTaken {
                interface: port.interface.clone(),
                namespace: target.path().display().to_string(),
            });
        };
        if existing.group == group::REAP {
            // The reaper has not come yet; the name is needed now.
            veth::delete(near, &port.name)?;
            return veth::create(near, target, port, style, &self.numbers);
        }
        let far = &mut target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
        if veth::is_same(near, far, port)? {
            return veth::replug(near, port, style);
        }
        Err(HostError::LinkTaken { name: port.name.clone() })
    }

    fn unplug(&self, name: &IfName, home: &Home) -> Result<(), HostError> {
        let found = self.in_home_if_there(home, |netlink| veth::unplug(netlink, name))?;
        if found && *home == Home::Host {
            self.unplugged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn load(&self, table: Table) -> Result<(), HostError> {
        table::load(&table.render(), |nft| self.senders.add(nft))
    }

    fn load_table(&self) -> Result<(), HostError> {
        let _alone = self.bridge_table.write().unwrap_or_else(PoisonError::into_inner);
        self.netfilter.with(|netlink| table::remove(netlink, Table::Bridge))?;
        self.load(Table::Main)
    }

    fn add_elements(&self, elements: &[Element]) -> Result<(), HostError> {
        let add = || self.netfilter.with(|netlink| batch::add(netlink, elements));
        if name_quiet_ports(elements) {
            let _alone = self.bridge_table.write().unwrap_or_else(PoisonError::into_inner);
            self.prepare_quiet_ports(elements)?;
            return add();
        }
        if !name_guarded_ports(elements) {
            return add();
        }
        let added = {
            let _shared = self.bridge_table.read().unwrap_or_else(PoisonError::into_inner);
            add()
        };
        match added {
            Err(error) if batch::is_missing(&error) => {
                let _alone = self.bridge_table.write().unwrap_or_else(PoisonError::into_inner);
                self.load_bridge_table()?;
                add()
            }
            result => result,
        }
    }

    /// The table of bridged frames goes with the last quiet port, unless ports are guarded: every bridged frame pays for
    /// it. It does not go with the last guarded port, since the next one would wait for it to be loaded again.
    fn remove_elements(&self, elements: &[Element]) -> Result<(), HostError> {
        if !name_quiet_ports(elements) {
            return self.netfilter.with(|netlink| batch::remove(netlink, elements));
        }
        let _alone = self.bridge_table.write().unwrap_or_else(PoisonError::into_inner);
        self.netfilter.with(|netlink| {
            batch::remove(netlink, elements)?;
            if table::exists(netlink, Table::Bridge)?
                && batch::list(netlink, Set::QuietPorts)?.is_empty()
                && batch::list(netlink, Set::Guarded)?.is_empty()
            {
                table::remove(netlink, Table::Bridge)?;
            }
            Ok(())
        })
    }

    /// The table of bridged frames comes with the first quiet or guarded port. One that is not whole is left for
    /// [`Step::LoadTable`], after which all its elements are added again.
    fn load_bridge_table(&self) -> Result<(), HostError> {
        let there = self.netfilter.with(|netlink| table::exists(netlink, Table::Bridge))?;
        if there { Ok(()) } else { self.load(Table::Bridge) }
    }

    fn prepare_quiet_ports(&self, elements: &[Element]) -> Result<(), HostError> {
        self.load_bridge_table()?;
        let ports = elements.iter().filter_map(|element| match element {
            Element::QuietPort(name) => Some(name),
            _ => None,
        });
        let mut gateways = Vec::new();
        self.route.with(|netlink| {
            for port in ports {
                gateways.extend(bridge::gateway_of_port(netlink, port)?);
            }
            Ok(())
        })?;
        self.netfilter.with(|netlink| batch::add_gateways(netlink, &gateways))
    }

    fn remove_switch(&self, name: &IfName, home: &Home) -> Result<(), HostError> {
        if *home == Home::Host {
            // Its group delete takes along what waits for the reaper.
            self.unplugged.store(0, Ordering::Relaxed);
        }
        self.in_home_if_there(home, |netlink| bridge::remove(netlink, name))
    }

    fn forward(&self, wanted: Forwarding) -> Result<(), HostError> {
        sysctl::forward(wanted)
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
            Scope::Everything { apart } => self.observe_everything(apart),
            Scope::Switch { name, home } => self.observe_switch(name, home),
            Scope::Port { name, home } => self.observe_port(name, home),
        }
    }

    fn execute(&self, step: &Step) -> Result<(), HostError> {
        match step {
            Step::Forward(wanted) => self.forward(*wanted),
            Step::LoadTable => self.load_table(),
            Step::MakeNamespace(spec) => namespace::make(&spec.path),
            Step::RemoveNamespace(spec) => {
                // A socket keeps its namespace alive.
                self.announcers.forget(&spec.path);
                namespace::remove(&spec.path)
            }
            Step::MakeSwitch(switch) => {
                self.in_home(&switch.home, |netlink| bridge::make(netlink, switch, self.ipv6))
            }
            Step::RemoveSwitch { name, home } => self.remove_switch(name, home),
            Step::PlugPort(port) => self.plug(port),
            Step::ReplugPort(port) => {
                let style = self.style(&port.home);
                self.in_home(&port.home, |netlink| {
                    veth::replug(netlink, port, style)?;
                    link::settle(netlink, &port.name);
                    Ok(())
                })
            }
            Step::FilterPort { name, .. } => Err(HostError::NotTheHosts { name: name.clone() }),
            Step::OpenPort { name, home, target, interface } => self.open(name, home, target, interface),
            Step::UnplugPort { name, home } => self.unplug(name, home),
            Step::AddElements(elements) => self.add_elements(elements),
            Step::RemoveElements(elements) => self.remove_elements(elements),
        }
    }

    fn reap(&self, home: &Home) -> Result<usize, HostError> {
        let counted = match home {
            Home::Host => self.unplugged.swap(0, Ordering::Relaxed),
            Home::Apart(_) => 0,
        };
        let any = self.in_home_if_there(home, |netlink| link::delete_group(netlink, group::REAP))?;
        // Unplugged by an earlier life of the daemon: there was at least one.
        Ok(if any { counted.max(1) } else { 0 })
    }

    fn announce(&self, announcement: &Announcement) -> Result<(), HostError> {
        self.in_home(&announcement.home, |netlink| self.announcers.announce(netlink, announcement))
    }

    fn flush_flows(&self, filters: &[FlowFilter]) -> Result<usize, HostError> {
        let own = self.addresses()?.into_iter().map(|(_, address)| address.address()).collect();
        self.netfilter.with(|netlink| conntrack::flush(netlink, filters, &own))
    }

    fn stats(&self, port: &IfName, home: &Home) -> Result<LinkStats, HostError> {
        self.in_home(home, |netlink| stats::read(netlink, port))
    }

    fn routes(&self) -> Result<Vec<Cidr>, HostError> {
        self.route.with(|netlink| {
            let mut routes = address::list_routes(netlink, Family::V4)?;
            if self.ipv6 {
                routes.extend(address::list_routes(netlink, Family::V6)?);
            }
            routes.retain(address::Seen::is_reach);
            let links = link::find_all(netlink, routes.iter().filter_map(|route| route.link))?;
            let ours = |index| links.get(&index).is_some_and(|link| link.group == group::OURS);
            routes.retain(|route| !route.link.is_some_and(ours));
            let mut prefixes: Vec<Cidr> = routes.into_iter().map(|route| route.destination).collect();
            prefixes.sort();
            prefixes.dedup();
            Ok(prefixes)
        })
    }

    fn addresses(&self) -> Result<Vec<(IfName, IfAddr)>, HostError> {
        self.route.with(|netlink| {
            let held = address::list(netlink, None)?;
            let links = link::find_all(netlink, held.iter().map(|held| held.link))?;
            let named = |held: address::Held| Some((links.get(&held.link)?.name.parse().ok()?, held.address));
            Ok(held.into_iter().filter_map(named).collect())
        })
    }

    fn identify(&self, target: &Target) -> Result<NamespaceIdentity, HostError> {
        match path_of_target(target) {
            None => self.home.identity(),
            Some(path) => Namespace::open(path)?.identity(),
        }
    }

    fn interfaces_in(&self, target: &Target) -> Result<Vec<IfName>, HostError> {
        let names = match path_of_target(target) {
            None => self.route.with(link::names),
            Some(path) => {
                let target = Namespace::open(path)?;
                let mut far = target.within(&self.home, || Netlink::open(netlink::Family::Route))?;
                link::names(&mut far)
            }
        };
        let mut names: Vec<IfName> = names?.into_values().collect();
        names.sort();
        Ok(names)
    }

    fn port_holder(
        &self,
        at: Option<IpAddr>,
        transport: Transport,
        ports: PortRange,
        families: &[Family],
    ) -> Result<Option<PortHolder>, HostError> {
        listener::find(at, transport, ports, families)
    }

    fn watch(&self) -> Result<Watch, HostError> {
        watch::start(&self.route, Arc::clone(&self.senders))
    }

    fn diagnose(&self, switches: &[IfName]) -> Result<Vec<Finding>, HostError> {
        let mut findings = diagnose::kernel(self.ipv6)?;
        findings.extend(self.netfilter.with(diagnose::foreign_rules)?);
        findings.extend(self.route.with(|netlink| diagnose::leaks(netlink, switches))?);
        Ok(findings)
    }

    fn open_reserved_chain(&self) -> Result<(), HostError> {
        self.netfilter.with(reserved_chain::open)
    }

    fn follow_host_firewall(&self) -> Result<usize, HostError> {
        let _alone = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        self.netfilter.with(input_drops::follow)
    }
}
