//! What a [`FakeHost`](super::FakeHost) remembers, and how it looks from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hns_net::{Cidr, Guid, IfAddr, IfName};
use hns_planner::{
    Announcement, Element, Forwarding, Inside, Observed, ObservedPort, ObservedSwitch, Port, Station, Switch,
    Target, Vnic,
};

use super::Valve;
use crate::{HostError, HostPorts, PortHolder, TakenPort};

/// A namespace's number, as an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SpaceId(pub u64);

pub(super) const HOST: SpaceId = SpaceId(1);

#[derive(Debug, Clone)]
pub(super) enum Link {
    Bridge(Bridge),
    Port(PluggedPort),
}

#[derive(Debug, Clone)]
pub(super) struct Bridge {
    pub switch: Switch,
    pub up: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PluggedPort {
    pub port: Port,
    /// The far end, which its container may change.
    pub vnic: Vnic,
    /// Where the far end is.
    pub space: SpaceId,
    pub bridge: Option<IfName>,
    pub up: bool,
    /// Unplugged: in the reaper's group.
    pub doomed: bool,
}

#[derive(Debug)]
pub(super) struct Kernel {
    pub calls: usize,
    pub fail_at: Option<usize>,
    next_space: u64,
    /// All our links, in the host's own namespace.
    pub links: BTreeMap<IfName, Link>,
    pub paths: BTreeMap<PathBuf, SpaceId>,
    /// The paths of the namespaces that we made.
    pub ours: BTreeSet<PathBuf>,
    pub elements: Option<BTreeSet<Element>>,
    pub chains: bool,
    pub forwarding: Forwarding,
    pub announcements: Vec<Announcement>,
    pub routes: Vec<Cidr>,
    pub addresses: Vec<(IfName, IfAddr)>,
    /// Those that external switches may share.
    pub adapters: BTreeSet<IfName>,
    /// Those whose LAN hears nobody else.
    pub filtered: BTreeSet<IfName>,
    /// Adapters whose wire sends everything back.
    pub reflected: BTreeSet<IfName>,
    /// What they were told to let in.
    pub stations: BTreeSet<Station>,
    /// The UDP ports with a VXLAN device.
    pub tunnels: BTreeSet<hns_planner::TunnelDevice>,
    /// Of others.
    pub bridges: BTreeMap<IfName, hns_model::Bridge>,
    pub holders: Vec<(TakenPort, PortHolder)>,
    /// What endpoints hold.
    pub held_ports: BTreeMap<Guid, Vec<HostPorts>>,
    pub watchers: Vec<Arc<Valve>>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            calls: 0,
            fail_at: None,
            next_space: HOST.0 + 1,
            links: BTreeMap::new(),
            paths: BTreeMap::new(),
            ours: BTreeSet::new(),
            elements: None,
            chains: false,
            forwarding: Forwarding::default(),
            announcements: Vec::new(),
            routes: Vec::new(),
            addresses: Vec::new(),
            adapters: BTreeSet::new(),
            filtered: BTreeSet::new(),
            reflected: BTreeSet::new(),
            stations: BTreeSet::new(),
            tunnels: BTreeSet::new(),
            bridges: BTreeMap::new(),
            holders: Vec::new(),
            held_ports: BTreeMap::new(),
            watchers: Vec::new(),
        }
    }
}

impl Kernel {
    pub fn make_namespace(&mut self, path: PathBuf) {
        if !self.paths.contains_key(&path) {
            let id = SpaceId(self.next_space);
            self.next_space += 1;
            self.paths.insert(path, id);
        }
    }

    /// Returns the host ends that went with it, as a veth goes with its peer.
    pub fn remove_namespace(&mut self, path: &Path) -> Vec<IfName> {
        self.ours.remove(path);
        let Some(id) = self.paths.remove(path) else { return Vec::new() };
        let mut gone = Vec::new();
        self.links.retain(|name, link| {
            let orphan = matches!(link, Link::Port(port) if port.space == id);
            if orphan && matches!(link, Link::Port(port) if !port.doomed) {
                gone.push(name.clone());
            }
            !orphan
        });
        gone
    }

    pub fn space_of_target(&self, target: &Target) -> Result<SpaceId, HostError> {
        match target {
            Target::Host | Target::Engine => Ok(HOST),
            Target::Path(path) => self.space_at(path),
        }
    }

    fn space_at(&self, path: &Path) -> Result<SpaceId, HostError> {
        self.paths.get(path).copied().ok_or_else(|| HostError::NoSuchNamespace { path: path.to_owned() })
    }

    /// Fine if there is a bridge of this name, of ours or of others.
    pub fn find_bridge(&self, name: &IfName) -> Result<(), HostError> {
        match self.links.get(name) {
            Some(Link::Bridge(_)) => Ok(()),
            None if self.bridges.contains_key(name) => Ok(()),
            _ => Err(HostError::NoSuchLink { name: name.clone() }),
        }
    }

    /// Of the port that stands for an external switch's wire, its bridge.
    pub fn find_bridge_or_uplink(&self, name: &IfName) -> Result<(), HostError> {
        let has_it = |(bridge, link): (&IfName, &Link)| {
            let leads_out = matches!(link, Link::Bridge(bridge) if bridge.switch.uplink.is_some());
            leads_out && Switch::uplink_port(bridge).as_ref() == Some(name)
        };
        if self.links.iter().any(has_it) { Ok(()) } else { self.find_bridge(name) }
    }

    pub fn port(&self, name: &IfName) -> Result<&PluggedPort, HostError> {
        match self.links.get(name) {
            Some(Link::Port(port)) => Ok(port),
            _ => Err(HostError::NoSuchLink { name: name.clone() }),
        }
    }

    pub fn interfaces_in(&self, space: SpaceId) -> Vec<IfName> {
        let here = self.links.keys().filter(|_| space == HOST).cloned();
        let far_ends = self.links.values().filter_map(|link| match link {
            Link::Port(port) if port.space == space => Some(port.port.interface.clone()),
            _ => None,
        });
        let mut names: BTreeSet<IfName> = here.chain(far_ends).collect();
        names.extend("lo".parse());
        names.into_iter().collect()
    }

    pub fn look_inside(&self, port: &Port) -> Inside {
        let Ok(space) = self.space_of_target(&port.target) else { return Inside::NoNamespace };
        match self.links.get(&port.name) {
            Some(Link::Port(plugged)) if plugged.space == space => Inside::Here(plugged.vnic.clone()),
            Some(Link::Port(_)) => {
                Inside::Elsewhere { namesake: self.interfaces_in(space).contains(&port.interface) }
            }
            _ => Inside::NoPort,
        }
    }

    pub fn host_bridges(&self) -> impl Iterator<Item = &IfName> {
        self.links.iter().filter(|(_, link)| matches!(link, Link::Bridge(_))).map(|(name, _)| name)
    }

    pub fn all_addresses(&self) -> Vec<(IfName, IfAddr)> {
        let gateways = self.links.iter().flat_map(|(name, link)| match link {
            Link::Bridge(bridge) => {
                bridge.switch.gateways.iter().map(|gateway| (name.clone(), *gateway)).collect()
            }
            Link::Port(_) => Vec::new(),
        });
        self.addresses.iter().cloned().chain(gateways).collect()
    }

    /// Returns what went: the link, and for a bridge nothing more, since its ports stay without one.
    pub fn delete_link(&mut self, name: &IfName) -> Vec<(IfName, Link)> {
        let mut gone = Vec::new();
        if let Some(link) = self.links.remove(name) {
            gone.push((name.clone(), link));
            self.release_ports_of(name);
        }
        gone
    }

    /// Returns the ports of ours that were on it.
    pub fn remove_bridge(&mut self, name: &IfName) -> Vec<IfName> {
        self.bridges.remove(name);
        let is_on = |link: &Link| matches!(link, Link::Port(port) if port.bridge.as_ref() == Some(name));
        let ports = self.links.iter().filter(|(_, link)| is_on(link)).map(|(port, _)| port.clone()).collect();
        self.release_ports_of(name);
        ports
    }

    pub fn lose_bridge(&mut self, name: &IfName) -> bool {
        let Some(Link::Port(port)) = self.links.get_mut(name) else { return false };
        port.bridge = None;
        true
    }

    pub fn observe_everything(&self) -> Observed {
        let mut observed = Observed {
            namespaces: self.ours.clone(),
            rules: self.elements.clone(),
            chains: self.chains,
            stations: self.stations.clone(),
            tunnels: self.tunnels.iter().map(|device| (*device, true)).collect(),
            forwarding: self.forwarding,
            ..Observed::default()
        };
        for (name, link) in &self.links {
            match link {
                Link::Bridge(bridge) => {
                    observed.switches.insert(name.clone(), bridge.observe());
                }
                Link::Port(port) => {
                    observed.ports.insert(name.clone(), port.observe());
                }
            }
        }
        observed
    }

    pub fn observe_switch(&self, name: &IfName) -> Observed {
        let mut observed = Observed { forwarding: self.forwarding, ..Observed::default() };
        if let Some(Link::Bridge(bridge)) = self.links.get(name) {
            observed.switches.insert(name.clone(), bridge.observe());
        }
        observed
    }

    pub fn observe_port(&self, name: &IfName) -> Observed {
        let mut observed = Observed::default();
        if let Some(Link::Port(port)) = self.links.get(name) {
            observed.ports.insert(name.clone(), port.observe());
        }
        observed
    }
}

impl Kernel {
    pub fn release_ports_of(&mut self, switch: &IfName) {
        for link in self.links.values_mut() {
            if let Link::Port(port) = link
                && port.bridge.as_ref().is_some_and(|bridge| is_segment_of(bridge, switch))
            {
                port.bridge = None;
            }
        }
    }
}

impl Bridge {
    fn observe(&self) -> ObservedSwitch {
        ObservedSwitch {
            up: self.up,
            mac: self.switch.mac,
            mtu: self.switch.mtu,
            gateways: self.switch.gateways.clone(),
            segments: (1..=self.switch.extra_segments).collect(),
            loopback: self.switch.loopback,
            wired: self.switch.uplink.is_some(),
            answers: self.switch.hosted,
        }
    }
}

impl PluggedPort {
    fn observe(&self) -> ObservedPort {
        ObservedPort {
            bridge: self.bridge.clone(),
            up: self.up,
            forwards: !self.doomed && self.bridge.is_some(),
        }
    }
}

/// Whether `bridge` is the switch itself or one of its further segments.
pub(super) fn is_segment_of(bridge: &IfName, switch: &IfName) -> bool {
    let rest = bridge.as_str().strip_prefix(switch.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
